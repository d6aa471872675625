"""A layer with weights, as the rules of layer-wise relevance propagation see it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_lens.nn.layers import TRANSPOSED

Affine = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Layer:
    """What a rule sees of a layer with weights, dense or convolutional.

    affine(a, w, b): the layer as a function of its inputs, weights and bias.  a, w: those of the layer.
    bias: the layer's own; with_bias: whether it takes part; factor: see `ones`.

    >>> import torch
    >>> layer = Layer(F.linear, torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]))
    >>> layer.z, layer.positive, layer.negative
    (tensor([[1.]]), tensor([[3.]]), tensor([[-2.]]))
    """

    affine: Affine
    a: Tensor
    w: Tensor
    bias: Tensor | None = None
    with_bias: bool = True
    factor: Tensor | None = None

    @property
    def b(self) -> Tensor | None:
        """The bias where it takes part, as one more input, which keeps the relevance that falls to it; else None."""
        return self.bias if self.with_bias else None

    @cached_property
    def output(self) -> Tensor:
        """What the layer computes."""
        return self.affine(self.a, self.w, self.bias)

    @cached_property
    def z(self) -> Tensor:
        """The sum of the a_j w_jk and b_k: the output itself, unless the bias is left out."""
        return self.output if self.b is self.bias else self.affine(self.a, self.w, None)

    @property
    def positive(self) -> Tensor:
        """The sum of those a_j w_jk and b_k that are positive."""
        return self.by_sign(self.w.clamp(min=0), self.w.clamp(max=0), None if self.b is None else self.b.clamp(min=0))

    @property
    def negative(self) -> Tensor:
        """The sum of those a_j w_jk and b_k that are negative."""
        return self.by_sign(self.w.clamp(max=0), self.w.clamp(min=0), None if self.b is None else self.b.clamp(max=0))

    @property
    def ones(self) -> Tensor:
        """Ones in place of the inputs, for rules that do not look at their values (`first_only`)."""
        if self.factor is None:
            raise ValueError("only inputs of the model can be replaced by ones: such a rule says first_only = True.")
        return self.factor.reshape(self.a.shape)

    def by_sign(self, above: Tensor, below: Tensor, b: Tensor | None) -> Tensor:
        """The positive inputs through the weights `above`, the negative ones through `below`."""
        return self.affine(self.a.clamp(min=0), above, b) + self.affine(self.a.clamp(max=0), below, None)


def layer_of(layer: Any, a: Tensor, *, with_bias: bool = True, factor: Tensor | None = None) -> Layer:
    """A plain layer (see `nn.plain`) at the inputs `a`; with_bias, factor: see `Layer`."""
    return Layer(_affine(layer), a, layer.weight, layer.bias, with_bias, factor)


def _affine(layer: Any) -> Affine:
    if isinstance(layer, nn.Linear):
        return F.linear
    if type(layer) not in TRANSPOSED:
        return layer._conv_forward
    transposed = {nn.ConvTranspose1d: F.conv_transpose1d, nn.ConvTranspose2d: F.conv_transpose2d}
    function = transposed.get(type(layer), F.conv_transpose3d)
    geometry = layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
    return lambda a, w, b: function(a, w, b, *geometry)


def stabilised(denominator: Tensor, amount: float) -> Tensor:
    """The denominator, moved away from zero by that amount, upwards where it is zero."""
    return torch.where(denominator < 0, denominator - amount, denominator + amount)
