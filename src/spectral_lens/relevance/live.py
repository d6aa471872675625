"""The inputs that are live: where scores agree, and how few of them a network needs.

Where a price silences most inputs, every score calls these silent, and a correlation over all inputs mostly says that.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from spectral_lens.relevance.agreement import correlations
from spectral_lens.relevance.scores import ranking

__all__ = ["among_highest", "correlation_over", "correlations_over", "fewest", "live"]


def live(scores: Float[Tensor, "*r d"], *, threshold: float = 0.01) -> Bool[Tensor, "*r d"]:
    """Whether each input's score is at least `threshold` times the largest: what `sparsity` does not count.

    >>> live(torch.tensor([1.0, 0.5, 0.001, 0.0]))
    tensor([ True,  True, False, False])
    """
    largest = scores.amax(-1, keepdim=True)
    return (scores >= threshold * largest) & (largest > 0)


def correlation_over(
    a: Float[Tensor, "r d"], b: Float[Tensor, "r d"], among: Bool[Tensor, "r d"], *, ranks: bool = False
) -> Float64[Tensor, " r"]:
    """The correlation of two scores over some of the inputs, in each run over its own.

    Pearson's, or with `ranks` Spearman's; nan in a run with less than three inputs, as two always lie on a line.

    >>> a, b = torch.tensor([[1.0, 2.0, 3.0, 0.0]]), torch.tensor([[2.0, 4.0, 6.0, 9.0]])
    >>> correlation_over(a, b, torch.tensor([[True, True, True, False]])).round(decimals=6)
    tensor([1.], dtype=torch.float64)
    """
    return correlations_over({"a": a, "b": b}, among, ranks=ranks)[:, 0, 1]


def correlations_over(
    scores: Mapping[str, Float[Tensor, "r d"]], among: Bool[Tensor, "r d"], *, ranks: bool = False
) -> Float64[Tensor, "r m m"]:
    """The correlation of every two of m scores over some of the inputs, in each run over its own.

    ranks, nan: as in `correlation_over`.

    >>> scores = {"a": torch.tensor([[1.0, 2.0, 3.0]]), "b": torch.tensor([[0.0, 4.0, 3.0]])}
    >>> correlations_over(scores, torch.ones(1, 3, dtype=torch.bool), ranks=True).round(decimals=6).tolist()
    [[[1.0, 0.5], [0.5, 1.0]]]
    """
    blank = torch.full((len(scores), len(scores)), torch.nan, dtype=torch.float64)
    found = []
    for r, kept in enumerate(among):
        its = {name: each[r, kept].unsqueeze(0) for name, each in scores.items()}
        found.append(correlations(its, ranks=ranks) if kept.sum() >= 3 else blank)
    return torch.stack(found)


def among_highest(
    scores: Float[Tensor, "r d"], other: Float[Tensor, "r d"], *, count: int, where: Bool[Tensor, " d"]
) -> Float64[Tensor, " r"]:
    """Of those of the `count` highest inputs that lie `where`, the share that is among the `count` highest of another.

    In a run without such an input it is nan.  Raises ValueError for a count that is not between 1 and the inputs.

    >>> scores, other = torch.tensor([[9.0, 8.0, 7.0, 1.0]]), torch.tensor([[1.0, 5.0, 0.0, 3.0]])
    >>> among_highest(scores, other, count=3, where=torch.tensor([False, True, True, True]))
    tensor([0.5000], dtype=torch.float64)
    """
    if not 1 <= count <= scores.shape[1]:
        raise ValueError(f"count={count} must lie between 1 and the {scores.shape[1]} inputs.")
    mine, its = (ranking(each).argsort(1) < count for each in (scores, other))
    asked = mine & where.to(mine.device)
    return (asked & its).sum(1).double() / asked.sum(1)


def fewest(
    numbers: Int[Tensor, "settings r"], accuracies: Float[Tensor, "settings r"], *, least: Float[Tensor, " r"]
) -> Int[Tensor, " r"]:
    """For each run the setting with the fewest live inputs among those whose accuracy is at least `least`.

    Of equal numbers the first setting.  Raises ValueError where no setting of a run is as accurate.

    >>> numbers, accuracies = torch.tensor([[90], [30], [2]]), torch.tensor([[0.99], [0.98], [0.70]])
    >>> fewest(numbers, accuracies, least=torch.tensor([0.97]))
    tensor([1])
    """
    allowed = accuracies >= least
    if not allowed.any(0).all():
        raise ValueError("in a run no setting is as accurate as that.")
    return numbers.masked_fill(~allowed, torch.iinfo(numbers.dtype).max).argmin(0)
