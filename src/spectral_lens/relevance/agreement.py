"""How far scores of the same inputs agree, or choices of them, and how one quantity grows with another."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from scipy.stats import rankdata
from torch import Tensor

from spectral_lens.intervals import Interval, half_width
from spectral_lens.relevance.scores import pearson, ranking

__all__ = ["correlations", "exponent", "highest", "rank_correlation", "steadiness"]


def correlations(scores: Mapping[str, Float[Tensor, "r d"]], *, ranks: bool = False) -> Float64[Tensor, "m m"]:
    """The correlation over the inputs of every two of m scores, the mean over the runs.

    Pearson's, or with `ranks` Spearman's: that of the ranks, equal scores sharing the mean of theirs.  The rows and
    columns have the order of the mapping.  Raises ValueError where the scores have different shapes.

    >>> a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 4.0, 3.0]])
    >>> correlations({"a": a, "b": b}, ranks=True).round(decimals=6).tolist()
    [[1.0, 0.5], [0.5, 1.0]]
    """
    shapes = {tuple(each.shape) for each in scores.values()}
    if len(shapes) != 1:
        raise ValueError(f"the scores must all have one shape, (runs, inputs), not {sorted(shapes)}.")
    values = [each.double().cpu() for each in scores.values()]
    correlation = rank_correlation if ranks else pearson
    return torch.stack([torch.stack([correlation(a, b).mean() for a in values]) for b in values])


def rank_correlation(a: Float[Tensor, "*m points"], b: Float[Tensor, "*m points"]) -> Float[Tensor, "*m"]:
    """Spearman's rank correlation along the last axis, ties with their mean rank; nan where all is a tie.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 8.0, 27.0])).item()
    1.0
    """
    first, second = _ranks(a), _ranks(b)
    norm = (first.square().sum(-1) * second.square().sum(-1)).sqrt()  # ranks are halves of integers: exact sums
    return (first * second).sum(-1) / norm


def highest(scores: Float[Tensor, "r d"], count: int) -> Bool[Tensor, "r d"]:
    """Which inputs are kept where each run keeps its `count` highest; of equal scores the first.

    Raises ValueError for a count that is not between 1 and the inputs.

    >>> highest(torch.tensor([[0.2, 0.9, 0.2, 0.5]]), 3).tolist()
    [[True, True, False, True]]
    """
    if not 1 <= count <= scores.shape[1]:
        raise ValueError(f"count={count} must lie between 1 and the {scores.shape[1]} inputs.")
    return ranking(scores).argsort(1) < count


def steadiness(kept: Bool[Tensor, "r d"]) -> Interval:
    """How alike r runs choose among d inputs, with its 95% interval: 1 where all keep the same, 0 as by chance.

        1 - mean_f s_f^2 / (k/d (1 - k/d)),   s_f^2 = r / (r - 1) p_f (1 - p_f)       [nogueira2018, definition 4]

    p_f is the share of the runs that keep input f, k the mean number of inputs kept.  Unlike the Jaccard index it is
    corrected for chance, and the runs may keep different numbers.  The interval takes the runs as independent draws.
    For few of them the printed one [nogueira2018, theorem 7] is too narrow (of seven it holds the truth in 8 of 10
    cases), so here it is Student's, with the variance of the jackknife, which agrees for many.
    Raises ValueError for fewer than three runs, and where all, or all but one, keep all inputs or none.

    >>> keep = torch.tensor([[True, True, False, False, False]] * 3 + [[True, False, True, False, False]])
    >>> [round(each, 3) for each in steadiness(keep)]
    [0.583, -0.743, 1.0]
    """
    runs = len(kept)
    if runs < 3:
        raise ValueError(f"{runs} runs: an interval needs three at least.")
    value = _alike(kept)
    without = torch.stack([_alike(torch.cat([kept[:i], kept[i + 1 :]])) for i in range(runs)])
    half = half_width((runs - 1) * without.std().item(), runs)
    return Interval(value.item(), value.item() - half, min(1.0, value.item() + half))


def _alike(kept: Bool[Tensor, "r d"]) -> Float64[Tensor, ""]:
    share = kept.double().mean(0)
    mean = share.mean()
    if mean == 0 or mean == 1:
        raise ValueError("all inputs are kept, or none: there is no choice to compare.")
    runs = len(kept)
    return 1 - runs / (runs - 1) * (share * (1 - share)).mean() / (mean * (1 - mean))


def exponent(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """The power p of the law y ~ x^p: the slope of the straight line through the logarithms, by least squares.

    Raises ValueError for numbers that are not positive and finite, or where all x are equal.

    >>> x = torch.tensor([1.0, 2.0, 5.0])
    >>> round(exponent(x, 7 * x**1.5), 3)
    1.5
    """
    if not all(((each > 0) & each.isfinite()).all() for each in (x, y)) or x.min() == x.max():
        raise ValueError("a power law needs positive numbers, all finite, and two different x at least.")
    x, y = x.log() - x.log().mean(), y.log() - y.log().mean()
    return ((x * y).sum() / (x * x).sum()).item()


def _ranks(values: Tensor) -> Float[Tensor, "*m points"]:
    """The ranks less their mean, in double precision."""
    ranks = torch.from_numpy(np.asarray(rankdata(values.detach().cpu().numpy(), axis=-1)))
    return ranks - (values.shape[-1] + 1) / 2
