"""Optimisers for many runs at once: `theta` holds one run's parameters in each row, `rate` one number per row.

They are elementwise and keep every number on the device, so a row moves as it would alone and a step can be captured.
They make no tensor of theta's size while they run: fresh memory would cost more than the arithmetic (see `dense`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Matrix = Float[Tensor, "r p"]
Column = Float[Tensor, "r 1"]


class Optimizer(NamedTuple):
    """`update(gradient)` moves theta and spoils the gradient; `slots` is what it remembers, for a checkpoint."""

    update: Callable[[Tensor], None]
    slots: dict[str, Tensor]


def _power(theta: Tensor) -> Tensor:
    """beta^t on the device, in double precision: it starts at 1 and is multiplied by beta at each step."""
    return torch.ones((), dtype=torch.float64, device=theta.device)


def adam(theta: Matrix, rate: Column, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """theta -= rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).  [Kingma and Ba 2015, algorithm 1]"""
    m, v, power1, power2 = torch.zeros_like(theta), torch.zeros_like(theta), _power(theta), _power(theta)
    step = torch.empty_like(theta)

    def update(gradient: Tensor) -> None:
        m.lerp_(gradient, 1 - beta1)
        v.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        power1.mul_(beta1)
        power2.mul_(beta2)
        scale = torch.div(v, 1 - power2, out=gradient).sqrt_().add_(eps)
        theta.addcdiv_(torch.mul(m, rate / (power1 - 1), out=step), scale)

    return Optimizer(update, {"m": m, "v": v, "power1": power1, "power2": power2})


def adamax(theta: Matrix, rate: Column, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """theta -= rate m / (1 - beta1^t) / u,  u = max(beta2 u, |g| + eps).  [Kingma and Ba 2015, algorithm 2]"""
    m, u, power1, step = torch.zeros_like(theta), torch.zeros_like(theta), _power(theta), torch.empty_like(theta)

    def update(gradient: Tensor) -> None:
        m.lerp_(gradient, 1 - beta1)
        torch.maximum(u.mul_(beta2), gradient.abs_().add_(eps), out=u)
        power1.mul_(beta1)
        theta.addcdiv_(torch.mul(m, rate / (power1 - 1), out=step), u)

    return Optimizer(update, {"m": m, "u": u, "power1": power1})


def sgd(theta: Matrix, rate: Column) -> Optimizer:
    """theta -= rate g."""
    return Optimizer(lambda gradient: theta.sub_(gradient.mul_(rate)), {})  # type: ignore[arg-type]


OPTIMIZERS: dict[str, Callable[[Tensor, Tensor], Optimizer]] = {"adam": adam, "adamax": adamax, "sgd": sgd}
