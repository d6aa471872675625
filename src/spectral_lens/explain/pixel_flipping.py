"""Pixel flipping: how fast an output falls while the inputs that an explanation ranks highest are taken away.

[samek2017; maess, 4.1]  All images, all rankings and all steps are one long list of masked images, which the
model sees in large batches.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor, nn

from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.memory import check_chunk
from spectral_lens.nn._checks import checked

__all__ = ["Imputer", "area", "blurred", "constant", "curves", "inpainted", "ranking"]

# (images (n, *d), masked (n, p)) to the images with those of their p pixels imputed
Imputer = Callable[[Tensor, Tensor], Tensor]


def ranking(relevance: Float[Tensor, "*m d"], *, channels: int = 1) -> Int[Tensor, "*m p"]:
    """The pixels of each explanation, the most relevant first; ties in the order of the pixels.

    relevance: inputs in one axis; channels: how many of them, one plane after the other, make up a pixel.
    Raises ValueError for inputs that are not so many planes, for maps that are not flattened, and for NaN.

    >>> ranking(torch.tensor([0.5, 2.0, 1.0, -1.0]))
    tensor([1, 2, 0, 3])
    >>> ranking(torch.tensor([0.5, 2.0, 1.0, -1.0]), channels=2)  # of 0.5 + 1 and 2 - 1
    tensor([0, 1])
    """
    if not 1 <= relevance.ndim <= 3:
        raise ValueError(
            f"maps of shape {tuple(relevance.shape)}: their inputs must stand in one axis, flatten them, E.flatten(2)."
        )
    if channels < 1 or relevance.shape[-1] % channels:
        raise ValueError(f"{relevance.shape[-1]} inputs are not {channels} planes of pixels.")
    if relevance.isnan().any():
        raise ValueError("the relevance holds NaN, which has no rank.")
    pixels = relevance.unflatten(-1, (channels, -1)).sum(-2)
    return pixels.argsort(dim=-1, descending=True, stable=True)


@torch.no_grad()
def curves(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    rankings: Integer[Tensor, "..."],
    target: Integer[Tensor, "..."],
    *,
    imputer: Imputer | None = None,
    fraction: float = 0.05,
    steps: int | None = None,
    chunk: int = 500,
) -> Float[Tensor, "*m n points"]:
    """The target's output after 0, 1, ... `steps` equal steps down each of the m rankings, to a fraction of the pixels.

    rankings: of each sample's pixels, (m, n, p), or one alone, (n, p).  target: the output of each sample that is
    watched, (n,).  imputer: what takes the place of a pixel: `constant` (zero by default), `blurred` or `inpainted`.
    steps: one pixel each by default.  chunk: images that the model sees at a time.
    Raises ValueError for rankings, targets, steps or a chunk that do not fit.

    >>> model = nn.Linear(4, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 4.0, 2.0, 3.0]]))
    >>> x = torch.ones(1, 4)
    >>> curves(model, x, ranking(model.weight * x)[None], torch.tensor([0]), fraction=1.0)
    tensor([[[10.,  6.,  3.,  1.,  0.]]])
    """
    checked(model, x)
    if rankings.ndim == 2:
        one = rankings.unsqueeze(0)
        return curves(model, x, one, target, imputer=imputer, fraction=fraction, steps=steps, chunk=chunk)[0]
    _check(x, rankings, target, fraction, chunk)
    rankings, target = rankings.to(x.device, torch.int64), target.to(x.device, torch.int64)
    m, n, pixels = rankings.shape
    last = max(1, round(fraction * pixels))
    steps = last if steps is None else steps
    if int(steps) != steps or not 1 <= steps <= last:
        raise ValueError(
            f"steps={steps}: a fraction of {fraction} of {pixels} pixels is {last}, one step takes at least one."
        )
    imputer = imputer or constant()
    removed = torch.linspace(0, last, int(steps) + 1, device=x.device).round().long()
    rank = torch.empty_like(rankings)
    rank.scatter_(2, rankings, torch.arange(pixels, device=rankings.device).expand_as(rankings))
    batches = zip(x.split(chunk), target.split(chunk), strict=True)
    # a copy, since a model may work on its input in place
    whole = torch.cat([_at(model(batch.clone()), targets) for batch, targets in batches])
    found = whole.new_empty(len(removed) - 1, m * n)
    rows = torch.cartesian_prod(torch.arange(len(found)), torch.arange(m * n)).to(x.device)
    rank = rank.flatten(0, 1)
    for batch in rows.split(chunk):
        step, row = batch.T
        masked = rank[row] < removed[step + 1].unsqueeze(1)
        image = row % n
        found[step, row] = _at(model(imputer(x[image], masked)), target[image])
    return torch.cat([whole.expand(1, m, n), found.view(-1, m, n)]).movedim(0, 2)


def area(curve: Float[Tensor, "*m points"], *, relative: bool = True) -> Float[Tensor, "*m"]:
    """A, the mean height of the curve (trapezoidal rule), or relative to the output f at its start.

        1 + (A - f) / |f|,        which is A / f for a positive f and 2 - A / f for a negative one

    The lower, the better the ranking, whatever the sign of f; 1 where the output stays as it is.
    Raises ValueError for curves of one point or with values that are not finite, and, unless relative is False, for
    an output at the start that is zero up to rounding: what is relative to it would be noise.

    >>> area(torch.tensor([[4.0, 2.0, 0.0], [-4.0, -6.0, -8.0]]))  # both lose half of 4 on average
    tensor([0.5000, 0.5000])
    """
    if curve.ndim < 1 or curve.shape[-1] < 2:
        raise ValueError(f"the curve is {tuple(curve.shape)}: an area needs two points at least.")
    if not curve.isfinite().all():
        raise ValueError("the curve holds NaN or infinite values.")
    curve = curve.float() if curve.dtype in (torch.float16, torch.bfloat16) else curve
    height = torch.trapezoid(curve, dx=1 / (curve.shape[-1] - 1), dim=-1)
    if not relative:
        return height
    start = curve[..., 0]
    nothing = start.abs() <= torch.finfo(curve.dtype).eps * curve.abs().amax(-1)
    if nothing.any():
        raise ValueError(
            f"{int(nothing.sum())} of {nothing.numel()} curves start at zero, to which no area is relative: take "
            "relative=False, or leave these samples out."
        )
    ratio = height / start
    return torch.where(start > 0, ratio, 2 - ratio)


def constant(value: float = 0.0) -> Imputer:
    """The same value everywhere.

    >>> constant(0.0)(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[True, False, True]]))
    tensor([[0., 2., 0.]])
    """
    return lambda images, masked: torch.where(_over(masked, images), value, images)


def blurred(sigma: float = 3.0) -> Imputer:
    """The image under a Gaussian blur of that standard deviation, in pixels (torchvision).

    >>> images, masked = torch.rand(2, 3, 6, 7), torch.rand(2, 42) < 0.5
    >>> blurred(1.0)(images, masked).shape
    torch.Size([2, 3, 6, 7])
    """

    def impute(images: Tensor, masked: Tensor) -> Tensor:
        _has_planes(images, "blurred")
        from spectral_lens.datasets.vision import torchvision

        torchvision()  # first, see there
        from torchvision.transforms.v2.functional import gaussian_blur

        size = 2 * min(round(3 * sigma), min(images.shape[-2:]) - 1) + 1
        return torch.where(_over(masked, images), gaussian_blur(images, [size, size], [sigma, sigma]), images)

    return impute


def inpainted(radius: float = 3.0) -> Imputer:
    """What OpenCV's fast marching makes of the pixels around, within that radius.  [telea2004]

    Each channel by itself, in single precision, several images at a time: OpenCV lets other threads work meanwhile.

    >>> images, masked = torch.full((2, 3, 6, 7), 0.5), torch.rand(2, 42) < 0.5
    >>> torch.allclose(inpainted()(images, masked), images)
    True
    """

    def impute(images: Tensor, masked: Tensor) -> Tensor:
        _has_planes(images, "inpainted")
        with optional("explain"):
            import cv2

        planes = images.float().cpu().flatten(0, 1).contiguous().numpy()
        masks = _over(masked, images).expand_as(images).flatten(0, 1).cpu().byte().numpy()

        def one(plane: np.ndarray, mask: np.ndarray) -> np.ndarray:
            return cv2.inpaint(plane, mask, radius, cv2.INPAINT_TELEA)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None) as pool:
            done = np.stack(list(pool.map(one, planes, masks)))
        return torch.from_numpy(done).to(images).view_as(images)

    return impute


def _over(masked: Bool[Tensor, "n p"], images: Float[Tensor, "n *d"]) -> Bool[Tensor, "n *#d"]:
    """The masked pixels, in a form that is the same for all channels."""
    if masked[0].numel() == images[0].numel():
        return masked.view_as(images)
    return masked.view(len(images), 1, *images.shape[2:])


def _has_planes(images: Tensor, imputer: str) -> None:
    if images.ndim != 4:
        raise ValueError(f"{imputer} needs images, (n, channels, height, width), not {tuple(images.shape)}.")


def _at(out: Any, target: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    if not isinstance(out, Tensor) or out.ndim != 2:
        kind = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"the model gives {kind}: it must give one tensor, (samples, outputs).")
    if target.amax() >= out.shape[1]:
        raise ValueError(f"target {int(target.amax())} does not exist: the model has {out.shape[1]} outputs.")
    return out.gather(1, target.unsqueeze(1)).squeeze(1)


def _check(x: Tensor, rankings: Tensor, target: Tensor, fraction: float, chunk: int) -> None:
    whole = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    inputs = x[0].numel()
    planes = x.shape[2:].numel() if x.ndim > 2 else inputs
    if rankings.ndim != 3 or rankings.shape[1] != len(x) or rankings.shape[2] not in (inputs, planes):
        raise ValueError(
            f"rankings is {tuple(rankings.shape)} for inputs {tuple(x.shape)}: it must be (m, n, pixels), "
            "or (n, pixels) of one order."
        )
    pixels = rankings.shape[2]
    if rankings.dtype not in whole or not (rankings.sort(2).values == torch.arange(pixels).to(rankings.device)).all():
        raise ValueError(f"each ranking must name all pixels 0 to {pixels - 1} once, in whole numbers.")
    if target.shape != x.shape[:1] or target.dtype not in whole or (target < 0).any():
        raise ValueError(f"target must be one output for each of {len(x)} samples, from 0.")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction} must lie in (0, 1].")
    check_chunk(chunk, of="image")
