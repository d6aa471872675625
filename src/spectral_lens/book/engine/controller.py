"""Many runs on one machine or on many, through Snakemake: handed out, watched, taken over, and resumed after any end.

What is finished is known by its record alone, so nothing that Snakemake remembers has to survive: a controller that
was killed is simply called again.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeAlias

import psutil

from spectral_lens._runtime import files, resources
from spectral_lens._runtime.extras import optional
from spectral_lens.book import plain_yaml, runner
from spectral_lens.book.chapters import Book, BookError, close
from spectral_lens.book.engine import handover
from spectral_lens.book.engine.batches import Batch
from spectral_lens.book.engine.worker import current
from spectral_lens.book.runner import Plan

with optional("engine"):
    from filelock import FileLock, Timeout

__all__ = ["ENGINES", "Engine", "Run", "alone", "child", "find", "folder", "run"]

Stamp: TypeAlias = tuple[int, int] | None
ENGINES = ("local", "slurm", "kubernetes")
_TICK = 0.2  # seconds between two looks at what is there
_SETTLE = 3.0  # seconds until Snakemake has to see that all has ended: on Slurm it looks ever more seldom
_GRACE = 20.0  # seconds that jobs have to end after Ctrl-C, and Snakemake to cancel those of a cluster
_LAST = 12  # lines of Snakemake's log that are worth reading


@dataclass(frozen=True)
class Engine:
    """A Snakemake profile: its folder, and what stands in it."""

    name: str
    path: Path
    settings: dict[str, Any]

    @property
    def executor(self) -> str:
        """What starts the jobs: local, slurm, kubernetes, or another of Snakemake's."""
        return str(self.settings.get("executor", "local"))

    @property
    def local(self) -> bool:
        """Whether jobs run on this machine."""
        return self.executor == "local"

    @property
    def store(self) -> Path | None:
        """The folder in which jobs hand over, where it is none of this machine's alone: a volume that all mount."""
        prefix = self.settings.get("default-storage-prefix")
        return Path(prefix) / "done" if self.settings.get("default-storage-provider") == "fs" and prefix else None

    @property
    def jobs(self) -> int | None:
        """How many jobs at a time the profile says; None where it does not."""
        found = self.settings.get("jobs", self.settings.get("cores"))
        return found if isinstance(found, int) and found > 0 else None


@dataclass
class Run:
    """A call that is under way: its folder, what it waits for and what went wrong, by the places of the records."""

    folder: Path
    store: Path | None
    batches: frozenset[str]
    waiting: dict[Path, Plan]
    tell: Callable[[Plan, str | None], None]
    before: dict[Path, Stamp] = field(init=False)
    failed: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        logs = [plan.failed.with_suffix(".log") for plan in self.waiting.values()]
        self.before = {path: handover.stamp(path) for path in [*self.waiting, *logs]}

    def look(self) -> None:
        """Take over what came back, and tell of each run that has ended since the last look."""
        for target, said in handover.take(self.folder, list(self.waiting.values()), self.store, self.batches).items():
            self._fail(self.waiting[target], said)
        for target, plan in list(self.waiting.items()):
            if self._new(target) and current(plan):  # a job of an earlier call may have written of another chapter
                del self.waiting[target]
                self.tell(plan, None)

    def end(self, log: Path) -> None:
        """Nothing comes any more: what is not there by now has failed, as its own log says, or Snakemake's."""
        self.look()
        why = f"Its job ended without a result. {_last(log)}"
        for plan in list(self.waiting.values()):
            own = plan.failed.with_suffix(".log")
            if self._new(own):
                self._fail(plan, own.read_text(encoding="utf-8").strip())
            else:
                self._fail(plan, why)
                why = f"Its job ended without a result: see {log}"

    def _fail(self, plan: Plan, said: str) -> None:
        own = plan.failed.with_suffix(".log")
        if not self._new(own):  # it was written on another machine, or by nobody
            with contextlib.suppress(OSError), files.replacing(own) as aside:
                aside.write_text(said + "\n", encoding="utf-8")
        self.failed[plan.target] = said
        del self.waiting[plan.target]
        self.tell(plan, said)

    def _new(self, path: Path) -> bool:
        now = handover.stamp(path)
        return now is not None and now != self.before[path]


def find(of: Book, named: str) -> Engine:
    """The engine of that name, or in the folder of that name. Raises BookError where it cannot work, and says why."""
    path = _folder(of, named)
    try:
        settings = plain_yaml.load(files.read_text(path / "config.yaml"), f"{path}/config.yaml") or {}
    except (OSError, ValueError) as error:
        raise BookError(f"The engine {named} cannot be read: {error}") from None
    if not isinstance(settings, dict):
        raise BookError(f"{path}/config.yaml is a table (name: value), as those in engine/ are.")
    found = Engine(path.name, path, settings)
    plugin = f"snakemake-executor-plugin-{found.executor}"
    if importlib.util.find_spec("snakemake") is None:
        raise BookError('Many runs at once need Snakemake: pip install "spectral-lens[engine]" (`make setup` does).')
    if not found.local and importlib.util.find_spec(plugin.replace("-", "_")) is None:
        raise BookError(f"The engine {named} needs a plugin: pip install -c constraints.txt {plugin}")
    return found


def folder(of: Book, name: str) -> Path:
    """Where Snakemake works for the sweep of that name (or for the records of a profile)."""
    return of.root / "build" / "engine" / name


