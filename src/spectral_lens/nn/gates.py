"""Random gates on the inputs, which learn whether to stay open: what spectral relevance is compared with.

A gate multiplies its input by a random number between 0 and 1.  The probability that it is not zero depends smoothly
on the gate's parameter, so the expected number of open gates can be part of a loss.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["GATES", "Gates", "HardConcreteGates", "StochasticGates", "inside"]


class Gates(nn.Module, ABC):
    """z_i x_i for each input i, with a random z_i for each sample in training, the typical one otherwise.

    inputs: how many.  `location`: the parameter of each gate, (inputs,); it starts at `initial`.
    """

    initial: float

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.location = nn.Parameter(torch.empty(inputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.location, self.initial)

    @abstractmethod
    def gate(self, location: Float[Tensor, "*#s d"], uniform: Float[Tensor, "*s d"] | None) -> Float[Tensor, "*#s d"]:
        """z for uniform random numbers; None gives the typical z."""

    @abstractmethod
    def probability(self, location: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
        """P(z > 0) of each gate."""

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        return x * self.gate(self.location, torch.rand_like(x) if self.training else None)


class StochasticGates(Gates):
    """z = clamp(mu + sigma e, 0, 1) with a normal e.  P(z > 0) = Phi(mu / sigma).   [yamada2020]

    mu is `location`; it starts at 1/2, and sigma is 1/2 throughout, as there.

    >>> gates = StochasticGates(3).eval()
    >>> gates(torch.ones(1, 3))  # the typical gate, as it starts
    tensor([[0.5000, 0.5000, 0.5000]], grad_fn=<MulBackward0>)
    """

    initial = 0.5
    sigma = 0.5

    def gate(self, location: Float[Tensor, "*#s d"], uniform: Float[Tensor, "*s d"] | None) -> Float[Tensor, "*#s d"]:
        if uniform is None:
            return location.clamp(0, 1)
        return (location + self.sigma * torch.special.ndtri(inside(uniform))).clamp(0, 1)

    def probability(self, location: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
        return torch.special.ndtr(location / self.sigma)


class HardConcreteGates(Gates):
    """z = clamp(s (zeta - gamma) + gamma, 0, 1) with s = sigmoid((logit u + log alpha) / beta).   [louizos2018]

    P(z > 0) = sigmoid(log alpha - beta log(-gamma / zeta)); log alpha is `location` and starts at 0; beta, gamma
    and zeta are theirs.

    >>> gates = HardConcreteGates(3)
    >>> [round(p, 3) for p in gates.probability(gates.location).tolist()]
    [0.832, 0.832, 0.832]
    """

    initial = 0.0
    beta, gamma, zeta = 2 / 3, -0.1, 1.1

    def gate(self, location: Float[Tensor, "*#s d"], uniform: Float[Tensor, "*s d"] | None) -> Float[Tensor, "*#s d"]:
        s = location if uniform is None else (torch.logit(inside(uniform)) + location) / self.beta
        return (s.sigmoid() * (self.zeta - self.gamma) + self.gamma).clamp(0, 1)

    def probability(self, location: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
        return torch.sigmoid(location - self.beta * math.log(-self.gamma / self.zeta))


GATES: dict[str, Callable[[int], Gates]] = {"stochastic": StochasticGates, "hard concrete": HardConcreteGates}


def inside(uniform: Tensor) -> Tensor:
    """Uniform random numbers away from 0 and 1, where a quantile is infinite.

    >>> bool(torch.logit(inside(torch.tensor([0.0, 1.0]))).isfinite().all())
    True
    """
    tiny = torch.finfo(uniform.dtype).eps
    return uniform.clamp(tiny, 1 - tiny)
