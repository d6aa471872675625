"""Chapters, parameters, and records against their chapter: nothing here starts a kernel."""

import ast
import configparser
import random
import re
from pathlib import Path

import nbformat
import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from toy_chapters import page, write

from spectral_lens.book import chapters, fingerprints, golden, records, replay, sources
from spectral_lens.book.chapters import Book, BookError, chapter, parameters, resolve


@pytest.fixture
def toy(tmp_path):
    return write(
        tmp_path, {"part/one": page("One", "print(a)", "import spectral_lens.devices"), "two": page("Two", "1")}
    )


def record(of, profile="quick", ran=None, **changes):
    """A record of the chapter as it is now, written without a run; one in which the functions `ran` ran."""
    made = nbformat.from_dict(of.notebook)
    [*_, last] = [cell for cell in made.cells if cell.cell_type == "code"]
    last.outputs = [nbformat.v4.new_output("stream", text="0.25\n")]
    cells = [cell.source for cell in made.cells if cell.cell_type == "code"]
    made.metadata[records.META] = {
        "chapter": of.name,
        "profile": profile,
        "parameters": resolve(of, "quick" if profile == "reference" else profile),
        "code": records.code_hash(made),
        "ran": fingerprints.index(of.book.package).snapshot(ran or {}, cells),
        "data": [],
    } | changes
    records.write(made, records.path(of, profile))
    return records.path(of, profile)


def edit(of, old, new):
    text = of.path.read_text()
    assert old in text
    of.path.write_text(text.replace(old, new))
    return chapter(of.name, of.book)


# chapters and parameters


def test_chapters_in_the_order_of_the_book(toy):
    found = chapters.chapters(toy)
    assert list(found) == ["intro", "part/one", "two"]
    assert list(chapters.runnable(toy)) == ["part/one", "two"]
    assert found["part/one"].title == "One"
    assert [c["id"] for c in found["two"].notebook.cells] == ["c000", "c001", "c002", "c003"]


@pytest.mark.parametrize("name", ["part/one", "book/part/one", "book/part/one.md", "./book/part/one.md"])
def test_chapter_by_name(toy, name):
    assert chapter(name, toy).name == "part/one"


@pytest.mark.parametrize(
    ("name", "message"), [("part/won", "did you mean part/one"), ("one", "part/one"), ("intro", "no code")]
)
def test_unknown_chapter(toy, name, message):
    with pytest.raises(BookError, match=message):
        chapter(name, toy)


def test_missing_page_and_missing_book(toy, tmp_path):
    (tmp_path / "book" / "two.md").unlink()
    with pytest.raises(BookError, match="book/two"):
        chapters.chapters(toy)
    with pytest.raises(BookError, match="checkout"):
        chapters.book(tmp_path / "book")


def test_the_projects_own_profiles_are_read():
    assert chapters.profile("quick")["threads"] == 1
    assert chapters.profile("quick")["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert chapters.profile("paper")["environment"] == {}


def test_parameters(toy):
    assert parameters(chapter("two", toy)) == {"a": 2, "b": 0.5, "words": ["x"], "flag": False, "free": None}


DESCRIBED = """\
# What follows is described.
runs = 10  # networks trained side by side
a, b = 1, "#no"  #both
plain = "# no comment"
long = [
    1,  # not this
    2,
]  # sizes: one per network
typed: int = 3  # digits
late = [
    4]
# not of late"""


def test_descriptions(tmp_path):
    one = chapter("p", write(tmp_path, {"p": page("P", "x = 1  # no parameter", parameters=DESCRIBED)}))
    assert chapters.descriptions(one) == {
        "runs": "networks trained side by side",
        "a": "both",
        "b": "both",
        "long": "sizes: one per network",
        "typed": "digits",
    }
    bare = chapter("q", write(tmp_path, {"q": page("Q", "1", parameters=None)}))
    assert chapters.descriptions(bare) == {}


@pytest.mark.parametrize("line", ["a = b", "a = f()", "import os", "a = c = 1", "a[0] = 1", "a += 1", "a, b = 1, 2, 3"])
def test_parameters_are_literals(tmp_path, line):
    toy = write(tmp_path, {"p": page("P", parameters=line)})
    with pytest.raises(BookError, match="plain assignments"):
        parameters(chapter("p", toy))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"a": 3}, 3),
        ({"b": 3}, 3.0),
        ({"words": []}, []),
        ({"words": ["y", "z"]}, ["y", "z"]),
        ({"flag": True}, True),
        ({"free": [1, "x"]}, [1, "x"]),
    ],
)
def test_overrides(toy, given, found):
    (name,) = given
    value = resolve(chapter("two", toy), "quick", given)[name]
    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aa": 1}, r"no parameter 'aa': did you mean a"),
        ({"zzz": 1}, r"there are a, b, words"),
        ({"a": 1.0}, "a is int .*not float 1.0"),
        ({"a": True}, "not bool"),
        ({"b": "1e-3"}, "write 1.0e-3"),
        ({"b": True}, "not bool"),
        ({"b": None}, "not NoneType"),
        ({"words": [1]}, "list of str"),
        ({"words": "x"}, "list of str"),
        ({"flag": 1}, "flag is bool"),
    ],
)
def test_wrong_parameters(toy, given, message):
    with pytest.raises(BookError, match=message):
        resolve(chapter("two", toy), "quick", given)


