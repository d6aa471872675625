"""The largest singular value of an operator, from its products with vectors and with the transpose."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.operators._vectors import orthogonalized, unit
from spectral_lens.operators.linear import LinearOperator

__all__ = ["Estimate", "spectral_norm"]


class Estimate(NamedTuple):
    """A value for each matrix of a batch, and how far it may be off."""

    value: Float[Tensor, "*batch"]
    error: Float[Tensor, "*batch"]


def spectral_norm(
    operator: LinearOperator, *, tolerance: float = 0.01, steps: int = 30, generator: torch.Generator | None = None
) -> Estimate:
    """sigma_1 by Golub and Kahan's bidiagonalisation, all matrices of a batch together.  [golub1965]

    Until the residual is below `tolerance` of it, or after `steps` of two products each.  The residual bounds the
    distance to a singular value; the estimate comes from below.
    generator: of the start, on the CPU; it is a vector of the shorter side.
    Raises ValueError for less than one step.

    >>> M = torch.diag(torch.tensor([3.0, 2.0, 1.0]))[:, :2]
    >>> A = LinearOperator((3, 2), lambda v: M @ v, lambda u: M.mT @ u)
    >>> found = spectral_norm(A, generator=torch.Generator().manual_seed(0))
    >>> round(float(found.value), 2), float(found.error) < 0.03
    (3.0, True)
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    A = operator if operator.shape[-1] <= operator.shape[-2] else operator.mT
    columns = A.shape[-1]
    start = torch.randn(*A.shape[:-2], columns, generator=generator)
    v = unit(start.to(A.device, A.dtype))[0]
    u, alpha = unit(A @ v)
    right, left, diagonal = [v], [u], [alpha]
    above: list[Tensor] = []
    for _ in range(steps):
        v, beta = unit(orthogonalized(A.mT @ left[-1], torch.stack(right, -2)))
        B = torch.diag_embed(torch.stack(diagonal, -1))
        if above:
            B = B + torch.diag_embed(torch.stack(above, -1), 1)
        p, values, _ = torch.linalg.svd(B)
        error = beta * p[..., -1, 0].abs()
        if (error <= tolerance * values[..., 0]).all() or len(right) == columns:
            break
        u, alpha = unit(orthogonalized(A @ v, torch.stack(left, -2)))
        right.append(v)
        left.append(u)
        diagonal.append(alpha)
        above.append(beta)
    return Estimate(values[..., 0], error)
