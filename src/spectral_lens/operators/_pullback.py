"""The derivative of all outputs at once by each sample's own inputs.

One forward pass, then all outputs are pulled back through it together, as many at a time as the memory takes.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import vjp, vmap

from spectral_lens._runtime.conv_backward import FastConvBackward
from spectral_lens._runtime.memory import Allocations, check_chunk, chunk_size
from spectral_lens.nn._checks import Outputs, Target, check_one_of, differentiating, readout, targeted

_ALIVE = 5  # tensors as large as the largest activation that a pulled-back output needs at a time
_CACHED = 64_000_000  # bytes at a time, beyond which a CPU waits for its memory


def pullback(
    function: Callable[[Tensor], Tensor],
    at: Float[Tensor, "n *d"],
    *,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The derivative of every output of every sample with respect to its own input: one forward, k backward products.

    function: (n, *d) to (n, m), each sample on its own.  outputs: None for all m; the indices of some, or a mask; or a
    read-out, a floating (k, m) matrix whose rows are the linear maps of the outputs to explain.  target: in place of
    outputs, one output for each sample, so that k = 1.  chunk: outputs pulled back at a time, by default as many as the
    free memory takes, on a CPU as many as it works on without waiting for its memory.
    Raises ValueError for outputs that do not exist, for a read-out of another width, and for outputs and a target;
    MemoryError, which says what would fit, before the pull-back.
    """
    check_chunk(chunk, of="output")
    check_one_of(outputs, target)

    def of_a_copy(inputs: Tensor) -> Tensor:
        return function(inputs.clone())  # which may work in place

    with torch.no_grad():  # no graph outside the transform: nobody asks for the derivative by the weights
        with differentiating(), FastConvBackward(), Allocations() as made:
            out, back = vjp(of_a_copy, at)  # type: ignore[misc]  # two, as there is no auxiliary output
        rows = readout(out, outputs) if target is None else targeted(out, target).unsqueeze(0)
        result = len(rows) * at.numel() * at.element_size()
        each = _ALIVE * made.largest
        size = chunk_size(chunk, pieces=len(rows), each=each, result=result, samples=len(at), device=at.device)
        if chunk is None and at.device.type == "cpu":
            size = max(1, min(size, _CACHED // each))
        found = at.new_empty(len(rows), *at.shape)
        for some, part in zip(rows.split(size), found.split(size), strict=True):
            with differentiating():
                part.copy_(_together(lambda row: back(row.expand_as(out))[0], some))
    return found.movedim(0, 1)


def _together(one: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """The function of each row, of a single one without the batch's overhead."""
    return vmap(one)(rows) if len(rows) > 1 else one(rows[0]).unsqueeze(0)


def batch_size(x: Float[Tensor, "n *d"]) -> int:
    """How many inputs of that size to give to a model at once: enough for a GPU, few enough for the caches of a CPU."""
    amount = 1_000_000 if x.device.type == "cpu" else 64_000_000
    return min(4096, max(1, amount // (x[0].numel() * x.element_size())))
