"""The look of all figures: one style, one colour for one thing, safe for colour-blind readers.

Every function draws and returns one figure; the caption and the alternative text stand in the chapter.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import torch
from cycler import cycler
from jaxtyping import Bool, Float, Int
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter
from torch import Tensor

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#767676",
)  # fmt: skip
CYCLE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)
COLOURS = {"spectral": BLUE, "L2": BLUE, "L1": RED, "LASSO": ORANGE, "random": GREY, "ranked": BLUE}
MAP = "cividis"
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.prop_cycle": cycler(color=CYCLE),
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "image.cmap": MAP,
}

P = ParamSpec("P")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the book's style; the figure is closed, so that a notebook shows what is returned and only that."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            figure.canvas.draw()  # lays the figure out while the style holds
        plt.close(figure)
        return figure

    return drawn


def _array(values: Tensor | Sequence[float] | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _colour(label: str, k: int) -> str:
    return COLOURS.get(label.split(",")[0], CYCLE[k % len(CYCLE)])


@_styled
def matrices(panels: Mapping[str, Float[Tensor, "nodes nodes"]], *, split: int) -> Figure:
    """Square matrices side by side on one diverging scale; lines part departure from destination nodes."""
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 2.6), squeeze=False)
    limit = max(float(values.abs().max()) for values in panels.values())
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
        image = axis.imshow(_array(values), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axis.axhline(split - 0.5, color=GREY, lw=0.8)
        axis.axvline(split - 0.5, color=GREY, lw=0.8)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.9)
    return figure


@_styled
def curves(
    x: Float[Tensor, " points"],
    series: Mapping[str, Float[Tensor, " points"]],
    *,
    points: Mapping[str, tuple[Tensor, Tensor]],
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> Figure:
    """Curves over one axis, each with a point that a formula predicts on it."""
    figure, axis = plt.subplots(figsize=(8, 3))
    for k, (label, values) in enumerate(series.items()):
        axis.plot(_array(x), _array(values), color=_colour(label, k), label=label, ls=("-", "--")[k % 2])
        axis.plot(*map(float, points[label]), "o", color=_colour(label, k))
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log else "linear", yscale="log" if log else "linear")
    axis.legend()
    return figure


@_styled
def predicted(
    x: Float[Tensor, " points"],
    measured: Float[Tensor, " points"],
    formula: Float[Tensor, " points"],
    *,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """What was measured, as dots, on the line that a formula gives."""
    figure, axis = plt.subplots(figsize=(8, 3))
    axis.plot(_array(x), _array(formula), color=GREY, label="predicted")
    axis.plot(_array(x), _array(measured), "o", ms=4, color=BLUE, label="measured")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend()
    return figure


@_styled
def distributions(
    x: Float[Tensor, "n d"], y: Int[Tensor, " n"], *, names: Sequence[str], columns: int = 5, bins: int = 40
) -> Figure:
    """How each input is distributed in each class, one small panel per input."""
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, 1.25 * rows + 0.4), sharex=True, squeeze=False)
    edges = np.linspace(float(x.min()), float(x.max()), bins)
    for k, (axis, name) in enumerate(zip(axes.flat, names, strict=False)):
        for c in y.unique().tolist():
            values = _array(x[y == c, k])
            axis.hist(values, edges, density=True, histtype="stepfilled", alpha=0.25, color=CYCLE[c])
            axis.hist(values, edges, density=True, histtype="step", color=CYCLE[c], label=f"class {c}")
        axis.set(title=name, yticks=[])
        axis.grid(False)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles[-2:], labels[-2:], loc="outside lower center", ncols=2)
    return figure


@_styled
def pair(x: Float[Tensor, "n d"], y: Int[Tensor, " n"], *, first: int, second: int) -> Figure:
    """Two inputs of two classes: what each shows alone, and what they show together."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(8, 2.7))
    for axis, k in ((left, first), (middle, second)):
        for c in (0, 1):
            axis.hist(_array(x[y == c, k]), 50, density=True, histtype="step", color=CYCLE[c], label=f"class {c}")
        axis.set(xlabel=f"input {k}", yticks=[])
    for c in (0, 1):
        some = y.eq(c).nonzero().squeeze(1)[:400]
        right.scatter(_array(x[some, first]), _array(x[some, second]), s=6, marker="ox"[c], color=CYCLE[c], alpha=0.6)
    right.set(xlabel=f"input {first}", ylabel=f"input {second}")
    left.legend(loc="upper left")
    return figure


def _spread(axis: Axes, x: np.ndarray, scores: np.ndarray, **kwargs: object) -> None:
    axis.errorbar(x, scores.mean(0), scores.std(0, ddof=min(1, len(scores) - 1)), fmt="o", capsize=2, ms=4, **kwargs)  # type: ignore[arg-type]


@_styled
def eigenvalues(
    scores: Mapping[str, Float[Tensor, "r d"]],
    *,
    relevant: Bool[Tensor, " d"] | None = None,
    xlabel: str = "input",
    ylabel: str = "relevance / its maximum",
) -> Figure:
    """Mean and standard deviation over the runs of each input's relevance; inputs with no information are shaded."""
    figure, axis = plt.subplots(figsize=(8, 2.8))
    for k, (label, values) in enumerate(scores.items()):
        array = _array(values)
        shift = 0.16 * (k - (len(scores) - 1) / 2)
        _spread(axis, np.arange(array.shape[1]) + shift, array, color=_colour(label, k), label=label)
    if relevant is not None:
        for i in (~relevant).nonzero().flatten().tolist():
            axis.axvspan(i - 0.5, i + 0.5, color=GREY, alpha=0.13, lw=0)
    axis.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, None), xlim=(-0.6, array.shape[1] - 0.4))
    axis.xaxis.set_major_locator(MaxNLocator(20, integer=True))
    figure.legend(loc="outside upper right", ncols=len(scores))
    return figure


