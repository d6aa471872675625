"""Inputs: their data, their relevance, and where they stand in an image."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from spectral_lens.figures.style import BLUE, CYCLE, GREY, RED, as_array, colour_of, spread, styled

__all__ = ["distributions", "eigenvalues", "examples", "grid", "maps", "masked", "pair", "top"]


@styled
def distributions(
    x: Float[Tensor, "n d"], y: Int[Tensor, " n"], *, names: Sequence[str], columns: int = 5, bins: int = 40
) -> Figure:
    """How each input is distributed in each class, one small panel per input.

    >>> distributions(torch.randn(40, 3), torch.arange(40) % 2, names=["a", "b", "c"], columns=3)
    <Figure size ... with 3 Axes>
    """
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, 1.25 * rows + 0.4), sharex=True, squeeze=False)
    edges = np.linspace(float(x.min()), float(x.max()), bins)
    for k, (axis, name) in enumerate(zip(axes.flat, names, strict=False)):
        for c in y.unique().tolist():
            values = as_array(x[y == c, k])
            axis.hist(values, edges, density=True, histtype="stepfilled", alpha=0.25, color=CYCLE[c])
            axis.hist(values, edges, density=True, histtype="step", color=CYCLE[c], label=f"class {c}")
        axis.set(title=name, yticks=[])
        axis.grid(False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles[-2:], labels[-2:], loc="outside lower center", ncols=2)
    return figure


@styled
def pair(x: Float[Tensor, "n d"], y: Int[Tensor, " n"], *, first: int, second: int) -> Figure:
    """Two inputs of two classes: what each shows alone, and what they show together.

    >>> pair(torch.randn(40, 3), torch.arange(40) % 2, first=0, second=2)
    <Figure size ... with 3 Axes>
    """
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.7))
    for axis, k in ((left, first), (middle, second)):
        for c in (0, 1):
            axis.hist(as_array(x[y == c, k]), 50, density=True, histtype="step", color=CYCLE[c], label=f"class {c}")
        axis.set(xlabel=f"input {k}", yticks=[])
    for c in (0, 1):
        some = y.eq(c).nonzero().squeeze(1)[:400]
        right.scatter(
            as_array(x[some, first]), as_array(x[some, second]), s=6, marker="ox"[c], color=CYCLE[c], alpha=0.6
        )
    right.set(xlabel=f"input {first}", ylabel=f"input {second}")
    left.legend(loc="upper left")
    return figure


@styled
def eigenvalues(
    scores: Mapping[str, Float[Tensor | np.ndarray, "..."]],
    *,
    relevant: Bool[Tensor, "..."] | None = None,
    names: Sequence[str] | np.ndarray | None = None,
    xlabel: str = "input",
    ylabel: str = "relevance / its maximum",
) -> Figure:
    """Mean and standard deviation over the runs of each input's relevance; inputs with no information are shaded.

    scores: by name, (r, d).  relevant: which inputs are not shaded, (d,).  names: of the inputs, for their numbers.
    Raises ValueError for scores without an axis of runs, of different numbers of inputs, and for as many names.

    >>> eigenvalues({"L1": torch.rand(5, 3)}, names=["mass", "age", "distance"])
    <Figure size ... with 1 Axes>
    """
    arrays = {label: as_array(values) for label, values in scores.items()}
    inputs = _inputs(arrays)
    if names is not None and len(names) != inputs:
        raise ValueError(f"{len(names)} names for {inputs} inputs: give one for each.")
    if relevant is not None and relevant.shape != (inputs,):
        raise ValueError(f"relevant is {tuple(relevant.shape)}: it must say True or False of each of {inputs} inputs.")
    figure, axis = plt.subplots(figsize=(8, 2.8))
    for k, (label, array) in enumerate(arrays.items()):
        shift = 0.16 * (k - (len(scores) - 1) / 2)
        spread(axis, np.arange(inputs) + shift, array, color=colour_of(label, k), label=label)
    if relevant is not None:
        for i in (~relevant).nonzero().flatten().tolist():
            axis.axvspan(i - 0.5, i + 0.5, color=GREY, alpha=0.13, lw=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, None), xlim=(-0.6, inputs - 0.4))
    if names is None:
        axis.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    else:
        axis.set_xticks(range(inputs), [str(name) for name in names], rotation=90)
        longest = max(len(str(name)) for name in names)
        figure.set_figheight(2.8 + 0.07 * longest)  # so that the axis keeps its height
    figure.legend(loc="outside upper right", ncols=len(scores))
    return figure


def _inputs(scores: Mapping[str, np.ndarray]) -> int:
    """How many inputs all scores, (runs, inputs), are of."""
    for label, array in scores.items():
        if array.ndim != 2:
            raise ValueError(
                f"the scores of {label!r} are {array.shape}: give (runs, inputs), such as a selector's relevance_."
            )
    counts = {array.shape[1] for array in scores.values()}
    if len(counts) != 1:
        raise ValueError(f"the scores must be of the same inputs, found {sorted(counts)} of them.")
    return counts.pop()


@styled
def maps(scores: Mapping[str, Float[Tensor, "height width"]], *, label: str = "relevance") -> Figure:
    """Scores where the inputs stand in the image, all on one colour scale from 0 to 1.

    >>> maps({"0 and 1": torch.rand(8, 8), "3 and 8": torch.rand(8, 8), "4 and 9": torch.rand(8, 8)})
    <Figure size 1600x546.667 with 4 Axes>
    """
    figure, axes = plt.subplots(1, len(scores), figsize=(8, 0.6 + 6.4 / max(3, len(scores))), squeeze=False)
    for axis, (title, values) in zip(axes.flat, scores.items(), strict=True):
        image = axis.imshow(as_array(values), vmin=0, vmax=1)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(image, ax=axes, label=label, shrink=0.9)
    return figure


@styled
def masked(images: Float[Tensor, "n height width"], kept: Bool[Tensor, "height width"]) -> Figure:
    """Images as they are (top) and what the kept inputs show of them (bottom): ink in red, background in blue.

    >>> masked(torch.rand(4, 8, 8), torch.rand(8, 8) > 0.5)
    <Figure size ... with 8 Axes>
    """
    count = images.shape[0]
    figure, axes = plt.subplots(2, count, figsize=(8, 16.4 / count), squeeze=False)
    rows, columns = (as_array(k) for k in kept.nonzero(as_tuple=True))
    for (top, bottom), image in zip(axes.T, images, strict=True):
        for axis, alpha in ((top, 1.0), (bottom, 0.25)):
            axis.imshow(as_array(image), cmap="gray_r", alpha=alpha)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        ink = as_array(image[kept]) > 0.25
        size = 2600 / max(image.shape) ** 2 * 2
        bottom.scatter(columns[~ink], rows[~ink], s=size, marker="s", color=BLUE, alpha=0.8, lw=0)
        bottom.scatter(columns[ink], rows[ink], s=size, marker="o", color=RED, lw=0)
    return figure


def grid(values: Float[Tensor, " d"], shape: Sequence[int]) -> Float[Tensor, "height width"]:
    """A score per input, laid out as the image that the inputs come from; colour channels are summed.

    >>> grid(torch.arange(12.0), (3, 2, 2))  # three channels
    tensor([[12., 15.],
            [18., 21.]])
    """
    image = values.view(*shape)
    return image.sum(0) if image.ndim == 3 else image


def top(order: Int[Tensor, " d"], count: int, shape: Sequence[int]) -> Bool[Tensor, "height width"]:
    """Where the `count` first inputs of a ranking stand in the image.

    >>> top(torch.tensor([3, 0, 1, 2]), 2, (2, 2))
    tensor([[ True, False],
            [False,  True]])
    """
    kept = torch.zeros_like(order, dtype=torch.float32)
    kept[order[:count]] = 1
    return grid(kept, shape) > 0


def examples(x: Float[Tensor, "n c h w"], y: Int[Tensor, " n"], count: int) -> Float[Tensor, "count h w"]:
    """`count` of the images, of the classes 0, 1, ... in turn, each time the next of its class; channels are summed.

    Raises ValueError where a class has too few.

    >>> examples(torch.rand(4, 1, 3, 5), torch.tensor([0, 0, 1, 1]), 3).shape
    torch.Size([3, 3, 5])
    """
    places = [(y == label).nonzero().flatten() for label in range(int(y.max()) + 1)]
    turns = [divmod(k, len(places)) for k in range(count)]
    if any(turn >= len(places[label]) for turn, label in turns):
        raise ValueError(f"{[len(each) for each in places]} images of the classes are too few to show {count} in turn.")
    return torch.stack([x[places[label][turn]].sum(0) for turn, label in turns])
