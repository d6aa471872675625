"""The page "What is where": its file, its tables, and that it leaves out nothing of the papers."""

import re
from pathlib import Path
from unittest.mock import Mock

import pytest
import toy_book
from docutils.parsers.rst import DirectiveError
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from spectral_lens import claims
from spectral_lens.book import chapters, scorecard_rows, where
from spectral_lens.book.chapters import BookError
from spectral_lens.book.where import Entry

ROOT = toy_book.ROOT
IDS = ["chicchi.independent.distance", "maess.mnist.accuracy"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nobody: []", "is a table of the papers giambagli, chicchi"),
        ("- chicchi", "is a table of the papers"),
        ("chicchi: [", "book/where.yml"),
        ("chicchi: [{at: Fig. 2}]", "chicchi, Fig. 2: an entry has at and shows, .*; see shows"),
        ("chicchi: [{at: Fig. 2, shows: a, picture: [b]}]", "and may have figures, claims, pages, note; see picture"),
        ("chicchi: [{at: Fig. 2, shows: a}]", "Fig. 2: there is no counterpart, and no note says why"),
        ("chicchi: [{at: Fig. 2, shows: a, claims: [chicchi.no]}]", "the ledger has no claim chicchi.no of this paper"),
        ("chicchi: [{at: Fig. 2, shows: a, claims: [maess.mnist.accuracy]}]", "no claim maess.mnist.accuracy of this"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, said: str) -> None:
    with pytest.raises(BookError, match=said):
        where.load(text, IDS)


SOURCE = """
    name: toy-figure
    name: nothing-else
claims.measure("chicchi.independent.zeros", 0)
"""


def rows(book: chapters.Book, paper: str) -> list[scorecard_rows.Row]:
    return [row for row in scorecard_rows.rows("quick", book) if row.paper == paper]


def test_the_tables_lead_to_figures_cells_and_chapters(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book)
    entries = [
        Entry(
            "Fig. 3",
            "a set",
            ("toy-figure", "nothing-else", "nothing"),
            ("chicchi.independent.distance", "chicchi.independent.zeros"),
        ),
        Entry("Fig. 4", "a sketch", pages=("toy/lens",), note="A sketch."),
        Entry("2.1, 7", "a number", claims=("chicchi.independent.lasso",)),
        Entry("Fig. 5", "a map", note="Nobody knows."),
    ]
    of = rows(book, "chicchi")
    first, second = where.tables(entries, of, {"toy/lens": SOURCE}).split("\n\n:::{rubric}")
    told = first.split("\n* - ")[2:]
    ledger = claims.load()
    assert told[0].split("\n\n    ") == [
        "**Fig. 3:** a set\n  - {numref}`toy-figure`, {numref}`nothing-else` in {doc}`toy/lens`",
        "{numref}`nothing`",
        "{ref}`" + ledger["chicchi.independent.distance"].claim + " <claim-chicchi-independent-distance>`: quick only",
        "irrelevant inputs get zero: not measured in this profile, {doc}`toy/lens`",
    ]
    assert told[1:] == [
        "**Fig. 4:** a sketch\n  - {doc}`toy/lens`\n\n    A sketch.",
        "**2.1, 7:** a number\n  - relevance follows the LASSO coefficients: none yet (no chapter measures it)",
        "**Fig. 5:** a map\n  - None: nobody knows.\n:::",
    ]
    assert second.startswith(" What else is claimed\n:::\n\n:::{list-table}")
    assert second.count("\n* - ") == 1 + len(of) - 3
    assert "**1.1:** Phi\\^-1 = 2I - Phi\n  - none yet" in second
    said = where.tables([], rows(book, "giambagli"), {})
    assert "- {ref}`identity holds <claim-giambagli-inverse>`, {doc}`toy/lens`" in said
    assert "printed numbers" not in said


def test_the_books_own_file_names_what_there_is() -> None:
    found = where.load((ROOT / where.NAME).read_text(encoding="utf-8"), claims.load())
    text = "".join(each.path.read_text(encoding="utf-8") for each in chapters.chapters(chapters.book()).values())
    figures = set(re.findall(r"^ +name: (fig-\S+)$", text, re.MULTILINE))
    entries = [entry for each in found.values() for entry in each]
    assert {name for entry in entries for name in entry.figures} <= figures
    assert {page for entry in entries for page in entry.pages} <= set(chapters.runnable(chapters.book()))


@pytest.mark.parametrize(("paper", "first", "last"), [("giambagli", 1, 7), ("chicchi", 1, 20), ("maess", 1, 5)])
def test_each_figure_of_a_paper_is_listed(paper: str, first: int, last: int) -> None:
    found = where.load((ROOT / where.NAME).read_text(encoding="utf-8"), claims.load())[paper]
    named = {int(number) for entry in found for number in re.findall(r"^Fig\. (\d+)", entry.at)}
    assert named == set(range(first, last + 1))
    assert (paper != "giambagli") == any(entry.at.startswith("Table 1") for entry in found)


def test_each_number_with_a_spread_is_listed() -> None:
    """A claim whose paper prints a mean and a deviation stands among the numbers."""
    found = where.load((ROOT / where.NAME).read_text(encoding="utf-8"), claims.load())
    named = {claim for each in found.values() for entry in each for claim in entry.claims}
    assert {name for name, claim in claims.load().items() if claim.printed.sd is not None} <= named


def test_the_page_is_read_again_with_the_scorecard(tmp_path: Path) -> None:
    from spectral_lens.book import sphinx_reader

    book = toy_book.make(tmp_path)
    toy_book.record(book)
    env = Mock(
        spec=BuildEnvironment,
        metadata={"book/where": {"where": True}, "book/scorecard": {"scorecard": True}, "book/intro": {}},
        found_docs={"book/where", "book/scorecard", "book/intro", "book/toy/lens"},
    )
    app = Mock(spec=Sphinx, srcdir=str(tmp_path))
    assert sphinx_reader.outdated(app, env, set(), set(), set()) == []
    toy_book.record(book, changes={"giambagli.inverse": 1e-15})
    assert sphinx_reader.outdated(app, env, set(), set(), set()) == ["book/scorecard", "book/toy/lens", "book/where"]


WHERE = """
```{where} chicchi
```
"""
FILE = """
chicchi:
  - {at: "Fig. 3", shows: "a set", figures: [toy-figure], claims: [chicchi.independent.distance]}
  - {at: "Fig. 4", shows: "a sketch", note: "Nobody knows."}
"""


@pytest.mark.site
def test_a_strict_build_has_the_tables(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    scorecard = book.root / "book" / "scorecard.md"
    scorecard.write_text(scorecard.read_text(encoding="utf-8") + WHERE, encoding="utf-8")
    (book.root / where.NAME).write_text(FILE, encoding="utf-8")
    toy_book.record(book)
    done = toy_book.build(book, *toy_book.STRICT)
    assert done.returncode == 0, done.stderr
    page = (toy_book.site(book) / "book" / "scorecard.html").read_text(encoding="utf-8")
    assert re.search(r'href="toy/lens.html#toy-figure"><span class="std std-numref">Fig. 1', page)
    assert re.search(
        r'href="toy/lens.html#claim-chicchi-independent-distance"><span class="std std-ref">relevance', page
    )
    assert "None: nobody knows." in page
    assert page.count("lens-parts") == 2


@pytest.mark.parametrize(("file", "said"), [(FILE, "has no paper 'maess'"), ("nobody: []", "is a table of the papers")])
def test_what_cannot_be_shown_is_an_error_of_the_page(tmp_path: Path, file: str, said: str) -> None:
    book = toy_book.make(tmp_path)
    (book.root / where.NAME).write_text(file, encoding="utf-8")
    toy_book.record(book)
    state = Mock()
    state.document.settings.env = Mock(srcdir=str(book.root), docname="book/where", metadata={"book/where": {}})
    with pytest.raises(DirectiveError) as raised:
        where.Where("where", ["maess"], {}, StringList(), 1, 0, "", state, Mock()).run()
    assert said in raised.value.msg
