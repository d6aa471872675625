"""One code path for CPU and GPU: a name becomes a device, or a clear error."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["cuda_graph", "resolve"]


def resolve(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; "auto" is the GPU where there is one, else the CPU.

    Raises ValueError for a name that torch does not know, RuntimeError for a device that is not on this machine.

    >>> resolve("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"{device!r} is no device: use 'auto', 'cpu', 'cuda' or 'cuda:1'.") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise RuntimeError(
            f"{device!r} is not on this machine ({torch.cuda.device_count()} GPUs seen): use device='auto' or 'cpu'."
        )
    return chosen


def cuda_graph(step: Callable[[Tensor], None], *, warm_up: int = 3) -> Callable[[Tensor], None]:
    """The step as one CUDA graph: the first calls run as they are, then one is recorded and replayed from then on.

    The step reads its argument and leaves every result in place; each call has an argument of the same shape.
    `warm_up` calls come first, so that the libraries' workspaces exist.
    """
    graph, stream, calls = torch.cuda.CUDAGraph(), torch.cuda.Stream(), 0
    fixed: Tensor | None = None

    def advance(rows: Tensor) -> None:
        nonlocal calls, fixed
        calls += 1
        if calls <= warm_up:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                step(rows)
            torch.cuda.current_stream().wait_stream(stream)
            return
        if fixed is None:
            fixed = rows.clone()
            with torch.cuda.graph(graph):
                step(fixed)
        fixed.copy_(rows)
        graph.replay()

    return advance
