"""Runs chapters side by side, a process each."""

import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol, runtime_checkable

import psutil

from spectral_lens.book import runner, schedule
from spectral_lens.book.chapters import PROFILES, BookError
from spectral_lens.book.runner import ChapterFailed, Plan

_GRACE = 10.0  # seconds that a process has to end its kernel after SIGTERM
_TICK = 1.0  # seconds between two looks at the clock
_SAID = 6  # last lines of what a process that died wrote
_PRELOADED = ["jupytext", "papermill", "spectral_lens.book.execution", "spectral_lens.book.runner"]


class Stopped(Exception):
    """Ctrl-C or SIGTERM: which chapters did not get to their end, and the exit status."""

    def __init__(self, left: list[str], status: int) -> None:
        super().__init__(", ".join(left))
        self.left, self.status = left, status


@runtime_checkable
class Report(Protocol):
    """Is told what happens. `left`: estimated seconds until all is done, None where nobody knows."""

    def started(self, plan: Plan, *, left: float | None) -> None: ...

    def ended(self, plan: Plan, *, error: str | None) -> None: ...

    def tick(self, *, left: float | None) -> None: ...


def run(plans: Sequence[Plan], *, jobs: int, report: Report, memory: int | None = None) -> list[str]:
    """Run all plans, `jobs` at a time; returns the names of those that failed, each of which stops only itself.

    memory: bytes that the kernels may take together; None for what is available now. One at a time runs in this very
    process and in the given order; several run in a process each, longest first. Raises Stopped after Ctrl-C or
    SIGTERM, when all kernels and processes are gone, and BookError where there is one plan alone and its chapter cannot
    take what the reader gave it.
    """
    from spectral_lens.book.execution import Terminated, terminable

    queue = _Queue(plans, min(jobs, len(plans)), memory)
    try:
        with terminable():
            return _together(queue, report) if queue.jobs > 1 else _alone(queue, report, single=len(plans) == 1)
    except KeyboardInterrupt as stop:
        unfinished = {*queue.running, *(plan.chapter.name for plan in queue.waiting)}
        left = [plan.chapter.name for plan in plans if plan.chapter.name in unfinished]
        raise Stopped(left, 143 if isinstance(stop, Terminated) else 130) from None


@dataclass(frozen=True)
class _Worker:
    plan: Plan
    process: BaseProcess
    log: Path  # what the process and its kernel write to stdout and stderr


class _Queue:
    """Which plans wait and which run, with what is known of their cost."""

    def __init__(self, plans: Sequence[Plan], jobs: int, memory: int | None) -> None:
        self.jobs, self.memory = jobs, memory or psutil.virtual_memory().available
        self.own: dict[str, float] = {}
        self.other: dict[str, float] = {}
        self.peaks: dict[str, int | None] = {}
        for plan in plans:
            name, cost = plan.chapter.name, schedule.last(plan.chapter, plan.base)
            self.peaks[name] = cost.memory
            elsewhere = [schedule.last(plan.chapter, each).seconds for each in PROFILES if each != plan.base]
            if cost.seconds is not None:
                self.own[name] = cost.seconds
            if elsewhere[0] is not None:
                self.other[name] = elsewhere[0]
        by_name = {plan.chapter.name: plan for plan in plans}
        # One at a time ends at the same time in any order: the caller's then.
        names = schedule.order(by_name, self.own, self.other) if jobs > 1 else list(by_name)
        self.waiting = [by_name[name] for name in names]
        self.running: dict[str, float] = {}  # since when

    def start(self) -> Plan | None:
        """Take the next one that may start."""
        if len(self.running) >= self.jobs:
            return None
        waiting = [self.peaks[plan.chapter.name] for plan in self.waiting]
        position = schedule.fitting(waiting, [self.peaks[name] for name in self.running], memory=self.memory)
        if position is None:
            return None
        plan = self.waiting.pop(position)
        self.running[plan.chapter.name] = time.monotonic()
        return plan

    def end(self, plan: Plan, error: str | None) -> None:
        """Note that it ended, and how long it took."""
        seconds = time.monotonic() - self.running.pop(plan.chapter.name)
        if error is None:
            self.own[plan.chapter.name] = seconds

    def left(self) -> float | None:
        """Estimated seconds until all have ended."""
        now, mean = time.monotonic(), schedule.typical(self.own.values())
        running = [(now - since, self.own.get(name, mean)) for name, since in self.running.items()]
        return schedule.time_left(running, [self.own.get(p.chapter.name, mean) for p in self.waiting], jobs=self.jobs)


