"""Traces and Frobenius norms of operators, from products with random signs.

    E z^T A z = tr A     and     E ||A z||^2 = ||A||_F^2     for z with entries +-1        [hutchinson1990]

Hutch++ takes the part of the trace on a small space exactly, where most of it is if the spectrum falls, and samples
only what is left.        [meyer2021]
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.operators.golub_kahan import Estimate
from spectral_lens.operators.linear import LinearOperator

__all__ = ["frobenius_norm", "trace"]


def trace(operator: LinearOperator, *, draws: int = 10, generator: torch.Generator | None = None) -> Estimate:
    """tr A of each matrix of a batch by Hutch++, with the standard error of its sampled part.  [meyer2021]

    Costs 3 x `draws` products, and holds as many vectors.  The error is itself rough for few draws.
    generator: of the signs, on the CPU.
    Raises ValueError for matrices that are not square, and for fewer than two draws, which have no error estimate.

    >>> M = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    >>> round(float(trace(LinearOperator((3, 3), lambda v: M @ v), draws=3).value), 4)
    6.0
    """
    if operator.shape[-2] != operator.shape[-1]:
        raise ValueError(f"only square matrices have a trace, this is {operator}.")
    return _hutch(operator, lambda z: operator @ z, lambda z: (z * (operator @ z)).sum(-2), draws, generator)


def frobenius_norm(operator: LinearOperator, *, draws: int = 10, generator: torch.Generator | None = None) -> Estimate:
    """||A||_F of each matrix of a batch by Hutch++ for the trace of A^T A, with its standard error.  [meyer2021]

    Costs 4 x `draws` products.  generator, errors: as for `trace`, but any shape will do; its shorter side is sampled.

    >>> M = torch.diag(torch.tensor([3.0, 2.0, 1.0]))[:, :2]
    >>> A = LinearOperator((3, 2), lambda v: M @ v, lambda u: M.mT @ u)
    >>> round(float(frobenius_norm(A, draws=2).value ** 2), 4)
    13.0
    """
    A = operator if operator.shape[-1] <= operator.shape[-2] else operator.mT
    square = _hutch(A, lambda z: A.mT @ (A @ z), lambda z: (A @ z).square().sum(-2), draws, generator)
    norm = square.value.clamp(min=0).sqrt()
    return Estimate(norm, torch.where(norm > 0, square.error / (2 * norm), 0))


def _hutch(
    A: LinearOperator,
    image: Callable[[Tensor], Tensor],
    form: Callable[[Tensor], Float[Tensor, "*batch draws"]],
    draws: int,
    generator: torch.Generator | None,
) -> Estimate:
    """The trace of a matrix by its image of blocks of vectors and its quadratic form of each of them."""
    if draws < 2:
        raise ValueError(f"draws={draws}: the error estimate needs at least two.")
    signs = torch.randint(0, 2, (2, draws, *A.shape[:-2], A.shape[-1]), generator=generator) * 2.0 - 1.0
    inside, outside = signs.movedim(1, -1).to(A.device, A.dtype)
    basis = torch.linalg.qr(image(inside)).Q
    rest = outside - basis @ (basis.mT @ outside)
    sampled = form(rest)
    return Estimate(form(basis).sum(-1) + sampled.mean(-1), sampled.std(-1) / draws**0.5)
