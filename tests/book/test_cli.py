"""The command line: exit status, messages, interruption."""

import os
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from toy_chapters import page, write
from typer.testing import CliRunner

from spectral_lens.book import chapters, records, runner, schedule, site
from spectral_lens.book.cli import app
from spectral_lens.book.runner import ChapterFailed
from spectral_lens.claims import Measured

DISTANCE = "chicchi.independent.distance"  # judged at the papers' scale only
SLOW = "import time, os\nopen('started', 'w').write(str(os.getpid()))\ntime.sleep(120)"


@pytest.fixture
def root(tmp_path):
    write(tmp_path, {"one": page("One", "1"), "part/two": page("Two", "2"), "slow": page("Slow", SLOW)})
    return tmp_path


@pytest.fixture
def call(root):
    return lambda *arguments: CliRunner().invoke(app, [*arguments, "--root", str(root)], prog_name="spectral-lens")


@pytest.fixture
def runs(monkeypatch):
    """Instead of kernels: a run is noted and leaves a record without outputs; "part/two" fails while told to."""

    class Runs(list):
        failing = False
        older = False  # whether code that they ran has changed since

    noted = Runs()

    def run(plan, **_):
        noted.append((plan.chapter.name, plan.profile, plan.parameters["a"]))
        if noted.failing and plan.chapter.name == "part/two":
            raise ChapterFailed("part/two (quick): code cell 2 failed")
        made = nbformat.from_dict(plan.chapter.notebook)
        cells = [cell for cell in made.cells if cell.cell_type == "code"]
        for id, value in {"giambagli.inverse": 0.0, DISTANCE: 0.98, "chicchi.method.inverse": 0.0}.items():
            measured = Measured.of(id, [value], plan.profile)
            note = {records.META: {"claim": measured.data}}
            cells[-1].outputs.append(nbformat.v4.new_output("display_data", {"text/plain": "x"}, metadata=note))
        made.metadata[records.META] = {
            "code": records.code_hash(made),
            "ran": {"devices": {"gone": "0" * 12}} if noted.older else {},
            "chapter": plan.chapter.name,
            "base": plan.base,
            "parameters": plan.parameters,
            "date": "2025-01-02T03:04:05+00:00",
            "duration": 1.5 if plan.profile == "quick" else 1500.0,
            "peak_memory": None if plan.profile == "quick" else 1_340_000_000,
        }
        records.write(made, plan.target)
        return plan.target

    monkeypatch.setattr(runner, "run", run)
    monkeypatch.setattr(schedule, "default", lambda threads: 1)  # one at a time runs in this very process
    return noted


def test_run_and_list(call, runs):
    result = call("run", "one", "slow")
    assert result.exit_code == 0, result.output
    assert [name for name, *_ in runs] == ["one", "slow"]
    assert "build/records/quick/one.ipynb" in result.output
    lines = call("list").stdout.splitlines()
    assert lines[0].split() == ["chapter", "title", "quick", "paper"]
    assert "current, 2025-01-02, 1.5 s, 2 identities hold, 1 quick only" in lines[1]
    assert lines[1].startswith("one ")
    assert lines[1].endswith("missing")
    assert lines[2].split() == ["part/two", "Two", "missing", "missing"]
    call("run", "one", "--profile", "paper")
    assert (
        "current, 2025-01-02, 25 min 00 s, 1.3 GB, 2 identities hold, 1 undecided"
        in call("list").stdout.splitlines()[1]
    )


def test_runs_of_ones_own(call, runs):
    assert "run of your own" not in call("list").stdout
    call("run", "part/two", "-p", "a=7", "-p", f"free={list(range(40))}")
    call("run", "one", "--profile", "paper", "-p", "a=7")
    head, one, two = call("list").stdout.splitlines()[-3:]
    assert head.split() == ["run", "of", "your", "own", "with", "state"]
    assert one.split(None, 1)[0].startswith("build/records/custom/one--")
    assert one.split(None, 1)[1].startswith("paper: a=7  ")
    assert one.endswith("current, 2025-01-02, 25 min 00 s, 1.3 GB, 2 identities hold, 1 quick only")
    assert "  quick: a=7, free=[0, 1, 2, 3" in two
    assert "...  current" in two
    assert "run of your own" not in call("list", "--no-custom").stdout
    runs.older = True
    call("run", "one", "--profile", "paper", "-p", "a=7", "--again")
    assert "older, 2025-01-02" in call("list").stdout.splitlines()[-2]


