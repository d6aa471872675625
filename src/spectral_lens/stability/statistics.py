"""Statistics over networks or samples: rank correlations with intervals, quantiles along a number, separations."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import bootstrap, rankdata
from torch import Tensor

from spectral_lens.intervals import Interval

__all__ = ["bootstrap_rank_correlation", "group_ranks", "quantiles_along", "separation"]


def bootstrap_rank_correlation(
    a: Float[Tensor, " n"],
    b: Float[Tensor, " n"],
    *,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int,
) -> Interval:
    """Spearman's correlation with its 95% bootstrap interval (percentiles), the pairs drawn again `draws` times.

    groups: the group of each pair; the ranks are then taken within the groups, over their sizes, and pooled, so that
    what only tells the groups apart counts for nothing.  seed: of the bootstrap.
    Raises ValueError for numbers that are not finite, for ranks that are all alike, and as `group_ranks` does.

    >>> import torch
    >>> a = torch.arange(20.0)
    >>> bootstrap_rank_correlation(a, a.exp(), seed=0)
    Interval(value=1.0, low=1.0, high=1.0)
    >>> b = torch.cat([-a[:10], 100 - a[:10]])  # falls in each half, and jumps up between the two
    >>> halves = [0] * 10 + [1] * 10
    >>> [round(bootstrap_rank_correlation(a, b, groups=groups, seed=0).value, 2) for groups in (None, halves)]
    [0.5, -1.0]
    """
    x, y = (group_ranks(values, groups) for values in (a, b))
    if any(np.ptp(ranks) == 0 for ranks in (x, y)):
        raise ValueError("all ranks of one of the two are alike: there is nothing to correlate.")
    rng = np.random.default_rng(seed)
    drawn = bootstrap((x, y), _correlation, paired=True, n_resamples=draws, method="percentile", rng=rng)
    low, high = drawn.confidence_interval
    return Interval(float(_correlation(x, y)), float(low), float(high))


def group_ranks(values: Float[Tensor, " n"], groups: Sequence[Hashable] | None = None) -> Float[np.ndarray, " n"]:
    """The rank of each value in its group, equal values sharing theirs, over the size of the group: in (-1/2, 1/2).

    groups: the group of each value; one for all by default.
    Raises ValueError for values that are not finite, and for another number of groups than of values.

    >>> import torch
    >>> group_ranks(torch.tensor([3.0, 1.0, 9.0, 7.0]), ["a", "a", "b", "b"]).tolist()
    [0.25, -0.25, 0.25, -0.25]
    """
    array = values.detach().cpu().double().numpy()
    if not np.isfinite(array).all():
        raise ValueError("the values hold NaN or infinite numbers, which have no rank.")
    labels = [None] * len(array) if groups is None else list(groups)
    if len(labels) != len(array):
        raise ValueError(f"{len(labels)} groups are named for {len(array)} values: name the group of each.")
    ranks = np.empty(len(array))
    for label in set(labels):
        inside = np.array([each == label for each in labels])
        ranks[inside] = (rankdata(array[inside]) - 0.5) / inside.sum() - 0.5
    return ranks


def quantiles_along(
    values: Float[Tensor, " n"], by: Float[Tensor, " n"], *, parts: int = 4, level: float = 0.95
) -> Float[Tensor, " parts"]:
    """The quantile of the values in each of `parts` equal parts of the samples, from the lowest to the highest `by`.

    Where a number limits another without ordering it, a high quantile changes along it while the mean need not.
    Raises ValueError for fewer samples than parts.

    >>> import torch
    >>> quantiles_along(torch.tensor([1.0, 5.0, 2.0, 0.0]), torch.tensor([0.1, 0.2, 0.4, 0.3]), parts=2, level=1.0)
    tensor([5., 2.])
    """
    if not 1 <= parts <= len(values):
        raise ValueError(f"parts={parts} of {len(values)} samples: each part needs at least one.")
    sorted_by = values[by.argsort()]
    return values.new_tensor([float(part.quantile(level)) for part in sorted_by.tensor_split(parts)])


def separation(a: Float[Tensor, " n"], b: Float[Tensor, " m"]) -> float:
    """|median(a) - median(b)| over sqrt((var(a) + var(b)) / 2): how far two samples lie apart, in their spread.

    Raises ValueError for fewer than two values in one of them.

    >>> import torch
    >>> a = torch.tensor([1.0, 2.0, 3.0])
    >>> separation(a, a + 5)
    5.0
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} and {len(b)} values: a spread needs at least two of each.")
    return float((a.median() - b.median()).abs() / ((a.var() + b.var()) / 2).sqrt())


def _correlation(a: np.ndarray, b: np.ndarray, axis: int = -1) -> Any:
    a, b = (each - each.mean(axis, keepdims=True) for each in (a, b))
    return (a * b).sum(axis) / np.sqrt((a * a).sum(axis) * (b * b).sum(axis))
