"""Explanations by gradients, for all outputs at once.

A method maps (model, x) to the relevance (n, k, *d) of each input for each output.  One forward pass, then all outputs
are pulled back through it together; what is averaged over several points is averaged before the pull-back, so
integrated gradients and SmoothGrad cost no more memory than their points.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import vjp, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from spectral_lens.convolutions import Swift
from spectral_lens.memory import fitting

Outputs = Sequence[int] | Tensor | None

_ALIVE = 5  # tensors as large as the largest activation that a pulled-back output needs at a time
_CACHED = 64_000_000  # bytes at a time, beyond which a CPU waits for its memory


def pullback(
    function: Callable[[Tensor], Tensor],
    at: Float[Tensor, "n *d"],
    *,
    outputs: Outputs = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The derivative of every output of every sample with respect to its own input: one forward, k backward products.

    function: (n, *d) to (n, m), each sample on its own.  outputs: None for all m; indices of some; or a read-out, a
    floating (k, m) matrix whose rows are the linear maps of the outputs to explain.  chunk: outputs pulled back at a
    time, by default as many as the free memory takes, on a CPU as many as it works on without waiting for its memory.
    Raises ValueError for outputs that do not exist and for a read-out of another width, MemoryError, which says what
    would fit, before the pull-back.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 output at a time.")
    with torch.no_grad():  # no graph outside the transform: nobody asks for the derivative by the weights
        with Swift(), _Largest() as largest:
            out, back = vjp(function, at)  # type: ignore[misc]  # two, as there is no auxiliary output
        rows = readout(out, outputs)
        result = len(rows) * at.numel() * at.element_size()
        each = _ALIVE * largest.bytes
        size = fitting(chunk, pieces=len(rows), each=each, result=result, samples=len(at), device=at.device)
        if chunk is None and at.device.type == "cpu":
            size = max(1, min(size, _CACHED // each))
        found = at.new_empty(len(rows), *at.shape)
        for some, part in zip(rows.split(size), found.split(size), strict=True):
            part.copy_(_together(lambda row: back(row.expand_as(out))[0], some))
    return found.movedim(0, 1)


def _together(one: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """The function of each row, of a single one without the batch's overhead."""
    return vmap(one)(rows) if len(rows) > 1 else one(rows[0]).unsqueeze(0)


def readout(out: Tensor, outputs: Outputs) -> Float[Tensor, "k m"]:
    """The rows that select `outputs` (see `pullback`) from `out`, (n, m)."""
    if out.ndim != 2:
        raise ValueError(f"the model's outputs are {tuple(out.shape)}: they must be (samples, outputs).")
    width = out.shape[1]
    if outputs is None:
        return torch.eye(width, dtype=out.dtype, device=out.device)
    if isinstance(outputs, Tensor) and outputs.is_floating_point():
        if outputs.ndim != 2 or outputs.shape[1] != width:
            raise ValueError(f"the read-out is {tuple(outputs.shape)}: for {width} outputs it must be (k, {width}).")
        return outputs.to(out)
    chosen = torch.as_tensor(outputs, dtype=torch.int64, device=out.device)
    if chosen.ndim != 1 or not len(chosen):
        raise ValueError(f"outputs={outputs!r} must name at least one output.")
    if (wrong := chosen[(chosen < 0) | (chosen >= width)]).numel():
        raise ValueError(f"outputs {wrong.tolist()} do not exist: the model has {width}, from 0 to {width - 1}.")
    return nn.functional.one_hot(chosen, width).to(out)


