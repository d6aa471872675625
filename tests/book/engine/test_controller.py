"""The engine with the real thing: Snakemake, jobs in processes of their own, kernels; killed in the midst, and resumed.

A run costs two seconds, so each test looks at much. Chapters write into a file beside them what they do.
"""

import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from toy_chapters import custom, page, record, write
from toy_runs import CELL, PARAMETERS, below, call, count, said, started, there, until

from spectral_lens.book import engine, records, runner
from spectral_lens.book.chapters import Book, BookError, chapter
from spectral_lens.book.engine import batches


@pytest.fixture
def root(tmp_path):
    write(tmp_path, {"one": page("One", CELL, parameters=PARAMETERS), "two": page("Two", "print(a)")})
    return tmp_path


@pytest.mark.parametrize(
    ("named", "text", "message"),
    [
        ("slrum", None, "There is no engine 'slrum', nor a folder of that name with a config.yaml: did you mean slurm"),
        ("mine", None, "There is no engine 'mine'"),
        ("mine", "jobs: [", "The engine mine cannot be read: "),
        ("mine", "- jobs", "is a table"),
        ("mine", "executor: lsf", "The engine mine needs a plugin: pip install -c constraints.txt snakemake-executor-"),
    ],
)
def test_an_engine_that_cannot_work_says_why(root, monkeypatch, named, text, message):
    monkeypatch.chdir(root)
    if text is not None:
        (root / "mine").mkdir()
        (root / "mine/config.yaml").write_text(text)
    with pytest.raises(BookError) as caught:
        engine.find(Book(root), named)
    assert message in str(caught.value)


def test_an_engine_of_ones_own(root, monkeypatch):
    (root / "mine").mkdir()
    (root / "mine/config.yaml").write_text("executor: local\ncores: 3\n")
    monkeypatch.chdir(root / "book")
    found = engine.find(Book(root), "../mine")
    assert (found.name, found.executor, found.local, found.jobs, found.store) == ("mine", "local", True, 3, None)
    own = engine.find(Book(root), "local")
    assert (own.path.parent.name, own.jobs) == ("engine", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BookError, match="need Snakemake: pip install"):
        engine.find(Book(root), "local")


def test_one_call_at_a_time_holds_a_folder(tmp_path):
    with engine.alone(tmp_path / "sweep-s"):
        with pytest.raises(BookError, match="Another call is at work on sweep-s"), engine.alone(tmp_path / "sweep-s"):
            pass
        with engine.alone(tmp_path / "sweep-t"):
            pass
    with engine.alone(tmp_path / "sweep-s"):
        pass


def test_what_came_back_from_machines_that_share_no_disk(tmp_path, root):
    """Failures of this call count and leave a log here; those of earlier ones are still in the store."""
    plans = [runner.plan(chapter("two", Book(root)), "quick", {"a": k}) for k in range(4)]
    told = []
    store, log = tmp_path / "store", tmp_path / "snakemake.log"
    log.write_text("a\nb\n")
    run = engine.Run(
        tmp_path, store, frozenset({"cpu-2"}), {plan.target: plan for plan in plans}, lambda *of: told.append(of)
    )
    for batch, plan in (("cpu-1", plans[0]), ("cpu-2", plans[1])):
        (store / batch).mkdir(parents=True)
        (store / batch / f"{batches.key(plan)}.log").write_text("it failed\n")
    shutil.move(custom(plans[2]), store / "cpu-1" / f"{batches.key(plans[2])}.ipynb")
    run.look()
    assert told == [(plans[1], "it failed"), (plans[2], None)]
    run.end(log)
    run.look()
    why = f"Its job ended without a result. The end of {log}:\n    a\n    b"
    assert told[2:] == [(plans[0], why), (plans[3], f"Its job ended without a result: see {log}")]
    assert set(run.failed) == {plans[k].target for k in (0, 1, 3)}
    assert [plan.failed.with_suffix(".log").is_file() for plan in plans] == [True, True, False, True]


def test_what_a_job_of_an_earlier_call_writes_is_no_result(tmp_path, root):
    """A record of other code than stands here now, in the place of one that is waited for."""
    plan = runner.plan(chapter("two", Book(root)), "quick", {"a": 1})
    told, log = [], tmp_path / "snakemake.log"
    log.write_text("a\n")
    run = engine.Run(tmp_path, None, frozenset(), {plan.target: plan}, lambda *of: told.append(of))
    written = records.read(custom(plan))
    written.metadata[records.META]["parameters"] = {"a": 2}
    records.write(written, plan.target)
    run.look()
    assert told == []
    run.end(log)
    assert list(run.failed) == [plan.target]


def test_kubernetes_as_far_as_a_dry_run_goes(root):
    """The profile is rendered with what the last record says of cost; no cluster is asked."""
    pytest.importorskip("snakemake_executor_plugin_kubernetes")
    pytest.importorskip("snakemake_storage_plugin_fs")
    found = engine.find(Book(root), "kubernetes")
    assert (found.jobs, found.store) == (50, Path("/shared/spectral-lens/done"))
    record(chapter("one", Book(root)), duration=30.0, peak_memory=2 * 10**9, device="NVIDIA H100", threads=8)
    done = call(root, "sweep", "one", "--grid", "number=0:60", "--jobs", "5", "--engine", "kubernetes", "--dry-run")
    assert done.exit_code == 0, done.stdout + done.stderr
    assert "60 to run in 6 jobs of the engine kubernetes: about 30 min 00 s of computing, 6 min 00 s" in done.stdout
    (log,) = (root / "build/engine").glob("*/snakemake.log")
    said = log.read_text()
    assert re.search(r"^gpu +6$", said, re.MULTILINE)
    assert "runtime=15, " in said
    assert " mem_mb=3000, " in said
    assert "gpu=1, gpu_manufacturer=nvidia" in said
    assert "output: /shared/spectral-lens/done/gpu-" in said
    assert not (root / "build/sweeps").exists()


