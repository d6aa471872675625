"""The clock of the benchmarks."""

import time
from collections.abc import Callable, Mapping


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best_of(repeats: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The best figure of each; they take turns within each repeat, so that a busy moment hits all of them."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, measure in contenders.items():
            best[name] = min(best.get(name, float("inf")), measure())
    return best
