"""Runs with parameters given by hand: which there are, and which need not be computed again; nothing is run."""

import pytest
from toy_chapters import custom, edit, page, write

from spectral_lens.book import customs, records, runner
from spectral_lens.book.chapters import Book, chapter


@pytest.fixture
def one(tmp_path, package):
    """A chapter with a paper profile of its own, over the toy package."""
    pages = {"part/one": page("One", "from spectral_lens.middle import f"), "two": page("Two", "2")}
    toy = write(tmp_path, pages, paper="chapters: {part/one: {b: 9.5}}\n")
    return chapter("part/one", Book(toy.root, package))


def test_what_is_the_same(one):
    plan = runner.plan(one, "quick", {"a": 3})
    assert customs.same(plan) is None
    custom(plan, {"middle": ["f"]})
    assert customs.same(plan) == records.Status("current")
    assert customs.there([plan, runner.plan(one)]) == {plan.target: records.Status("current")}
    assert customs.same(runner.plan(one, "quick", {"a": 4})) is None
    assert customs.same(runner.plan(edit(one, "More prose.", "Verse."), "quick", {"a": 3})) is not None


@pytest.mark.parametrize(
    ("old", "new"),
    [("import f", "import f as g"), ("flag = False", "flag = True"), ("flag = False", "flag = 0\nx = 1")],
)
def test_other_code_or_parameters_are_not(one, old, new):
    custom(runner.plan(one, "quick", {"a": 3}))
    assert customs.same(runner.plan(edit(one, old, new), "quick", {"a": 3})) is None


def test_a_function_that_ran_and_changed_is_not_unless_the_quick_run_vouches_for_it(one, package):
    plan = runner.plan(one, "quick", {"a": 3})
    custom(plan, {"middle": ["f"]})
    (package / "alone.py").write_text("x = 2\n")
    assert customs.same(plan) == records.Status("current")
    (package / "leaf.py").write_text("value = 2\n")
    assert customs.same(plan) is None


def test_the_other_profile_is_another_base_and_another_record(one):
    """Even where the parameters come out the same: environment and threads do not."""
    quick, paper = runner.plan(one, "quick", {"a": 3, "b": 9.5}), runner.plan(one, "paper", {"a": 3})
    assert quick.parameters == paper.parameters
    assert quick.target != paper.target
    custom(quick)
    assert [customs.same(plan) is None for plan in (quick, paper)] == [False, True]
    custom(quick, base="paper")
    assert customs.same(quick) is None


def test_the_profiles_own_record_is_computed_whenever_it_is_asked_for(one):
    plan = runner.plan(one)
    custom(plan)
    assert customs.same(plan) is None


def test_which_there_are(one):
    of, two = one.book, chapter("two", one.book)
    late = custom(runner.plan(one, "paper", {"a": 3}), date="2026-05-01T00:00:00")
    early = custom(runner.plan(one, "quick", {"words": ["y"], "free": 1}), date="2026-04-01T00:00:00")
    other = custom(runner.plan(two, "quick", {"a": 7}))
    gone = custom(runner.plan(two, "quick", {"a": 8}), chapter="gone")
    broken = other.with_name("two--broken.ipynb")
    broken.write_text("{}")

    found = customs.every(of)
    assert [run.path for run in found] == [early, late, other, broken, gone]
    assert [run.differs for run in found[:3]] == [{"words": ["y"], "free": 1}, {"a": 3}, {"a": 7}]
    assert [run.base for run in found[:3]] == ["quick", "paper", "quick"]
    assert [run.state for run in found] == ["current"] * 3 + ["cannot be read", "no such chapter"]
    edit(one, "import f", "import f as g")
    assert [run.state for run in customs.every(of)][:3] == ["stale", "stale", "current"]
