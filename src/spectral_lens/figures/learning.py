"""What a training does: to vectors that pass a network, to its weights, to its accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens.figures.style import (
    BLUE,
    GREY,
    MARKERS,
    as_array,
    colour_of,
    legend,
    logarithmic,
    several,
    spread,
    styled,
)
from spectral_lens.intervals import half_width

__all__ = ["expansion", "free", "gains", "weights"]

DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


@styled
def expansion(panels: Mapping[str, Float[Tensor, " nodes"]], *, split: int | Sequence[int]) -> Figure:
    """Components of vectors over the nodes, one row per vector; every second group of nodes is shaded.

    Shows an input, its coefficients on a basis of eigenvectors, and what comes out.

    >>> import torch
    >>> expansion({"input": torch.rand(7), "output": torch.rand(7)}, split=4)
    <Figure size ... with 2 Axes>
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(8, 0.5 + 1.2 * len(panels)), sharex=True, squeeze=False)
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
        nodes = len(values)
        borders = [*several(split), nodes]
        for first, last in zip(borders[::2], borders[1::2], strict=False):
            axis.axvspan(first - 0.5, last - 0.5, color=GREY, alpha=0.13, lw=0)
        axis.bar(np.arange(nodes), as_array(values), color=BLUE, width=0.8 if nodes <= 100 else 1.0, zorder=2)
        axis.axhline(0, color="black", lw=0.8)
        axis.set(title=title, xlim=(-0.6, nodes - 0.4))
        axis.grid(False, axis="x")
    axis.set_xlabel("node")
    axis.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    return figure


@styled
def weights(panels: Mapping[str, Mapping[str, Tensor]], *, xlabel: str = "weight", bins: int = 80) -> Figure:
    """Densities of several sets of weights, one panel per title.

    The x axis spans the 0.5% to 99.5% quantiles of all weights of the panel, widened by 10%; weights outside are not
    shown, but counted. With three sets or more the y axis ends at 1.6 times the second-highest peak or below, so that a
    spike does not flatten the others; the height of one that is cut is written beside it.

    >>> import torch
    >>> weights({"layer 1": {"all weights": torch.randn(50), "eigenvalues": torch.randn(20)}})
    <Figure size ... with 1 Axes>
    """
    with optional("figures"):
        import seaborn as sns  # slow to import, and only this figure needs it

    figure, axes = plt.subplots(1, len(panels), figsize=(8, 3.1), squeeze=False)
    labels = list(dict.fromkeys(label for sets in panels.values() for label in sets))
    for axis, (title, sets) in zip(axes.flat, panels.items(), strict=True):
        values = {label: as_array(each).ravel() for label, each in sets.items()}
        pooled = np.concatenate(list(values.values()))
        low, high = np.quantile(pooled, (0.005, 0.995))
        margin = 0.05 * (high - low) or 0.5
        inside = np.linspace(low - margin, high + margin, bins + 1)
        outside = min(inside[0], pooled.min()), max(inside[-1], pooled.max())
        edges = np.unique([*inside, *outside])  # what is not shown falls into one wide bin on either side
        tops = []
        for label, each in values.items():
            k = labels.index(label)
            look = {"color": colour_of(label, k), "ls": DASHES[k % len(DASHES)], "label": label}
            sns.histplot(each, bins=edges, stat="density", element="step", fill=False, ax=axis, **look)
            x, y = axis.lines[-1].get_data()
            shown = (x >= inside[0]) & (x < inside[-1])
            tops.append((y[shown].max(), x[shown][y[shown].argmax()]))
        *_, (second, _), (first, at) = [(0.0, 0.0), *sorted(tops)]
        limit = 1.6 * second if len(tops) > 2 and second else np.inf
        axis.set(title=title, xlabel=xlabel, ylabel="density" if axis is axes[0, 0] else "")
        axis.set(xlim=inside[[0, -1]], ylim=(0, min(1.05 * first, limit)))
        if first > limit:
            left = at > inside.mean()
            axis.annotate(
                f"up to {first:.3g}",
                (at if left else at + inside[1] - inside[0], limit),
                xytext=(-6 if left else 6, -2),
                textcoords="offset points",
                ha="right" if left else "left",
                va="top",
            )
    legend(figure)
    return figure


@styled
def free(
    panels: Mapping[str, Mapping[str, tuple[Tensor, Float[Tensor, "r points"]]]],
    *,
    xlabel: str = "free parameters",
    ylabel: str = "test accuracy",
) -> Figure:
    """What is reached with how many free parameters, one panel per data set: mean and standard deviation over the runs.

    Each series has numbers of its own, on a logarithmic axis.

    >>> import torch
    >>> free({"MNIST": {"eigenvalues": (torch.tensor([300, 900]), torch.rand(5, 2))}})
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 3.1), squeeze=False)
    labels = list(dict.fromkeys(label for series in panels.values() for label in series))
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=True):
        for label, (counts, values) in series.items():
            k = labels.index(label)
            joined = f"{MARKERS[k % len(MARKERS)]}-"
            spread(axis, as_array(counts), as_array(values), fmt=joined, color=colour_of(label, k), lw=1.2, label=label)
        axis.set(title=title, xlabel=xlabel, ylabel=ylabel if axis is axes[0, 0] else "", xscale="log")
        low, high = axis.get_xlim()
        steps = ((1, 2, 5), (1, 3), (1,))[np.searchsorted([20, 100], high / low)]  # the wider, the fewer have room
        axis.xaxis.set_major_locator(MaxNLocator(4) if high < 4 * low else LogLocator(subs=steps))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
        axis.xaxis.set_minor_formatter(NullFormatter())
    legend(figure)
    return figure


@styled
def gains(
    series: Mapping[str, tuple[Sequence[int | float] | Tensor, Float[Tensor, "r points"]]],
    *,
    xlabel: str,
    ylabel: str,
    logx: bool = False,
) -> Figure:
    """Differences run by run, one faint dot each, and their mean with its 95% confidence interval (Student's t).

    Each series has places of its own; where two meet, they stand side by side.

    >>> import torch
    >>> gains({"eigenvalues": ([10, 20], torch.rand(5, 2))}, xlabel="samples", ylabel="gain")
    <Figure size ... with 1 Axes>
    """
    figure, axis = plt.subplots(figsize=(8, 3.2))
    own = [as_array(x).astype(float) for x, _ in series.values()]
    places = np.unique(np.concatenate(own))
    scale = np.log if logx else np.positive
    step = 0.14 * (np.diff(scale(places)).min() if len(places) > 1 else 1.0)
    axis.axhline(0, color="black", lw=1)
    for k, (x, (label, (_, values))) in enumerate(zip(own, series.items(), strict=True)):
        array, runs = as_array(values), len(values)
        look: dict[str, Any] = {"color": colour_of(label, k), "marker": MARKERS[k % len(MARKERS)]}
        at = scale(x) + step * (k - (len(series) - 1) / 2)
        beside = at + 0.3 * step
        if logx:
            at, beside = np.exp(at), np.exp(beside)
        half = half_width(array.std(0, ddof=1), runs) if runs > 1 else None
        axis.scatter(np.tile(beside, runs), array.ravel(), s=9, alpha=0.4, lw=0, **look)
        axis.errorbar(at, array.mean(0), half, ls="none", capsize=3, ms=5, label=label, **look)
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        logarithmic(axis, places)
    if len(places) == 1:
        ends = scale(places) + np.array([-1, 1])
        axis.set(xticks=places, xlim=np.exp(ends) if logx else ends)
    legend(figure)
    return figure
