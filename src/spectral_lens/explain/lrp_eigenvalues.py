"""Explanations of a network whose first layer is spectral: the eigenvalue of an input is a factor of them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.explain import lrp
from spectral_lens.explain._layer import stabilised
from spectral_lens.explain._parted import parted
from spectral_lens.explain.gradients import gradient

__all__ = ["alignment", "relevance_by_eigenvalue"]


def relevance_by_eigenvalue(
    model: nn.Module, x: Float[Tensor, "n d"], *, epsilon: float = 0.0, gamma: float = 0.0
) -> Float[Tensor, "n k d"]:
    """Relevance of each input for each output as the eigenvalue times the rest.  [chicchi, eqs. 5 and 6]

        R_i = lam_in_i a_i sum_j (psi_ji + gamma psi_ji^s) / (z_j + epsilon sign z_j) R_j

    zero where the denominator is.  psi^s is psi where it has the eigenvalue's sign, else zero: that is where the weight
    is positive; z_j is the sum of the contributions, raised like them.  The R_j are LRP's in the layers behind the
    first, so only the last step is written out.  The same as `lrp(model, x, rules=...)` with the rule zero, or epsilon
    for a positive `epsilon`; or for a positive `gamma` with that rule in the first layer and zero behind it.
    model: a Sequential that begins with Flatten and a SpectralLinear without lam_out, as `mlp` makes it.
    Raises ValueError where it does not, for negative numbers, and where both are positive.

    >>> from spectral_lens.nn.mlp import mlp
    >>> relevance_by_eigenvalue(mlp([7, 5, 3]).eval(), torch.rand(4, 7)).shape
    torch.Size([4, 3, 7])
    """
    if epsilon < 0 or gamma < 0 or (epsilon and gamma):
        raise ValueError(f"epsilon={epsilon} and gamma={gamma} must not be negative, and one of them zero.")
    first, z, behind = parted(model, x)
    R = lrp.lrp(behind, z, rules=lrp.epsilon(epsilon) if epsilon else lrp.zero())
    x = x.detach()
    with torch.no_grad():
        psi = first.psi + gamma * torch.where(first.psi * first.lam_in > 0, first.psi, 0)
        if gamma:
            b = 0 if first.bias is None else first.bias + gamma * first.bias.clamp(min=0)
            z = x @ (first.lam_in * psi).mT + b
        below = stabilised(z, epsilon).unsqueeze(1)
        rest = x.unsqueeze(1) * (torch.where(below == 0, 0, R / below) @ psi)
        return first.lam_in * rest


def alignment(model: nn.Module, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k d"]:
    """|cos| of the angle between an input's weights and the output's gradient by the first layer's sums z.

        |df_k / dx_i| = relevance_i |df_k / dz| |cos(psi_i, df_k / dz)|

    So it is all that saliency knows of an input beyond its relevance.  Zero where an input has no weights, or an output
    no gradient.  model, errors: as in `relevance_by_eigenvalue`.

    >>> from spectral_lens.nn.mlp import mlp
    >>> float(alignment(mlp([7, 5, 3]).eval(), torch.rand(4, 7)).amax()) <= 1
    True
    """
    first, z, behind = parted(model, x)
    g = gradient(behind, z)  # (n, k, h)
    with torch.no_grad():
        psi = torch.nn.functional.normalize(first.psi, dim=0, eps=torch.finfo(g.dtype).tiny)
        cosines = torch.nn.functional.normalize(g, dim=2, eps=torch.finfo(g.dtype).tiny) @ psi
        return cosines.abs().clamp(max=1)