@contextlib.contextmanager
def alone(where: Path) -> Iterator[None]:
    """Hold the folder while the body lasts, and until death at most. Raises BookError where another call holds it."""
    where.mkdir(parents=True, exist_ok=True)
    lock = FileLock(where / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BookError(f"Another call is at work on {where.name}: wait for it, or stop it first.") from None
    try:
        yield
    finally:
        lock.release()


def run(
    of: Book,
    where: Path,
    batches: Sequence[Batch],
    *,
    engine: Engine,
    jobs: int,
    tell: Callable[[Plan, str | None], None],
    dry: bool = False,
) -> dict[Path, str]:
    """Run the batches, `jobs` at a time, in a folder that is held (see `alone`).

    tell: gets each run as it ends, with what went wrong (None: nothing). Returns what went wrong by the place of the
    record that is not there. With `dry` Snakemake only says what it would do. Raises KeyboardInterrupt (Terminated)
    after Ctrl-C or SIGTERM, when everything on this machine has ended and a cluster's jobs are cancelled.
    """
    from spectral_lens.book.execution import terminable

    plans = {plan.target: plan for batch in batches for plan in batch.plans}
    state = Run(where, engine.store, frozenset(batch.name for batch in batches), plans.copy(), tell)
    command = _command(of, where, batches, engine, jobs) + ["--dry-run"] * dry
    log = where / "snakemake.log"
    with log.open("wb") as output, terminable(), _started(command, where, output) as process:
        try:
            last = time.monotonic()
            while process.poll() is None and (state.waiting or dry or time.monotonic() < last + _SETTLE):
                state.look()
                last = time.monotonic() if state.waiting else last
                time.sleep(_TICK)
            process.kill()  # it would sleep on; its jobs have nothing left to do
        finally:
            _end(process)
    if dry:
        return {} if process.returncode == 0 else dict.fromkeys(plans, f"Snakemake would not start. {_last(log)}")
    state.end(log)
    handover.clear(where)
    return {target: said for target, said in state.failed.items() if not current(plans[target])}


def child() -> None:
    """Snakemake in this process, which ends with its parent however that ends. Started by `run` alone."""
    parent = os.dup(0)  # a pipe that nothing is ever written to: it is closed when the parent is gone
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def follow() -> None:
        os.read(parent, 1)
        os._exit(1)  # jobs that run finish what they are at; the next call finds it

    threading.Thread(target=follow, daemon=True).start()
    from snakemake.cli import main

    main(sys.argv[1:])


def _folder(of: Book, named: str) -> Path:
    roots = [root for root in (of.root, resources.root()) if root is not None]
    if named in ENGINES:
        return next((found for root in roots if (found := root / "engine" / named).is_dir()), roots[0])
    path = resources.named(named)
    if not (path / "config.yaml").is_file():
        raise BookError(
            f"There is no engine {named!r}, nor a folder of that name with a config.yaml{close(named, ENGINES)}"
        )
    return path.absolute()


def _command(of: Book, where: Path, batches: Sequence[Batch], engine: Engine, jobs: int) -> list[str]:
    """Snakemake's command; writes down what it reads."""
    told = {batch.name: batch.data for batch in batches}
    plan = where / f"plan-{handover.short(told)}.json"  # jobs of an earlier call still read theirs
    own = resources.root() is not None and of.root.samefile(resources.root() or of.root)
    with files.replacing(plan) as aside:
        aside.write_text(json.dumps({"root": None if own else str(of.root), "batches": told}), encoding="utf-8")
    # A copy: without a shared disk only what stands below the folder is sent along.
    shutil.copyfile(_folder(of, "local").parent / "Snakefile", where / "Snakefile")
    threads = max(batch.threads for batch in batches)
    number = ["--cores", str(jobs * threads)] if engine.local else ["--jobs", str(jobs)]
    if engine.local and "resources" not in engine.settings:
        number += ["--resources", f"mem_mb={psutil.virtual_memory().available // 10**6}", "gpu=1"]
    return [
        sys.executable, "-c", "from spectral_lens.book.engine import child; child()",
        "--snakefile", "Snakefile", "--configfile", plan.name,
        "--profile", str(engine.path), "--workflow-profile", "none",
        # Two of them in a folder are kept apart by `alone`, which death frees: Snakemake's own lock would stay.
        "--nolock", "--rerun-incomplete", "--rerun-triggers", "mtime", "--keep-going", "--scheduler", "greedy", *number,
    ]  # fmt: skip


def _started(command: Sequence[str], where: Path, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """The process of Snakemake, in a session of its own: Ctrl-C reaches this one alone, which ends it in order."""
    return subprocess.Popen(
        command, cwd=where, env=os.environ | runner.data_folder(), stdin=subprocess.PIPE, stdout=output,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _last(log: Path) -> str:
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LAST:]
    return "\n    ".join([f"The end of {log}:", *said])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End Snakemake and what it started here, unless it was killed; a cluster's jobs are cancelled by it."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_TICK)
        return
    process.send_signal(signal.SIGINT)
    below, told, deadline = set[psutil.Process](), set[psutil.Process](), time.monotonic() + _GRACE
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error):
            below.update(psutil.Process(process.pid).children(recursive=True))
        for each in below - told:  # among them jobs that it starts again before it has heard
            with contextlib.suppress(psutil.Error):
                if "point" in each.cmdline():
                    each.terminate()
                    told.add(each)
        time.sleep(_TICK)
    _, alive = psutil.wait_procs(below, timeout=max(0.0, deadline - time.monotonic()))
    for each in alive:
        with contextlib.suppress(psutil.Error):
            each.kill()
    process.kill()
    process.wait()
