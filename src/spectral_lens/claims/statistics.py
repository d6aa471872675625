"""What a claim is judged by: estimates over independent units, their intervals, and what noise cannot pass.

A unit is what was drawn or trained on its own: a run, a network, an image.  A claim is reproduced where the whole 95%
interval of the mean over units lies in the range that the ledger accepts, not reproduced where it lies outside, and
undecided otherwise.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from spectral_lens.intervals import LEVEL, half_width, t_quantile

__all__ = [
    "Accept",
    "Decision",
    "UnitMean",
    "at_every",
    "bootstrapped",
    "decision",
    "difference",
    "estimate",
    "of_summary",
    "prediction",
    "units_to_decide",
]  # fmt: skip

Accept = tuple[float | None, float | None]  # the lowest and the highest value, None where open
Decision = Literal["inside", "outside", "undecided"]
_LARGEST = 10**6  # units beyond which nobody measures


class UnitMean(NamedTuple):
    """A mean over n independent units, its interval at `LEVEL`, and the units' standard deviation (nan for one)."""

    mean: float
    low: float
    high: float
    sd: float
    n: int


def estimate(values: Sequence[float]) -> UnitMean:
    """The mean over the units with Student's t interval.

    One unit says nothing of its scatter: its interval is the whole line.  Units that are all the same have an interval
    of no width.
    Raises ValueError for no units, and for values that are not finite.

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> found.mean, round(found.low, 3), found.sd, found.n  # 2 - 4.303 / sqrt(3)
    (2.0, -0.484, 1.0, 3)
    """
    units = _finite(values)
    if len(units) > 1 and units.min() == units.max():
        return of_summary(float(units[0]), 0.0, len(units))  # no rounding of their sum
    sd = float(units.std(ddof=1)) if len(units) > 1 else math.nan
    return of_summary(float(units.mean()), sd, len(units))


def of_summary(mean: float, sd: float, n: int) -> UnitMean:
    """The estimate of which a paper, or an old record, has only mean, standard deviation and number of units.

    >>> of_summary(2.0, 1.0, 3) == estimate([1.0, 2.0, 3.0])
    True
    """
    if n < 1:
        raise ValueError(f"n={n}: an estimate needs one unit at least.")
    if n == 1 or not math.isfinite(sd):
        return UnitMean(mean, -math.inf, math.inf, math.nan, n)
    half = half_width(sd, n)
    return UnitMean(mean, mean - half, mean + half, sd, n)


def difference(one: UnitMean, other: UnitMean) -> UnitMean:
    """The mean of one less that of another, of units apart: Welch's t interval.  [welch1947]

    Of units in pairs take `estimate` of their differences.  n: the degrees of freedom and one, rounded down.

    >>> found = difference(of_summary(3.0, 1.0, 9), of_summary(2.0, 1.0, 9))
    >>> found.mean, round(found.high - found.mean, 3)  # 2.12 sqrt(2) / 3
    (1.0, 0.999)
    """
    mean = one.mean - other.mean
    if min(one.n, other.n) < 2:
        return UnitMean(mean, -math.inf, math.inf, math.nan, 1)
    parts = [part.sd**2 / part.n for part in (one, other)]
    error = math.sqrt(sum(parts))
    if not error:
        return UnitMean(mean, mean, mean, 0.0, one.n + other.n - 1)
    freedom = error**4 / sum(square**2 / (part.n - 1) for square, part in zip(parts, (one, other), strict=True))
    half = t_quantile(freedom) * error
    return UnitMean(mean, mean - half, mean + half, error * math.sqrt(freedom + 1), int(freedom) + 1)


