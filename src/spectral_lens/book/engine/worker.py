"""What a job does: the runs of its batch one after the other, in one process; what is there is left as it is.

The engine that started the job knows of one folder, and may delete it whenever it likes. So a record is written to its
own place by the runner, whole or not at all, and the folder gets a second name of it. Where engine and job share no
disk, that second one is what comes back.
"""

import contextlib
import json
import os
import platform
import shutil
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.files import replacing
from spectral_lens.book import customs, records, runner
from spectral_lens.book.chapters import BookError, book
from spectral_lens.book.engine import batches
from spectral_lens.book.engine.batches import key
from spectral_lens.book.runner import ChapterFailed, KernelDied, Plan

with optional("engine"):
    from filelock import FileLock, Timeout

__all__ = ["Ended", "batch", "current", "hand_over", "run"]

_LOOK = 0.5  # seconds between two looks at whether another job has finished


@dataclass(frozen=True)
class Ended:
    """How a run ended: made now, there already, failed by its own error, or lost (killed, out of memory)."""

    plan: Plan
    how: Literal["made", "there", "failed", "lost"]
    said: str = ""


def batch(plan: Path, name: str, to: Path, tell: Callable[[Ended], None]) -> bool:
    """Make the runs of the batch of that name in the file `plan`, and hand them over in the folder `to`.

    Returns whether none was lost: of a batch with a lost run nothing is handed over, so that it is tried again; what is
    there by then is not made again. Raises BookError where the file is no plan, and as `runner.plan` does.
    """
    try:
        found = json.loads(plan.read_text(encoding="utf-8"))
        root, data = found["root"], found["batches"][name]
    except (OSError, ValueError, KeyError, TypeError):
        raise BookError(f"{plan} has no batch {name}.") from None
    ended = run(batches.plans(book(Path(root) if root else None), data), tell)
    if any(each.how == "lost" for each in ended):
        return False
    hand_over(ended, to)
    return True


def current(plan: Plan) -> bool:
    """Whether the run's record is there and belongs to the chapter, the parameters and the code as they are now."""
    if plan.profile == "custom":
        return customs.same(plan) is not None
    return records.status(plan.chapter, plan.profile).state in ("current", "verified")


def run(plans: Sequence[Plan], tell: Callable[[Ended], None]) -> list[Ended]:
    """Run what is not current yet; of several jobs that are given the same run one makes it and the others wait.

    A run that fails stops only itself.
    """
    waiting, ended = deque(plans), list[Ended]()
    turned_away = 0
    while waiting:
        plan = waiting.popleft()
        with _held(plan) as mine:
            if mine:
                ended.append(_ended(plan))
                tell(ended[-1])
                turned_away = 0
                continue
        waiting.append(plan)  # another job is at it: first what is free
        turned_away += 1
        if turned_away >= len(waiting):
            time.sleep(_LOOK)
    return ended


def hand_over(ended: Sequence[Ended], to: Path) -> None:
    """Fill the folder `to`, which is there whole or not at all: a record of each run, or what went wrong as .log."""
    aside = to.with_name(f"{to.name}.{platform.node()}-{os.getpid()}.part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for each in ended:
        name = key(each.plan)
        if each.how == "failed":
            (aside / f"{name}.log").write_text(each.said + "\n", encoding="utf-8")
        else:
            _second(each.plan.target, aside / f"{name}.ipynb")
    with contextlib.suppress(OSError):  # an earlier job of the same batch may have come before: what it left will do
        os.rename(aside, to)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _held(plan: Plan) -> Iterator[bool]:
    """Whether nobody else is at the run; while the body lasts nobody else gets it. The system frees it at death."""
    path = plan.chapter.book.root / "build" / "locks" / f"{key(plan)}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _ended(plan: Plan) -> Ended:
    if current(plan):
        return Ended(plan, "there")
    try:
        runner.run(plan)
    except KernelDied as error:
        return Ended(plan, "lost", str(error))
    except (ChapterFailed, BookError) as error:
        return Ended(plan, "failed", str(error))
    except Exception:  # of the machine: no reason for the others not to run
        return Ended(plan, "lost", f"{plan.chapter.name} ({plan.profile}): {traceback.format_exc()}")
    return Ended(plan, "made")


def _second(record: Path, name: Path) -> None:
    """The record under a second name, without a second copy where the disk can do it."""
    try:
        os.link(record, name)
    except OSError:
        with replacing(name) as aside:
            shutil.copyfile(record, aside)
