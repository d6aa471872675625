"""The commands on many runs at once: exit status and messages, with an engine that only notes what it is given."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import toy_sweeps
from toy_chapters import age, custom, page, record, write
from typer.testing import CliRunner

from spectral_lens.book import cli_sweeps, engine, runner, sweeps
from spectral_lens.book.chapters import chapter
from spectral_lens.book.cli import app
from spectral_lens.book.execution import Terminated

ROOT = Path(__file__).parents[2]


@pytest.fixture
def toy(tmp_path):
    return write(tmp_path, {"part/one": page("One", "print(a)"), "two": page("Two", "2")})


@pytest.fixture
def call(toy):
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--root", str(toy.root)], prog_name="spectral-lens")


@pytest.fixture
def engines(monkeypatch):
    """Instead of Snakemake: runs leave a record, but those of "two" and with a=3 fail while told to."""
    noted = SimpleNamespace(failing=False, stop=None, given=[])

    def run(of, where, batches, *, engine, jobs, tell, dry=False):
        noted.given.append((where.name, [len(batch.plans) for batch in batches], engine.name, jobs, dry))
        if noted.stop:
            raise noted.stop
        failed = {}
        for plan in [plan for batch in batches for plan in batch.plans] if not dry else []:
            if noted.failing and (plan.chapter.name == "two" or plan.parameters["a"] == 3):
                failed[plan.target] = "it failed"
            elif plan.profile == "custom":
                custom(plan, duration=2.5, threads=1)
            else:
                record(plan.chapter, plan.profile, base=plan.base, duration=60.0, peak_memory=2 * 10**9)
            tell(plan, failed.get(plan.target))
        return failed

    monkeypatch.setattr(engine, "run", run)
    return noted


GRID = ["sweep", "part/one", "--grid", "a=1:5", "--jobs", "2"]


def test_a_sweep_and_again(call, engines, toy):
    done = call(*GRID, "--name", "s")
    assert done.exit_code == 0, done.output
    first, there, price, *ended = done.stdout.splitlines()
    assert first == "s: 4 points of part/one (quick)."
    assert there == "0 of 4 there already."
    assert price == "4 to run in 4 jobs of the engine local: how long nobody knows: there is no record to go by."
    assert [line.split(":")[0] for line in ended] == [f"{k} of 4, a={k}" for k in range(1, 5)]
    assert ended[0].startswith("1 of 4, a=1: 2.5 s, no claims, build/records/custom/part/one--")
    assert call("sweep", "s").stdout.splitlines()[1:] == ["4 of 4 there already."]
    assert call("sweep", "part/one", "--grid", "a=4:0:-1", "--name", "s").exit_code == 0
    assert engines.given == [("sweep-s", [1] * 4, "local", 2, False)]
    other = call("sweep", "part/one", "--grid", "a=1:4", "--name", "s")
    assert (other.exit_code, "another sweep 's'" in other.stderr) == (2, True)


def test_a_run_by_hand_counts(call, engines, toy):
    custom(runner.plan(chapter("part/one", toy), "quick", {"a": 2}))
    done = call(*GRID)
    assert "1 of 4 there already." in done.stdout
    assert engines.given[0][1] == [1, 1, 1]


def test_the_price_comes_from_the_record(call, engines, toy):
    record(chapter("part/one", toy), duration=10.0, peak_memory=2 * 10**9)
    done = call("sweep", "part/one", "--grid", "a=0:13", "--jobs", "2", "--dry-run")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[1:] == [
        "0 of 13 there already.",
        "13 to run in 3 jobs of the engine local: about 2 min 10 s of computing, 1 min 10 s with 2 jobs, "
        "2.0 GB of memory at the peak of one.",
    ]
    assert engines.given == [(engines.given[0][0], [6, 6, 1], "local", 2, True)]
    assert not (toy.root / "build/sweeps").exists()


def test_what_fails_is_named(call, engines):
    engines.failing = True
    done = call(*GRID)
    assert done.exit_code == 1
    assert "3 of 4, a=3: failed\n\nit failed\n" in done.stderr
    assert done.stderr.endswith("1 of 4 failed: a=3. The same call tries them again.\n")
    engines.failing = False
    assert "3 of 4 there already." in call(*GRID).stdout


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_interrupted(call, engines, stop, status):
    engines.stop = stop
    done = call(*GRID)
    assert done.exit_code == status
    assert done.stderr.strip() == "Interrupted. Nothing half-written; the same call goes on."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "part/one"], "There is no sweep 'part/one'"),
        (["sweep", "part/won", "--grid", "a=1"], "did you mean part/one"),
        (["sweep", "part/one", "--grid", "aa=1"], "has no parameter 'aa': did you mean a"),
        (["sweep", "part/one", "--grid", "a=1|x"], "a is int"),
        (["sweep", "part/one", "--grid", "a"], "--grid takes name="),
        (["sweep", "part/one", "--grid", "a=1", "--points", "p.csv"], "Say one of --grid"),
        (["sweep", "part/one", "--grid", "a=1", "--status"], "Say one of --grid"),
        (["sweep", "part/one", "--points", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["sweep", "part/one", "--grid", "a=1", "--jobs", "0"], "--jobs takes a number from 1 up, not 0"),
        (["sweep", "part/one", "--grid", "a=1", "--engine", "slrum"], "did you mean slurm"),
        (["sweep", "part/one", "--grid", "a=1", "--name", "a b"], "is named by letters"),
        (["sweep", "part/one", "--grid", "a=1", "--profile", "qick"], "did you mean quick"),
        (["sweep", "gone", "--status"], "There is no sweep 'gone'"),
        (["sweep", "gone", "--dry-run"], "There is no sweep 'gone'"),
        (["records", "tow"], "did you mean two"),
        (["records", "--profile", "x"], "no profile 'x'"),
        (["records", "--jobs", "0"], "--jobs takes"),
    ],
)
def test_mistakes_are_one_line(call, engines, arguments, message):
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert engines.given == []


def test_points_of_a_file(call, engines, tmp_path):
    (tmp_path / "points.csv").write_text("a,b\n1,0.5\n2,1\n1,0.5\n")
    done = call("sweep", "part/one", "--points", str(tmp_path / "points.csv"))
    assert done.exit_code == 0, done.output
    assert ": 2 points of part/one (quick)." in done.stdout
    assert "2 of 2, a=2 b=1.0: " in done.stdout


def test_all_records(call, engines, toy):
    one, two = chapter("part/one", toy), chapter("two", toy)
    age(record(one, "paper", duration=10.0))
    earlier = record(two, "paper", duration=700.0)
    done = call("records")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "1 of 2 there already."
    assert "1 of 1, part/one: 1 min 00 s, 2.0 GB, no claims, data/runs/paper/part/one.ipynb" in done.stdout
    age(earlier)
    engines.failing = True
    before = earlier.read_bytes()
    done = call("records", "two")
    assert (done.exit_code, earlier.read_bytes()) == (1, before)
    assert done.stderr.endswith("1 of 1 failed: two. The same call tries them again.\n")
    assert call("records", "--profile", "quick", "--dry-run", "--jobs", "1").exit_code == 0
    assert [each[0] for each in engines.given] == ["records-paper", "records-paper", "records-quick"]
    assert call("records", "part/one").stdout == "1 of 1 there already.\n"


def test_what_a_sweep_shows(tmp_path, package):
    of = toy_sweeps.book(tmp_path, package)
    shutil.copytree(ROOT / "book/_static", of.root / "book/_static")
    made = toy_sweeps.sweep(of, [{"lr": 0.2}, {"lr": 0.3}], "s")
    toy_sweeps.measure(made.plans[0], toy_sweeps.distance(0.97, 0.98))
    show = ["sweep", "s", "--root", str(of.root)]
    assert "lr=0.3" in CliRunner().invoke(app, [*show, "--status"]).stdout
    for what, place in (
        ("table", "build/sweeps/s/table.csv"),
        ("page", "build/sweeps/s/page.html"),
        ("keep", "data/runs/sweeps/s.json"),
    ):
        done = CliRunner().invoke(app, [*show, f"--{what}"])
        assert (done.exit_code, done.stdout) == (0, f"{place}\n"), done.output
        assert "0.97" in (of.root / place).read_text()


def test_an_engine_that_would_not_start_is_said_by_the_dry_run(call, engines, monkeypatch):
    monkeypatch.setattr(engine, "run", lambda of, where, batches, **_: {batches[0].plans[0].target: "it would not"})
    done = call(*GRID, "--dry-run")
    assert (done.exit_code, done.stderr) == (2, "spectral-lens: it would not\n")


def test_a_job(monkeypatch, tmp_path):
    def batch(plan, name, to, tell):
        tell(SimpleNamespace(plan=SimpleNamespace(target="x.ipynb"), how="made", said=""))
        if name == "stopped":
            raise Terminated
        return name == "good"

    monkeypatch.setattr("spectral_lens.book.engine.worker.batch", batch)
    for name, status in (("good", 0), ("lost", 1), ("stopped", 143)):
        done = CliRunner().invoke(app, ["point", "plan.json", name, "--to", str(tmp_path)])
        assert (done.exit_code, done.stdout) == (status, "x.ipynb: made \n")


def test_what_is_told_of_a_run(toy, capsys):
    made = sweeps.make(toy, "two", "quick", [{"a": 1}])
    told = cli_sweeps.Told(2, lambda plan: f"a={plan.parameters['a']}")
    custom(made.plans[0], duration=3.0, peak_memory=10**9)
    told(made.plans[0], None)
    told(made.plans[0], "it\nfailed")
    shown = capsys.readouterr()
    assert shown.out.startswith("1 of 2, a=1: 3.0 s, 1.0 GB, no claims, build/records/custom/two--")
    assert shown.err == "2 of 2, a=1: failed\n\nit\nfailed\n\n"
