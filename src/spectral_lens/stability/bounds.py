"""The bounds that join a network's operators, each a function that returns both of its sides.

Everything takes spectra, norms, matrices or callables.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.explain.quality import ssm
from spectral_lens.operators.spectra import attribution_condition, effective_rank, sigma, spectral_entropy

__all__ = [
    "Bound",
    "condition_bound",
    "forward_ratios",
    "forward_sensitivity",
    "kernel_perturbation",
    "kernel_size",
    "norm_refinement",
    "quality_bound",
    "typical_sensitivity",
]


class Bound(NamedTuple):
    """lhs <= rhs, if the bound holds.

    >>> Bound(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 0.0])).ratio
    tensor([0.5000, 0.0000])
    """

    lhs: Tensor
    rhs: Tensor

    @property
    def ratio(self) -> Tensor:
        """lhs / rhs, at most 1 where the bound holds; 0 where both are zero."""
        return torch.where(self.lhs == 0, 0, self.lhs / self.rhs)


def forward_sensitivity(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n *d"],
    shift: Float[Tensor, "n *d"],
    *,
    index: int | float | Float[Tensor, " n"],
) -> Bound:
    """||f(x + d) - f(x)|| <= GMSI ||d|| for each sample, to first order in d.

    index: GMSI, s_J or ||J_f(x)||_2 of each sample.  The bound is exact where the index bounds the Jacobian on the
    whole way, as s_J of a piecewise-linear network does within a piece.

    >>> matrix = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    >>> shift = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> forward_sensitivity(lambda x: x @ matrix, torch.zeros(2, 2), shift, index=3.0)
    Bound(lhs=tensor([3., 1.]), rhs=tensor([3., 3.]))
    """
    with torch.no_grad():
        return Bound(_length(function(x + shift) - function(x.clone())), index * _length(shift))


def norm_refinement(s: Float[Tensor, "*n r"]) -> Bound:
    """||J||_F^2 <= exp(H) ||J||_2^2, from the singular values: H is a mean of -log p_i, and each is >= -log p_1.

    >>> norm_refinement(torch.tensor([2.0, 2.0]))  # attained by flat spectra
    Bound(lhs=tensor(8.), rhs=tensor(8.))
    """
    return Bound(s.square().sum(-1), effective_rank(s) * s.square().amax(-1))


def typical_sensitivity(s: Float[Tensor, "*n r"], *, inputs: int) -> Bound:
    """E ||J u||^2 = ||J||_F^2 / d <= exp(H) / d ||J||_2^2 for a direction u that is uniform on the sphere.

    inputs: d.  Raises ValueError where there are fewer than singular values.

    >>> typical_sensitivity(torch.tensor([2.0, 2.0]), inputs=4)
    Bound(lhs=tensor(2.), rhs=tensor(2.))
    """
    if inputs < s.shape[-1]:
        raise ValueError(f"inputs={inputs}: a matrix with {s.shape[-1]} singular values has at least as many.")
    lhs, rhs = norm_refinement(s)
    return Bound(lhs / inputs, rhs / inputs)


def condition_bound(s: Float[Tensor, "*n r"]) -> Bound:
    """sqrt(r) exp(-H / 2) <= kappa: a low entropy forces a large `attribution_condition`.

    >>> round(float(condition_bound(torch.tensor([2.0, 2.0])).ratio), 6)
    1.0
    """
    return Bound(math.sqrt(s.shape[-1]) * (-spectral_entropy(s) / 2).exp(), attribution_condition(s))


def quality_bound(R: Float[Tensor, "*n k d"]) -> Bound:
    """SSM^2 = ||R||_F^2 / ||R||_2^2 <= exp(H(R)): what `quality.ssm` measures is a typical over a worst case, too.

    >>> round(float(quality_bound(torch.eye(3)).lhs), 6)  # SSM^2 of three explanations at right angles
    3.0
    """
    return Bound(ssm(R).square(), effective_rank(sigma(R)))


def kernel_perturbation(K: Float[Tensor, "*b n n"], changed: Float[Tensor, "*b n n"]) -> Bound:
    """max_i |lambda_i(K') - lambda_i(K)| <= ||K' - K||_2 for symmetric matrices.  [weyl1912]

    Raises ValueError for matrices that are empty, not symmetric, or of different sizes.

    >>> K = torch.eye(3)
    >>> bool(kernel_perturbation(K, 1.5 * K).ratio <= 1 + 1e-6)
    True
    """
    if K.shape != changed.shape or not K.numel():
        raise ValueError(
            f"the kernels are {tuple(K.shape)} and {tuple(changed.shape)}: alike, and not empty, is needed."
        )
    for name, matrix in (("K", K), ("changed", changed)):
        off = (matrix - matrix.mT).abs().amax((-2, -1))
        if not (off <= 1e-4 * matrix.abs().amax((-2, -1))).all():
            raise ValueError(f"{name} is not symmetric, or not finite.")
    before, after = torch.linalg.eigvalsh(K), torch.linalg.eigvalsh(changed)
    return Bound((after - before).abs().amax(-1), torch.linalg.eigvalsh(changed - K).abs().amax(-1))


def kernel_size(K: Float[Tensor, "m m"], norms: Float[Tensor, " n"]) -> Bound:
    """s_K = lambda_max(K) / n <= mean_i ||grad_theta f(x_i)||_2^2, which is at most s_theta^2.

    K = G G^T with the samples' gradients, each (k, p), as the block rows of G, and ||G||_2^2 <= sum_i ||G_i||_2^2.
    K: the kernel of n samples, m = n or, with all outputs, m = n k.  norms: of the same samples.
    Raises ValueError where m is no multiple of n.

    >>> G = torch.tensor([[1.0, 0.0], [0.0, 2.0]])  # one gradient a row
    >>> kernel_size(G @ G.mT, torch.linalg.vector_norm(G, dim=1))
    Bound(lhs=tensor(2.), rhs=tensor(2.5000))
    """
    if not len(norms) or len(K) % len(norms):
        raise ValueError(f"a kernel of {len(K)} rows does not belong to {len(norms)} samples.")
    return Bound(torch.linalg.eigvalsh(K)[-1] / len(norms), norms.square().mean())


def forward_ratios(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n *d"],
    directions: Float[Tensor, "m n *d"],
    *,
    lengths: Sequence[int | float],
    index: int | float | Float[Tensor, " n"],
) -> Float[Tensor, "n lengths"]:
    """How much of `forward_sensitivity` is used: for each sample and length of a step the most over its directions.

    directions: m for each sample, each of length one.  index: as for `forward_sensitivity`.
    Raises ValueError for no directions or lengths, and for directions that are not of length one.

    >>> x, along = torch.zeros(2, 3), torch.eye(3).unsqueeze(1).expand(3, 2, 3)
    >>> forward_ratios(lambda z: z * torch.tensor([1.0, 2.0, 4.0]), x, along, lengths=[0.1, 10], index=4.0)
    tensor([[1., 1.],
            [1., 1.]])
    """
    if not len(directions) or not len(lengths):
        raise ValueError("at least one direction and one length of a step are needed.")
    if not ((_length(directions.flatten(0, 1)) - 1).abs() < 1e-4).all():
        raise ValueError("the directions must be of length one: divide each by its own.")
    columns = []
    for size in lengths:
        ratios = [forward_sensitivity(function, x, size * each, index=index).ratio for each in directions]
        columns.append(torch.stack(ratios).amax(0))
    return torch.stack(columns, 1)


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1)