def test_the_same_run_again_computes_nothing(call, runs):
    first = call("run", "one", "part/two", "-p", "a=7").stdout
    assert "build/records/custom/one--" in first
    again = call("run", "one", "part/two", "-p", "a=7")
    assert (again.exit_code, len(runs)) == (0, 2)
    for line in again.stdout.splitlines():
        assert line.startswith("current: build/records/custom/")
        assert line.endswith(".ipynb (--again computes it anew)")
        assert line.split()[1] in first
    call("run", "one", "-p", "a=8")
    assert [name for name, *_ in runs[2:]] == ["one"]
    call("run", "one", "part/two", "-p", "a=8")
    call("run", "one", "-p", "a=8", "--again")
    call("run", "one", "-p", "a=8", "--profile", "paper")
    assert [name for name, *_ in runs[3:]] == ["part/two", "one", "one"]
    call("run", "one")
    call("run", "one")
    assert [profile for _, profile, _ in runs[6:]] == ["quick", "quick"]


def test_several_go_on_after_a_failure(call, runs):
    runs.failing = True
    result = call("run", "--all")
    assert result.exit_code == 1
    assert [name for name, *_ in runs] == ["one", "part/two", "slow"]
    assert "code cell 2 failed" in result.stderr
    assert result.stderr.endswith("1 of 3 chapters failed: part/two.\n")


def test_stale_ones(call, runs, root):
    call("run", "one", "slow")
    (root / "book/one.md").write_text(page("One", "1 + 1"))
    runs.clear()
    assert call("run", "--stale").exit_code == 0
    assert [name for name, *_ in runs] == ["one", "part/two"]
    assert "current" in call("run", "--stale").stdout


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=7", 7),
        ("free=[3,8]", [3, 8]),
        ("free=1e-3", 0.001),
        ("free=cpu", "cpu"),
        ("free=true", True),
        ("free='a b'", "a b"),
        ("free={x: 1}", {"x": 1}),
    ],
)
def test_values(call, runs, monkeypatch, text, value):
    given = {}
    plan = runner.plan
    monkeypatch.setattr(
        runner, "plan", lambda chapter, profile, overrides: given.update(overrides) or plan(chapter, profile, overrides)
    )
    result = call("run", "one", "-p", text)
    assert result.exit_code == 0, result.output
    assert list(given.values()) == [value]
    assert runs[0][1] == "custom"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "won"], "There is no chapter 'won': did you mean one"),
        (["run", "one", "-p", "aa=1"], "one has no parameter 'aa': did you mean a"),
        (["run", "one", "-p", "a=1.5"], "a is int"),
        (["run", "one", "slow", "-p", "a=[1]"], "a is int"),
        (["run", "one", "-p", "a"], "-p takes name=value"),
        (["run", "one", "-p", "a=[1"], "neither a Python literal nor YAML"),
        (["run", "one", "--profile", "qick"], "did you mean quick"),
        (["run"], "Name chapters"),
        (["run", "one", "--all"], "Name chapters"),
        (["run", "one", "--jobs", "0"], "--jobs takes a number from 1 up, not 0"),
        (["params", "intro"], "no code to run"),
        (["check", "--profile", "x"], "no profile 'x'"),
        (["build", "--profile", "x"], "no profile 'x'"),
        (["references"], "run --older"),
    ],
)
def test_mistakes_are_one_line(call, runs, arguments, message):
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert runs == []


def test_params(call, root):
    write(root, {"one": page("One", "1")}, paper="chapters: {one: {a: 10}}\n")
    assert call("params", "one").stdout.splitlines() == [
        "a = 2",
        "b = 0.5",
        "words = ['x']",
        "flag = False",
        "free = None",
    ]
    assert call("params", "one", "--profile", "paper").stdout.splitlines()[0] == "a = 10  (quick: 2)"


