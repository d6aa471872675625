"""How long something takes."""

import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["in_turn", "shortest"]


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


def in_turn(works: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, list[float]]:
    """Seconds of each call of each work, (rounds,) by name: in every round each is called once, in their order.

    So whatever the machine does besides falls on all alike, and what one round says of two works is a pair.  All are
    called once before, without the clock, as first calls also load and compile.
    Raises ValueError for no rounds.

    >>> times = in_turn({"few": lambda: sum(range(10)), "many": lambda: sum(range(1000))}, rounds=3)
    >>> [len(each) for each in times.values()]
    [3, 3]
    """
    if rounds < 1:
        raise ValueError(f"rounds={rounds}: time it once at least.")
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(shortest(work, repeats=1))
    return found


def _wait() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()  # a GPU works on after its call has returned
