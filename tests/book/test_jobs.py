"""Chapters side by side: the plan by pure functions, the processes by books of chapters that wait for each other."""

from toy_chapters import keep, page, plans

from spectral_lens.book import jobs, records, runner

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
