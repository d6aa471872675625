"""Estimators that choose: the best setting of a grid, chosen on one half of the units and judged on the other.

A chapter calls them before `claims.measure`: what they do belongs to its run.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Peak", "halves", "peak"]


def halves(units: int, *, seed: int) -> tuple[list[int], list[int]]:
    """The units in two halves by chance: those that choose, and those that are judged, one more of an odd number.

    Raises ValueError for less than two units.

    >>> chosen, judged = halves(5, seed=0)
    >>> len(chosen), len(judged), sorted(chosen + judged)
    (2, 3, [0, 1, 2, 3, 4])
    """
    if units < 2:
        raise ValueError(f"{units} unit cannot be halved: at least two are needed.")
    order = np.random.default_rng(seed).permutation(units).tolist()
    return order[: units // 2], order[units // 2 :]


class Peak(NamedTuple):
    """Where the peak was chosen, and by how much it lies above each end in each unit that did not choose."""

    at: int
    above_first: list[float]
    above_last: list[float]

    @property
    def groups(self) -> dict[str, list[float]]:
        """What `claims.measure` takes."""
        return {"above the first setting": self.above_first, "above the last setting": self.above_last}


def peak(curves: Sequence[Sequence[float]], *, seed: int) -> Peak:
    """Whether there is a peak between the ends: chosen on half of the units, judged on the others.

    curves: for each unit the measure at each setting.  The two differences are paired within a unit, and `at_every` of
    them above zero is the claim: a curve that chance alone makes passes in less than one case in twenty.
    Raises ValueError for less than four units, and for less than three settings.

    >>> found = peak([[0.0, 9.0, 0.2], [0.1, 9.2, 0.0], [0.0, 8.9, 0.1], [0.2, 9.1, 0.1]], seed=0)
    >>> from spectral_lens.claims.statistics import at_every, estimate
    >>> found.at, at_every([estimate(each) for each in found.groups.values()], (0.0, None))
    (1, 'inside')
    """
    values = np.asarray(curves, dtype=float)
    if values.ndim != 2 or len(values) < 4 or values.shape[1] < 3:
        raise ValueError(f"curves are {values.shape}: at least four units with three settings each are needed.")
    choosing, judging = halves(len(values), seed=seed)
    at = 1 + int(values[choosing][:, 1:-1].mean(0).argmax())
    judged = values[judging]
    first, last = ((judged[:, at] - judged[:, end]).tolist() for end in (0, -1))
    return Peak(at, first, last)
