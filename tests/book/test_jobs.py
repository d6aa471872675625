"""Chapters side by side: the plan by pure functions, the processes by books of chapters that wait for each other."""

import os
import pty
import signal
import subprocess
import sys
import time

import nbformat
from hypothesis import given
from hypothesis import strategies as st
from toy_chapters import page, write

from spectral_lens.book import jobs, records, runner, schedule
from spectral_lens.book.chapters import chapter

# Two chapters that each end only when the other one has started: one after another they would fail.
MEET = """\
import pathlib, time
pathlib.Path("here-{me}").touch()
deadline = time.monotonic() + 60
while not pathlib.Path("here-{other}").exists():
    assert time.monotonic() < deadline
    time.sleep(0.02)"""
# One chapter that fails where another one runs at the same time.
LONELY = """\
import pathlib, time
pathlib.Path("busy").mkdir()
time.sleep(0.3)
pathlib.Path("busy").rmdir()"""


class Told:
    """Notes what the run tells."""

    def __init__(self):
        self.events = []

    def started(self, plan, *, left):
        self.events.append(("started", plan.chapter.name))

    def ended(self, plan, *, error):
        self.events.append(("ended", plan.chapter.name, error))

    def tick(self, *, left):
        assert left is None or left >= 0

    def names(self, kind):
        return [event[1] for event in self.events if event[0] == kind]


def keep(plan, *, duration=1.0, peak=None):
    """Leave a record, so that the run knows what the chapter took."""
    record = nbformat.from_dict(plan.chapter.notebook)
    record.metadata[records.META] = {"duration": duration, "peak_memory": peak}
    records.write(record, plan.target)


def plans(root, pages):
    toy = write(root, pages)
    return [runner.plan(chapter(name, toy)) for name in pages]


def test_default_is_cores_over_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)), raising=False)
    assert [schedule.default(threads) for threads in (1, 2, 3, 7, 8, None)] == [7, 3, 2, 1, 1, 1]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert schedule.default(2) == 2


def test_longest_first_and_unknown_before_all():
    assert schedule.order("abcd", {"a": 3.0, "b": 7.0, "c": 5.0}, {}) == ["d", "b", "c", "a"]
    assert schedule.order("abc", {}, {}) == ["a", "b", "c"]
    assert schedule.order("abcd", {}, {"a": 1.0, "b": 9.0, "c": 3.0}) == ["d", "b", "c", "a"]
    assert schedule.order("abcd", {"a": 2.0, "b": 7.0}, {"b": 70.0, "c": 1.0, "d": 4.0}) == ["d", "c", "b", "a"]


def test_typical_seconds():
    assert schedule.typical([]) is None
    assert schedule.typical([1.0, 2.0, 6.0]) == 3


def test_time_left():
    assert schedule.time_left([], [], jobs=2) == 0
    assert schedule.time_left([], [5.0, 3.0, 2.0, 1.0], jobs=1) == 11
    assert schedule.time_left([], [5.0, 3.0, 2.0, 1.0], jobs=2) == 6  # 5 + 1 beside 3 + 2
    assert schedule.time_left([(4.0, 10.0), (9.0, 2.0)], [3.0], jobs=2) == 6  # the second is overdue: 3 starts now
    assert schedule.time_left([(4.0, 10.0), (1.0, 2.0)], [7.0], jobs=2) == 8
    assert schedule.time_left([(4.0, None)], [7.0], jobs=2) is None
    assert schedule.time_left([(4.0, 7.0)], [None], jobs=2) is None


@given(st.lists(st.floats(0, 1e4), max_size=12), st.integers(1, 5))
def test_time_left_lies_between_the_bounds_of_list_scheduling(seconds, places):
    left = schedule.time_left([], seconds, jobs=places)
    least = max([sum(seconds) / places, *seconds], default=0)
    assert least * (1 - 1e-9) <= left <= (sum(seconds) / places + max(seconds, default=0)) * (1 + 1e-9)


def test_what_fits_into_the_memory():
    assert schedule.fitting([], [], memory=100) is None
    assert schedule.fitting([900, 1], [], memory=100) == 0  # alone it may
    assert schedule.fitting([50, 1], [40], memory=100) == 0
    assert schedule.fitting([70, 60, 50], [40], memory=100) == 1
    assert schedule.fitting([70], [40], memory=100) is None
    unknown = int(schedule._UNKNOWN * 800)
    assert schedule.fitting([None], [800 - unknown], memory=800) == 0
    assert schedule.fitting([None], [801 - unknown], memory=800) is None
    assert schedule.fitting([800 - unknown], [None], memory=800) == 0
    assert schedule.fitting([801 - unknown], [None], memory=800) is None


