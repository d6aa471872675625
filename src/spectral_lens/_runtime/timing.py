"""How long something takes."""

import time
from collections.abc import Callable

import torch

__all__ = ["shortest"]


def shortest(work: Callable[[], object], *, repeats: int) -> float:
    """Seconds of the quickest of `repeats` calls; what else the machine does only ever adds to the others.

    >>> shortest(lambda: sum(range(10)), repeats=3) < 1
    True
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}: time it once at least.")
    times = []
    for _ in range(repeats):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - began)
    return min(times)


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()  # a GPU works on after its call has returned
