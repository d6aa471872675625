"""Whether a computation fits into the memory that is there, asked before it starts."""

from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Allocations", "available", "budget", "bytes_per_sample", "check_chunk", "chunk_size"]

_SHARE = 0.9  # of the available memory may be taken: the rest is for what is not counted, and for other programs


def available(device: torch.device) -> int:
    """Bytes that are free on the device.

    >>> available(torch.device("cpu")) > 0
    True
    """
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return psutil.virtual_memory().available


def budget(device: torch.device) -> int:
    """Bytes that a computation may take.

    >>> budget(torch.device("cpu")) > 0
    True
    """
    return int(_SHARE * available(device))


def check_chunk(chunk: int | None, *, of: str = "sample") -> None:
    """Raises ValueError for a chunk of less than one; None leaves the choice to us.

    >>> check_chunk(0)
    Traceback (most recent call last):
    ValueError: chunk=0 must be at least 1 sample at a time.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 {of} at a time.")


def chunk_size(wanted: int | None, *, pieces: int, each: int, result: int, samples: int, device: torch.device) -> int:
    """How many of the pieces of work, `each` bytes, to take at a time beside a result of `result` bytes.

    wanted: what the caller asked for as `chunk`; None takes as many as fit.  each and result are for `samples` samples.
    Raises MemoryError that names a chunk that fits or, where not even one piece does, a number of samples.

    >>> chunk_size(None, pieces=7, each=100, result=300, samples=5, device=torch.device("cpu"))
    7
    """
    there = budget(device)
    if result + each > there:
        few = samples * there // (result + each)
        raise MemoryError(
            f"the derivative of {samples} samples takes {_text(result)}, {_text(available(device))} are free: "
            + (f"take {few} samples at a time, or " if few else "")
            + "fewer outputs, or the products of a LinearOperator, which never forms it."
        )
    fits = min(pieces, (there - result) // max(each, 1))
    if wanted is not None and min(wanted, pieces) > fits:
        raise MemoryError(
            f"chunk={wanted} takes {_text(min(wanted, pieces) * each)} beside {_text(result)}: use chunk={fits}."
        )
    return wanted or fits


class Allocations(TorchDispatchMode):
    """Within it, the bytes of all tensors that are made, in total and of the largest one.

    >>> with Allocations() as made:
    ...     _ = torch.ones(3, 5) @ torch.ones(5, 7)
    >>> made.total, made.largest
    (284, 140)
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = self.largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                size = tensor.numel() * tensor.element_size()
                self.total += size
                self.largest = max(self.largest, size)
        return made


def bytes_per_sample(work: Callable[[int], object]) -> int:
    """Bytes that `work` of so many samples makes for each of them: what it keeps is at most that.

    >>> bytes_per_sample(lambda samples: torch.ones(samples, 5) @ torch.ones(5, 3))
    32
    """
    made = []
    for samples in (1, 2):
        with Allocations() as counted:
            work(samples)
        made.append(counted.total)
    return max(1, made[1] - made[0])


def _text(amount: int) -> str:
    return f"{amount / 1e9:.3g} GB" if amount >= 1e8 else f"{amount / 1e6:.3g} MB"
