"""The largest singular value and the Frobenius norm of a matrix that is known by its products alone.

Each with an error estimate; all samples of a batch are worked on together.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import vjp

from spectral_lens._runtime.conv_backward import Swift


class Products(NamedTuple):
    """What is known of R: `apply` is R z, (n, k) to (n, d); `adjoint` is R^T u, (n, d) to (n, k).

    kept, (n, k): columns that were not left out; these are zero, as in `quality.redistribution`.
    """

    apply: Callable[[Float[Tensor, "n k"]], Float[Tensor, "n d"]]
    adjoint: Callable[[Float[Tensor, "n d"]], Float[Tensor, "n k"]]
    kept: Bool[Tensor, "n k"]


class Estimate(NamedTuple):
    """A value for each sample, and how far it may be off."""

    value: Float[Tensor, " n"]
    error: Float[Tensor, " n"]


def derivative(function: Callable[[Tensor], Tensor], at: Float[Tensor, "n *d"]) -> Products:
    """The transposed Jacobian of `function`, (n, *d) to (n, k), at `at`, each sample on its own.

    `apply` is J^T z, `adjoint` is J u; nothing is divided, and no column left out.
    """
    with torch.no_grad():
        with Swift():
            out, pull = vjp(function, at)  # type: ignore[misc]
        # the pull-back is linear, so its own pull-back is the push-forward
        _, push = vjp(lambda z: pull(z)[0], torch.zeros_like(out))  # type: ignore[misc]

    def apply(z: Tensor) -> Tensor:
        with torch.no_grad():
            return pull(z.to(out))[0].flatten(1)

    def adjoint(u: Tensor) -> Tensor:
        with torch.no_grad():
            return push(u.view_as(at))[0]

    return Products(apply, adjoint, torch.ones_like(out, dtype=torch.bool))


def largest(
    matrix: Products, *, tolerance: float = 0.01, steps: int = 30, generator: torch.Generator | None = None
) -> Estimate:
    """sigma_1 by Golub and Kahan's bidiagonalisation, until its residual is below `tolerance` of it or after `steps`.

    The residual bounds the distance to a singular value; the estimate comes from below.  [Golub and Kahan 1965]
    generator: of the start, on the CPU.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    start = torch.randn(matrix.kept.shape, generator=generator)
    v = _unit(_like(matrix, start))[0]
    u, alpha = _unit(matrix.apply(v))
    v = v.to(u)  # the draw's precision need not be the matrix's
    right, left, diagonal = [v], [u], [alpha]
    above: list[Tensor] = []
    for _ in range(steps):
        v, beta = _unit(_orthogonal(matrix.adjoint(left[-1]), right))
        B = torch.diag_embed(torch.stack(diagonal, 1))
        if above:
            B = B + torch.diag_embed(torch.stack(above, 1), 1)
        p, values, _ = torch.linalg.svd(B)
        error = beta * p[:, -1, 0].abs()
        if (error <= tolerance * values[:, 0]).all() or len(right) == matrix.kept.shape[1]:
            break
        u, alpha = _unit(_orthogonal(matrix.apply(v), left))
        right.append(v)
        left.append(u)
        diagonal.append(alpha)
        above.append(beta)
    return Estimate(values[:, 0], error)


def frobenius(matrix: Products, *, draws: int = 10, generator: torch.Generator | None = None) -> Estimate:
    """||R||_F by Hutch++: exact on the span of `draws` products, sampled with `draws` more outside of it.

    The error is the standard error of the sampled part, itself rough for few draws.  Costs 4 x `draws` products.
    [Meyer et al. 2021]
    """
    if draws < 2:
        raise ValueError(f"draws={draws}: the error estimate needs at least two.")
    signs = torch.randint(0, 2, (2, draws, *matrix.kept.shape), generator=generator) * 2.0 - 1.0
    inside, outside = (_like(matrix, each) for each in signs)
    sketch = torch.stack([matrix.adjoint(matrix.apply(z)) for z in inside], 2)
    basis = torch.linalg.qr(sketch).Q  # (n, k, draws)
    exact = sum(matrix.apply(z).square().sum(1) for z in basis.unbind(2))
    rest = outside.movedim(0, 2).to(basis)
    rest = rest - basis @ (basis.mT @ rest)
    sampled = torch.stack([matrix.apply(z).square().sum(1) for z in rest.unbind(2)], 1)
    norm = (exact + sampled.mean(1)).sqrt()
    return Estimate(norm, sampled.std(1) / draws**0.5 / (2 * norm))


def _like(matrix: Products, values: Tensor) -> Tensor:
    """The values on the matrix's device, zero at the columns that are left out."""
    return values.to(matrix.kept.device) * matrix.kept


def _unit(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample's vector at length one (or zero), and its length."""
    length = torch.linalg.vector_norm(vectors, dim=1)
    return vectors / torch.where(length > 0, length, 1).unsqueeze(1), length


def _orthogonal(vectors: Tensor, to: list[Tensor]) -> Tensor:
    """The part at right angles to all earlier vectors, twice, so that rounding does not bring them back."""
    before = torch.stack(to, 2)
    for _ in range(2):
        vectors = vectors - (before @ (before.mT @ vectors.unsqueeze(2))).squeeze(2)
    return vectors
