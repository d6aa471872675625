"""How weights are split between eigenvalues and eigenvectors, and what a penalty on both amounts to.

The column of weights that leaves input i is w_i = lam_i psi_i.  A penalty on lam and psi depends on how a fixed
column is split; at the cheapest split it is a penalty on the column alone.  [chicchi, 5]
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Split", "cheapest_split", "searched_split", "split_penalty"]


class Split(NamedTuple):
    """The size of each input's eigenvalue and the penalty of its column."""

    size: Float[Tensor, " d"]
    penalty: Float[Tensor, " d"]


def split_penalty(
    columns: Float[Tensor, "out d"], size: Float[Tensor, "*s d"], *, a: float, b: float, norm: int = 2
) -> Float[Tensor, "*s d"]:
    """The penalty of each column of weights when its eigenvalue has this size.

        norm=2:  a s^2 + b ||w||_2^2 / s^2,        norm=1:  a s + b ||w||_1 / s,        s = |lam|

    a, b: penalties of eigenvalues and of eigenvectors, both positive.  Raises ValueError for another norm.

    >>> w = torch.tensor([[3.0], [4.0]])
    >>> [round(float(each), 4) for each in split_penalty(w, torch.tensor([[1.0], [5.0]]), a=0.1, b=0.1)]
    [2.6, 2.6]
    """
    return a * size**norm + b * _powers(columns, a, b, norm) / size**norm


def cheapest_split(columns: Float[Tensor, "out d"], *, a: float, b: float, norm: int = 2) -> Split:
    """The split of each column with the smallest penalty, in closed form: both terms are equal there.

        norm=2:  2 sqrt(a b) ||w||_2, the group lasso's [yuan2006],        norm=1:  2 sqrt(a b ||w||_1)

    >>> round(float(cheapest_split(torch.tensor([[3.0], [4.0]]), a=0.04, b=0.01).penalty), 4)
    0.2
    """
    powers = _powers(columns, a, b, norm)
    return Split((b / a * powers) ** (0.5 / norm), 2 * (a * b * powers).sqrt())


def searched_split(columns: Float[Tensor, "out d"], *, a: float, b: float, norm: int = 2, steps: int = 200) -> Split:
    """The same found by descent from s = 1 for every column: L-BFGS on log s, in which the penalty is convex.

    >>> w = torch.tensor([[3.0, 0.5], [4.0, 1.2]], dtype=torch.float64)
    >>> torch.allclose(searched_split(w, a=0.04, b=0.01).size, cheapest_split(w, a=0.04, b=0.01).size)
    True
    """
    log_size = torch.zeros_like(columns[0], requires_grad=True)
    optimizer = torch.optim.LBFGS([log_size], max_iter=steps, tolerance_grad=1e-14, line_search_fn="strong_wolfe")

    def total() -> Tensor:
        optimizer.zero_grad()
        value = split_penalty(columns.detach(), log_size.exp(), a=a, b=b, norm=norm).sum() / (a * b) ** 0.5
        value.backward()
        return value

    optimizer.step(total)
    size = log_size.detach().exp()
    return Split(size, split_penalty(columns.detach(), size, a=a, b=b, norm=norm))


def _powers(columns: Float[Tensor, "out d"], a: float, b: float, norm: int) -> Float[Tensor, " d"]:
    """sum_j |w_ji|^norm of each column, once the settings are checked."""
    if norm not in (1, 2):
        raise ValueError(f"norm={norm}: use 1 for absolute values or 2 for squares.")
    if not (a > 0 and b > 0):
        raise ValueError(f"a={a}, b={b}: both penalties must be positive, or the cheapest split is at an end.")
    return columns.abs().pow(norm).sum(0)
