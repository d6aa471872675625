"""Optimisers for many runs at once: `theta` holds one run's parameters in each row, `lr` one number per row.

They are elementwise and keep every number on the device, so a row moves as it would alone and a step can be captured.
They make no tensor of theta's size while they run: fresh memory would cost more than the arithmetic (see `_fused`).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam as fused_adam

__all__ = ["OPTIMIZERS", "Optimizer", "adam", "adamax", "sgd"]

Matrix = Float[Tensor, "r p"]
Column = Float[Tensor, "r 1"]


class Optimizer(NamedTuple):
    """`update(gradient)` moves theta and spoils the gradient; `state` is what it remembers, for a checkpoint."""

    update: Callable[[Tensor], None]
    state: dict[str, Tensor]


def _power(theta: Tensor) -> Tensor:
    """beta^t on the device, in double precision: it starts at 1 and is multiplied by beta at each step."""
    return torch.ones((), dtype=torch.float64, device=theta.device)


def adam(theta: Matrix, lr: Column, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """theta -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps).  [kingma2015, algorithm 1]

    By torch's fused kernel, which reads and writes each number once.

    >>> theta = torch.zeros(2, 1)
    >>> adam(theta, torch.tensor([[0.1], [0.2]])).update(torch.full((2, 1), 3.0))
    >>> [round(value, 4) for value in theta.flatten().tolist()]  # the first step is lr times the sign
    [-0.1, -0.2]
    """
    m, v = torch.zeros_like(theta), torch.zeros_like(theta)
    alike = bool((lr == lr[0]).all())  # then all rows are one tensor to the kernel, which knows one lr
    steps = torch.zeros(1 if alike else len(theta), device=theta.device)
    parts = [slice(None)] if alike else [slice(r, r + 1) for r in range(len(theta))]

    def update(gradient: Tensor) -> None:
        for part, step in zip(parts, steps.unbind(), strict=True):
            fused_adam(
                [theta[part]], [gradient[part]], [m[part]], [v[part]], [], [step], fused=True, amsgrad=False,
                beta1=beta1, beta2=beta2, lr=lr[part][0, 0], weight_decay=0.0, eps=eps, maximize=False,
            )  # fmt: skip

    return Optimizer(update, {"m": m, "v": v, "steps": steps})


def adamax(theta: Matrix, lr: Column, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> Optimizer:
    """theta -= lr m / (1 - beta1^t) / u,  u = max(beta2 u, |g| + eps).  [kingma2015, algorithm 2]

    >>> theta = torch.zeros(2, 1)
    >>> adamax(theta, torch.tensor([[0.1], [0.2]])).update(torch.full((2, 1), 3.0))
    >>> [round(value, 4) for value in theta.flatten().tolist()]
    [-0.1, -0.2]
    """
    m, u, power1, step = torch.zeros_like(theta), torch.zeros_like(theta), _power(theta), torch.empty_like(theta)

    def update(gradient: Tensor) -> None:
        m.lerp_(gradient, 1 - beta1)
        torch.maximum(u.mul_(beta2), gradient.abs_().add_(eps), out=u)
        power1.mul_(beta1)
        theta.addcdiv_(torch.mul(m, lr / (power1 - 1), out=step), u)

    return Optimizer(update, {"m": m, "u": u, "power1": power1})


def sgd(theta: Matrix, lr: Column) -> Optimizer:
    """theta -= lr g.

    >>> theta = torch.zeros(2, 1)
    >>> sgd(theta, torch.tensor([[0.1], [0.2]])).update(torch.full((2, 1), 3.0))
    >>> [round(value, 4) for value in theta.flatten().tolist()]
    [-0.3, -0.6]
    """

    def update(gradient: Tensor) -> None:
        theta.sub_(gradient.mul_(lr))

    return Optimizer(update, {})


OPTIMIZERS: dict[str, Callable[[Tensor, Tensor], Optimizer]] = {"adam": adam, "adamax": adamax, "sgd": sgd}
