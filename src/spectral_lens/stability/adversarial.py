"""Adversarial inputs: the worst that one finds within `radius` of each input, every value of it for itself.

Both attacks take the derivative of the margin m = log sum_(j != y) exp(f_j) - f_y.  The cross-entropy is
log(1 + exp(m)), so both point the same way, but its derivative vanishes in floating point where a network is sure, and
an attack that sees none would take the network for robust.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spectral_lens.datasets import DataSet
from spectral_lens.training import _batched
from spectral_lens.training.losses import num_correct
from spectral_lens.training.results import Trained

__all__ = ["Box", "Model", "fgsm", "linearized_distance", "margin", "pgd", "robustness"]

Model = Callable[[Tensor], Tensor]  # (*n, *d) to (*n, k): a module, or many runs side by side
Box = tuple[float, float]


def margin(out: Float[Tensor, "*n k"], y: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """log sum_(j != y) exp(f_j) - f_y; above zero wherever another class has the largest output.

    Raises ValueError for less than two classes.

    >>> margin(torch.tensor([[2.0, 5.0], [2.0, 5.0]]), torch.tensor([1, 0]))
    tensor([-3.,  3.])
    """
    return _others(out, y).logsumexp(-1) - _own(out, y)


def linearized_distance(network: Model, x: Float[Tensor, "..."], y: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-m / ||d m / d x||_1: the radius at which the margin would be gone if it were linear.   [moosavi2016, one step]

    Exact for two classes and a linear network; negative where the margin is above zero, infinite where it has no slope.

    >>> linearized_distance(lambda x: x, torch.tensor([[1.0, 0.0]]), torch.tensor([0]))  # both move by a half
    tensor([0.5000])
    """
    slope, out = _slope(network, x, y)
    return -margin(out, y) / slope.abs().flatten(y.ndim).sum(-1)


def fgsm(
    network: Model, x: Float[Tensor, "..."], y: Int[Tensor, "*n"], *, radius: float, box: Box = (0.0, 1.0)
) -> Float[Tensor, "..."]:
    """One step of the fast gradient sign method: x + radius sign(d m / d x), cut to the box.   [goodfellow2015]

    x: (*n, *d).  box: the smallest and the largest value that an input may have.
    Raises ValueError for a radius that is negative or not finite, and for inputs outside of the box.

    >>> fgsm(lambda x: x, torch.tensor([[0.6, 0.4]]), torch.tensor([0]), radius=0.25)
    tensor([[0.3500, 0.6500]])
    """
    _check(x, radius, box)
    return (x + radius * _slope(network, x, y)[0].sign()).clamp(*box)


def pgd(
    network: Model,
    x: Float[Tensor, "..."],
    y: Int[Tensor, "*n"],
    *,
    radius: float,
    generator: torch.Generator,
    steps: int = 20,
    box: Box = (0.0, 1.0),
) -> Float[Tensor, "..."]:
    """Projected gradient ascent on the margin from a random start within the radius.   [madry2018]

    Each step goes 2.5 radius / steps along the sign of the derivative and back to the radius and the box, so that
    every corner can be reached from anywhere.  Of all points on the way each sample keeps the one where another class
    leads by most; x itself is one of them, so nothing that was mistaken gets right.
    generator: on the CPU, draws the start.  Errors as for `fgsm`, and for fewer than one step.

    >>> draws = torch.Generator().manual_seed(0)
    >>> pgd(lambda x: x, torch.tensor([[0.6, 0.4]]), torch.tensor([0]), radius=0.25, generator=draws)
    tensor([[0.3500, 0.6500]])
    """
    _check(x, radius, box)
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    with torch.no_grad():
        found, worst = x, _lead(network(x), y)
    start = torch.rand(x.shape, dtype=x.dtype, generator=generator).to(x.device)
    z = (x + radius * (2 * start - 1)).clamp(*box)
    for _ in range(steps):
        slope, out = _slope(network, z, y)
        found, worst = _worse(found, worst, z, _lead(out, y))
        z = (z + 2.5 * radius / steps * slope.sign()).clamp(x - radius, x + radius).clamp(*box)
    with torch.no_grad():
        return _worse(found, worst, z, _lead(network(z), y))[0]


def robustness(
    trained: Trained, data: DataSet, attack: Callable[[Model, Tensor, Tensor], Tensor], *, chunk: int = 500
) -> Float[Tensor, " r"]:
    """Accuracy of each run on its own adversarial inputs, all runs at once; `chunk` samples at a time.

    attack: such as `functools.partial(fgsm, radius=0.1)`.
    Raises ValueError for data without classes.

    >>> from functools import partial
    >>> from spectral_lens import fit, mlp
    >>> from spectral_lens.datasets import images
    >>> data = images.digits()[0].take(100)
    >>> trained = fit(mlp([64, 10]), data, seeds=(1, 2), epochs=1, progress=False)
    >>> robustness(trained, data, partial(fgsm, radius=0.1)).shape
    torch.Size([2])
    """
    if data.quantity:
        raise ValueError(f"{data.name} has no classes that could be mistaken: an attack is on a classifier.")
    reference = next(iter(trained.state.values()))
    data = data.to(reference.device, reference.dtype)
    x, y = data.per_run(trained.runs)

    def network(z: Tensor) -> Tensor:
        return _batched.forward(trained.model, trained.state, z)

    correct = torch.zeros(trained.runs, dtype=reference.dtype, device=reference.device)
    for batch, target in zip(x.split(chunk, 1), y.split(chunk, 1), strict=True):
        moved = attack(network, batch, target)
        with torch.no_grad():
            correct += num_correct(network(moved), target)
    return correct / data.samples


def _slope(network: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The margin's derivative by the inputs, and the outputs."""
    x = x.detach().requires_grad_()
    out = network(x)
    return torch.autograd.grad(margin(out, y).sum(), x)[0], out.detach()


def _lead(out: Tensor, y: Tensor) -> Tensor:
    """How far the best other class lies above the own: above zero only where x is mistaken, as the margin is not."""
    return _others(out, y).amax(-1) - _own(out, y)


def _others(out: Tensor, y: Tensor) -> Tensor:
    if out.shape[-1] < 2:
        raise ValueError("an attack needs two classes at least: with one output nothing can be mistaken.")
    return out.scatter(-1, y.unsqueeze(-1), float("-inf"))


def _own(out: Tensor, y: Tensor) -> Tensor:
    return out.gather(-1, y.unsqueeze(-1)).squeeze(-1)


def _worse(found: Tensor, worst: Tensor, z: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
    better = reached > worst
    wide = better.reshape(*better.shape, *(1,) * (z.ndim - better.ndim))
    return torch.where(wide, z, found), torch.where(better, reached, worst)


def _check(x: Tensor, radius: float, box: Box) -> None:
    if not 0 <= radius < float("inf"):
        raise ValueError(f"radius={radius} must be a finite number that is not negative.")
    low, high = box
    if not low < high:
        raise ValueError(f"box={box} must name the smallest value of an input, then the largest.")
    if not ((x >= low) & (x <= high)).all():  # also for NaN
        raise ValueError(f"inputs lie outside of the box from {low} to {high}, or are NaN: name the box they live in.")
