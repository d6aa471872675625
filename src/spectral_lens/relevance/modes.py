"""Whether numbers come in one heap or in several: Hartigan's dip."""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

__all__ = ["dip", "uniform_dip"]

_Array = np.ndarray
_EXPONENT = 900  # of the largest number: neither the steepest slopes nor the products overflow


def dip(values: Float[Tensor, "*r n"]) -> Float64[Tensor, "*r"]:
    """How far the n numbers of each run are from having one mode: 0 if all are equal, else between 1/(2n) and 1/4.

    The smallest distance of their empirical distribution function F to any unimodal G:

        min_G sup_x |F(x) - G(x)|    [hartigan1985]

    where G is convex up to some mode, at which it may jump, and concave from there on.  Two equal heaps far from one
    another have 1/4.  The dip is the same for a + b * values.  Raises ValueError for numbers that are not finite, and
    for none.

    >>> dip(torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 0.0, 7.0, 7.0]]))
    tensor([0.1250, 0.2500], dtype=torch.float64)
    """
    if values.shape[-1] == 0:
        raise ValueError(f"the values are {tuple(values.shape)}: (*r, n) is needed, with one number or more in a row.")
    if not values.isfinite().all():
        raise ValueError("the values hold NaN or infinite ones, of which there is no distribution.")
    rows = values.detach().double().cpu().reshape(-1, values.shape[-1]).numpy()
    found = torch.tensor([_dip(row) for row in rows], dtype=torch.float64)
    return found.reshape(values.shape[:-1]).to(values.device)


def uniform_dip(n: int, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> float:
    """The dip that n uniform numbers stay below in a share `level` of all samples: more speaks for several modes.

    Among the distributions with one mode the uniform one is the hardest to tell from several, for many numbers
    [hartigan1985].  The quantile is that of `draws` samples, made from the seed on the CPU.  Raises ValueError for a
    level that is not between 0 and 1, and for n or draws below 1.

    >>> bool(dip(torch.linspace(0, 1, 50) ** 2) < uniform_dip(50, draws=200) < 0.1)
    True
    """
    if not (0 <= level <= 1 and n >= 1 and draws >= 1):
        raise ValueError(f"level={level} must lie between 0 and 1, n={n} and draws={draws} be 1 or more.")
    generator = torch.Generator().manual_seed(seed)
    return dip(torch.rand(draws, n, dtype=torch.float64, generator=generator)).quantile(level).item()


def _dip(row: _Array) -> float:
    """Of one row.

    Heights are counts of numbers.  At x[i] the empirical distribution function jumps from below[i] to above[i].  The
    mode is sought between x[left] and x[right].  Before x[left], G follows the greatest convex minorant of F, raised;
    behind x[right] its least concave majorant, lowered; `excess` is twice the distance that they need.  Where the two
    lie apart by no more than that, they can be joined.  Where not, the mode must be at their largest distance, or
    between there and the next vertex of the other one.
    """
    x, counts = np.unique(row, return_counts=True)
    x = np.ldexp(x, _EXPONENT - np.frexp(np.abs(x).max())[1])
    above = np.cumsum(counts).astype(float)
    below = above - counts
    before, behind = _hulls(x, below, above)
    left, right, excess = 0, len(x) - 1, 0.0
    while left < right:
        minorant, majorant = _chain(before, right, left)[::-1], _chain(behind, left, right)
        inner = x[left : right + 1]
        low = np.interp(inner, x[minorant], below[minorant])
        high = np.interp(inner, x[majorant], above[majorant])
        apart = high - low
        vertices = np.union1d(minorant, majorant)
        at = int(vertices[apart[vertices - left].argmax()])
        if apart[at - left] <= excess:
            break
        new_left = int(minorant[np.searchsorted(minorant, at, "right") - 1])
        new_right = int(majorant[np.searchsorted(majorant, at, "left")])
        needed = np.where(inner < x[new_left], above[left : right + 1] - low, 0)
        needed = np.where(inner > x[new_right], high - below[left : right + 1], needed)
        left, right, excess = new_left, new_right, max(excess, float(needed.max()))
    return excess / (2 * len(row))


def _hulls(x: _Array, below: _Array, above: _Array) -> tuple[list[int], list[int]]:
    """For each i the vertex before it of the greatest convex minorant that ends at i, and that of the least concave
    majorant behind it that begins at i."""
    last = len(x) - 1
    before = _before(x.tolist(), below.tolist())
    behind = _before((-x[::-1]).tolist(), (-above[::-1]).tolist())  # turned by half a circle
    return before, [last - each for each in reversed(behind)]


def _before(x: list[float], y: list[float]) -> list[int]:
    """For each i the vertex before i of the greatest convex minorant of the points up to i; i itself for the first."""
    found = [0]
    for i in range(1, len(x)):
        j = i - 1
        while j and (y[i] - y[j]) * (x[j] - x[found[j]]) <= (y[j] - y[found[j]]) * (x[i] - x[j]):
            j = found[j]
        found.append(j)
    return found


def _chain(step: list[int], start: int, stop: int) -> _Array:
    """The vertices from the start to the stop."""
    found = [start]
    while found[-1] != stop:
        found.append(step[found[-1]])
    return np.array(found)