def test_profiles_give_values(tmp_path):
    pages = {"p": page("P", "1")}
    toy = write(tmp_path, pages, paper="chapters: {p: {a: 5, words: [u, v]}}\n")
    assert resolve(chapter("p", toy), "paper") | {"b": 0} == {
        "a": 5,
        "b": 0,
        "words": ["u", "v"],
        "flag": False,
        "free": None,
    }
    assert resolve(chapter("p", toy), "paper", {"a": 7})["a"] == 7
    for wrong, message in [
        ("{q: {a: 1}}", "unknown chapter 'q'"),
        ("{p: {c: 1}}", r"'c' \(in paper.yml\)"),
        ("{p: {a: x}}", "a is int"),
    ]:
        write(tmp_path, pages, paper=f"chapters: {wrong}\n")
        with pytest.raises(BookError, match=message):
            resolve(chapter("p", toy), "paper")
    with pytest.raises(BookError, match="did you mean paper"):
        resolve(chapter("p", toy), "papper")


# a record and its chapter


def test_both_readers_see_the_same_code():
    text = page("T", "%matplotlib inline\nx = 1", ":tags: [hide-input]\n\nprint('a')\n\n\nprint('b')  ")
    assert records.code_hash(chapters.notebook(text)) == records.code_hash(read_myst_markdown_notebook(text))


def test_missing_then_current(toy):
    one = chapter("part/one", toy)
    assert records.status(one, "quick").state == "missing"
    assert record(one) == toy.root / "build/records/quick/part/one.ipynb"
    assert records.status(one, "quick") == records.Status("current")
    assert records.path(one, "paper") == toy.root / "data/runs/paper/part/one.ipynb"


def test_prose_and_tags_leave_a_record_current(toy):
    one = chapter("part/one", toy)
    record(one)
    one = edit(one, "More prose.", "Other prose.\n\n## With a heading")
    one = edit(one, "```{code-cell} ipython3\nprint", "```{code-cell} ipython3\n:tags: [hide-input]\nprint")
    assert records.status(one, "quick").state == "current"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("print(a)", "print(a + 1)", "code cells changed"),
        ("a, b = 2, 0.5", "a, b = 3, 0.5", "parameters changed: a 2 -> 3"),
    ],
)
def test_edited_code_makes_it_stale(toy, old, new, reason):
    one = chapter("part/one", toy)
    record(one)
    state = records.status(edit(one, old, new), "quick")
    assert (state.state, state.usable) == ("stale", False)
    assert reason in state.reason


def test_other_parameters_make_it_stale(toy):
    one = chapter("part/one", toy)
    record(one)
    profile = toy.root / "book/profiles/quick.yml"
    profile.write_text(profile.read_text().replace("chapters: {}", "chapters: {part/one: {a: 9}}"))
    state = records.status(one, "quick")
    assert (state.state, state.reason) == ("stale", "parameters changed: a 2 -> 9")


