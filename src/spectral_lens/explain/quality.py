"""How good an explanation is, read off the singular values of its redistribution matrix.  [maess]

Column k of R says how output k is redistributed to the inputs: its relevance divided by its sum.  In the papers R is
d x k; here, like all relevance, it is stored as (n, k, d), one row for each output.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spectral_lens.operators.jacobian import jacobian_at
from spectral_lens.operators.linear import LinearOperator
from spectral_lens.operators.spectra import sensitivity, sigma

__all__ = [
    "Redistribution", "amplification", "decompose", "entropy", "expanded", "inverted", "leading_share",
    "redistribution", "redistribution_operator", "spectral_measures", "ssm", "stability",
]  # fmt: skip


class Redistribution(NamedTuple):
    """R, (n, k, d); `mask`, (n, k): whether the column is there or was left out, and is then zero.

    A zero column changes no singular value but adds zeros, so matrices with other columns left out stay comparable.
    """

    R: Float[Tensor, "n k d"]
    mask: Bool[Tensor, "n k"]


def redistribution(
    relevance: Float[Tensor, "..."], *, by: Float[Tensor, "..."] | None = None, threshold: float = 0.0
) -> Redistribution:
    """R, whose columns are the relevance of each output, (n, k, *d), over its sum.  [maess, 3]

    by: what to divide by instead, the outputs f_k, (n, k), say; both are one where the method conserves relevance.
    threshold: columns whose denominator is below this share of the sample's largest one are left out, with them all
    that are zero: the quotient would be noise.  Half precision is taken as single.
    Raises ValueError for a threshold outside [0, 1), for relevance of another shape or that is not finite, and where
    nothing is left; TypeError for what is no tensor.

    >>> redistribution(torch.tensor([[[3.0, 1.0], [0.1, 0.1]]]), threshold=0.1)
    Redistribution(R=tensor([[[0.7500, 0.2500],
             [0.0000, 0.0000]]]), mask=tensor([[ True, False]]))
    """
    relevance = _finite(relevance, "the relevance")
    if relevance.ndim < 3:
        raise ValueError(
            f"the relevance is {tuple(relevance.shape)}: (n, k, *d) is needed, a map of each output of each sample."
        )
    flat = relevance.flatten(2)
    if by is not None and by.shape != flat.shape[:2]:
        raise ValueError(f"by is {tuple(by.shape)}: it must hold a number for each map, {tuple(flat.shape[:2])}.")
    sums = flat.sum(2) if by is None else _finite(by, "by").to(flat)
    inverse, mask = inverted(sums, threshold=threshold)
    return Redistribution(flat * inverse.unsqueeze(2), mask)


def inverted(sums: Float[Tensor, "n k"], *, threshold: float) -> tuple[Float[Tensor, "n k"], Bool[Tensor, "n k"]]:
    """1 / sums, zero for the columns that are left out (see `redistribution`), and which are kept.

    >>> inverted(torch.tensor([[4.0, 0.2]]), threshold=0.1)
    (tensor([[0.2500, 0.0000]]), tensor([[ True, False]]))
    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold={threshold} must lie in [0, 1).")
    size = sums.abs()
    mask = (size >= threshold * size.amax(1, keepdim=True)) & (size > 0)
    if not mask.any(1).all():
        empty = (~mask.any(1)).nonzero().flatten().tolist()
        raise ValueError(f"no output of samples {empty} has relevance that can be divided by its sum.")
    return torch.where(mask, 1 / torch.where(mask, sums, 1), 0), mask