def _alone(queue: _Queue, report: Report, *, single: bool) -> list[str]:
    failed = []
    while plan := queue.start():
        report.started(plan, left=queue.left())
        error = _attempt(plan, show_progress=sys.stderr.isatty(), refusing=single)
        queue.end(plan, error)
        report.ended(plan, error=error)
        failed += [plan.chapter.name] if error else []
    return failed


def _together(queue: _Queue, report: Report) -> list[str]:
    # Not fork: this process may have threads. The server has imported what a chapter needs, so that one starts at once.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    failed: list[str] = []
    workers: dict[Connection, _Worker] = {}
    with tempfile.TemporaryDirectory(prefix="spectral-lens-") as folder:
        try:
            while queue.waiting or workers:
                while plan := queue.start():
                    mine, its = context.Pipe(duplex=False)
                    log = Path(folder) / f"{plan.chapter.name.replace('/', '--')}.log"
                    process = context.Process(target=_work, args=(plan, its, log), daemon=True)
                    process.start()
                    its.close()  # or its end would never be seen
                    workers[mine] = _Worker(plan, process, log)
                    report.started(plan, left=queue.left())
                for connection in wait(list(workers), timeout=_TICK):
                    assert isinstance(connection, Connection)
                    plan = workers[connection].plan
                    error = _heard(connection, workers[connection])
                    del workers[connection]
                    queue.end(plan, error)
                    report.ended(plan, error=error)
                    failed += [plan.chapter.name] if error else []
                report.tick(left=queue.left())
        finally:
            _end([worker.process for worker in workers.values()])
    return failed


def _attempt(plan: Plan, *, show_progress: bool = False, refusing: bool = False) -> str | None:
    """Run the plan; returns what went wrong, but for a BookError where it is to be raised (`refusing`)."""
    try:
        runner.run(plan, show_progress=show_progress)
    except ChapterFailed as error:
        return str(error)
    except BookError as error:
        if refusing:
            raise
        return str(error)
    return None


def _work(plan: Plan, connection: Connection, log: Path) -> None:
    """The process of one chapter: says through the connection what went wrong (None: nothing)."""
    from spectral_lens.book.execution import Terminated, terminable

    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C reaches all processes; the parent decides and sends SIGTERM
    with log.open("ab") as file:  # what is written to the terminal here would stand in the midst of the display
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        with terminable():
            threading.Thread(target=_follow_parent, daemon=True).start()
            try:
                connection.send(_attempt(plan))
            except Exception:
                connection.send(f"{plan.chapter.name} ({plan.profile}): {traceback.format_exc()}")
    except Terminated:
        raise SystemExit(143) from None


def _follow_parent() -> None:
    """End when the parent is gone, however it ended; nobody would read the result or stop the kernel."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    _kill(os.getpid())


def _heard(connection: Connection, worker: _Worker) -> str | None:
    """What the process says, or that it died; it is gone afterwards."""
    try:
        error, died = connection.recv(), False
    except EOFError:
        error, died = None, True
    connection.close()
    worker.process.join(_GRACE)
    if died:
        status = worker.process.exitcode or 0
        how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        said = worker.log.read_text(encoding="utf-8", errors="replace") if worker.log.is_file() else ""
        heading = f"{worker.plan.chapter.name} ({worker.plan.profile}): its process ended early ({how})."
        error = "\n    ".join([heading, *said.splitlines()[-_SAID:]])
    _end([worker.process])
    return error


def _end(processes: Sequence[BaseProcess]) -> None:
    """Wait for the processes, after SIGTERM for those that go on; what does not listen is killed with its kernel."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    deadline = time.monotonic() + _GRACE
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        if process.is_alive() and process.pid is not None:
            _kill(process.pid)
            process.join()


def _kill(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        for each in [*process.children(recursive=True), process]:
            each.kill()
    except psutil.NoSuchProcess:
        pass
