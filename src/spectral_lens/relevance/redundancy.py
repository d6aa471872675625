"""How far inputs repeat one another."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["mean_correlation", "near_copies"]


def mean_correlation(x: Float[Tensor, "r n d"]) -> Float[Tensor, " r"]:
    """The mean of Pearson's correlation over all pairs of different inputs, for each run: s.  [chicchi, appendix B]

    Raises ValueError for fewer than two inputs, and for a constant one, which is correlated with none.

    >>> mean_correlation(torch.tensor([[[0.0, 1.0], [1.0, 3.0], [2.0, 5.0]]]))
    tensor([1.])
    """
    d = x.shape[-1]
    if d < 2:
        raise ValueError("one input has no pair: give two at least.")
    if (x.amax(1) == x.amin(1)).any():
        raise ValueError("an input is constant: it has no correlation with the others.")
    together = torch.stack([torch.corrcoef(each.T) for each in x])
    return (together.sum((1, 2)) - d) / (d * (d - 1))


def near_copies(x: Float[np.ndarray, "n d"], chosen: Sequence[int] | np.ndarray, *, threshold: float = 0.9) -> int:
    """How many of the chosen columns have a near copy among the chosen: another one with a larger |correlation|.

    threshold: the |correlation| above which a column counts as a copy; a constant one is nobody's copy.
    Raises ValueError where a column is named twice, or is none of the table's.

    >>> near_copies(np.array([[0.0, 1.0, 1.0], [1.0, 3.0, 0.0], [2.0, 5.1, 1.0]]), [0, 1, 2])
    2
    """
    places = np.asarray(chosen)
    if len(set(places.tolist())) < len(places) or not np.isin(places, np.arange(x.shape[1])).all():
        raise ValueError(f"the columns {places.tolist()} must be some of 0 ... {x.shape[1] - 1}, each once.")
    places = np.array([place for place in places if np.ptp(x[:, place]) > 0], dtype=int)
    if len(places) < 2:
        return 0
    together = np.abs(np.corrcoef(x[:, places].T)) - np.eye(len(places))
    return int((together.max(1) > threshold).sum())