def test_a_quick_value_that_the_paper_profile_sets_leaves_the_paper_record_alone(toy):
    one = chapter("part/one", toy)
    profile = toy.root / "book/profiles/paper.yml"
    profile.write_text(profile.read_text().replace("chapters: {}", "chapters: {part/one: {a: 9}}"))
    record(one, "paper")
    one = edit(one, "a, b = 2, 0.5", "a = 3  # how many\nb = 0.5")
    assert records.status(one, "paper") == records.Status("current")
    assert records.status(edit(one, "b = 0.5", "b = 0.6"), "paper").reason == "parameters changed: b 0.5 -> 0.6"


def test_order_inside_a_value_is_none_of_it(tmp_path):
    toy = write(tmp_path, {"p": page("P", parameters="sizes = {'b': 1, 'a': 2}")})
    p = chapter("p", toy)
    record(p)
    assert records.status(edit(p, "{'b': 1, 'a': 2}", "{'a': 2, 'b': 1}"), "quick").state == "current"


def test_damaged_or_edited_record_is_stale(toy):
    one = chapter("part/one", toy)
    path = record(one)
    whole = path.read_text()
    for text, reason in [
        (whole[: len(whole) // 2], "cannot be read"),
        ("{}", "cannot be read"),
        ("", "cannot be read"),
        (whole.replace("print(a)", "print(0)"), "was edited"),
    ]:
        path.write_text(text)
        state = records.status(one, "quick")
        assert state.state == "stale"
        assert reason in state.reason


def test_writing_is_all_or_nothing(toy, monkeypatch):
    one = chapter("two", toy)
    path = record(one)
    before = path.read_bytes()

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        records.write(one.notebook, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["two.ipynb"]


def test_claims_and_data_are_collected():
    def output(note):
        return nbformat.v4.new_output("display_data", {"text/plain": ""}, metadata={"spectral_lens": note})

    outputs = [
        {"claim": {"id": "a", "value": 1}},
        {"data": {"name": "d"}},
        {"claim": {"id": "a", "value": 2}},
        {"data": {"name": "d"}},
    ]
    cell = nbformat.v4.new_code_cell("1", outputs=[*map(output, outputs), nbformat.v4.new_output("stream", text="x")])
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("m"), cell])
    assert records.carried(book, "claim") == [{"id": "a", "value": 2}]
    assert records.carried(book, "data") == [{"name": "d"}]


# the code of the package


@pytest.fixture
def package(tmp_path):
    """A toy package: leaf <- middle (lazily) <- sub.top; alone is imported by nobody."""
    folder = tmp_path / "spectral_lens"
    files = {
        "__init__.py": '"""Doc."""\n\n__version__ = "1"\n',
        "leaf.py": "value = 1\n",
        "middle.py": "def f():\n    from . import leaf\n    return leaf.value\n",
        "sub/__init__.py": "from spectral_lens.sub.top import g\n",
        "sub/top.py": "import numpy\nfrom ..middle import f\n\n\ndef g():\n    return f()\n",
        "alone.py": "x = 1\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("cell", "modules"),
    [
        ("import spectral_lens", set()),
        ("import numpy, spectral_lensed", set()),
        ("from spectral_lens import leaf", {"leaf"}),
        ("import spectral_lens.leaf as x", {"leaf"}),
        ("def f():\n    from spectral_lens.leaf import value", {"leaf"}),
        ("%matplotlib inline\nfrom spectral_lens import middle, alone", {"middle", "leaf", "alone"}),
        ("from spectral_lens.sub import g", {"sub", "sub.top", "middle", "leaf"}),
        ("import spectral_lens.sub.top", {"sub", "sub.top", "middle", "leaf"}),
        ("from spectral_lens.nowhere import x", set()),
    ],
)
def test_imported_modules(package, cell, modules):
    found = sources.module_hashes(chapters.notebook(page("T", cell)), package)
    assert set(found) == {f"spectral_lens.{m}" for m in modules}


def test_what_makes_a_record_older_that_does_not_say_what_ran(tmp_path, package):
    toy = write(tmp_path, {"p": page("P", "from spectral_lens import sub")})
    toy = Book(toy.root, package)
    p = chapter("p", toy)
    path = record(p)
    whole = records.read(path)
    made = records.provenance(whole)
    del made["ran"]
    made["code"] = "the hash of another time"
    made["modules"] = sources.module_hashes(p.notebook, package)
    records.write(whole, path)
    assert records.status(p, "quick") == records.Status("current")
    (package / "leaf.py").write_text('"""Words."""\n\n# more words\n\nvalue = 1  # and these\n')
    (package / "alone.py").write_text("x = 2\n")
    (package / "__init__.py").write_text('__version__ = "2"\n')
    assert records.status(p, "quick") == records.Status("current")
    (package / "leaf.py").write_text("value = 2\n")
    assert records.status(p, "quick") == records.Status("older", changed=("spectral_lens.leaf",))
    (package / "sub/top.py").write_text("import spectral_lens.alone\n\n\ndef g():\n    return 1\n")
    # `middle` and `leaf` are no longer imported, `alone` is.
    older = tuple(f"spectral_lens.{m}" for m in ("alone", "leaf", "middle", "sub.top"))
    assert records.status(p, "quick").changed == older
    assert records.status(edit(p, "import sub", "import alone"), "quick").state == "stale"


# what ran


@pytest.fixture
def three(tmp_path, package):
    """Three chapters with paper records and references: `f` ran in one, `g` in two, and the third calls neither."""
    pages = {
        "one": page("1", "from spectral_lens.middle import f"),
        "two": page("2", "2"),
        "three": page("3", "import spectral_lens.middle"),
    }
    toy = Book(write(tmp_path, pages).root, package)
    ran = {"one": {"middle": ["f"]}, "two": {"middle": ["f"], "sub.top": ["g"]}, "three": {}}
    for name, functions in ran.items():
        of = chapter(name, toy)
        record(of, "reference", functions if name == "one" else {})
        made = fingerprints.index(package).snapshot(functions)
        record(of, "paper", functions, replay=records.replayed(of, made))
    assert states(toy) == {"one": "current", "two": "current", "three": "current"}
    return toy


def states(of, profile="paper"):
    return {name: records.status(c, profile).state for name, c in chapters.runnable(of).items()}


def test_a_change_marks_the_records_whose_chapter_ran_it(three):
    (three.package / "sub/top.py").write_text("from ..middle import f\n\n\ndef g():\n    return f() + 1\n")
    assert states(three) == {"one": "current", "two": "older", "three": "current"}
    assert str(records.status(chapter("two", three), "paper")).startswith("older (changed: sub.top.g; ")


def test_a_moved_function_marks_nothing(three):
    for name in ("middle.py", "sub/top.py"):
        (three.package / name).unlink()
    f = "def f():\n    from . import leaf\n\n    return leaf.value\n"
    (three.package / "new.py").write_text(
        f"from spectral_lens import leaf as other\n\n\ndef g():\n    return f()\n\n\n{f}"
    )
    assert states(three) == {"one": "current", "two": "current", "three": "current"}


def test_an_import_from_elsewhere_in_a_cell_marks_nothing(three):
    (three.package / "middle.py").rename(three.package / "elsewhere.py")
    edit(chapter("one", three), "from spectral_lens.middle", "from spectral_lens.elsewhere")
    assert states(three)["one"] == "current"
    edit(chapter("one", three), "import f", "import f as h")
    assert states(three)["one"] == "stale"


def test_a_changed_constant_marks_those_that_ran_a_user_of_it(three):
    (three.package / "leaf.py").write_text("value = 2\n")
    assert states(three) == {"one": "older", "two": "older", "three": "current"}
    assert records.status(chapter("one", three), "paper").changed == ("leaf.value",)


def test_the_quick_run_vouches_for_what_it_executes(three):
    (three.package / "middle.py").write_text("def f():\n    from . import leaf\n    return 0 + leaf.value\n")
    one = chapter("one", three)
    assert records.status(one, "paper").reason == "the quick reference is older"
    record(one, "reference", {"middle": ["f"]})
    assert records.status(one, "paper") == records.Status("verified", changed=("middle.f",))
    assert records.status(one, "paper").usable
    # the second's does not execute it
    record(chapter("two", three), "reference", {})
    assert records.status(chapter("two", three), "paper").reason == "the quick run does not execute f"
    # other numbers
    made = nbformat.read(records.path(one, "reference"), as_version=4)
    made.cells[-2].outputs = [nbformat.v4.new_output("stream", text="0.5\n")]
    records.write(made, records.path(one, "reference"))
    assert records.status(one, "paper").reason == "the quick run prints other numbers"
    made.cells[-2].outputs = []
    records.write(made, records.path(one, "reference"))
    assert records.status(one, "paper").reason == "the quick run prints no numbers"


def test_without_a_current_reference_a_record_cannot_be_verified(three):
    one = chapter("one", three)
    records.path(one, "reference").unlink()
    assert records.replayed(one, {}) is None
    record(one, "paper", {"middle": ["f"]}, replay=None)
    (three.package / "leaf.py").write_text("value = 2\n")
    assert records.status(one, "paper").reason == "the quick reference is missing"
    record(one, "reference", {"middle": ["f"]})
    assert "without a current quick reference" in records.status(one, "paper").reason


def test_the_state_of_all_records_is_cheap():
    """No chapter is parsed twice and no module either: the second look costs next to nothing."""
    of = chapters.book()
    found = [records.status(c, p) for c in chapters.runnable(of).values() for p in ("quick", "paper", "reference")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ast, "parse", lambda *_: pytest.fail("parsed again") if len(_[0]) > 3000 else PARSE(*_))
        again = [records.status(c, p) for c in chapters.runnable(of).values() for p in ("quick", "paper", "reference")]
    assert again == found


PARSE = ast.parse
SOURCE = '''\
#!/usr/bin/env python
"""Docstring of
the module, with a # in it and an ä.
"""
import os  # comment

__version__ = "1.2"


class A:  # ä
    """Doc."""  # behind it

    x = "# no comment"

    async def f(self):
        "doc"
        return f"# {self!r} no comment" \\
            "either"


def g(): """doc ä"""; return 1  # ä


TEXT = """a

  # kept, spaces too{SPACES}

"""  # gone
LONG = (
    1,  # one

    2,
)
'''
BARE = '''\
import os
class A:
    x = "# no comment"
    async def f(self):
        return f"# {self!r} no comment" \\
            "either"
def g(): ; return 1
TEXT = """a

  # kept, spaces too{SPACES}

"""
LONG = (
    1,
    2,
)
'''


def test_words_are_left_out():
    source, bare = (text.replace("{SPACES}", "   ") for text in (SOURCE, BARE))
    assert sources.bare(source) == bare


def test_words_never_matter():
    """Comments and blank lines put anywhere into the package's own sources change nothing."""
    drawn = random.Random(0)
    for path in sorted(Book(Path()).package.rglob("*.py")):
        text = path.read_text()
        bare = sources.bare(text)
        assert len(bare) <= len(text)
        lines = text.splitlines()
        strings = {
            k
            for n in ast.walk(ast.parse(text))
            if isinstance(n, ast.Constant | ast.JoinedStr)
            for k in range(n.lineno, n.end_lineno)
        }
        code = [k for k, line in enumerate(lines, 1) if k not in strings and line.strip() and not line.endswith("\\")]
        for k in drawn.sample(code, min(5, len(code))):
            lines[k - 1] += "  # a word\n\n"
        assert bare == sources.bare("\n".join(lines) + "\n")


# references


def test_reference(toy):
    one = chapter("two", toy)
    path = record(one, duration=3.7, commit="c", device="this one")
    made = records.read(path)
    figure = nbformat.v4.new_output(
        "display_data", {"text/plain": "<Figure size 2x3 with 1 Axes>", "image/png": "AAAA"}, metadata={"image/png": {}}
    )
    drawing = nbformat.v4.new_output("display_data", {"text/plain": "<D>", "image/svg+xml": "<svg>1</svg>"})
    note = {"spectral_lens": {"claim": {"id": "a", "values": [1 / 3, 1e-17], "profile": "quick"}}}
    card = nbformat.v4.new_output(
        "display_data",
        {"text/plain": "a: 0.2", "text/html": '<table class="claim claim-x"><tr>\n</table>'},
        metadata=note,
    )
    said = nbformat.v4.new_output("stream", text="hello\n")
    made.cells[-2].outputs = [figure, drawing, card, said]
    made.cells[-2].metadata["tags"] = ["hide-input"]
    kept = golden.reference(made)
    nbformat.validate(kept)
    assert all(c.cell_type == "code" for c in kept.cells)
    first, second, third, fourth = kept.cells[-1].outputs
    assert first.data == {"text/plain": "<Figure>", "image/png": golden._POINT}
    assert first.metadata == {}
    assert second.data == {"text/plain": "<D>", "image/svg+xml": "<svg/>"}
    assert third.data == {"text/plain": "a: 0.2", "text/html": "<claim/>"}
    assert third.metadata["spectral_lens"]["claim"]["values"] == [0.333333, 0.0]
    assert fourth.text == "hello\n"
    assert kept.cells[-1].metadata.tags == ["hide-input"]
    assert set(kept.metadata[records.META]) == {"chapter", "profile", "parameters", "code", "ran", "duration", "data"}
    made.cells[-2].metadata["tags"] = ["nbval-ignore-output"]
    assert golden.reference(made).cells[-1].outputs == [first, second, third]


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("figures", "<Figure size 1600x640 with 3 Axes>", "<Figure size 1600x700 with 3 Axes>", True),
        ("cards", '<table class="claim claim-a">1\n</table>', '<table class="claim claim-b">2</table>', True),
        ("drawings", "<p>a\n<svg>1", "<svg>2\n", True),
        ("figures", "accuracy 0.5", "accuracy 0.6", False),
    ],
)
def test_what_is_no_number_may_change(toy, kind, one, other, same):
    """The patterns as nbval applies them to both sides."""
    for c in chapters.runnable(toy).values():
        record(c)
    golden.write(toy)
    patterns = configparser.RawConfigParser()
    patterns.read(golden.folder(toy) / "sanitize.cfg")
    assert set(patterns.sections()) == {"drawings", "cards", "figures"}

    def sanitized(text):
        for name in patterns.sections():
            text = re.sub(patterns[name]["regex"], patterns[name]["replace"], text)
        return text

    assert (sanitized(one) == sanitized(other)) is same
    assert (sanitized(one) == golden._plain(one)) is True


