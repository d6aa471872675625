"""Chapters, parameters, and records against their chapter: nothing here starts a kernel."""

import ast
import random
from pathlib import Path

import nbformat
import pytest
from myst_nb.core.read import read_myst_markdown_notebook

from spectral_lens.book import chapters, records, references, sources
from spectral_lens.book.chapters import Book, BookError, chapter, parameters, resolve
from toy_chapters import page, write


@pytest.fixture
def toy(tmp_path):
    return write(
        tmp_path, {"part/one": page("One", "print(a)", "import spectral_lens.devices"), "two": page("Two", "1")}
    )


def record(of, profile="quick", **changes):
    """A record of the chapter as it is now, written without a run."""
    made = nbformat.from_dict(of.notebook)
    code, values = records.code_hash(made), resolve(of, profile)
    made.metadata[records.META] = {
        "chapter": of.name,
        "profile": profile,
        "parameters": values,
        "code": code,
        "key": records.key(code, values),
        "modules": records.module_hashes(of),
        "claims": [],
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
    [("print(a)", "print(a + 1)", "code cells changed"), ("a, b = 2, 0.5", "a, b = 3, 0.5", "code cells changed")],
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


def test_key_depends_on_every_value():
    keys = {records.key(c, v) for c in "xy" for v in ({"a": 1}, {"a": 2}, {"a": 1, "b": 1}, {"a": 1.0}, {"a": True})}
    assert len(keys) == 10
    assert records.key("x", {"a": 1, "b": 2}) == records.key("x", {"b": 2, "a": 1})


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


def test_what_makes_a_record_older(tmp_path, package):
    toy = write(tmp_path, {"p": page("P", "from spectral_lens import sub")})
    toy = Book(toy.root, package)
    p = chapter("p", toy)
    record(p)
    assert records.status(p, "quick").older == ()
    (package / "leaf.py").write_text('"""Words."""\n\n# more words\n\nvalue = 1  # and these\n')
    (package / "alone.py").write_text("x = 2\n")
    (package / "__init__.py").write_text('__version__ = "2"\n')
    assert records.status(p, "quick") == records.Status("current")
    (package / "leaf.py").write_text("value = 2\n")
    assert records.status(p, "quick") == records.Status("current", older=("spectral_lens.leaf",))
    (package / "sub/top.py").write_text("import spectral_lens.alone\n\n\ndef g():\n    return 1\n")
    # `middle` and `leaf` are no longer imported, `alone` is.
    older = tuple(f"spectral_lens.{m}" for m in ("alone", "leaf", "middle", "sub.top"))
    assert records.status(p, "quick").older == older


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
    path = record(one)
    made = records.read(path)
    figure = nbformat.v4.new_output(
        "display_data", {"text/plain": "<Figure>", "image/png": "AAAA"}, metadata={"image/png": {"width": 3}}
    )
    drawing = nbformat.v4.new_output("display_data", {"text/plain": "<D>", "image/svg+xml": "<svg>1</svg>"})
    made.cells[-2].outputs = [figure, drawing, nbformat.v4.new_output("stream", text="hello\n")]
    made.cells[-2].metadata["tags"] = ["hide-input"]
    kept = references.reference(made)
    nbformat.validate(kept)
    assert all(c.cell_type == "code" for c in kept.cells)
    first, second, third = kept.cells[-1].outputs
    assert (first.data, first.metadata) == ({"text/plain": "<Figure>"}, {})
    assert second.data == {"text/plain": "<D>", "image/svg+xml": "<svg/>"}
    assert third.text == "hello\n"
    assert kept.cells[-1].metadata.tags == ["hide-input"]
    made.cells[-2].metadata["tags"] = ["nbval-ignore-output"]
    assert references.reference(made).cells[-1].outputs == []


def test_references_follow_their_sources(toy):
    with pytest.raises(BookError, match="run --stale"):
        references.write(toy)
    assert references.differing(toy) == {"part/one": "no reference", "two": "no reference"}
    for c in chapters.runnable(toy).values():
        record(c)
    assert [p.name for p in references.write(toy)] == ["part__one.ipynb", "two.ipynb"]
    assert references.differing(toy) == {}
    first = (toy.root / "tests/reference/two.ipynb").read_bytes()
    references.write(toy)
    assert (toy.root / "tests/reference/two.ipynb").read_bytes() == first
    edit(chapter("part/one", toy), "print(a)", "print(b)")
    profile = toy.root / "book/profiles/quick.yml"
    profile.write_text(profile.read_text().replace("chapters: {}", "chapters: {two: {a: 9}}"))
    (toy.root / "tests/reference/gone__page.ipynb").write_text("{}")
    assert references.differing(toy) == {
        "part/one": "the code cells changed",
        "two": "the parameters changed",
        "gone/page": "no such chapter",
    }