def test_a_sweep_goes_on_after_failures_and_computes_nothing_twice(root):
    """One kernel is killed, one point fails by itself."""
    grid = ["--grid", "number=0:3", "--grid", "killed=1", "--grid", "fails=2"]
    done = call(root, "sweep", "one", *grid, "--name", "s", "--jobs", "2")
    assert done.exit_code == 1, done.stdout + done.stderr
    assert there(root, "s") == [True, True, False]
    assert count(root, "started") == {0: 1, 1: 2, 2: 1}
    assert count(root, "ended") == {0: 1, 1: 1, 2: 0}
    assert "ValueError: no 2" in done.stderr
    assert "build/failed/custom/one--" in done.stderr
    last = "1 of 3 failed: number=2. The same call tries them again.\n"
    assert done.stderr.endswith(last)
    ended = re.findall(r"^\d of 3, number=(\d): \d.*build/records/custom/one--", done.stdout, re.MULTILINE)
    assert sorted(ended) == ["0", "1"]
    assert not list((root / "build/engine/sweep-s").glob("done/*"))

    before, clock = said(root), time.monotonic()
    done = call(root, "sweep", "one", "--grid", "number=1|0", *grid[2:])
    assert (done.exit_code, said(root)) == (0, before)
    assert "2 of 2 there already." in done.stdout
    assert time.monotonic() - clock < 8  # two seconds where nothing else runs


def test_a_controller_that_was_killed_is_called_again(root):
    """Killed while one point is at work: its job goes on, the next controller's waits for it. Nothing is done twice."""
    sweep = ["sweep", "one", "--grid", "number=0:2", "--grid", "waits=1", "--name", "s", "--jobs", "2"]
    with started(root, *sweep) as first:
        until(lambda: count(root, "ended") == {0: 1, 1: 0, 2: 0} and count(root, "started")[1] == 1)
        second = call(root, *sweep)
        assert second.exit_code == 2
        assert "Another call is at work on sweep-s: wait for it, or stop it first." in second.stderr
        until(lambda: there(root, "s") == [True, False] and len(below(first, "point")) == 1)
        (snakemake,), (job,), whole = below(first, "--snakefile"), below(first, "point"), below(first)
        first.kill()
        first.wait()
    assert psutil.wait_procs([snakemake], timeout=10)[0]
    assert job.is_running()
    with started(root, *sweep) as third:
        until(lambda: below(third, "point"))
        (root / "book/go").touch()
        told, errors = third.communicate(timeout=60)
    assert third.returncode == 0, told + errors
    assert "1 of 2 there already." in told
    assert count(root, "started") == count(root, "ended") == {0: 1, 1: 1, 2: 0}
    assert there(root, "s") == [True] * 2
    assert psutil.wait_procs(whole, timeout=20)[1] == []


def test_two_sweeps_at_once_make_what_they_share_once(root):
    with (
        started(root, "sweep", "one", "--grid", "number=0:2", "--name", "s", "--jobs", "2") as first,
        started(root, "sweep", "one", "--grid", "number=1:3", "--name", "t", "--jobs", "2") as second,
    ):
        told = [process.communicate(timeout=100) for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], told
    assert count(root, "started") == count(root, "ended") == {0: 1, 1: 1, 2: 1}
    assert there(root, "s") + there(root, "t") == [True] * 4


def test_records_are_adopted_and_a_failure_keeps_the_earlier_one(root):
    """Ctrl-C and SIGTERM end all processes; what ran then is made by the next call."""
    earlier = root / "build/records/quick/one.ipynb"
    edited = (root / "book/one.md").read_text()
    (root / "book/one.md").write_text(edited.replace("fails = 0, -1, -1, -1", "fails = 0, 0, -1, -1"))
    with started(root, "records", "--profile", "quick", "--jobs", "2") as process:
        until(lambda: count(root, "started")[0] == 1)
        whole = below(process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == (143, "Interrupted. Nothing half-written; the same call goes on.")
    assert psutil.wait_procs(whole, timeout=20)[1] == []
    assert not earlier.exists()
    (root / "book/one.md").write_text(edited.replace("fails = 0, -1, -1, -1", "fails = 0, -1, -1, 0"))
    earlier.parent.mkdir(parents=True, exist_ok=True)
    earlier.write_text("earlier")
    done = call(root, "records", "--profile", "quick", "--jobs", "2")
    assert done.exit_code == 1, done.output
    assert earlier.read_text() == "earlier"
    assert records.status(chapter("two", Book(root)), "quick").state == "current"
    assert (
        done.stderr.endswith("1 of 2 failed: one. The same call tries them again.\n") or "1 of 1 failed" in done.stderr
    )
