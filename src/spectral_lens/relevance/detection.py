"""How well scores find the inputs that matter, where it is known which ones do."""

from jaxtyping import Bool, Float, Float64
from torch import Tensor

from spectral_lens.relevance.scores import ranking

__all__ = ["detection", "false_share", "found_share", "r_precision"]


def detection(
    scores: Float[Tensor, "r d"], relevant: Bool[Tensor, "*shape"], *, threshold: float = 0.05
) -> Float64[Tensor, " r"]:
    """The share of inputs that the threshold puts on the right side: above it the relevant ones, and no others.

    threshold: a score, so scores are divided by their largest first (`normalised`), as in [chicchi, appendix C].
    Raises ValueError where the shapes differ.

    >>> import torch
    >>> detection(torch.tensor([[1.0, 0.2, 0.1, 0.0]]), torch.tensor([[True, True, False, False]])).tolist()
    [0.75]
    """
    _same(scores, relevant)
    return ((scores > threshold) == relevant).double().mean(1)


def r_precision(scores: Float[Tensor, "r d"], relevant: Bool[Tensor, "*shape"]) -> Float64[Tensor, " r"]:
    """The share of relevant inputs among as many highest ones as there are relevant; it needs no threshold.

    Raises ValueError where the shapes differ, or where a run has no relevant input.

    >>> import torch
    >>> r_precision(torch.tensor([[1.0, 0.2, 0.3, 0.0]]), torch.tensor([[True, True, False, False]])).tolist()
    [0.5]
    """
    _same(scores, relevant)
    number = relevant.sum(1)
    if (number == 0).any():
        raise ValueError("a run has no relevant input: there is nothing to find.")
    place = ranking(scores).argsort(1)
    return (relevant & (place < number.unsqueeze(1))).double().sum(1) / number


def false_share(kept: Bool[Tensor, "r d"], relevant: Bool[Tensor, "*shape"]) -> Float64[Tensor, " r"]:
    """The share of irrelevant inputs among those kept, the false discovery proportion; 0 where none is kept.

    Its mean over data sets is the false discovery rate.  [benjamini1995]
    Raises ValueError where the shapes differ.

    >>> import torch
    >>> false_share(torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])).tolist()
    [0.5]
    """
    _same(kept, relevant)
    return (kept & ~relevant).sum(1).double() / kept.sum(1).clamp(min=1)


def found_share(kept: Bool[Tensor, "r d"], relevant: Bool[Tensor, "*shape"]) -> Float64[Tensor, " r"]:
    """The share of the relevant inputs that are kept, the power.

    Raises ValueError where the shapes differ, or where a run has no relevant input.

    >>> import torch
    >>> found_share(torch.tensor([[True, True, False]]), torch.tensor([[True, False, True]])).tolist()
    [0.5]
    """
    _same(kept, relevant)
    number = relevant.sum(1)
    if (number == 0).any():
        raise ValueError("a run has no relevant input: there is nothing to find.")
    return (kept & relevant).sum(1).double() / number


def _same(scores: Tensor, relevant: Tensor) -> None:
    if scores.shape != relevant.shape:
        raise ValueError(f"scores {tuple(scores.shape)} and relevant {tuple(relevant.shape)} must have one shape.")