def test_last_known_cost(tmp_path):
    one, two, three = plans(tmp_path, {"one": page("1", "1"), "two": page("2", "2"), "three": page("3", "3")})
    keep(one, duration=3.5, peak=7)
    two.target.write_text("no record")
    assert schedule.last(one.chapter, "quick") == schedule.Cost(3.5, 7)
    assert schedule.last(two.chapter, "quick") == schedule.last(three.chapter, "quick") == schedule.Cost()


def test_side_by_side_longest_first_and_a_failure_stops_only_itself(tmp_path):
    pages = {
        "bad": page("Bad", "1 / 0"),
        "dead": page("Dead", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(60)"),
        "part/one": page("One", MEET.format(me="one", other="two")),
        "part/two": page("Two", MEET.format(me="two", other="one")),
    }
    found = plans(tmp_path, pages)
    for plan, seconds in zip(found, (1, 2, 3, 4), strict=True):
        keep(plan, duration=float(seconds))
    before = found[0].target.read_bytes()
    told = Told()
    assert sorted(jobs.run(found, jobs=2, report=told)) == ["bad", "dead"]
    assert told.names("started") == ["part/two", "part/one", "dead", "bad"]
    errors = {event[1]: event[2] for event in told.events if event[0] == "ended"}
    assert errors["part/one"] is errors["part/two"] is None
    assert "ZeroDivisionError" in errors["bad"]
    assert errors["dead"].startswith("dead (quick): its process ended early (killed by signal 9)")
    assert [records.status(plan.chapter, "quick").state == "current" for plan in found[2:]] == [True, True]
    assert found[0].target.read_bytes() == before


def test_a_memory_limit_lets_one_wait_for_the_other(tmp_path):
    found = plans(tmp_path, {name: page(name, LONELY) for name in ("one", "two")})
    for plan in found:
        keep(plan, peak=600)
    told = Told()
    assert jobs.run(found, jobs=2, memory=1000, report=told) == []
    assert [kind for kind, *_ in told.events] == ["started", "ended", "started", "ended"]


def test_one_job_keeps_the_callers_order(tmp_path, monkeypatch):
    found = plans(tmp_path, {name: page(name, "1") for name in ("one", "two", "three")})
    keep(found[1], duration=9.0)
    ran = []
    monkeypatch.setattr(runner, "run", lambda plan, **_: ran.append(plan.chapter.name))
    assert jobs.run(found, jobs=1, report=Told()) == []
    assert ran == ["one", "two", "three"]


def test_log_has_no_control_characters(tmp_path):
    noisy = "import os, sys\nos.write(2, b'\\x1b[31mraw')\nprint('bar', end='\\r', file=sys.stderr)\n1"
    write(tmp_path, {"one": page("One", noisy), "bad": page("Bad", noisy, "1 / 0")})
    command = [sys.executable, "-m", "spectral_lens.book.cli", "run", "one", "bad", "--jobs", "2"]
    done = subprocess.run([*command, "--root", str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 1
    for text in (done.stdout.decode(), done.stderr.decode()):
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "raw" not in text
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["one (quick) ...", "bad (quick) ..."]
    assert len(lines) == 3
    assert lines[2].endswith(" s, no claims, build/records/quick/one.ipynb")
    assert done.stderr.decode().splitlines()[-1] == "1 of 2 chapters failed: bad."


def test_terminal_shows_what_runs(tmp_path):
    """On a pseudo-terminal: a line for each running chapter; the interruption leaves the cursor visible."""
    wait = "open('started-{}', 'w').close()\nimport time; time.sleep(60)"
    write(tmp_path, {name: page(name, wait.format(name)) for name in ("one", "two")})
    command = [sys.executable, "-m", "spectral_lens.book.cli", "run", "one", "two", "--jobs", "2"]
    mine, its = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([*command, "--root", str(tmp_path)], stdout=its, stderr=its, env=environment)
    os.close(its)
    text, deadline, stopped = b"", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        try:
            piece = os.read(mine, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:  # and others
            break
        text += piece
        if not stopped and all((tmp_path / f"book/started-{name}").exists() for name in ("one", "two")):
            process.send_signal(signal.SIGTERM)
            stopped = True
    os.close(mine)
    assert process.wait(30) == 143
    for part in (b"0 of 2 chapters", b"one (quick)", b"two (quick)", b"not run: one, two."):
        assert part in text
    assert text.rindex(b"\x1b[?25h") > text.rindex(b"\x1b[?25l")
