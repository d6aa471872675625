"""LRP of a network whose first layer is spectral: the eigenvalue of an input is a factor of its relevance."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.explain import lrp
from spectral_lens.explain._layer import stabilised
from spectral_lens.nn._checks import checked, same
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.plain import check_plain

__all__ = ["relevance_by_eigenvalue"]


def relevance_by_eigenvalue(
    model: nn.Module, x: Float[Tensor, "n d"], *, epsilon: float = 0.0
) -> Float[Tensor, "n k d"]:
    """Relevance of each input for each output as the eigenvalue times the rest.  [chicchi, eq. 5]

        R_i = lam_in_i a_i sum_j psi_ji / (z_j + epsilon sign z_j) R_j        (zero where the denominator is)

    The R_j are LRP's in the layers behind the first, so only the last step is written out.  The same as
    `lrp(model, x, rules=...)` with the rule zero, or epsilon for a positive `epsilon`.
    model: a Sequential that begins with Flatten and a SpectralLinear without lam_out, as `mlp` makes it.
    Raises ValueError where it does not.

    >>> from spectral_lens.nn.mlp import mlp
    >>> relevance_by_eigenvalue(mlp([7, 5, 3]).eval(), torch.rand(4, 7)).shape
    torch.Size([4, 3, 7])
    """
    layers = list(model.children()) if isinstance(model, nn.Sequential) else []
    flatten, first = layers[:2] if len(layers) > 1 else (None, None)
    if not isinstance(flatten, nn.Flatten) or not isinstance(first, SpectralLinear) or first.lam_out.any():
        raise ValueError("the model must begin with Flatten and a SpectralLinear whose lam_out are zero, as of mlp().")
    if epsilon < 0:
        raise ValueError(f"epsilon={epsilon} must not be negative.")
    check_plain("the first layer", first)
    tried = checked(model, x)
    rule = lrp.epsilon(epsilon) if epsilon else lrp.zero()
    behind = nn.Sequential(*layers[2:])
    behind.training = model.training  # of the container alone: eval() would change the model's own layers
    x = x.detach()
    with torch.no_grad():
        z = first(x)
        if not same(behind(first(tried.x.flatten(1)))[0], tried.out[0]):
            raise ValueError("the layers one after the other do not give the model's outputs: are there hooks?")
    R = lrp.lrp(behind, z, rules=rule)
    with torch.no_grad():
        below = stabilised(z, epsilon).unsqueeze(1)
        rest = x.unsqueeze(1) * (torch.where(below == 0, 0, R / below) @ first.psi)
        return first.lam_in * rest