@_styled
def against(
    panels: Mapping[str, tuple[Float[Tensor, "r d"], Float[Tensor, "r d"]]],
    *,
    xlabel: str,
    ylabel: str = "relevance / its maximum",
) -> Figure:
    """Scores against what they should follow, one dot per input and run; the dashed line is proportionality."""
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 3), squeeze=False, sharey=True)
    for k, (axis, (title, (truth, scores))) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        x, y = _array(truth), _array(scores)
        axis.scatter(x, y, s=14, alpha=0.55, color=_colour(title, k), lw=0)
        slope = (x * y).sum() / (x * x).sum()
        axis.plot([0, x.max()], [0, slope * x.max()], "--", color=GREY, lw=1)
        axis.set(title=title, xlabel=xlabel, ylabel=ylabel if k == 0 else "")
    return figure


@_styled
def bands(
    x: Sequence[float] | Tensor,
    series: Mapping[str, Float[Tensor, "r points"]],
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    marks: Mapping[str, float] | None = None,
    level: tuple[float, float, str] | None = None,
) -> Figure:
    """Mean over the runs as a line, one standard deviation as a band.

    `marks` are named vertical lines; `level` is a horizontal line with its spread and name.
    """
    figure, axis = plt.subplots(figsize=(8, 3.2))
    for k, (label, values) in enumerate(series.items()):
        array, colour = _array(values), _colour(label, k)
        mean, sd = array.mean(0), array.std(0, ddof=min(1, len(array) - 1))
        axis.plot(_array(x), mean, color=colour, label=label, marker="os^Dv"[k % 5], ms=3.5, markevery=0.06)
        axis.fill_between(_array(x), mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)
    if level is not None:
        height, width, name = level
        axis.axhspan(height - width, height + width, color=GREY, alpha=0.2, lw=0)
        axis.axhline(height, color=GREY, ls="--", lw=1, label=name)
    for name, at in (marks or {}).items():
        axis.axvline(at, color=GREY, ls=":", lw=1.2)
        axis.annotate(name, (at, 0.04), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        if len(x) <= 8:
            axis.set_xticks(_array(x))
    axis.legend(loc="best")
    return figure


@_styled
def histogram(scores: Mapping[str, Float[Tensor, "r d"]], *, xlabel: str = "relevance / its maximum") -> Figure:
    """How many inputs have which relevance, pooled over the runs; the counts are on a logarithmic axis."""
    figure, axes = plt.subplots(1, len(scores), figsize=(8, 2.6), sharey=True, squeeze=False)
    for k, (axis, (label, values)) in enumerate(zip(axes.flat, scores.items(), strict=True)):
        runs = values.shape[0]
        counts, edges = np.histogram(_array(values), np.linspace(0, 1, 41))
        axis.stairs(counts / runs, edges, fill=True, color=_colour(label, k), alpha=0.8)
        axis.set(title=label, xlabel=xlabel, yscale="log", ylabel="inputs per run" if k == 0 else "")
    return figure


@_styled
def maps(scores: Mapping[str, Float[Tensor, "height width"]], *, label: str = "relevance") -> Figure:
    """Scores where the inputs stand in the image, all on one colour scale from 0 to 1."""
    figure, axes = plt.subplots(1, len(scores), figsize=(8, 0.6 + 6.4 / max(3, len(scores))), squeeze=False)
    for axis, (title, values) in zip(axes.flat, scores.items(), strict=True):
        image = axis.imshow(_array(values), vmin=0, vmax=1)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(image, ax=axes, label=label, shrink=0.9)
    return figure


@_styled
def masked(images: Float[Tensor, "n height width"], kept: Bool[Tensor, "height width"]) -> Figure:
    """Images as they are (top) and what the kept inputs show of them (bottom): ink in red, background in blue."""
    count = images.shape[0]
    figure, axes = plt.subplots(2, count, figsize=(8, 16.4 / count), squeeze=False)
    rows, columns = (_array(k) for k in kept.nonzero(as_tuple=True))
    for (top, bottom), image in zip(axes.T, images, strict=True):
        for axis, alpha in ((top, 1.0), (bottom, 0.25)):
            axis.imshow(_array(image), cmap="gray_r", alpha=alpha)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
        ink = _array(image[kept]) > 0.25
        size = 2600 / max(image.shape) ** 2 * 2
        bottom.scatter(columns[~ink], rows[~ink], s=size, marker="s", color=BLUE, alpha=0.8, lw=0)
        bottom.scatter(columns[ink], rows[ink], s=size, marker="o", color=RED, lw=0)
    return figure


def grid(values: Float[Tensor, " d"], shape: Sequence[int]) -> Float[Tensor, "height width"]:
    """A score per input, laid out as the image that the inputs come from; colour channels are summed."""
    image = values.view(*shape)
    return image.sum(0) if image.ndim == 3 else image


def top(order: Int[Tensor, " d"], count: int, shape: Sequence[int]) -> Bool[Tensor, "height width"]:
    """Where the `count` first inputs of a ranking stand in the image."""
    kept = torch.zeros_like(order, dtype=torch.float32)
    kept[order[:count]] = 1
    return grid(kept, shape) > 0