def bootstrapped(values: Sequence[float], *, seed: int, draws: int = 10_000) -> UnitMean:
    """The mean with its bias-corrected and accelerated bootstrap interval, for units whose distribution is skewed, such
    as images.  [efron1987, by scipy.stats.bootstrap]

    seed: of the resampling.  Raises ValueError for less than two units.

    >>> found = bootstrapped([1.0, 2.0, 3.0, 10.0], seed=0)
    >>> found.low < found.mean < found.high
    True
    """
    from scipy import stats  # slow to import

    units = _finite(values)
    if len(units) < 2:
        raise ValueError(f"{len(units)} unit cannot be resampled: at least two are needed.")
    plain = estimate(values)
    if not plain.sd:
        return plain
    found = stats.bootstrap(
        (units,), np.mean, n_resamples=draws, confidence_level=LEVEL, method="BCa", rng=np.random.default_rng(seed)
    ).confidence_interval
    return plain._replace(low=float(found.low), high=float(found.high))


def prediction(mean: float, sd: float, n: int, units: int) -> tuple[float, float]:
    """Where the mean of a replication of so many units lies with a probability of `LEVEL`, if it is one of the same.

        mean +- t_(n-1) sd sqrt(1/n + 1/units)        [patil2016]

    mean, sd, n: what the paper prints.  Raises ValueError for less than two units printed, or none of ours.

    >>> low, high = prediction(0.0, 1.0, 1_000_000, 4)
    >>> round(high, 3)  # 1.96 / 2
    0.98
    """
    if n < 2 or units < 1:
        raise ValueError(f"n={n} and units={units}: a prediction needs two printed units at least, and one of ours.")
    half = t_quantile(n - 1) * sd * math.sqrt(1 / n + 1 / units)
    return mean - half, mean + half


def decision(found: UnitMean, accept: Accept) -> Decision:
    """Whether the whole interval lies inside what is accepted, outside of it, or neither.

    >>> decision(estimate([1.0, 1.1, 0.9]), (0.5, None)), decision(estimate([0.0, 2.0]), (0.5, None))
    ('inside', 'undecided')
    """
    low, high = _ends(accept)
    if low <= found.low and found.high <= high:
        return "inside"
    return "outside" if found.high < low or found.low > high else "undecided"


def at_every(found: Sequence[UnitMean], accept: Accept) -> Decision:
    """The decision on all at once, "at every width": inside where each is, outside where any one is.

    An intersection-union test: each part is tested at its own level, and the whole keeps it.  [berger1982]
    Raises ValueError for none.

    >>> at_every([estimate([1.0, 1.1, 0.9]), estimate([0.0, 2.0])], (0.5, None))
    'undecided'
    """
    each = [decision(part, accept) for part in found]
    if not each:
        raise ValueError("there is nothing to decide on: at least one estimate is needed.")
    if "outside" in each:
        return "outside"
    return "undecided" if "undecided" in each else "inside"


def units_to_decide(found: UnitMean, accept: Accept) -> int | None:
    """How many units would decide, if mean and standard deviation stayed; None where no number of them would.

    >>> units_to_decide(UnitMean(1.0, -1.0, 3.0, 2.0, 6), (0.0, None))  # t_(n-1) 2 / sqrt(n) < 1
    18
    """
    low, high = _ends(accept)
    distance = min(abs(found.mean - end) for end in (low, high))
    if not math.isfinite(found.sd) or not math.isfinite(distance) or distance == 0:
        return None
    if half_width(found.sd, _LARGEST) >= distance:
        return None
    few, many = 1, _LARGEST
    while many - few > 1:
        middle = (few + many) // 2  # two at least
        few, many = (few, middle) if half_width(found.sd, middle) < distance else (middle, many)
    return many


def _ends(accept: Accept) -> tuple[float, float]:
    low, high = accept
    return -math.inf if low is None else low, math.inf if high is None else high


def _finite(values: Sequence[float]) -> np.ndarray:
    units = np.asarray(values, dtype=float)
    if units.ndim != 1 or not len(units) or not np.isfinite(units).all():
        raise ValueError(f"values are {units.shape}: finite numbers in one axis are needed, at least one.")
    return units
