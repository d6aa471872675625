"""What one spectrum says: singular values, their length and entropy, the worst amplification over the typical one."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["attribution_condition", "effective_rank", "sensitivity", "sigma", "spectral_entropy"]


def sigma(R: Float[Tensor, "*n k d"]) -> Float[Tensor, "*n smaller"]:
    """The singular values, largest first, of the smaller Gram matrix, in double precision.

    Values below 1e-8 of the largest are rounding errors of the square; what the metrics need are the large ones.

    >>> sigma(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
    tensor([4., 3.])
    """
    wide = R.double() if R.shape[-2] <= R.shape[-1] else R.double().mT
    return torch.linalg.eigvalsh(wide @ wide.mT).flip(-1).clamp_(min=0).sqrt_().to(R.dtype)


def sensitivity(R: Float[Tensor, "*n k d"]) -> Float[Tensor, "*n"]:
    """||R||_F, the length of all singular values together: how much R answers to the outputs.  [maess, 3.2]

    >>> sensitivity(torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]]))
    tensor(5.)
    """
    # row by row: over all entries at once a CPU's single precision is a percent off where there are 1e8 of them
    return torch.linalg.vector_norm(torch.linalg.vector_norm(R, dim=-1), dim=-1)


def spectral_entropy(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """H = -sum p log p with p_i = s_i^2 / sum s^2, in nats, from 0 (one direction) to log r (all alike).

    Zeros count as directions that nothing goes to.  A spectrum that is zero everywhere has no shape: nan.
    Raises ValueError for an empty spectrum and for values that are not finite.

    >>> round(float(spectral_entropy(torch.ones(5)).exp()), 4)
    5.0
    """
    return torch.special.entr(_shares(s)).sum(-1)


def effective_rank(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """exp(H), from 1 to r: how many equal singular values have that entropy.  [roy2007, there with s for s^2]

    nan and errors as for `spectral_entropy`.

    >>> effective_rank(torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 3.0]])).round(decimals=4)
    tensor([1., 2.])
    """
    return spectral_entropy(s).exp()


def attribution_condition(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """kappa = sqrt(r) s_1 / ||s||_2, the worst amplification over the typical one: 1 (all alike) to sqrt(r).

    r is the number of values given, zeros among them.  nan and errors as for `spectral_entropy`.

    >>> attribution_condition(torch.tensor([[2.0, 2.0, 2.0, 2.0], [3.0, 0.0, 0.0, 0.0]]))
    tensor([1., 2.])
    """
    return (s.shape[-1] * _shares(s).amax(-1)).sqrt()


def _shares(s: Tensor) -> Tensor:
    """p, (*n, r); nan where all is zero."""
    if not s.shape[-1]:
        raise ValueError(f"the spectrum is {tuple(s.shape)}: it needs at least one singular value.")
    if not s.isfinite().all():
        raise ValueError("the spectrum holds NaN or infinite values.")
    square = (s / s.abs().amax(-1, keepdim=True)).square()  # no overflow, whatever the scale
    return square / square.sum(-1, keepdim=True)
