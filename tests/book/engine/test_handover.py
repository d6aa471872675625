"""What comes back from jobs: taken into its place, or not."""

import os
import shutil

import pytest
from toy_chapters import age, custom, edit, page, write

from spectral_lens.book import records, runner
from spectral_lens.book.chapters import chapter
from spectral_lens.book.engine import batches, handover


@pytest.fixture
def plans(tmp_path):
    toy = write(tmp_path / "root", {"one": page("One", "print(a)")})
    return [runner.plan(chapter("one", toy), "quick", {"a": k}) for k in range(3)]


def elsewhere(plan, folder, **changes):
    """The record of a run that another machine made: only what it handed over is here."""
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.move(custom(plan, **changes), folder / f"{batches.key(plan)}.ipynb")


@pytest.mark.parametrize("place", ["done/cpu-1", ".snakemake/storage/s3/bucket/prefix/done/cpu-1", "store/done/cpu-1"])
def test_records_of_another_machine_take_their_place(plans, tmp_path, place):
    elsewhere(plans[0], tmp_path / place)
    elsewhere(plans[1], tmp_path / place)
    (tmp_path / place / f"{batches.key(plans[2])}.log").write_text("it failed\n")
    (tmp_path / place / "another.ipynb").write_text("of another sweep")
    plans[0].failed.parent.mkdir(parents=True)
    plans[0].failed.with_suffix(".log").write_text("it failed before")
    found = handover.take(tmp_path, [plans[0], plans[2]], tmp_path / "store/done", {"cpu-1"})
    assert found == {plans[2].target: "it failed"}
    assert not plans[0].failed.with_suffix(".log").exists()
    assert handover.take(tmp_path, [plans[2]], tmp_path / "store/done", {"cpu-2"}) == {}
    assert [plan.target.exists() for plan in plans] == [True, False, False]
    before = plans[0].target.stat()
    assert handover.take(tmp_path, plans[:2], tmp_path / "store/done") == {}
    assert plans[0].target.stat() == before
    assert plans[1].target.exists()


def test_what_is_being_filled_is_not_looked_at(plans, tmp_path):
    elsewhere(plans[0], tmp_path / "done/cpu-1.node-7.part")
    assert handover.take(tmp_path, plans) == {}
    assert not plans[0].target.exists()


def test_what_other_code_made_is_not_taken_over(plans, tmp_path):
    elsewhere(plans[0], tmp_path / "done/cpu-1", base="paper")
    age(elsewhere(plans[1], tmp_path / "done/cpu-1"))
    (tmp_path / f"done/cpu-1/{batches.key(plans[2])}.ipynb").write_text("half of it")
    found = handover.take(tmp_path, plans)
    assert "is not taken over, it comes from other code: current" in found[plans[0].target]
    assert "other code: older (changed: devices.gone)" in found[plans[1].target]
    assert "is no record" in found[plans[2].target]
    assert not [plan for plan in plans if plan.target.exists()]


def test_an_earlier_record_gives_way_to_a_current_one_alone(plans, tmp_path):
    age(custom(plans[0]))
    earlier = plans[0].target.read_bytes()
    shutil.copy(plans[0].target, tmp_path / "kept")
    elsewhere(plans[0], tmp_path / "done/cpu-1")
    shutil.copy(tmp_path / "kept", plans[0].target)
    assert handover.take(tmp_path, plans) == {}
    assert plans[0].target.read_bytes() != earlier
    edit(plans[0].chapter, "print(a)", "print(a + 1)")
    fresh = runner.plan(chapter("one", plans[0].chapter.book), "quick", {"a": 0})
    assert "is not taken over" in handover.take(tmp_path, [fresh])[fresh.target]


def test_a_record_under_its_second_name_is_there(plans, tmp_path):
    custom(plans[0])
    (tmp_path / "done/cpu-1").mkdir(parents=True)
    os.link(plans[0].target, tmp_path / f"done/cpu-1/{batches.key(plans[0])}.ipynb")
    before = plans[0].target.stat()
    assert handover.take(tmp_path, plans) == {}
    assert plans[0].target.stat() == before
    handover.clear(tmp_path)
    handover.clear(tmp_path)
    assert not (tmp_path / "done").exists()
    assert records.read(plans[0].target)


def test_stamps_tell_files_apart(tmp_path):
    path = tmp_path / "file"
    seen = [handover.stamp(path)]
    for text in ("one", "two"):
        (tmp_path / "aside").write_text(text)
        os.replace(tmp_path / "aside", path)
        seen.append(handover.stamp(path))
        assert handover.stamp(path) == seen[-1]
    assert seen[0] is None
    assert len(set(seen)) == 3
    assert handover.short({"a": 1, "b": [2]}) == handover.short({"b": [2], "a": 1}) != handover.short({"a": 1})
