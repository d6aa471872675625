"""The derivative of all outputs at once by each sample's own inputs, and what may be given to it.

One forward pass, then all outputs are pulled back through it together, as many at a time as the memory takes.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vjp, vmap

from spectral_lens._runtime.conv_backward import FastConvBackward
from spectral_lens._runtime.memory import Allocations, check_chunk, chunk_size

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
    check_chunk(chunk, of="output")
    with torch.no_grad():  # no graph outside the transform: nobody asks for the derivative by the weights
        with FastConvBackward(), Allocations() as made:
            out, back = vjp(function, at)  # type: ignore[misc]  # two, as there is no auxiliary output
        rows = readout(out, outputs)
        result = len(rows) * at.numel() * at.element_size()
        each = _ALIVE * made.largest
        size = chunk_size(chunk, pieces=len(rows), each=each, result=result, samples=len(at), device=at.device)
        if chunk is None and at.device.type == "cpu":
            size = max(1, min(size, _CACHED // each))
        found = at.new_empty(len(rows), *at.shape)
        for some, part in zip(rows.split(size), found.split(size), strict=True):
            part.copy_(_together(lambda row: back(row.expand_as(out))[0], some))
    return found.movedim(0, 1)


def _together(one: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """The function of each row, of a single one without the batch's overhead."""
    return vmap(one)(rows) if len(rows) > 1 else one(rows[0]).unsqueeze(0)


def readout(out: Any, outputs: Outputs) -> Float[Tensor, "k m"]:
    """The rows that select `outputs` (see `pullback`) from `out`, (n, m)."""
    if not isinstance(out, Tensor):
        raise ValueError(f"the model gives more than one tensor, a {type(out).__name__}: its outputs must be one.")
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


def batch_size(x: Float[Tensor, "n *d"]) -> int:
    """How many inputs of that size to give to a model at once: enough for a GPU, few enough for the caches of a CPU."""
    amount = 1_000_000 if x.device.type == "cpu" else 64_000_000
    return min(4096, max(1, amount // (x[0].numel() * x.element_size())))


def checked(model: nn.Module, x: Tensor) -> None:
    """Raises ValueError for a model whose outputs depend on the other samples, as in training mode, and for inputs that
    are empty, not floating or not finite."""
    for name, part in model.named_modules():
        if part.training:
            raise ValueError(
                "the model is in training mode, where outputs depend on the other samples: call model.eval()."
            )
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(f"{name} has no running statistics: its outputs depend on the other samples.")
    if x.ndim < 2 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}: floating inputs (n, *d) are needed, at least one.")
    if not torch.stack(torch.aminmax(x)).isfinite().all():
        raise ValueError("x holds NaN or infinite values: remove or replace them first.")
