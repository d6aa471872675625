"""Sweeps kept for the book: what was kept is read again as it was, ages with the code, and is refused when damaged."""

import json

import pytest
import toy_chapters
import toy_sweeps as toy

from spectral_lens.book.chapters import BookError, chapter
from spectral_lens.book.sweeps import kept, points

RAN = {"middle": ["f"]}


@pytest.fixture
def sweep(tmp_path, package):
    made = toy.sweep(toy.book(tmp_path, package), [{"lr": lr, "source": text} for text in "ab" for lr in (0.1, 0.2)])
    for k, plan in enumerate(made.plans[:2]):
        toy.measure(plan, toy.distance(0.97, 0.98 + k / 1000), ran=RAN, replay={"a": ["b"]})
    toy.fail(made.plans[2])
    return made


def test_what_was_kept_is_read_as_it_was(sweep):
    where = kept.keep(sweep)
    of = sweep.chapter.book
    assert where == of.root / "data" / "runs" / "sweeps" / "toy.json"
    before = points.gather(sweep)
    for plan in sweep.plans[:2]:
        plan.target.unlink()
    found = kept.find(of, "toy")
    assert found.kept
    assert found.points == before.points
    assert (found.chapter, found.base, found.swept) == ("toy/lens", "quick", ("lr", "source"))
    assert str(of.root) not in where.read_text(encoding="utf-8"), "nothing of the machine"
    assert len(json.loads(where.read_text(encoding="utf-8"))["shared"]) <= 4, "what points share stands there once"


def test_it_ages_with_the_code_and_the_cells(sweep, package):
    kept.keep(sweep)
    of = sweep.chapter.book
    (package / "leaf.py").write_text("value = 2\n")
    older = kept.load(of, "toy").points
    assert [point.state for point in older] == ["older", "older", "failed", "missing"]
    assert [point.counted for point in older[:2]] == [True, True]
    toy_chapters.edit(sweep.chapter, "runs = 0.1, 100, 'toy', 0, 3", "runs = 0.1, 100, 'toy', 0, 4")
    assert "runs 3 -> 4" in kept.load(of, "toy").points[0].reason
    toy_chapters.edit(chapter("toy/lens", of), "import f", "import f as g")
    found = kept.load(of, "toy")
    assert [point.state for point in found.points[:2]] == ["stale", "stale"]
    assert found.counted == []


def test_what_is_in_build_counts_until_something_is_kept(sweep):
    of = sweep.chapter.book
    assert not kept.find(of, "toy").kept
    kept.keep(sweep)
    assert kept.find(of, "toy").kept
    with pytest.raises(
        BookError, match=r"no sweep 'other', neither in data/runs/sweeps nor in build/sweeps: `spectral"
    ):
        kept.find(of, "other")
    with pytest.raises(BookError, match="letters, digits"):
        kept.find(of, "../other")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-20],
        lambda text: text.replace('"points"', '"pints"'),
        lambda text: text.replace('"swept": ["lr"', '"swept": ["rl"'),
        lambda text: text.replace('"sweep": "toy"', '"sweep": "toys"'),
        lambda text: text.replace('"ran": "', '"ran": "0'),
        lambda text: "[1]",
        lambda text: text.replace("[0.97, 0.98]", '"many"'),
    ],
)
def test_a_damaged_file_is_named(sweep, damage):
    where = kept.keep(sweep)
    text = where.read_text(encoding="utf-8")
    where.write_text(damage(text), encoding="utf-8")
    assert where.read_text(encoding="utf-8") != text
    with pytest.raises(BookError, match=r"toy\.json is no kept sweep.*sweep toy --keep"):
        kept.find(sweep.chapter.book, "toy")


def test_what_cannot_be_kept_leaves_what_is_there(sweep, monkeypatch):
    before = kept.keep(sweep).read_bytes()
    monkeypatch.setattr(kept, "LARGEST", 1000)
    with pytest.raises(BookError, match=r"takes 0\.0 MB.*fewer points"):
        kept.keep(sweep)
    for plan in sweep.plans[:2]:
        toy.measure(plan, toy.distance(0.9), files={"table": "0" * 64})
    with pytest.raises(BookError, match="no point to keep"):
        kept.keep(sweep)  # the chapter names no file: these records read other ones
    for plan in sweep.plans[:2]:
        plan.target.unlink()
    with pytest.raises(BookError, match="no point to keep"):
        kept.keep(sweep)
    assert kept.path(sweep.chapter.book, "toy").read_bytes() == before


def test_files_of_ones_own_are_not_in_the_book(tmp_path):
    of = toy_chapters.write(tmp_path, {"toy/lens": toy_chapters.page("L", "1", parameters="lr = 0.1\nt = '' # file x")})
    (tmp_path / "mine.csv").write_text("1\n")
    made = toy.sweep(of, [{"lr": 0.2, "t": str(tmp_path / "mine.csv")}])
    from spectral_lens.book import checks

    toy.measure(made.plans[0], files=checks.contents(made.chapter, made.plans[0].parameters))
    with pytest.raises(BookError, match=r"files that the book does not have \(t\)"):
        kept.keep(made)
