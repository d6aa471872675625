"""What a job does, with runs that are only noted: what is there, who waits for whom, what is handed over."""

import json
import subprocess
import sys
import threading
import time

import pytest
from toy_chapters import age, custom, page, record, write

from spectral_lens.book import runner
from spectral_lens.book.chapters import BookError, chapter
from spectral_lens.book.engine import batches, handover, worker
from spectral_lens.book.runner import ChapterFailed, KernelDied
from spectral_lens.book.schedule import Cost


@pytest.fixture
def toy(tmp_path):
    return write(tmp_path / "root", {"one": page("One", "print(a)")})


@pytest.fixture
def plans(toy):
    return [runner.plan(chapter("one", toy), "quick", {"a": k}) for k in range(4)]


@pytest.fixture
def runs(monkeypatch):
    """Instead of kernels: a run leaves a record; what it is told to raise it raises."""
    noted, raising = [], {}

    def run(plan, **_):
        noted.append(plan.parameters["a"])
        if error := raising.get(plan.parameters["a"]):
            raise error
        return custom(plan)

    monkeypatch.setattr(runner, "run", run)
    noted_and_raising = type("Runs", (list,), {})()
    noted_and_raising.noted, noted_and_raising.raising = noted, raising
    return noted_and_raising


def plan_file(tmp_path, plans, root):
    (batch,) = batches.shared_out([(plan, Cost(1.0)) for plan in plans], jobs=1, together=60.0)
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"root": str(root), "batches": {batch.name: batch.data}}))
    return path, batch.name


def test_what_is_there_is_left_and_a_failure_stops_only_itself(toy, plans, runs, tmp_path):
    custom(plans[1])
    before = handover.stamp(plans[1].target)
    runs.raising[0] = ChapterFailed("one: code cell 2 failed")
    told = []
    path, name = plan_file(tmp_path, plans, toy.root)
    assert worker.batch(path, name, tmp_path / "done/x", told.append)
    assert [(each.plan, each.how, each.said) for each in told] == [
        (plans[0], "failed", "one: code cell 2 failed"),
        (plans[1], "there", ""),
        (plans[2], "made", ""),
        (plans[3], "made", ""),
    ]
    assert runs.noted == [0, 2, 3]
    assert handover.stamp(plans[1].target) == before
    handed = {path.name for path in (tmp_path / "done/x").iterdir()}
    assert handed == {f"{batches.key(plans[0])}.log"} | {f"{batches.key(plan)}.ipynb" for plan in plans[1:]}
    assert (tmp_path / f"done/x/{batches.key(plans[0])}.log").read_text() == "one: code cell 2 failed\n"
    assert (tmp_path / f"done/x/{batches.key(plans[3])}.ipynb").samefile(plans[3].target)
    assert [path.name for path in (tmp_path / "done").iterdir()] == ["x"]


@pytest.mark.parametrize("error", [KernelDied("the kernel died"), OSError("the disk is gone")])
def test_of_a_lost_run_nothing_is_handed_over_and_the_next_try_makes_it_alone(toy, plans, runs, tmp_path, error):
    runs.raising[1] = error
    path, name = plan_file(tmp_path, plans, toy.root)
    told = []
    assert not worker.batch(path, name, tmp_path / "done/x", told.append)
    assert [each.how for each in told] == ["made", "lost", "made", "made"]
    assert str(error) in told[1].said
    assert not (tmp_path / "done").exists()
    runs.raising.clear()
    assert worker.batch(path, name, tmp_path / "done/x", told.append)
    assert runs.noted == [0, 1, 2, 3, 1]
    assert len(list((tmp_path / "done/x").iterdir())) == 4


def test_of_two_jobs_with_the_same_runs_each_is_made_by_one(toy, plans, runs, monkeypatch):
    """Both have done all of it in the end, and neither waits while something is free."""
    run = runner.run
    monkeypatch.setattr(runner, "run", lambda plan, **_: (time.sleep(0.2), run(plan))[1])
    monkeypatch.setattr(worker, "_LOOK", 0.02)
    ended = {}
    jobs = [
        threading.Thread(target=lambda name=name, given=given: ended.update({name: worker.run(given, lambda _: None)}))
        for name, given in (("first", plans), ("second", plans))
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert sorted(runs.noted) == [0, 1, 2, 3]
    for name in ("first", "second"):
        assert sorted(each.plan.parameters["a"] for each in ended[name]) == [0, 1, 2, 3]
        assert "made" in {each.how for each in ended[name]}


def test_current(toy, plans):
    assert not worker.current(plans[0])
    custom(plans[0])
    assert worker.current(plans[0])
    one = runner.plan(chapter("one", toy))
    assert not worker.current(one)
    record(one.chapter)
    assert worker.current(one)
    age(one.target)
    assert not worker.current(one)


def test_a_folder_that_an_earlier_job_filled_is_left(plans, tmp_path):
    for plan in plans:
        custom(plan)
    worker.hand_over([worker.Ended(plans[0], "made")], tmp_path / "x")
    worker.hand_over([worker.Ended(plan, "made") for plan in plans], tmp_path / "x")
    assert [path.stem for path in (tmp_path / "x").iterdir()] == [batches.key(plans[0])]
    assert not list(tmp_path.glob("*.part"))


def test_a_record_is_copied_where_a_disk_ends(plans, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another disk")

    custom(plans[0])
    monkeypatch.setattr(worker.os, "link", refuse)
    worker.hand_over([worker.Ended(plans[0], "there")], tmp_path / "x")
    (copy,) = (tmp_path / "x").iterdir()
    assert copy.read_bytes() == plans[0].target.read_bytes()
    assert not copy.samefile(plans[0].target)


@pytest.mark.parametrize("text", [None, "", "[]", '{"root": null}', '{"root": null, "batches": {}}'])
def test_a_plan_without_the_batch(tmp_path, text):
    if text is not None:
        (tmp_path / "plan.json").write_text(text)
    with pytest.raises(BookError, match=r"plan\.json has no batch cpu-1"):
        worker.batch(tmp_path / "plan.json", "cpu-1", tmp_path / "x", lambda _: None)


def test_a_job_loads_no_snakemake():
    code = "import sys; from spectral_lens.book import cli\n"
    code += "from spectral_lens.book.engine import worker\nprint('snakemake' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
