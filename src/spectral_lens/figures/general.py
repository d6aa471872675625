"""Matrices, curves and distributions, whatever they are of."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from spectral_lens.figures.style import BLUE, GREY, MARKERS, as_array, colour_of, legend, logarithmic, several, styled

__all__ = ["against", "bands", "curves", "histogram", "matrices", "predicted"]


@styled
def matrices(panels: Mapping[str, Float[Tensor, "nodes nodes"]], *, split: int | Sequence[int]) -> Figure:
    """Square matrices side by side on one diverging scale; lines part the groups of nodes.

    >>> import torch
    >>> matrices({"A": torch.eye(4), "B": -torch.eye(4)}, split=2)
    <Figure size ... with 3 Axes>
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 2.6), squeeze=False)
    limit = max(float(values.abs().max()) for values in panels.values())
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
        image = axis.imshow(as_array(values), cmap="RdBu_r", vmin=-limit, vmax=limit)
        for first in several(split):
            axis.axhline(first - 0.5, color=GREY, lw=0.8)
            axis.axvline(first - 0.5, color=GREY, lw=0.8)
        axis.set(title=title, xticks=[], yticks=[])
        axis.grid(False)
    figure.colorbar(image, ax=axes, shrink=0.9)
    return figure


@styled
def curves(
    x: Float[Tensor, " points"],
    series: Mapping[str, Float[Tensor, " points"]],
    *,
    points: Mapping[str, tuple[Tensor, Tensor]],
    xlabel: str,
    ylabel: str,
    log: bool = False,
) -> Figure:
    """Curves over one axis, each with a point that a formula predicts on it.

    >>> import torch
    >>> x = torch.linspace(0, 1, 9)
    >>> curves(x, {"a": x**2}, points={"a": (x[4], x[4] ** 2)}, xlabel="x", ylabel="y")
    <Figure size ... with 1 Axes>
    """
    figure, axis = plt.subplots(figsize=(8, 3))
    for k, (label, values) in enumerate(series.items()):
        axis.plot(as_array(x), as_array(values), color=colour_of(label, k), label=label, ls=("-", "--")[k % 2])
        axis.plot(*map(float, points[label]), "o", color=colour_of(label, k))
    axis.set(xlabel=xlabel, ylabel=ylabel, xscale="log" if log else "linear", yscale="log" if log else "linear")
    axis.legend()
    return figure


@styled
def predicted(
    x: Float[Tensor, " points"],
    measured: Float[Tensor, " points"],
    formula: Float[Tensor, " points"],
    *,
    xlabel: str,
    ylabel: str,
) -> Figure:
    """What was measured, as dots, on the line that a formula gives.

    >>> import torch
    >>> x = torch.linspace(0, 1, 9)
    >>> predicted(x, x**2 + 0.01, x**2, xlabel="x", ylabel="y")
    <Figure size ... with 1 Axes>
    """
    figure, axis = plt.subplots(figsize=(8, 3))
    axis.plot(as_array(x), as_array(formula), color=GREY, label="predicted")
    axis.plot(as_array(x), as_array(measured), "o", ms=4, color=BLUE, label="measured")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    axis.legend()
    return figure


@styled
def bands(
    x: Sequence[int | float] | Tensor,
    series: Mapping[str, Float[Tensor, "r points"]],
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
    logy: bool = False,
    marks: Mapping[str, float] | None = None,
    level: tuple[float, float, str] | None = None,
) -> Figure:
    """Mean over the runs as a line, one standard deviation as a band.

    `marks` are named vertical lines; `level` is a horizontal line with its spread and name.

    >>> import torch
    >>> bands([1, 2, 4], {"ranked": torch.rand(5, 3)}, xlabel="inputs", ylabel="accuracy", logx=True)
    <Figure size ... with 1 Axes>
    """
    every = None if len(x) <= 20 else 0.06
    figure, axis = plt.subplots(figsize=(8, 3.5))
    for k, (label, values) in enumerate(series.items()):
        array, colour = as_array(values), colour_of(label, k)
        mean, sd = array.mean(0), array.std(0, ddof=min(1, len(array) - 1))
        axis.plot(as_array(x), mean, color=colour, label=label, marker=MARKERS[k % 5], ms=3.5, markevery=every)
        axis.fill_between(as_array(x), mean - sd, mean + sd, color=colour, alpha=0.2, lw=0)
    if level is not None:
        height, width, name = level
        axis.axhspan(height - width, height + width, color=GREY, alpha=0.2, lw=0)
        axis.axhline(height, color=GREY, ls="--", lw=1, label=name)
    for name, at in (marks or {}).items():
        axis.axvline(at, color=GREY, ls=":", lw=1.2)
        axis.annotate(name, (at, 0.04), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points")
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        logarithmic(axis, as_array(x))
    if logy:
        axis.set_yscale("log")
    legend(figure)
    return figure


@styled
def histogram(scores: Mapping[str, Float[Tensor, "r d"]], *, xlabel: str = "relevance / its maximum") -> Figure:
    """How many inputs have which relevance, pooled over the runs; the counts are on a logarithmic axis.

    >>> import torch
    >>> histogram({"L1": torch.rand(5, 20)})
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(1, len(scores), figsize=(8, 2.6), sharey=True, squeeze=False)
    for k, (axis, (label, values)) in enumerate(zip(axes.flat, scores.items(), strict=True)):
        runs = values.shape[0]
        counts, edges = np.histogram(as_array(values), np.linspace(0, 1, 41))
        axis.stairs(counts / runs, edges, fill=True, color=colour_of(label, k), alpha=0.8)
        axis.set(title=label, xlabel=xlabel, yscale="log", ylabel="inputs per run" if k == 0 else "")
    return figure


@styled
def against(
    panels: Mapping[str, tuple[Float[Tensor, "r d"], Float[Tensor, "r d"]]],
    *,
    xlabel: str,
    ylabel: str = "relevance / its maximum",
) -> Figure:
    """Scores against what they should follow, one dot per input and run; the dashed line is proportionality.

    >>> import torch
    >>> against({"L1": (torch.rand(5, 20), torch.rand(5, 20))}, xlabel="distance")
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 3), squeeze=False, sharey=True)
    for k, (axis, (title, (truth, scores))) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        x, y = as_array(truth), as_array(scores)
        axis.scatter(x, y, s=14, alpha=0.55, color=colour_of(title, k), lw=0)
        slope = (x * y).sum() / (x * x).sum()
        axis.plot([0, x.max()], [0, slope * x.max()], "--", color=GREY, lw=1)
        axis.set(title=title, xlabel=xlabel, ylabel=ylabel if k == 0 else "")
    return figure
