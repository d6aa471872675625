"""Sweeps: their points, what is kept of them, and which is which."""

import json

import pytest
from toy_chapters import edit, page, write

from spectral_lens.book import sweeps
from spectral_lens.book.chapters import BookError

SEEDS = [{"a": 1}, {"a": 2}, {"a": 3}]


@pytest.fixture
def toy(tmp_path):
    pages = {"part/one": page("One", "print(a)"), "two": page("Two", "1", parameters='table = ""  # file of numbers')}
    return write(tmp_path / "root", pages, paper="chapters: {part/one: {b: 7}}\n")


def test_points_are_runs_of_ones_own(toy):
    found = sweeps.make(toy, "book/part/one.md", "paper", [{"a": 1, "b": 1}, {"a": 2, "b": 0.5}])
    assert (found.chapter.name, found.base, found.swept) == ("part/one", "paper", ("a", "b"))
    assert [(plan.profile, plan.base) for plan in found.plans] == [("custom", "paper")] * 2
    assert [sweeps.point(plan, found.swept) for plan in found.plans] == [{"a": 1, "b": 1.0}, {"a": 2, "b": 0.5}]
    assert len({plan.target for plan in found.plans}) == 2
    assert found.plans[0].target.parent == toy.root / "build/records/custom/part"


def test_points_that_come_to_the_same_run_are_one(toy):
    found = sweeps.make(toy, "part/one", "quick", [{"b": 1}, {"b": 2}, {"b": 1.0}])
    assert [plan.parameters["b"] for plan in found.plans] == [1.0, 2.0]


def test_the_name_follows_from_the_points(toy):
    names = [
        sweeps.make(toy, "part/one", base, points).name
        for base, points in (("quick", SEEDS), ("quick", SEEDS[:2]), ("paper", SEEDS), ("quick", [*SEEDS, SEEDS[0]]))
    ]
    assert len(set(names)) == 3
    assert names[0] == names[3]
    assert names[0].startswith("part-one-")


@pytest.mark.parametrize(
    ("chapter", "points", "name", "message"),
    [
        ("part/won", SEEDS, None, "did you mean part/one"),
        ("part/one", [*SEEDS, {"a": 1.5}], None, "a is int"),
        ("part/one", [{"aa": 1}], None, "did you mean a"),
        ("part/one", [], None, "A sweep needs points"),
        ("part/one", [{}], None, "A sweep needs points"),
        ("part/one", SEEDS, "a/b", "is named by letters"),
        ("part/one", SEEDS, "../up", "is named by letters"),
        ("two", [{"table": "nowhere.csv"}], None, "cannot be read"),
        ("two", [{"table": 5}], None, "table is str"),
        ("two", [{"table": "~nobody-of-that-name/a.csv"}], None, "home folder that there is not"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_kept(toy, chapter, points, name, message):
    with pytest.raises(BookError, match=message):
        sweeps.make(toy, chapter, "quick", points, name)
    assert not (toy.root / "build").exists()


def test_saved_and_loaded(toy):
    made = sweeps.make(toy, "part/one", "paper", SEEDS, "mine")
    path = sweeps.save(made)
    assert path == sweeps.folder(toy, "mine") / "sweep.json" == toy.root / "build/sweeps/mine/sweep.json"
    assert sweeps.load(toy, "mine") == made
    assert sweeps.every(toy) == ["mine"]
    with pytest.raises(BookError, match="no sweep 'min': did you mean mine"):
        sweeps.load(toy, "min")


def test_the_same_points_go_on_and_others_are_refused(toy):
    path = sweeps.save(sweeps.make(toy, "part/one", "quick", SEEDS, "mine"))
    before = path.read_bytes()
    sweeps.save(sweeps.make(toy, "part/one", "quick", SEEDS[::-1], "mine"))
    for base, points in (("quick", SEEDS[:2]), ("paper", SEEDS)):
        with pytest.raises(BookError, match="another sweep 'mine', of other points: give this one a name"):
            sweeps.save(sweeps.make(toy, "part/one", base, points, "mine"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["", "[]", '{"chapter": "part/one"}', '{"chapter": "p", "base": "q", "points": 3}'])
def test_a_damaged_file_is_named(toy, damage):
    path = sweeps.save(sweeps.make(toy, "part/one", "quick", SEEDS, "mine"))
    path.write_text(damage)
    for look in (lambda: sweeps.load(toy, "mine"), lambda: sweeps.save(sweeps.make(toy, "two", "quick", [], "mine"))):
        with pytest.raises(BookError, match=r"sweep.json says of no sweep|needs points"):
            look()


def test_a_chapter_that_lost_a_parameter_has_no_such_points(toy):
    made = sweeps.make(toy, "part/one", "quick", SEEDS, "mine")
    sweeps.save(made)
    edit(made.chapter, "a, b = 2, 0.5", "b = 0.5")
    with pytest.raises(BookError, match=r"^The sweep mine: part/one has no parameter 'a'"):
        sweeps.load(toy, "mine")


def test_files_are_kept_by_their_whole_path(toy, tmp_path, monkeypatch):
    (tmp_path / "here.csv").write_text("1")
    monkeypatch.chdir(tmp_path)
    path = sweeps.save(sweeps.make(toy, "two", "quick", [{"table": "here.csv"}, {"table": ""}], "mine"))
    assert [each["table"] for each in json.loads(path.read_text())["points"]] == [str(tmp_path / "here.csv"), ""]
    monkeypatch.chdir("/")
    assert sweeps.load(toy, "mine").plans[0].parameters["table"] == str(tmp_path / "here.csv")
