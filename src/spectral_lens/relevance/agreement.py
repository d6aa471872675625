"""How far scores of the same inputs agree, and how one quantity grows with another."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Float64
from scipy.stats import rankdata
from torch import Tensor

from spectral_lens.relevance.scores import pearson

__all__ = ["correlations", "exponent"]


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
    if ranks:
        values = [torch.from_numpy(rankdata(each.numpy(), axis=-1)) for each in values]
    return torch.stack([torch.stack([pearson(a, b).mean() for a in values]) for b in values])


def exponent(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """The power p of the law y ~ x^p: the slope of the straight line through the logarithms, by least squares.

    Raises ValueError for numbers that are not positive, or where all x are equal.

    >>> x = torch.tensor([1.0, 2.0, 5.0])
    >>> round(exponent(x, 7 * x**1.5), 3)
    1.5
    """
    if x.min() <= 0 or y.min() <= 0 or x.min() == x.max():
        raise ValueError("a power law needs positive numbers, and two different x at least.")
    x, y = x.log() - x.log().mean(), y.log() - y.log().mean()
    return ((x * y).sum() / (x * x).sum()).item()
