"""Spectra of a network's operators, against the direct way through automatic differentiation.

    python benchmarks/stability.py [--part regularised] [--repeats 3] [--images 100]

First the results are compared, then the clock runs.  Demanded of us, in times as fast:

    regularised  3 as the double backward pass over the full Jacobian, written for one run
                 (the entropy needs all k rows of the Jacobian: with k = 10 the operations alone allow 2)
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectral_lens import convnets, networks
from spectral_lens.devices import resolve
from spectral_lens.regularisers import JacobianNorm, LargestSingularValue, SpectralEntropy
from spectral_lens.training import Step
from timing import OURS, Line, Work, add_options, agree, best_of, clock, surroundings, table, write

CLASSES, RUNS, FEW = 10, 5, 7


class Given(NamedTuple):
    device: torch.device
    images: int
    repeats: int


# ---- a regularised step of training

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP": lambda: networks.mlp([784, 100, 100, 50, CLASSES], spectral=0),
    "CNN": lambda: convnets.cnn((1, 28, 28), CLASSES),
}


class Price(NamedTuple):
    """A price as a user would write it, from J (b, k, d); ours as it is trained with, and without an estimate."""

    full: Callable[[Tensor], Tensor]
    ours: Callable[[Step], Tensor]
    exact: Callable[[Step], Tensor]


def first(J: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(J @ J.mT)[:, -1].mean()


def minus_entropy(J: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh(J @ J.mT).clamp(min=1e-30)
    return -torch.special.entr(values / values.sum(1, keepdim=True)).sum(1).mean()


PRICES = {
    "norm": Price(lambda J: J.square().sum((1, 2)).mean(), JacobianNorm(1.0), JacobianNorm(1.0, CLASSES)),
    "sigma_1": Price(first, LargestSingularValue(1.0), LargestSingularValue(1.0, CLASSES - 1)),
    "entropy": Price(minus_entropy, SpectralEntropy(1.0, sampled=True), SpectralEntropy(1.0)),
}


class Runs:
    """Several runs of a network with their own images; a step, of all runs or of one, ends with the gradients."""

    def __init__(self, name: str, device: torch.device, *, count: int, images: int, dtype: torch.dtype) -> None:
        self.model = NETWORKS[name]().to(dtype)
        draw = torch.Generator().manual_seed(0)
        state = networks.stack(self.model, range(count))
        self.state = {key: value.to(device).requires_grad_() for key, value in state.items()}
        self.alone = [NETWORKS[name]().to(device, dtype) for _ in range(count)]
        for run, model in enumerate(self.alone):
            model.load_state_dict({key: value[run].detach() for key, value in self.state.items()})
        self.model.to(device)
        self.x = torch.rand(count, images, 1, 28, 28, generator=draw).to(device, dtype)
        self.y = torch.randint(CLASSES, (count, images), generator=draw).to(device)

    def ours(self, price: Callable[[Step], Tensor], *, plain: float = 1.0) -> Tensor:
        """Of all runs, (r, p).  plain: the part of the cross-entropy."""
        x = self.x.detach().requires_grad_()
        out = networks.forward(self.model, self.state, x)
        loss = F.cross_entropy(out.flatten(0, 1), self.y.flatten(), reduction="none").view_as(self.y).mean(1)
        loss = plain * loss + price(Step(self.state, x, out, lambda shape: torch.rand(shape).to(x)))
        found = torch.autograd.grad(loss.sum(), list(self.state.values()), materialize_grads=True)
        return torch.cat([each.flatten(1) for each in found], 1)

    def full(self, price: Callable[[Tensor], Tensor], *, run: int = 0, plain: float = 1.0) -> Tensor:
        """Of one run, (p,), through its full Jacobian."""
        x, model = self.x[run].detach().requires_grad_(), self.alone[run]
        out = model(x)
        rows = [torch.autograd.grad(each.sum(), x, create_graph=True)[0].flatten(1) for each in out.unbind(1)]
        loss = plain * F.cross_entropy(out, self.y[run]) + price(torch.stack(rows, 1))
        found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        return torch.cat([each.flatten() for each in found])


def compare(runs: Runs, price: Price) -> None:
    """The gradients of the price alone."""
    contenders: dict[str, Work] = {
        "full": lambda: torch.stack([runs.full(price.full, run=run, plain=0) for run in range(len(runs.x))]),
        "exact": lambda: runs.ours(price.exact, plain=0),
    }
    agree(contenders, 1e-9)


def steps(several: Runs, one: Runs, price: Price) -> dict[str, tuple[Work, int]]:
    """The contenders, each with the number of runs that it trains."""
    return {
        OURS: (lambda: several.ours(price.ours), RUNS),
        f"{OURS}, one run": (lambda: one.ours(price.ours), 1),
        f"{OURS}, no estimate": (lambda: several.ours(price.exact), RUNS),
        "the full Jacobian, one run": (lambda: one.full(price.full), 1),
    }


def per_run(work: Work, count: int, device: torch.device) -> Callable[[], float]:
    tick = clock(work, device)
    return lambda: tick() / count


def measure_regularised(given: Given) -> list[Line]:
    lines = []
    for network in NETWORKS:
        small = Runs(network, given.device, count=2, images=FEW, dtype=torch.float64)
        several, one = (
            Runs(network, given.device, count=count, images=given.images, dtype=torch.float32) for count in (RUNS, 1)
        )
        for name, price in PRICES.items():
            print(f"regularised: the {network} with a price on the Jacobian's {name}, {given.images} images, per run")
            compare(small, price)
            timed = {key: per_run(*pair, given.device) for key, pair in steps(several, one, price).items()}
            best = best_of(given.repeats, timed)
            lines += table(f"regularised, {network}, {name}", best, {"the full Jacobian, one run": 3.0})
    return lines


# ---- all of it

PARTS: dict[str, Callable[[Given], list[Line]]] = {
    "regularised": measure_regularised,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(parser, parts=PARTS, repeats=3)
    asked = parser.parse_args()
    device = resolve(asked.device)
    torch.manual_seed(0)
    given = Given(device, asked.images, asked.repeats)
    about = surroundings(device, ("torch",))
    write(asked.json, about, [line for part in asked.part for line in PARTS[part](given)])


if __name__ == "__main__":
    main()
