"""Convolutions whose derivative by their input costs as much as they do.

That derivative is a convolution itself, with each kernel turned round and the channels exchanged.  On a CPU PyTorch has
code of its own for it, which is two to four times as slow as the convolution where channels are few.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight
from torch.overrides import TorchFunctionMode

__all__ = ["FastConvBackward", "Pair"]

_FEW = 3  # channels, of images say, for which adding up the kernels' columns is faster still

Pair = tuple[int, int]


class FastConvBackward(TorchFunctionMode):
    """Within it, two-dimensional convolutions on a CPU have the faster derivative; nothing else changes.

    Convolutions with groups, with dilation or with more padding than the kernel reaches stay as they are.

    >>> x, w = torch.ones(1, 2, 5, 5, requires_grad=True), torch.ones(3, 2, 3, 3)
    >>> with FastConvBackward():
    ...     (slope,) = torch.autograd.grad(torch.conv2d(x, w).sum(), x)
    >>> slope[0, 0, 0]  # how many of the kernels reach the pixel
    tensor([3., 6., 9., 6., 3.])
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and (known := _known(*args, **(kwargs or {}))):
            return _Convolution.apply(*known)
        return func(*args, **(kwargs or {}))


def _known(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None, Pair, Pair] | None:
    """What `_Convolution` takes; None where it would be no faster or does not know how."""
    if input.device.type != "cpu" or input.ndim != 4 or isinstance(padding, str) or groups > 1:
        return None
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    beyond = any(p >= k for p, k in zip(padding, weight.shape[2:], strict=True))
    if dilation != (1, 1) or beyond or (stride != (1, 1) and input.shape[1] > _FEW):
        return None
    return input, weight, bias, stride, padding


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


class _Convolution(torch.autograd.Function):
    """x to the sum over channels and kernel of w x, plus the bias."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, bias: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
        return torch.conv2d(x, w, bias, stride, padding)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        x, w, _, ctx.stride, ctx.padding = inputs
        ctx.size = tuple(x.shape[2:])
        ctx.save_for_backward(w, x if ctx.needs_input_grad[1] else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (w, x) = grads, ctx.saved_tensors
        return (
            _Transposed.apply(grad, w, ctx.size, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None,
            conv2d_weight(x, w.shape, grad, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None,
            grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


class _Transposed(torch.autograd.Function):
    """The transpose of the convolution without its bias: from its outputs to inputs of the given size."""

    generate_vmap_rule = True

    @staticmethod
    def forward(y: Tensor, w: Tensor, size: Pair, stride: Pair, padding: Pair) -> Tensor:
        kernel = w.shape[2:]
        if w.shape[1] <= _FEW:
            return F.fold(w.flatten(1).mT @ y.flatten(2), size, kernel, padding=padding, stride=stride)
        rest = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
        return torch.conv2d(y, w.flip(2, 3).transpose(0, 1), padding=rest)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        y, w, _, ctx.stride, ctx.padding = inputs
        ctx.save_for_backward(w, y if ctx.needs_input_grad[1] else None)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,), (w, y) = grads, ctx.saved_tensors
        return (
            _Convolution.apply(grad, w, None, ctx.stride, ctx.padding) if ctx.needs_input_grad[0] else None,
            conv2d_weight(grad, w.shape, y, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None,
            None,
            None,
            None,
        )
