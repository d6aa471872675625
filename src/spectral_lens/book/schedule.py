"""What starts when: how many chapters at a time, in which order, and what fits into the memory."""

import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from spectral_lens.book import records
from spectral_lens.book.chapters import BookError, Chapter

_UNKNOWN = 1 / 8  # of the memory: a chapter that nobody has measured. Eight fit, or a kernel with torch into some GB


@dataclass(frozen=True)
class Cost:
    """What a chapter took, as far as it is known."""

    seconds: float | None = None
    memory: int | None = None  # bytes, at the peak
    threads: int | None = None
    gpu: bool = False


def default(threads: int | None) -> int:
    """How many chapters of `threads` threads the usable cores carry; one where each takes them all (None)."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if threads is None else max(1, usable // threads)


def last(of: Chapter, profile: str) -> Cost:
    """What the chapter's record says that its run took; of a quick run, else what the committed reference says."""
    for kept in (profile, records.REFERENCE) if profile == "quick" else (profile,):
        try:
            made = records.provenance(records.read(records.path(of, kept)))
        except (FileNotFoundError, BookError):
            continue
        return of_run(made)
    return Cost()


def of_run(made: Mapping[str, Any]) -> Cost:
    """What a run took, by the provenance in its record.

    >>> of_run({"duration": 12.5, "peak_memory": 10**9, "threads": 1, "device": "CPU (2 cores)"})
    Cost(seconds=12.5, memory=1000000000, threads=1, gpu=False)
    """
    gpu = not made.get("device", "CPU").lower().startswith("cpu")
    return Cost(made.get("duration"), made.get("peak_memory"), made.get("threads"), gpu)


def order(names: Iterable[str], own: Mapping[str, float], other: Mapping[str, float]) -> list[str]:
    """Longest first by the seconds in this profile (`own`), so that no long one is left alone at the end.

    Those that have none come before them, by the `other` profile's seconds; those that have neither come first.
    """
    return sorted(names, key=lambda name: (name in own, -own.get(name, other.get(name, inf))))


def typical(own: Iterable[float]) -> float | None:
    """Seconds to expect of a chapter that this profile has not timed: the mean of those that it has.

    Not the other profile's seconds, scaled: in a first run of the quick book, ordered by the paper's seconds, that
    foretold a fifth of what was left; the mean half of it after two of 27 chapters, 1.3 times it after eight, 2.3 after
    twenty.
    """
    known = list(own)
    return sum(known) / len(known) if known else None


def time_left(
    running: Sequence[tuple[float, float | None]], waiting: Sequence[float | None], *, jobs: int
) -> float | None:
    """Seconds until the last one ends: each starts, in this order, where the first of `jobs` places gets free.

    running: seconds so far, and in all.  waiting: seconds in all.  None where one of them is unknown.
    """
    if any(seconds is None for seconds in waiting) or any(total is None for _, total in running):
        return None
    places = [max(0.0, (total or 0.0) - elapsed) for elapsed, total in running]
    places += [0.0] * (jobs - len(places))
    heapq.heapify(places)
    for seconds in waiting:
        heapq.heappush(places, heapq.heappop(places) + (seconds or 0.0))
    return max(places, default=0.0)


def fitting(waiting: Sequence[int | None], running: Sequence[int | None], *, memory: int) -> int | None:
    """Position of the first waiting one whose peak fits into `memory` bytes beside the running ones'; None: wait.

    An unknown peak counts as a fixed share of the memory. One alone may always start.
    """
    if not running:
        return 0 if waiting else None
    share = int(_UNKNOWN * memory)
    free = memory - sum(share if peak is None else peak for peak in running)
    return next((k for k, peak in enumerate(waiting) if (share if peak is None else peak) <= free), None)
