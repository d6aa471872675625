"""The robustness of attributions: how far those of inputs and of the same inputs with noise lie apart.

The texts of katende measure it by "FD", which the review reads as Frechet distance; a finite difference is as
plausible.  Both are here, and the cosine distance beside them.  Everything in double precision.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Robustness", "cosine_distance", "frechet_distance", "relative_difference", "robustness"]


class Robustness(NamedTuple):
    """How far the attributions of x and of x + noise lie apart: `cosine` and `relative`, (n,), and `frechet`, ().

    The smaller, the more robust.
    """

    cosine: Float[Tensor, " n"]
    relative: Float[Tensor, " n"]
    frechet: Float[Tensor, ""]


def robustness(
    explain: Callable[[Tensor], Tensor], x: Float[Tensor, "n *d"], noise: Float[Tensor, "..."]
) -> Robustness:
    """The three distances of a method, (n, *d) to maps (n, *e), such as `lambda x: saliency(model, x)[:, 3]`.

    Raises ValueError where x and the noise have different shapes, and as `relative_difference` and `frechet_distance`.

    >>> x = torch.tensor([[3.0, 4.0], [6.0, 8.0]])
    >>> found = robustness(lambda x: x, x, torch.ones(2, 2))  # of maps that are the inputs
    >>> [round(value, 6) for value in found.relative.tolist()]  # 1 / |x|
    [0.2, 0.1]
    >>> round(float(found.frechet), 6)  # the shift, squared
    2.0
    """
    if x.shape != noise.shape:
        raise ValueError(f"noise {tuple(noise.shape)} must have the shape of x, {tuple(x.shape)}.")
    maps, shifted = explain(x.clone()), explain(x + noise)  # a copy, since the method may work on its input in place
    return Robustness(
        cosine_distance(maps, shifted), relative_difference(maps, shifted, noise), frechet_distance(maps, shifted)
    )


def cosine_distance(maps: Float[Tensor, "..."], shifted: Float[Tensor, "..."]) -> Float[Tensor, " n"]:
    """1 - cos of the angle between the two maps of each sample, each taken as one vector: from 0 to 2.

    Two maps that are zero are alike (0); one that is zero has no direction in common with the other (1).
    Raises ValueError for maps of different shapes, of no samples, or that are not finite.

    >>> found = cosine_distance(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.0, 3.0], [-2.0, 0.0]]))
    >>> [round(value, 6) for value in found.tolist()]
    [1.0, 2.0]
    """
    one, other = _maps(maps, shifted)
    a, b = _length(one), _length(other)
    chord = _length(one / _divisor(a) - other / _divisor(b))  # |u - v|^2 = 2 - 2 cos, precise for small angles
    return torch.where((a > 0) & (b > 0), chord.square() / 2, ((a > 0) ^ (b > 0)).to(chord))


def relative_difference(
    maps: Float[Tensor, "..."], shifted: Float[Tensor, "..."], noise: Float[Tensor, "..."]
) -> Float[Tensor, " n"]:
    """||E(x + d) - E(x)|| / (||E(x)|| ||d||): the finite difference of the map, relative to the map.

    In units of one over the input's.  Infinite where a map that was zero changed, 0 where it did not.
    Raises ValueError as `cosine_distance`, and for a sample without noise.

    >>> relative_difference(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]]), torch.tensor([[0.5]])).tolist()
    [0.4]
    """
    one, other = _maps(maps, shifted)
    wrong = "a finite difference needs finite noise for each sample, none of it zero."
    if noise.ndim < 1 or len(noise) != len(one):
        raise ValueError(wrong)
    size = _length(noise.to(one).reshape(len(one), -1))
    if not (size > 0).all() or not size.isfinite().all():
        raise ValueError(wrong)
    change = _length(other - one)
    return torch.where(change > 0, change / (_length(one) * size), 0)


def frechet_distance(maps: Float[Tensor, "..."], shifted: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    """|m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2) of Gaussians fitted to two sets of maps.  [dowson1982]

    The square of the distance, as it is usual since [heusel2017], in the square of the maps' unit.  It compares the
    sets, not the pairs.  With A and B the centred maps over sqrt(n - 1) the trace of the root is the sum of the
    singular values of A B^T, so no root of a rank-deficient matrix is taken, and no e x e matrix is formed.
    Few samples: two sets of n maps from one law with covariance C are some 2 tr(C) / n apart by their means alone,
    and further by their covariances, whose rank is below n.  Compare only values of the same n.
    Raises ValueError for maps of different shapes, that are not finite, and for fewer than two samples.

    >>> maps = torch.tensor([[0.0, 1.0], [2.0, 1.0], [1.0, 0.0]])
    >>> round(float(frechet_distance(maps, maps + 3)), 6)  # moved by (3, 3)
    18.0
    """
    if maps.ndim < 1 or maps.shape[1:] != shifted.shape[1:] or 0 in maps.shape[1:]:
        raise ValueError(f"the maps are {tuple(maps.shape)} and {tuple(shifted.shape)}: they must be alike.")
    if min(len(maps), len(shifted)) < 2:
        raise ValueError("a covariance needs at least two maps in each set.")
    one, other = _vectors(maps), _vectors(shifted)
    means = (one.mean(0) - other.mean(0)).square().sum()
    A, B = ((each - each.mean(0)) / math.sqrt(len(each) - 1) for each in (one, other))
    traces = A.square().sum() + B.square().sum()
    # A = Q T: the singular values of A B^T are those of T T'^T
    A, B = (torch.linalg.qr(each, mode="r").R if len(each) > each.shape[1] else each for each in (A, B))
    return (means + traces - 2 * torch.linalg.svdvals(A @ B.mT).sum()).clamp(min=0)


def _maps(maps: Tensor, shifted: Tensor) -> tuple[Tensor, Tensor]:
    if maps.ndim < 1 or maps.shape != shifted.shape or not maps.numel():
        raise ValueError(
            f"the maps are {tuple(maps.shape)} and {tuple(shifted.shape)}: they must be alike, and not empty."
        )
    return _vectors(maps), _vectors(shifted)


def _vectors(maps: Tensor) -> Tensor:
    """The maps as vectors, (n, e), in double precision."""
    if not maps.isfinite().all():
        raise ValueError("the maps hold NaN or infinite values.")
    return maps.detach().double().reshape(len(maps), -1)


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1)


def _divisor(length: Tensor) -> Tensor:
    return torch.where(length > 0, length, 1).unsqueeze(1)
