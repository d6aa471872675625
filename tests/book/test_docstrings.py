"""Plain docstrings on a page: what stands in them is what a reader sees."""

import docutils.core
import pytest
from docutils import nodes
from docutils.parsers.rst import roles

from spectral_lens.book.docstrings import readable, summary


@pytest.fixture(autouse=True)
def _cite(monkeypatch):
    monkeypatch.setitem(roles._roles, "cite:alp", lambda name, raw, text, *rest: ([nodes.emphasis(raw, text)], []))


def parsed(text, keys=("chicchi", "yamada2020")):
    """The document that the text becomes; a warning is an error."""
    rst = "\n".join(readable(text.split("\n"), keys))
    return docutils.core.publish_doctree(rst, settings_overrides={"halt_level": 1, "report_level": 1})


@pytest.mark.parametrize(
    "line",
    [
        "-m / ||d m / d x||_1: the radius at which it would be gone.",
        "1. no list; A. none either; (i) nor this, *r and **options, |x|, a_, x_i, <y>, :field: and ::",
        "* a bullet of `code` with *stars*",
        "a 'quoted' \\ backslash, http://nowhere.org and e@mail",
    ],
)
def test_text_says_what_it_said(line):
    (block,) = parsed(line).children
    assert block.astext() == line.removeprefix("* ").replace("`", "")


def test_equations_stand_as_they_are():
    text, equation, more = parsed("Words.\n\n    w_ji = (a * b)    [chicchi, eq. 11]\n      = |c|\n\nMore.").children
    assert isinstance(equation, nodes.literal_block)
    assert equation.astext() == "w_ji = (a * b)    [chicchi, eq. 11]\n  = |c|"
    assert (text.astext(), more.astext()) == ("Words.", "More.")


def test_known_sources_become_citations():
    (block,) = parsed("As in [chicchi, B, eq. 12; nobody1999], `[yamada2020]`, [yamada2020] and x[i].").children
    assert [each.astext() for each in block.findall(nodes.emphasis)] == ["chicchi", "yamada2020"]
    assert block.astext() == "As in [chicchi, B, eq. 12; nobody1999], [yamada2020], [yamada2020] and x[i]."


def test_examples_stay_examples():
    _, example = parsed("Words.\n\n>>> f(1)  # *x*\ntensor([[1],\n        [2]])").children
    assert isinstance(example, nodes.doctest_block)
    assert example.astext() == ">>> f(1)  # *x*\ntensor([[1],\n        [2]])"


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Relevance of input i: |x|\nand more.  [chicchi, 5]\n\nThe rest.", "Relevance of input i: \\|x\\|\nand more."),
        ("One, e.g. `a_b`. Two.", "One, e.g. `a_b`."),
        ("Takes *args in [0, 1]", "Takes \\*args in \\[0, 1\\]"),
    ],
)
def test_the_first_sentence_as_markdown(text, first):
    assert summary(text) == " ".join(first.split())