def test_params_say_what_they_are(call, root):
    long = f"deep = {list(range(40))}  # sizes"
    cell = "runs = 10  # networks trained side by side\nwords = ['x']\nrate = 0.5  # step of Adam\n" + long
    write(root, {"one": page("One", "1", parameters=cell)}, paper="chapters: {one: {runs: 3}}\n")
    *short, last = call("params", "one", "--profile", "paper").stdout.splitlines()
    assert short[0].startswith("runs = 3  (quick: 10)   ")
    assert short[1] == "words = ['x']"
    assert short[0].index("networks trained side by side") == short[2].index("step of Adam")
    assert last == f"deep = {list(range(40))}   sizes"


def test_check(call, runs, root):
    result = call("check")
    assert result.exit_code == 1
    assert "one: missing (no record yet)" in result.stdout
    assert "3 records of the profile paper: 3 missing." in result.stdout
    call("run", "--all", "--profile", "paper")
    assert call("check").exit_code == 0
    (root / "book/one.md").write_text(page("One", "x = 1"))
    assert "one: stale (the code cells changed)" in call("check").stdout
    runs.older = True
    call("run", "one", "--profile", "paper")
    result = call("check")
    assert result.exit_code == 0
    assert "one: older (changed: devices.gone; the quick reference is missing)" in result.stdout
    assert "3 records of the profile paper: 1 older, 2 current." in result.stdout
    assert call("check", "--strict").exit_code == 1
    runs.clear()
    call("run", "--older", "--profile", "paper")
    assert [name for name, *_ in runs] == ["one"]


def test_build_runs_what_is_missing_and_then_nothing(call, runs, root, monkeypatch):
    commands = []

    def builder(command, **options):
        commands.append((command, options["env"]["SPECTRAL_LENS_PROFILE"]))
        site.index(chapters.Book(root), "quick").parent.mkdir(parents=True, exist_ok=True)
        site.index(chapters.Book(root), "quick").write_text("")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(site.subprocess, "run", builder)
    result = call("build")
    assert result.exit_code == 0, result.output
    assert len(runs) == 3
    assert result.stdout.splitlines()[-1] == f"The site: {root}/build/site/quick/_build/html/index.html"
    ((command, profile),) = commands
    assert command[0] == sys.executable
    assert profile == "quick"
    assert "-W" not in command
    assert "Nothing has changed." in call("build").stdout
    assert len(commands) == 1
    call("build", "--strict")
    assert {"-W", "-n", "--keep-going"} <= set(commands[1][0])
    assert "Nothing has changed." in call("build").stdout
    (root / "book/one.md").write_text(page("One", "1").replace("Prose", "Verse"))
    call("build")
    assert len(commands) == 3
    assert len(runs) == 3


def test_build_of_the_paper_profile_does_not_compute(call, runs):
    result = call("build", "--profile", "paper")
    assert result.exit_code == 2
    assert "spectral-lens run part/two --profile paper" in result.stderr
    assert runs == []


def test_failed_build(call, runs, monkeypatch, root):
    monkeypatch.setattr(site.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1))
    result = call("build")
    assert result.exit_code == 2
    assert "not built" in result.stderr
    assert not (root / "build/site/quick/stamp").exists()


def test_data(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path / "nothing here"))
    result = CliRunner().invoke(app, ["data"])
    assert result.exit_code == 0, result.output
    assert "nothing here" in result.stdout
    assert "mnist" in result.stdout
    result = CliRunner().invoke(app, ["data", "fetch", "mnits"])
    assert result.exit_code == 2
    assert "mnits" in result.stderr
    assert CliRunner().invoke(app, ["data", "fetch"]).exit_code == 2


