"""How the runs of a sweep are shared out among jobs: how many go together, and what a job may take."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from spectral_lens.book import records, schedule
from spectral_lens.book.chapters import Book, chapter, profile
from spectral_lens.book.pages import duration
from spectral_lens.book.runner import Plan, plan
from spectral_lens.book.schedule import Cost

__all__ = ["Batch", "key", "plans", "price", "shared_out"]

# What a job asks for. Twice the time of the last record, since machines differ by about that and other values of the
# parameters may cost more; half as much memory again, since a job above its limit is killed; each try asks for more.
_TIMES, _START = 2.0, 5  # of the last record's seconds; and minutes for what is not the chapter: queue, imports, disk
_MEMORY, _LEAST = 1.5, 1024  # of the last record's peak; and MB that a kernel with torch takes anyway
_UNKNOWN_SECONDS, _UNKNOWN_MEMORY = 7200.0, 4 * 10**9  # of a chapter that has no record: two hours, into 4 GB
_THREADS = 4  # where neither the profile nor a record says how many


@dataclass(frozen=True)
class Batch:
    """Runs that one job makes, one after the other, and what it may take."""

    plans: tuple[Plan, ...]
    seconds: float | None  # that they take together, where it is known
    runtime: int  # minutes
    mem_mb: int
    threads: int
    gpu: bool

    @property
    def name(self) -> str:
        """Names the batch by all that makes it what it is: another try after a failure has another name."""
        told = [[key(each), records.code_hash(each.chapter.notebook), _before(each)] for each in self.plans]
        hashed = hashlib.sha256(json.dumps([told, self.data], sort_keys=True).encode()).hexdigest()[:12]
        return f"{'gpu' if self.gpu else 'cpu'}-{hashed}"

    @property
    def data(self) -> dict[str, Any]:
        """What the job has to know, as `plans` reads it, and the workflow."""
        points = [
            {
                "chapter": each.chapter.name,
                "base": each.base,
                "values": each.parameters if each.profile == "custom" else {},
            }
            for each in self.plans
        ]
        seconds = ceil(self.seconds or 0)
        return {
            "points": points, "seconds": seconds, "runtime": self.runtime, "mem_mb": self.mem_mb,
            "threads": self.threads, "gpu": int(self.gpu),
        }  # fmt: skip


def plans(of: Book, data: dict[str, Any]) -> list[Plan]:
    """The runs that a batch's data stand for, checked again where they are going to run.

    Raises BookError as `runner.plan` does.
    """
    return [plan(chapter(each["chapter"], of), each["base"], each["values"] or None) for each in data["points"]]


def key(of: Plan) -> str:
    """Names a run among all others of its book, in one part of a path."""
    return of.target.relative_to(of.chapter.book.root).with_suffix("").as_posix().replace("/", "__")


def shared_out(
    runs: Sequence[tuple[Plan, Cost]], *, jobs: int, together: float, cores: int | None = None
) -> list[Batch]:
    """The runs in batches of about `together` seconds, those that take longest first.

    Runs of one chapter and profile go together, and never so many that one of `jobs` would be idle. What takes longer,
    and what nobody has timed, goes alone. `cores`: how many a job may have at most.
    """
    kinds: dict[tuple[str, str], list[tuple[Plan, Cost]]] = {}
    for run in runs:
        kinds.setdefault((run[0].chapter.name, run[0].base), []).append(run)
    most = max(1, ceil(len(runs) / jobs))
    found = []
    for each in kinds.values():
        longest = max(together if cost.seconds is None else cost.seconds for _, cost in each)
        number = min(most, max(1, int(together / max(longest, 0.1))))
        found += [_batch(each[start : start + number], cores) for start in range(0, len(each), number)]
    return sorted(found, key=lambda batch: -(batch.seconds or float("inf")))


def price(costs: Sequence[Cost], *, jobs: int) -> str:
    """What runs will take, in words: in all, with `jobs` at a time, and at the peak.

    >>> price([Cost(60.0, 10**9), Cost(120.0, 2 * 10**9)], jobs=2)
    'about 3 min 00 s of computing, 2 min 00 s with 2 jobs, 2.0 GB of memory at the peak of one'
    """
    unknown = sum(cost.seconds is None for cost in costs)
    known = sorted((cost.seconds for cost in costs if cost.seconds is not None), reverse=True)
    if not known:
        return "how long nobody knows: there is no record to go by"
    told = f"about {duration(sum(known))} of computing"
    if jobs > 1:
        told += f", {duration(schedule.time_left([], known, jobs=jobs) or 0.0)} with {jobs} jobs"
    peaks = [cost.memory for cost in costs if cost.memory]
    told += f", {max(peaks) / 1e9:.1f} GB of memory at the peak of one" if peaks else ""
    return told + (f", without {unknown} that have no record to go by" if unknown else "")


def _batch(runs: Sequence[tuple[Plan, Cost]], cores: int | None) -> Batch:
    costs = [cost for _, cost in runs]
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    whole = sum(seconds) if len(seconds) == len(costs) else None
    memory = max(cost.memory or _UNKNOWN_MEMORY for cost in costs)
    settings = profile(runs[0][0].base, runs[0][0].chapter.book)["threads"]
    threads = settings or max((cost.threads or _THREADS for cost in costs), default=_THREADS)
    return Batch(
        plans=tuple(plan for plan, _ in runs),
        seconds=whole,
        runtime=_START + ceil(_TIMES * (whole or len(runs) * _UNKNOWN_SECONDS) / 60),
        mem_mb=max(_LEAST, ceil(_MEMORY * memory / 1e6)),
        threads=max(1, min(threads, cores or threads)),
        gpu=any(cost.gpu for cost in costs),
    )


def _before(of: Plan) -> list[int]:
    """When an earlier record of the run was written, and when it failed: 0 for never."""

    def written(path: Path) -> int:
        return path.stat().st_mtime_ns if path.is_file() else 0

    return [written(of.target), written(of.failed.with_suffix(".log"))]