def test_printed_numbers():
    def cell(*outputs, tags=()):
        return nbformat.v4.new_code_cell("1", outputs=list(outputs), metadata={"tags": list(tags)})

    def stream(text):
        return nbformat.v4.new_output("stream", text=text)

    figure = nbformat.v4.new_output("display_data", {"text/plain": "<Figure> at 0x7f12", "image/png": "4"})
    claim = nbformat.v4.new_output("display_data", {"text/plain": "chicchi.a2: 0.5 +- .1 (3 runs)", "text/html": "7"})
    cells = [
        cell(stream("layer1: 1.5e-3, -2 nan\n"), figure),
        cell(claim),
        cell(stream("8"), tags=["nbval-ignore-output"]),
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("9"), *cells])
    assert replay.numbers(notebook) == ["1.5e-3", "-2", "nan", "0.5", ".1", "3"]


def test_references_follow_their_sources(toy):
    with pytest.raises(BookError, match="run --older"):
        golden.write(toy)
    assert golden.differing(toy) == {"part/one": "no reference", "two": "no reference"}
    for c in chapters.runnable(toy).values():
        record(c)
    assert [p.name for p in golden.write(toy)] == ["part__one.ipynb", "two.ipynb"]
    assert golden.differing(toy) == {}
    first = (toy.root / "tests/reference/two.ipynb").read_bytes()
    golden.write(toy)
    assert (toy.root / "tests/reference/two.ipynb").read_bytes() == first
    edit(chapter("part/one", toy), "print(a)", "print(b)")
    profile = toy.root / "book/profiles/quick.yml"
    profile.write_text(profile.read_text().replace("chapters: {}", "chapters: {two: {a: 9}}"))
    (toy.root / "tests/reference/gone__page.ipynb").write_text("{}")
    assert golden.differing(toy) == {
        "part/one": "the code cells changed",
        "two": "parameters changed: a 2 -> 9",
        "gone/page": "no such chapter",
    }
