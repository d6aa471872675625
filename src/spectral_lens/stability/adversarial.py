"""Adversarial inputs: the worst that one finds within `radius` of each input, every value of it for itself.

Both attacks take the derivative of the margin m = log sum_(j != y) exp(f_j) - f_y.  The cross-entropy is
log(1 + exp(m)), so both point the same way, but its derivative vanishes in floating point where a network is sure, and
an attack that sees none would take the network for robust.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, SupportsFloat

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.nn._checks import tried
from spectral_lens.nn.mlp import reference
from spectral_lens.training import _batched
from spectral_lens.training.losses import num_correct
from spectral_lens.training.results import Network, Trained, check_evaluated

__all__ = ["Box", "Model", "fgsm", "linearized_distance", "margin", "pgd", "robustness"]

Model = Callable[[Tensor], Tensor]  # (*n, *d) to (*n, k): a module, or many runs side by side
Size = SupportsFloat | Float[Tensor, "..."]  # for every value of an input, or by tensors that fit one input: by channel
Box = tuple[Size, Size]
_NAMES = ("radius", "the box's lower end", "the box's upper end")


def margin(out: Float[Tensor, "*n k"], y: Integer[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """log sum_(j != y) exp(f_j) - f_y; above zero wherever another class has the largest output.

    Raises ValueError for less than two classes.

    >>> margin(torch.tensor([[2.0, 5.0], [2.0, 5.0]]), torch.tensor([1, 0]))
    tensor([-3.,  3.])
    """
    return _others(out, y).logsumexp(-1) - _own(out, y)


def linearized_distance(network: Model, x: Float[Tensor, "..."], y: Integer[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """-m / ||d m / d x||_1: the radius at which the margin would be gone if it were linear.   [moosavi2016, one step]

    Exact for two classes and a linear network; negative where the margin is above zero, infinite where it has no slope.

    >>> linearized_distance(lambda x: x, torch.tensor([[1.0, 0.0]]), torch.tensor([0]))  # both move by a half
    tensor([0.5000])
    """
    slope, out = _slope(network, x, y)
    return -margin(out, y) / slope.abs().flatten(y.ndim).sum(-1)


def fgsm(
    network: Model, x: Float[Tensor, "..."], y: Integer[Tensor, "*n"], *, radius: Size, box: Box = (0.0, 1.0)
) -> Float[Tensor, "..."]:
    """One step of the fast gradient sign method: x + radius sign(d m / d x), cut to the box.   [goodfellow2015]

    x: (*n, *d).  box: the smallest and the largest value that an input may have.  radius and box: numbers, or tensors
    that fit one input, such as (c, 1, 1) where each channel of an image was normalised by itself.
    Raises ValueError for a radius that is negative or not finite, for inputs outside of the box, and for a module whose
    outputs for a sample depend on the others or on chance.

    >>> fgsm(lambda x: x, torch.tensor([[0.6, 0.4]]), torch.tensor([0]), radius=0.25)
    tensor([[0.3500, 0.6500]])
    """
    x, size, low, high = _checked(network, x, y, radius, box)
    return (x + size * _slope(network, x, y)[0].sign()).clamp(low, high)


def pgd(
    network: Model,
    x: Float[Tensor, "..."],
    y: Integer[Tensor, "*n"],
    *,
    radius: Size,
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
    x, size, low, high = _checked(network, x, y, radius, box)
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    found, worst = x, _lead(_out(network, x), y)
    start = torch.rand(x.shape, dtype=x.dtype, generator=generator).to(x.device)
    z = (x + size * (2 * start - 1)).clamp(low, high)
    for _ in range(steps):
        slope, out = _slope(network, z, y)
        found, worst = _worse(found, worst, z, _lead(out, y))
        z = (z + 2.5 * size / steps * slope.sign()).clamp(x - size, x + size).clamp(low, high)
    return _worse(found, worst, z, _lead(_out(network, z), y))[0]


def robustness(
    network: Network, data: DataSet, attack: Callable[[Model, Tensor, Tensor], Tensor], *, chunk: int = 500
) -> Float[Tensor, "*r"]:
    """Accuracy of each run on its own adversarial inputs, all runs at once; `chunk` samples at a time.

    Of a module one number.  attack: such as `functools.partial(fgsm, radius=0.1)`; it is handed what to attack, inputs
    and classes, those of all runs with an axis of runs in front, those of a module without.
    Raises ValueError for data without classes, and for a module as `fgsm` does.

    >>> from functools import partial
    >>> from spectral_lens import fit, mlp
    >>> from spectral_lens.datasets import images
    >>> data = images.digits()[0].take(100)
    >>> trained = fit(mlp([64, 10]), data, seeds=(1, 2), epochs=1, progress=False)
    >>> robustness(trained, data, partial(fgsm, radius=0.1)).shape
    torch.Size([2])
    >>> robustness(trained.run(0), data, partial(fgsm, radius=0.1)).shape
    torch.Size([])
    """
    if data.quantity:
        raise ValueError(f"{data.name} has no classes that could be mistaken: an attack is on a classifier.")
    attacked, x, y = _attacked(network, data)
    runs = y.shape[:-1]  # of a module none
    correct = torch.zeros(runs, dtype=x.dtype, device=x.device)
    for batch, target in zip(x.split(chunk, len(runs)), y.split(chunk, len(runs)), strict=True):
        out = _out(attacked, attack(attacked, batch, target))
        correct += num_correct(out, target) if runs else num_correct(out[None], target[None])[0]
    return correct / data.samples


def _attacked(network: Network, data: DataSet) -> tuple[Model, Tensor, Tensor]:
    """What an attack calls, with inputs and classes: those of all runs, or of a module."""
    if isinstance(network, Trained):
        own = next(iter(network.state.values()))
        x, y = data.to(own.device, own.dtype).per_run(network.runs)
        return partial(_batched.forward, network.model, network.state), x, y
    check_evaluated(network)
    own = reference(network, data.x)
    x, y = data.to(own.device, own.dtype).per_run(1)
    return network, x[0], y[0]


def _out(network: Model, x: Tensor) -> Tensor:
    """The outputs; the network may write to its inputs, which are a copy."""
    with torch.no_grad():
        return network(x.clone())


def _slope(network: Model, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The margin's derivative by the inputs, and the outputs."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        out = network(x.clone())
        return torch.autograd.grad(margin(out, y).sum(), x)[0], out.detach()


def _lead(out: Tensor, y: Tensor) -> Tensor:
    """How far the best other class lies above the own: above zero only where x is mistaken, as the margin is not."""
    return _others(out, y).amax(-1) - _own(out, y)


def _others(out: Tensor, y: Tensor) -> Tensor:
    if out.shape[-1] < 2:
        raise ValueError("an attack needs two classes at least: with one output nothing can be mistaken.")
    return out.scatter(-1, y.long().unsqueeze(-1), float("-inf"))


def _own(out: Tensor, y: Tensor) -> Tensor:
    return out.gather(-1, y.long().unsqueeze(-1)).squeeze(-1)


def _worse(found: Tensor, worst: Tensor, z: Tensor, reached: Tensor) -> tuple[Tensor, Tensor]:
    better = reached > worst
    wide = better.reshape(*better.shape, *(1,) * (z.ndim - better.ndim))
    return torch.where(wide, z, found), torch.where(better, reached, worst)


class _Bounds(NamedTuple):
    """Inputs that hang on no graph; the radius and the ends of the box, in the inputs' precision where by channel."""

    x: Tensor
    size: Any
    low: Any
    high: Any