def _finite(values: Tensor, what: str) -> Tensor:
    """The values, in single precision at least, once they are seen to be finite numbers."""
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"{what} must be a floating tensor, not {kind}.")
    if not values.numel():
        raise ValueError(f"{what} is {tuple(values.shape)}: nothing is in it.")
    if not torch.stack(torch.aminmax(values.detach())).isfinite().all():
        raise ValueError(f"{what} holds NaN or infinite values.")
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _matrices(R: Tensor) -> Tensor:
    """R, (k, d) or (n, k, d), once it is seen to be that, and not maps that were never flattened."""
    R = _finite(R, "R")
    if R.ndim not in (2, 3):
        raise ValueError(
            f"R is {tuple(R.shape)}: it must be (n, k, d), as redistribution gives it; maps must be flattened first, "
            "E.flatten(2)."
        )
    low, high = torch.aminmax(R.detach().flatten(-2), dim=-1)  # no array as large as R beside it
    if ((low == 0) & (high == 0)).any():
        raise ValueError("a redistribution matrix that is zero everywhere has no singular directions.")
    return R


def stability(R: Float[Tensor, "..."]) -> Float[Tensor, "*n"]:
    """1 / sigma_1 of R, (n, k, d) or one matrix: how little outputs' changes can be amplified.  [maess, 3.1, eq. 2]

    Raises ValueError for maps that are not flattened, for R that is zero or not finite.

    >>> round(float(stability(torch.tensor([[[0.0, 2.0], [0.5, 0.0]]]))), 4)
    0.5
    """
    return 1 / sigma(_matrices(R))[..., 0]


def ssm(R: Float[Tensor, "..."]) -> Float[Tensor, "*n"]:
    """Stability times sensitivity of R, (n, k, d) or one matrix: from 1 to the square root of the rank.  [maess, 3.3]

    Raises ValueError as `stability`.

    >>> round(float(ssm(torch.eye(4)[None])), 4)  # sqrt(4)
    2.0
    """
    return spectral_measures(R)["SSM"]


def entropy(relevance: Float[Tensor, "..."]) -> Float[Tensor, "*n"]:
    """-sum p log p with p = |relevance| / sum |relevance|, in nats.  [maess, 4.2]

    relevance: inputs in the last axis, at most two others before it.  exp(entropy) is the number of inputs that an even
    explanation of the same entropy would speak of.
    Raises ValueError for an explanation that is zero everywhere, not finite or not flattened.

    >>> round(float(entropy(torch.ones(8)).exp()), 4)
    8.0
    """
    if not 1 <= relevance.ndim <= 3:
        raise ValueError(
            f"maps of shape {tuple(relevance.shape)}: their inputs must stand in one axis, flatten them, E.flatten(2)."
        )
    size = _finite(relevance, "the relevance").abs()
    whole = size.sum(-1, keepdim=True)
    if not (whole > 0).all():
        raise ValueError("an explanation that is zero everywhere has no entropy.")
    return torch.special.entr(size / whole).sum(-1)


def decompose(R: Float[Tensor, "..."], z: Float[Tensor, "..."]) -> Float[Tensor, "n smaller d"]:
    """Singular heat maps sigma_i u_i (v_i^T z), the largest singular value first; they add up to R z.  [maess, eq. 10]

    R: (n, k, d).  z: what is explained, (n, k): f_k at one class, or a difference of classes.
    Raises ValueError for other shapes, and for values that are not finite.

    >>> R, z = torch.rand(2, 3, 5), torch.rand(2, 3)
    >>> torch.allclose(decompose(R, z).sum(1), torch.einsum("nkd,nk->nd", R, z), atol=1e-5)
    True
    """
    R, z = _asked(R, z)
    v, values, u = torch.linalg.svd(R, full_matrices=False)  # of the stored transpose, so v belongs to the outputs
    return (values * (v.mT @ z.unsqueeze(2)).squeeze(2)).unsqueeze(2) * u