def test_a_file_that_a_chapter_cannot_take_is_a_sentence(call, root):
    """As every mistake in what the command is given: nothing has failed, and nothing is left."""
    cell = "from spectral_lens._runtime.errors import InputError\nraise InputError('mine.csv: row 3 lacks a cell.')"
    write(root, {"one": page("One", cell), "two": page("Two", "2")})
    done = call("run", "one")
    assert (done.exit_code, done.stderr) == (2, "spectral-lens: one: mine.csv: row 3 lacks a cell.\n")
    assert not (root / "build" / "failed").exists()
    done = call("run", "one", "two", "--jobs", "1")
    assert done.exit_code == 1
    assert "one: mine.csv: row 3 lacks a cell.\n" in done.stderr
    assert done.stderr.endswith("1 of 2 chapters failed: one.\n")


LATIN = {"PYTHONIOENCODING": "latin-1"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize(
    ("arguments", "terminal", "status", "said"),
    [
        (["list"], LATIN, 0, "What ? does"),
        (["list"], ASCII, 0, " does "),  # typer takes ASCII for a mistake and writes UTF-8
        (["params", "one"], LATIN, 0, "the step ?"),
        (["run", "one", "fails", "--jobs", "1"], LATIN, 1, "? is too large"),
        (["run", "one", "fails", "--jobs", "2"], ASCII, 1, " is too large"),
        (["run", "one", "-p", "a=\u03b3"], LATIN, 2, "not str '?'"),
        (["run", "\u03b3"], LATIN, 2, "no chapter '?'"),
        (["check"], LATIN, 1, "one: missing"),
        (["build", "--profile", "paper"], LATIN, 2, "run one --profile paper"),
        (["references", "--check"], ASCII, 1, "one: no reference"),
        (["data", "fetch", "\u03b3"], LATIN, 2, "no data set '?'"),
    ],
)
def test_a_terminal_without_the_letters_is_no_reason_to_stop(tmp_path, arguments, terminal, status, said):
    titled = page("What \u03b3 does", "print('\u03b3 \u2603')", parameters="a = 1  # the step \u03b3")
    write(tmp_path, {"one": titled, "fails": page("\u03c8", "raise ValueError('\u03b3 is too large')")})
    book = [] if arguments[0] == "data" else ["--root", str(tmp_path)]
    command = [sys.executable, "-m", "spectral_lens.book.cli", *arguments, *book]
    done = subprocess.run(command, env=os.environ | terminal, capture_output=True, encoding="latin-1", check=False)
    shown = done.stdout + done.stderr
    assert (done.returncode, "Error:" in shown) == (status, status == 1 and arguments[0] == "run"), shown
    assert said in shown
    assert "UnicodeEncodeError" not in shown


def test_start_is_light():
    """What needs no numbers loads no torch: the command answers at once."""
    code = "import sys; from spectral_lens.book import chapters, cli, records, golden, runner, site\n"
    code += "print(*{'torch', 'sphinx', 'papermill', 'matplotlib'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""


@pytest.mark.parametrize("together", [1, 2])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_interrupted_run(root, number, status, together):
    write(root, {"slow": page("Slow", SLOW), "other": page("Other", SLOW.replace("started", "started2"))})
    earlier = root / "build/records/quick/slow.ipynb"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("earlier")
    # Ctrl-C works in a terminal; a shell that started the tests in the background had it ignored, by its children too
    start = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += "runpy.run_module('spectral_lens.book.cli', run_name='__main__')"
    command = [sys.executable, "-c", start, "run", "slow", "other", "--jobs", str(together), "--root", str(root)]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        started = [root / "book/started", root / "book/started2"][:together]
        deadline = time.monotonic() + 60
        while not all(file.is_file() and file.read_text() for file in started) and time.monotonic() < deadline:
            time.sleep(0.05)
        below = psutil.Process(process.pid).children(recursive=True)
        assert {int(file.read_text()) for file in started} <= {each.pid for each in below}
        process.send_signal(number)
        # A kernel whose parent was killed looks every second; a process that is left would keep stderr open, too.
        _, errors = process.communicate(timeout=30)
    assert process.returncode == status
    if number != signal.SIGKILL:
        assert errors.strip() == "Interrupted. Nothing half-written; not run: slow, other."
    _, left = psutil.wait_procs(below, timeout=20)
    assert left == []
    assert [p.read_text() for p in (root / "build").rglob("*") if p.is_file()] == ["earlier"]
