"""How far scores of the same inputs agree, and how one quantity grows with another."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.stats import rankdata
from torch import Tensor

from spectral_lens.relevance.scores import pearson

__all__ = ["correlations", "exponent", "rank_correlation"]


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
