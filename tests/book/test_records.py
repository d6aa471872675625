"""Chapters, parameters, and records against their chapter: nothing here starts a kernel."""

import ast

import nbformat
import pytest
from myst_nb.core.read import read_myst_markdown_notebook
from toy_chapters import edit, page, record, write

from spectral_lens.book import chapters, fingerprints, records
from spectral_lens.book.chapters import Book, chapter


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


def test_a_record_that_does_not_say_what_ran_shows_nothing(tmp_path, package):
    toy = write(tmp_path, {"p": page("P", "from spectral_lens import sub")})
    p = chapter("p", Book(toy.root, package))
    whole = records.read(path := record(p))
    assert records.status(p, "quick").state == "current"
    del records.provenance(whole)["ran"]
    records.write(whole, path)
    assert records.status(p, "quick") == records.Status("stale", "the record does not say what ran")


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