def gradient(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Float[Tensor, "n k *d"]:
    """The derivative of each output by each input."""
    checked(model, x)
    return pullback(model, x, outputs=outputs, chunk=chunk)


def of_class(model: nn.Module, x: Float[Tensor, "n *d"], label: Int[Tensor, " m"]) -> Float[Tensor, "n *d"]:
    """The derivative of a single output of each sample, `label`, by its inputs: one backward pass for all.

    Raises ValueError for labels that are not as many as the samples, or no outputs of the model.
    """
    checked(model, x)
    if label.shape != x.shape[:1]:
        raise ValueError(f"there are {tuple(label.shape)} labels for {len(x)} samples.")
    x = x.detach().requires_grad_()
    with torch.enable_grad(), Swift():
        out = model(x)
        if label.min() < 0 or label.max() >= out.shape[1]:
            raise ValueError(f"labels must be outputs of the model, from 0 to {out.shape[1] - 1}.")
        (slope,) = torch.autograd.grad(out.gather(1, label.unsqueeze(1)).sum(), x)
    return slope


def saliency(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Float[Tensor, "n k *d"]:
    """|gradient|.  [Simonyan et al. 2014]"""
    return gradient(model, x, outputs=outputs, chunk=chunk).abs_()


def gradient_x_input(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Float[Tensor, "n k *d"]:
    """The gradient times the input."""
    return gradient(model, x, outputs=outputs, chunk=chunk).mul_(x.unsqueeze(1))


def integrated_gradients(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    baseline: float | Float[Tensor, "*#n #d"] = 0.0,
    steps: int = 10,
    rule: str = "right",
    outputs: Outputs = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """(x - baseline) times the mean gradient on the straight way from the baseline to x.  [Sundararajan et al. 2017]

    rule: "right" takes `steps` equidistant points, the input among them, the baseline not, as maess does with ten;
    "gauss-legendre" takes that many points of the quadrature, which is far more precise for smooth models.
    Adds up to f(x) - f(baseline) up to the error of the quadrature.
    """
    checked(model, x)
    points, weights = _quadrature(steps, rule, x)
    difference = x - baseline
    there = baseline + points.view(-1, *[1] * x.ndim) * difference
    found = pullback(_mean_at(model, there, weights), torch.zeros_like(x), outputs=outputs, chunk=chunk)
    return found.mul_(difference.unsqueeze(1))


def smoothgrad(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    sigma: float,
    samples: int = 10,
    generator: torch.Generator | None = None,
    times_input: bool = False,
    outputs: Outputs = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The mean gradient of `samples` inputs with Gaussian noise of standard deviation `sigma`, in the units of x.

    [Smilkov et al. 2017; ten samples in maess, 4.1]  times_input: multiplied by the input without noise.
    generator: of the noise, on the CPU, so that it is the same everywhere.
    """
    checked(model, x)
    if samples < 1 or sigma < 0:
        raise ValueError(f"samples={samples} and sigma={sigma}: at least one sample, and no negative noise.")
    noise = torch.randn(samples, *x.shape, dtype=x.dtype, generator=generator).to(x.device)
    weights = x.new_full((samples,), 1 / samples)
    found = pullback(_mean_at(model, x + sigma * noise, weights), torch.zeros_like(x), outputs=outputs, chunk=chunk)
    return found.mul_(x.unsqueeze(1)) if times_input else found


def at_a_time(x: Float[Tensor, "n *d"]) -> int:
    """How many inputs of that size to give to a model at once: enough for a GPU, few enough for the caches of a CPU."""
    amount = 1_000_000 if x.device.type == "cpu" else 64_000_000
    return min(4096, max(1, amount // (x[0].numel() * x.element_size())))


def checked(model: nn.Module, x: Tensor) -> None:
    """Raises ValueError for a model in training mode, and for inputs that are empty, not floating or not finite."""
    if any(part.training for part in model.modules()):
        raise ValueError("the model is in training mode, where outputs depend on the other samples: call model.eval().")
    if x.ndim < 2 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}: floating inputs (n, *d) are needed, at least one.")
    if not torch.stack(torch.aminmax(x)).isfinite().all():
        raise ValueError("x holds NaN or infinite values: remove or replace them first.")


def _mean_at(
    model: nn.Module, there: Float[Tensor, "s n *d"], weights: Float[Tensor, " s"]
) -> Callable[[Tensor], Tensor]:
    """The weighted mean of the outputs at all points, as a function of one shift of them all: its derivative is the
    weighted mean of the gradients, and only one of them is ever held."""
    points = max(1, at_a_time(there[0]) // there.shape[1])

    def mean(shift: Tensor) -> Tensor:
        parts = []
        for some, its in zip(there.split(points), weights.split(points), strict=True):
            out = model((some + shift).flatten(0, 1)).unflatten(0, some.shape[:2])
            parts.append(torch.einsum("s,snm->nm", its, out))
        return torch.stack(parts).sum(0)

    return mean


class _Largest(TorchDispatchMode):
    """Watches a computation for the bytes of the largest tensor that it makes."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.bytes = max(self.bytes, tensor.numel() * tensor.element_size())
        return made


def _quadrature(steps: int, rule: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Points in (0, 1] and their weights, which sum to one."""
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    if rule == "right":
        points, weights = np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)
    elif rule == "gauss-legendre":
        points, weights = np.polynomial.legendre.leggauss(steps)
        points, weights = (points + 1) / 2, weights / 2
    else:
        raise ValueError(f"rule={rule!r} is unknown: use 'right' or 'gauss-legendre'.")
    return torch.as_tensor(points).to(like), torch.as_tensor(weights).to(like)