def redistribution_operator(
    function: Callable[[Tensor], Tensor], at: Float[Tensor, "n *d"], *, threshold: float = 0.0
) -> LinearOperator:
    """R, (n, k, d), without forming it: of the relevance that is the derivative of `function`, (n, *d) to (n, k).

    For LRP that is `lambda factor: lrp.rewritten(model, rules=rules)(x, factor)` at ones.  `R.mT @ z` redistributes z.
    The relevance's sums, by which it is divided, cost one product.  threshold, errors: as in `redistribution`, by which
    outputs that are left out have zeros.

    >>> x = torch.tensor([[1.0, 3.0]])
    >>> R = redistribution_operator(lambda factor: (x * factor).sum(1, keepdim=True), torch.ones(1, 2))
    >>> R.shape, R.mT @ torch.ones(1, 1)
    (torch.Size([1, 1, 2]), tensor([[0.2500, 0.7500]]))
    """
    relevance = jacobian_at(function, at)
    inverse, _ = inverted(relevance @ torch.ones_like(at).flatten(1), threshold=threshold)
    return LinearOperator(
        relevance.shape,
        lambda u: (relevance @ u) * inverse,
        lambda z: relevance.mT @ (z * inverse),
        dtype=relevance.dtype,
        device=relevance.device,
    )


def _asked(R: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """R, (n, k, d), and questions to it, (n, k) or more of them, (s, n, k)."""
    R, z = _finite(R, "R"), _finite(z, "z")
    if R.ndim != 3 or z.shape[-2:] != R.shape[:2]:
        raise ValueError(f"R is {tuple(R.shape)} and z {tuple(z.shape)}: they must be (n, k, d) and (n, k).")
    return R, z.to(R)


def spectral_measures(R: Float[Tensor, "..."]) -> dict[str, Float[Tensor, "*n"]]:
    """Stability, sensitivity and their product, the SSM, of R, (n, k, d) or one matrix, by name.  [maess, 3]

    Raises ValueError as `stability`.

    >>> {name: round(value.item(), 3) for name, value in spectral_measures(2 * torch.eye(3, 5)).items()}
    {'stability': 0.5, 'sensitivity': 3.464, 'SSM': 1.732}
    """
    R = _matrices(R)
    low, high = 1 / sigma(R)[..., 0], sensitivity(R)
    return {"stability": low, "sensitivity": high, "SSM": low * high}


def amplification(R: Float[Tensor, "..."], z: Float[Tensor, "..."]) -> Float[Tensor, "s n"]:
    """||R z|| / (sigma_1 ||z||) of s questions, (s, n, k), to each R, (n, k, d): at most one.  [maess, eq. 2]

    Raises ValueError for other shapes, and for an R or a question that is zero.

    >>> amplification(torch.eye(2, 3).unsqueeze(0), torch.ones(1, 1, 2)).tolist()
    [[1.0]]
    """
    R, z = _asked(_matrices(R), z)
    if z.ndim != 3 or not z.abs().amax(2).all():
        raise ValueError(f"z is {tuple(z.shape)}: (s, n, k) questions are needed, none of them zero.")
    answers = torch.einsum("nkd,snk->snd", R, z)
    return torch.linalg.vector_norm(answers, dim=2) / torch.linalg.vector_norm(z, dim=2) / sigma(R)[:, 0]


def expanded(R: Float[Tensor, "..."], z: Float[Tensor, "..."]) -> Float[Tensor, "n terms d"]:
    """The explanation R z, first, and behind it the singular heat maps of `decompose`, which add up to it.

    R, z, errors: as there.

    >>> tuple(expanded(torch.rand(4, 3, 7), torch.ones(4, 3)).shape)
    (4, 4, 7)
    """
    R, z = _asked(R, z)
    return torch.cat([(R * z.unsqueeze(2)).sum(1, keepdim=True), decompose(R, z)], 1)


def leading_share(R: Float[Tensor, "..."]) -> Float[Tensor, "*n"]:
    """sigma_1^2 / ||R||_F^2 of R, (n, k, d) or one matrix, the share of the first singular direction: 1 / SSM^2.

    Raises ValueError as `stability`.

    >>> leading_share(torch.eye(4, 9)).item()
    0.25
    """
    R = _matrices(R)
    return sigma(R)[..., 0].square() / R.square().sum((-2, -1))
