"""What a training minimises, and what it counts, for each of many runs."""

from collections.abc import Callable

from jaxtyping import Float, Num
from torch import Tensor
from torch.nn import functional as F

__all__ = ["LOSSES", "num_correct"]


def _cross_entropy(out: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view_as(y).mean(1)


def _mse(out: Tensor, y: Tensor) -> Tensor:
    return (out.view_as(y) - y).square().flatten(1).mean(1)


def _mae(out: Tensor, y: Tensor) -> Tensor:
    return (out.view_as(y) - y).abs().flatten(1).mean(1)


# of outputs (r, n, k) and targets (r, n): the mean of each run, (r,)
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross_entropy": _cross_entropy, "mse": _mse, "mae": _mae}


def num_correct(out: Float[Tensor, "r n *k"], target: Num[Tensor, "r n"]) -> Float[Tensor, " r"]:
    """Correctly classified samples of each run; nan where the target is no class.

    >>> import torch
    >>> out = torch.tensor([[[0.9, 0.1], [0.2, 0.8]], [[0.3, 0.7], [0.4, 0.6]]])
    >>> num_correct(out, torch.tensor([[0, 1], [0, 1]])).tolist()
    [2.0, 1.0]
    """
    if target.is_floating_point():
        return out.new_full(out.shape[:1], float("nan"))
    return (out.argmax(-1) == target).sum(1).to(out.dtype)
