"""The input from which an explanation starts."""

import numpy as np
import torch
from torch import Tensor

Baseline = float | np.ndarray | Tensor


def baseline_for(x: Tensor, baseline: Baseline) -> Tensor:
    """The baseline, a number or what is broadcast to the inputs (n, *d), in their precision and on their device.

    Raises ValueError for another shape and for numbers that are not finite.

    >>> baseline_for(torch.ones(2, 3), 0.5)
    tensor(0.5000)
    """
    found = torch.as_tensor(baseline).detach().to(x)
    try:
        fits = torch.broadcast_shapes(found.shape, x.shape) == x.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(f"the baseline is {tuple(found.shape)}: it must be a number, or fit inputs {tuple(x.shape)}.")
    if not found.isfinite().all():
        raise ValueError("the baseline holds NaN or infinite values.")
    return found
