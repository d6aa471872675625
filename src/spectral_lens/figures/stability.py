"""Spectra of a network's operators and what they say.  Imported by the chapters that need it, not through `figures`."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from spectral_lens.figures.style import GREY, MARKERS, as_array, colour_of, legend, styled

__all__ = ["against_law", "clouds", "densities", "intervals", "ranges"]


@styled
def densities(
    series: Mapping[str, tuple[Float[Tensor, " points"], Float[Tensor, " points"]]],
    *,
    xlabel: str,
    ylabel: str = "density",
    logy: bool = False,
    floor: float | None = None,
) -> Figure:
    """Curves over one axis, each with points of its own; floor: what lies below is not drawn.

    >>> import torch
    >>> x = torch.linspace(0, 1, 9)
    >>> densities({"tanh": (x, x**2)}, xlabel="eigenvalue")
    <Figure size ... with 1 Axes>
    """
    figure, axis = plt.subplots(figsize=(8, 3.2))
    for k, (label, (at, values)) in enumerate(series.items()):
        axis.plot(as_array(at), as_array(values), color=colour_of(label, k), label=label, ls=("-", "--", ":")[k % 3])
    axis.set(xlabel=xlabel, ylabel=ylabel)
    if logy:
        axis.set_yscale("log")
    if floor is not None:
        axis.set_ylim(bottom=floor)
    legend(figure)
    return figure


@styled
def against_law(
    spectra: Mapping[str, Float[Tensor, " values"]],
    laws: Mapping[str, tuple[Float[Tensor, " points"], Float[Tensor, " points"]]],
    *,
    xlabel: str,
    bins: int = 40,
) -> Figure:
    """Measured spectra as histograms, a panel each, and the density that a law gives of the same name over each.

    >>> import torch
    >>> x = torch.linspace(0, 1, 9)
    >>> against_law({"tanh": torch.rand(50)}, {"tanh": (x, torch.ones(9))}, xlabel="singular value")
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(1, len(spectra), figsize=(8, 2.9), squeeze=False)
    for k, (axis, (name, values)) in enumerate(zip(axes.flat, spectra.items(), strict=True)):
        array = as_array(values)
        end = max(float(array.max()), float(laws[name][0].max()) if name in laws else 0.0)
        axis.hist(array, np.linspace(0, end, bins), density=True, color=colour_of(name, k), alpha=0.6, lw=0)
        if name in laws:
            axis.plot(*map(as_array, laws[name]), color=GREY, lw=1.4)
        axis.set(title=name, xlabel=xlabel, ylabel="density" if k == 0 else "")
    return figure


@styled
def clouds(
    panels: Mapping[str, tuple[Float[Tensor, " n"], Float[Tensor, " n"]]],
    *,
    xlabel: str,
    ylabel: str,
    bound: Mapping[str, tuple[Float[Tensor, " points"], Float[Tensor, " points"]]] | None = None,
    logy: bool = False,
) -> Figure:
    """One dot per sample, a panel for each network; `bound`: a dashed line that no dot may cross, by panel.

    >>> import torch
    >>> clouds({"plain": (torch.rand(20), torch.rand(20))}, xlabel="index", ylabel="change")
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(1, len(panels), figsize=(8, 3), squeeze=False, sharey=True)
    for k, (axis, (name, (x, y))) in enumerate(zip(axes.flat, panels.items(), strict=True)):
        axis.scatter(as_array(x), as_array(y), s=10, alpha=0.5, color=colour_of(name, k), lw=0)
        if bound is not None and name in bound:
            axis.plot(*map(as_array, bound[name]), "--", color=GREY, lw=1.2)
        axis.set(title=name, xlabel=xlabel, ylabel=ylabel if k == 0 else "", yscale="log" if logy else "linear")
    return figure


@styled
def ranges(
    groups: Mapping[str, Mapping[str, Float[Tensor, " n"]]], *, ylabel: str, level: Mapping[str, float] | None = None
) -> Figure:
    """Boxes from the lower to the upper quartile with the median, whiskers from 5% to 95%; a colour for each series.

    groups: the values of each series in each group; level: a dashed line across the group of that name.

    >>> import torch
    >>> ranges({"plain": {"s_J": torch.rand(20)}}, ylabel="norm")
    <Figure size ... with 1 Axes>
    """
    names = list(dict.fromkeys(name for series in groups.values() for name in series))
    figure, axis = plt.subplots(figsize=(8, 3.2))
    wide = 0.7 / len(names)
    for g, (group, series) in enumerate(groups.items()):
        for name, values in series.items():
            k = names.index(name)
            low, first, middle, third, high = np.quantile(as_array(values), (0.05, 0.25, 0.5, 0.75, 0.95))
            at, colour = g + (k - (len(names) - 1) / 2) * wide, colour_of(name, k)
            label = name if group == next(key for key, each in groups.items() if name in each) else None
            axis.bar(at, third - first, 0.8 * wide, first, color=colour, alpha=0.45, label=label)
            axis.vlines(at, low, high, color=colour, lw=1)
            axis.hlines(middle, at - 0.4 * wide, at + 0.4 * wide, color=colour, lw=2)
        if level is not None and group in level:
            axis.hlines(level[group], g - 0.45, g + 0.45, color=GREY, ls="--", lw=1)
    axis.set_xticks(range(len(groups)), list(groups))
    axis.set(ylabel=ylabel)
    axis.grid(axis="x", visible=False)
    legend(figure)
    return figure


@styled
def intervals(series: Mapping[str, Mapping[str, tuple[float, float, float]]], *, xlabel: str) -> Figure:
    """Numbers with their intervals (value, low, high): a row for each name, a mark in it for each series.

    >>> intervals({"plain": {"accuracy": (0.9, 0.8, 1.0)}}, xlabel="correlation")
    <Figure size ... with 1 Axes>
    """
    rows = list(dict.fromkeys(name for values in series.values() for name in values))
    figure, axis = plt.subplots(figsize=(8, 0.6 + 0.3 * len(rows)))
    for k, (label, values) in enumerate(series.items()):
        at = np.array([rows.index(name) for name in values]) + 0.22 * (k - (len(series) - 1) / 2)
        middle, low, high = np.array(list(values.values())).T
        colour = colour_of(label, k)
        axis.hlines(at, low, high, color=colour, lw=1.5)
        axis.plot(middle, at, MARKERS[k % len(MARKERS)], color=colour, ms=5, label=label)
    axis.axvline(0, color=GREY, lw=0.8)
    axis.set_yticks(range(len(rows)), rows)
    axis.invert_yaxis()
    axis.set(xlabel=xlabel)
    legend(figure)
    return figure
