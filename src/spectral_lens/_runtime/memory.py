"""Whether a computation fits into the memory that is there, asked before it starts."""

import psutil
import torch

_SHARE = 0.9  # of the free memory may be taken


def free(device: torch.device) -> int:
    """Bytes that are free on the device."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    return psutil.virtual_memory().available


def fitting(wanted: int | None, *, pieces: int, each: int, result: int, samples: int, device: torch.device) -> int:
    """How many of the pieces of work, `each` bytes, to take at a time beside a result of `result` bytes.

    wanted: what the caller asked for as `chunk`; None takes as many as fit.  each and result are for `samples` samples.
    Raises MemoryError that names a chunk that fits or, where not even one piece does, a number of samples.
    """
    there = int(_SHARE * free(device))
    if result + each > there:
        few = samples * there // (result + each)
        raise MemoryError(
            f"the relevance of {samples} samples takes {_text(result)}, {_text(free(device))} are free: "
            + (f"explain {few} samples at a time, or " if few else "")
            + "fewer outputs, or use spectrum.products, which never forms it."
        )
    fits = min(pieces, (there - result) // max(each, 1))
    if wanted is not None and min(wanted, pieces) > fits:
        raise MemoryError(
            f"chunk={wanted} takes {_text(min(wanted, pieces) * each)} beside {_text(result)}: use chunk={fits}."
        )
    return wanted or fits


def _text(amount: int) -> str:
    return f"{amount / 1e9:.3g} GB" if amount >= 1e8 else f"{amount / 1e6:.3g} MB"
