"""The numbers that a training is asked for, of whatever kind they come, as Python's own."""

import operator
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
from torch import Tensor

__all__ = ["PerRun", "numbers", "whole"]

PerRun = (
    SupportsFloat | Sequence[SupportsFloat]
)  # one number for all runs, or one for each; an array has __float__, too


def whole(value: object, what: str) -> int:
    """A whole number of any kind as an int; raises ValueError for others, 2.0 among them.

    >>> whole(np.uint8(3), "epochs")
    3
    """
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ValueError(f"{what}={value!r} must be a whole number.") from None


def numbers(value: object, what: str) -> float | tuple[float, ...]:
    """A number of any kind as a float, several as a tuple of floats; raises ValueError for what is none or not finite.

    >>> numbers(np.float32(0.5), "lr"), numbers(np.arange(2), "lr")
    (0.5, (0.0, 1.0))
    """
    given: Any = value.detach().cpu().double().numpy() if isinstance(value, Tensor) else value
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.asarray(np.nan)
    if isinstance(given, str) or array.ndim > 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"{what}={value!r} must be a finite number, or one per run.")
    return tuple(array.tolist()) if array.ndim else array.item()
