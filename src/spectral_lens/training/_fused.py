"""One dense layer of many runs, with its activation, as one step of automatic differentiation.

What a training step writes again and again goes into buffers.  Fresh megabytes at each layer cost more than the
arithmetic: the allocator hands them back to the system, and every page has to be mapped anew.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["ACTIVATIONS", "Activation", "Buffers", "dense"]

Buffers = dict[tuple[object, ...], Tensor]


class Activation(NamedTuple):
    """A function of each number.

    `apply` works in place; `slope(grad, out, into)` writes grad times the derivative, which the output tells.
    """

    apply: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor, Tensor], Tensor]


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation(
        torch.relu_, lambda grad, out, into: torch.ops.aten.threshold_backward.grad_input(grad, out, 0, grad_input=into)
    ),
    nn.Tanh: Activation(
        torch.tanh_, lambda grad, out, into: torch.ops.aten.tanh_backward.grad_input(grad, out, grad_input=into)
    ),
}


def dense(
    x: Float[Tensor, "r n in"],
    weight: Float[Tensor, "r out in"],
    bias: Float[Tensor, "r out"] | None,
    *,
    activation: Activation | None = None,
    buffers: Buffers | None = None,
    key: object = None,
) -> Float[Tensor, "r n out"]:
    """activation(x W^T + b) for each run.

    buffers: memory that later calls with the same `key` and shapes write again: what an earlier call returned, and
    its gradient, are then gone.  Without them every call has memory of its own, and gradients have gradients.

    >>> x, weight, bias = torch.ones(2, 3, 4), -torch.ones(2, 5, 4), torch.ones(2, 5)
    >>> dense(x, weight, bias, activation=ACTIVATIONS[nn.ReLU], buffers={}).shape
    torch.Size([2, 3, 5])
    """
    if buffers is not None:
        return _Dense.apply(x, weight, bias, activation, buffers, key)
    out = x @ weight.mT if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
    return out if activation is None else activation.apply(out)


class _Dense(torch.autograd.Function):
    """The same with its forward and backward products written into buffers."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        activation: Activation | None,
        buffers: Buffers,
        key: object,
    ) -> Tensor:
        out = torch.bmm(x, weight.mT, out=_buffer(buffers, key, "out", x, (*x.shape[:2], weight.shape[1])))
        if bias is not None:
            out.add_(bias.unsqueeze(1))
        if activation is not None:
            activation.apply(out)
        ctx.save_for_backward(x, weight, None if activation is None else out)
        ctx.activation, ctx.buffers, ctx.key = activation, buffers, key
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        if ctx.activation is not None:
            into = _buffer(ctx.buffers, ctx.key, "slope", x, out.shape)
            grad = ctx.activation.slope(grad, out, into)
        grad_x = grad_weight = None
        into_x, into_weight, into_bias = ctx.needs_input_grad[:3]
        if into_x:
            grad_x = torch.bmm(grad, weight, out=_buffer(ctx.buffers, ctx.key, "x", x, x.shape))
        if into_weight:
            grad_weight = torch.bmm(grad.mT, x, out=_buffer(ctx.buffers, ctx.key, "weight", x, weight.shape))
        return grad_x, grad_weight, grad.sum(1) if into_bias else None, None, None, None


def _buffer(buffers: Buffers, key: object, what: str, like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The tensor of that name and shape, made at the first call; a fresh alias, which has no history."""
    if (key, what, shape) not in buffers:
        buffers[key, what, shape] = like.new_empty(shape)
    return buffers[key, what, shape].detach()
