"""95% intervals: of a mean over independent runs, and of a share of independent trials."""

import math
from typing import Any, NamedTuple, SupportsFloat

import numpy as np
from jaxtyping import Float

__all__ = ["LEVEL", "Interval", "half_width", "of_mean", "of_share", "t_quantile"]

LEVEL = 0.95


class Interval(NamedTuple):
    """A number, or an array of them, and its 95% interval."""

    value: Any
    low: Any
    high: Any


def t_quantile(freedom: SupportsFloat) -> float:
    """How many standard errors Student's t interval reaches to each side.

    >>> round(t_quantile(2), 3)
    4.303
    """
    from scipy.special import stdtrit  # not scipy.stats, which takes much longer to import

    return float(stdtrit(float(freedom), (1 + LEVEL) / 2))


def half_width(sd: Any, n: int) -> Any:
    """How far Student's t interval of a mean over n units reaches to each side: t_(n-1) sd / sqrt(n), entry by entry.

    >>> round(half_width(1.0, 3), 3)  # 4.303 / sqrt(3)
    2.484
    """
    return t_quantile(n - 1) * sd / math.sqrt(n)


def of_mean(values: Float[np.ndarray, "r *shape"]) -> Interval:
    """The mean over the runs with Student's t interval, entry by entry.

    Raises ValueError for one run, which has no spread.

    >>> [round(float(end), 2) for end in of_mean(np.array([1.0, 2.0, 3.0]))]
    [2.0, -0.48, 4.48]
    """
    runs = len(values)
    if runs < 2:
        raise ValueError("one run has no spread: give two at least.")
    mean, half = values.mean(0), half_width(values.std(0, ddof=1), runs)
    return Interval(mean, mean - half, mean + half)


def of_share(hits: int, of: int) -> Interval:
    """hits / of with Wilson's interval, of so many independent trials.  [wilson1927]

    Raises ValueError for fewer hits than none or more than all.

    >>> [round(end, 3) for end in of_share(9, 10)]
    [0.9, 0.596, 0.982]
    """
    from scipy import stats

    ends = stats.binomtest(hits, of).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Interval(hits / of, float(ends.low), float(ends.high))
