"""The step size at which gradient descent turns unstable: as the curvature predicts it, and as it is observed."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["critical_step", "observed_critical_step"]

_FAR = 2.0**30  # from the guess, where the search for a step ends


def critical_step(curvature: int | float) -> float:
    """2 / s_H: gradient descent on the quadratic model converges below this step and diverges above it.

    Along an eigenvector of H the distance to the minimum is multiplied by 1 - step * lambda in every step.
    Raises ValueError for a curvature that is not positive.

    >>> critical_step(8.0)
    0.25
    """
    if not 0 < curvature < math.inf:
        raise ValueError(f"curvature={curvature} must be positive: without it no step diverges.")
    return 2 / curvature


def observed_critical_step(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    guess: int | float,
    steps: int = 300,
    precision: float = 1e-3,
) -> float:
    """The step from which on gradient descent diverges, found by running it: `steps` steps for each of some 15 trials.

    gradient: of what is minimised, of `start`'s shape; a quadratic model's is g + H (theta - theta_0).  It is called
    divergence when the gradient is longer after all steps than after half of them.  guess: any step to begin with; it
    is halved or doubled until the two behaviours lie on either side, then the interval is halved to `precision` of it.
    The way from the start must not be at right angles to the steepest direction; from a random one it never is.
    Raises ValueError where no step diverges, or every step, within a factor of 2^30 of the guess.

    >>> H = torch.diag(torch.tensor([8.0, 1.0], dtype=torch.float64))
    >>> round(observed_critical_step(lambda theta: H @ theta, torch.ones(2, dtype=torch.float64), guess=1.0), 2)
    0.25
    """
    if not (guess > 0 and steps >= 2 and 0 < precision < 1):
        raise ValueError(f"guess={guess} and precision={precision} must be positive, steps={steps} at least two.")
    low = high = guess
    while _diverges(gradient, start, low, steps):
        low, high = low / 2, low
        if low < guess / _FAR:
            raise ValueError(f"descent diverges at every step down to {low:.1e}: is it a minimum that it looks for?")
    while not _diverges(gradient, start, high, steps):
        low, high = high, high * 2
        if high > guess * _FAR:
            raise ValueError(f"descent diverges at no step up to {high:.1e}: start where the gradient is not zero.")
    while high - low > precision * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _diverges(gradient, start, middle, steps) else (middle, high)
    return (low + high) / 2


def _diverges(gradient: Callable[[Tensor], Tensor], start: Tensor, step: float, steps: int) -> bool:
    at, sizes = start, []
    for _ in range(steps + 1):
        slope = gradient(at).detach()
        sizes.append(float(torch.linalg.vector_norm(slope)))
        if not sizes[-1] < math.inf:
            return True
        at = at - step * slope
    noise = torch.finfo(start.dtype).eps ** 0.5 * sizes[0]  # below which it has arrived
    return sizes[-1] > max(sizes[steps // 2], noise)