def _checked(network: Model, x: Tensor, y: Tensor, radius: Size, box: Box) -> _Bounds:
    if isinstance(network, nn.Module):
        check_evaluated(network)
    if not x.is_floating_point() or x.shape[: y.ndim] != y.shape:
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)} for {tuple(y.shape)} classes: floating, one input for each.")
    x = x.detach()
    size, low, high = (
        _size(value, x, x.shape[y.ndim :], what) for value, what in zip((radius, *box), _NAMES, strict=True)
    )
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        low, high = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in (low, high))
    if not _all(size >= 0) or not _all(size < math.inf):
        raise ValueError(f"radius={radius} must be a finite number that is not negative.")
    if not _all(low < high):
        raise ValueError(f"box={box} must name the smallest value of an input, then the largest.")
    slack = 4 * torch.finfo(x.dtype).eps  # the ends may have been rounded otherwise than the inputs
    if not _all((x >= low - slack * abs(low)) & (x <= high + slack * abs(high))):  # also for NaN
        raise ValueError(f"inputs lie outside of the box from {low} to {high}, or are NaN: name the box they live in.")
    if isinstance(network, nn.Module) and y.ndim == 1 and len(x):
        tried(network, x)
    return _Bounds(x, size, low, high)


def _size(value: Any, x: Tensor, shape: torch.Size, what: str) -> Any:
    """A number, or a tensor that fits one input of that shape."""
    if not getattr(value, "ndim", 0):
        return float(value)
    sizes = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    fits = sizes.ndim <= len(shape) and all(
        own in (1, there) for own, there in zip(reversed(sizes.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ValueError(f"{what} is {tuple(sizes.shape)}: it must fit one input, {tuple(shape)}, as (c, 1, 1) does.")
    return sizes


def _all(holds: Any) -> bool:
    return bool(holds.all()) if isinstance(holds, Tensor) else bool(holds)
