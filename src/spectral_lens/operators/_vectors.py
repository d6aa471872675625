"""What the Krylov methods do with vectors: bring them to length one, and at right angles to earlier ones."""

import torch
from jaxtyping import Float
from torch import Tensor


def orthogonalized(v: Float[Tensor, "*batch d"], basis: Float[Tensor, "*batch m d"]) -> Float[Tensor, "*batch d"]:
    """The part of v at right angles to all rows of the basis, twice, so that rounding does not bring them back."""
    for _ in range(2):
        v = v - (basis.mT @ (basis @ v.unsqueeze(-1))).squeeze(-1)
    return v


def unit(v: Float[Tensor, "*batch d"]) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch"]]:
    """v at length one (or zero), and its length."""
    length = torch.linalg.vector_norm(v, dim=-1)
    return v / torch.where(length > 0, length, 1).unsqueeze(-1), length
