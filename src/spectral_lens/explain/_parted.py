"""A network parted behind its spectral first layer."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.nn._checks import checked, same
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.plain import check_plain

__all__ = ["Parted", "parted"]


class Parted(NamedTuple):
    """The first layer, its sums z = W x + b, (n, h), and the layers behind it, which are in the model's mode."""

    first: SpectralLinear
    z: Float[Tensor, "n h"]
    behind: nn.Sequential


def parted(model: nn.Module, x: Float[Tensor, "n d"]) -> Parted:
    """The parts of a Sequential that begins with Flatten and a SpectralLinear without lam_out, as `mlp` makes it.

    Raises ValueError where it does not, and where the parts one after the other do not give the model's outputs.

    >>> from spectral_lens.nn.mlp import mlp
    >>> parted(mlp([7, 5, 3]).eval(), torch.rand(4, 7)).z.shape
    torch.Size([4, 5])
    """
    layers = list(model.children()) if isinstance(model, nn.Sequential) else []
    flatten, first = layers[:2] if len(layers) > 1 else (None, None)
    if not isinstance(flatten, nn.Flatten) or not isinstance(first, SpectralLinear) or first.lam_out.any():
        raise ValueError("the model must begin with Flatten and a SpectralLinear whose lam_out are zero, as of mlp().")
    check_plain("the first layer", first)
    tried = checked(model, x)
    behind = nn.Sequential(*layers[2:])
    behind.training = model.training  # of the container alone: eval() would change the model's own layers
    with torch.no_grad():
        z = first(x.detach())
        if not same(behind(first(tried.x.flatten(1)))[0], tried.out[0]):
            raise ValueError("the layers one after the other do not give the model's outputs: are there hooks?")
    return Parted(first, z, behind)
