"""Methods that choose inputs, side by side.  Imported by the chapters that need it, not through `figures`."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from spectral_lens import intervals
from spectral_lens.figures.style import GREY, MARKERS, as_array, colour_of, legend, spread, styled

__all__ = ["contest", "control", "shares", "steadiness"]


@styled
def contest(
    counts: Mapping[str, Sequence[int]],
    results: Mapping[str, Mapping[str, Float[Tensor, "r counts"]]],
    *,
    ylabels: Mapping[str, str],
) -> Figure:
    """A panel for each data set: what each method reaches with so many inputs, side by side at each number.

    Errors, which differ by factors, are on a logarithmic axis.

    >>> import torch
    >>> contest({"digits": [1, 2]}, {"digits": {"spectral": torch.rand(3, 2)}}, ylabels={"digits": "accuracy"})
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(1, len(results), figsize=(8, 3.9), squeeze=False)
    for axis, (name, methods) in zip(axes.flat, results.items(), strict=True):
        place = np.arange(len(counts[name]))
        for k, (method, values) in enumerate(methods.items()):
            aside = 0.7 * ((k + 0.5) / len(methods) - 0.5)
            marker, colour = MARKERS[k % len(MARKERS)], colour_of(method, k)
            spread(axis, place + aside, as_array(values), fmt=marker, color=colour, label=method, lw=1)
        axis.set_xticks(place, [str(count) for count in counts[name]])
        axis.set(title=name, xlabel="inputs", ylabel=ylabels[name])
        if "error" in ylabels[name]:
            axis.set_yscale("log")
    legend(figure)
    return figure


@styled
def shares(
    series: Mapping[str, Float[Tensor | np.ndarray, "3 d"]], *, names: Sequence[str] | np.ndarray, ylabel: str
) -> Figure:
    """A share of each input with its interval, by method: a row of dots over the inputs for each.

    series: share, lower and upper end of its interval, (3, d).  names: of the inputs.
    Raises ValueError for as many names.

    >>> import torch
    >>> shares({"LASSO": torch.tensor([[0.5], [0.2], [0.8]])}, names=["mass"], ylabel="share of the folds")
    <Figure size ... with 1 Axes>
    """
    arrays = {method: as_array(values) for method, values in series.items()}
    if wrong := [array.shape for array in arrays.values() if array.shape != (3, len(names))]:
        raise ValueError(f"shares {wrong[0]} for {len(names)} names: give (3, inputs) and a name for each.")
    longest = max(len(str(name)) for name in names)
    height = 1.15 * len(arrays)
    figure, axes = plt.subplots(len(arrays), 1, figsize=(8, height + 0.6 + 0.07 * longest), sharex=True, squeeze=False)
    for k, (axis, (method, (share, low, high))) in enumerate(zip(axes.flat, arrays.items(), strict=True)):
        look = {"color": colour_of(method, k), "fmt": MARKERS[k % len(MARKERS)]}
        axis.axhline(0.5, color=GREY, lw=0.6)
        bars = np.maximum([share - low, high - share], 0)  # whose ends may miss 0 and 1 by rounding
        axis.errorbar(np.arange(len(names)), share, bars, capsize=2, ms=4, lw=1, **look)
        axis.set(title=method, ylim=(-0.08, 1.08), yticks=[0, 1], xlim=(-0.6, len(names) - 0.4))
    axes.flat[-1].set_xticks(range(len(names)), [str(name) for name in names], rotation=90)
    axes[len(arrays) // 2, 0].set_ylabel(ylabel)
    return figure


@styled
def steadiness(found: Mapping[str, Mapping[str, intervals.Interval]], *, xlabel: str) -> Figure:
    """A panel for each data set: a number of each method with its interval, the methods below one another.

    >>> steadiness({"digits": {"LASSO": intervals.Interval(0.5, 0.4, 0.6)}}, xlabel="steadiness")
    <Figure size ... with 1 Axes>
    """
    most = max(len(methods) for methods in found.values())
    figure, axes = plt.subplots(1, len(found), figsize=(8, 1 + 0.26 * most), sharey=True, squeeze=False)
    for axis, (name, methods) in zip(axes.flat, found.items(), strict=True):
        axis.axvline(0, color=GREY, lw=0.6)
        for k, (method, (value, low, high)) in enumerate(methods.items()):
            look = {"color": colour_of(method, k), "fmt": MARKERS[k % len(MARKERS)]}
            axis.errorbar([value], [k], xerr=[[value - low], [high - value]], capsize=2, ms=4, lw=1, **look)
        axis.set(title=name, xlim=(-0.25, 1.08), xticks=[0, 0.5, 1])
        axis.set_yticks(range(len(methods)), list(methods))
    axes.flat[0].invert_yaxis()
    axes[0, len(found) // 2].set_xlabel(xlabel)
    return figure


@styled
def control(
    shares: Sequence[float],
    found: Mapping[str, tuple[Float[Tensor, "r shares"], Float[Tensor, "r shares"]]],
) -> Figure:
    """Two panels over the share of false discoveries that was allowed: the share that was false, and what was found.

    found: of each method both shares, (r, shares), drawn as the mean over the runs with its 95% interval.
    Raises ValueError for one run, which has no interval.

    >>> import torch
    >>> control([0.1, 0.2], {"LASSO": (torch.rand(5, 2), torch.rand(5, 2))})
    <Figure size ... with 2 Axes>
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.6))
    place = np.arange(len(shares))
    for side, (axis, title) in enumerate(zip(axes, ("false among those kept", "relevant ones kept"), strict=True)):
        for k, (method, pair) in enumerate(found.items()):
            mean, low, high = intervals.of_mean(as_array(pair[side]))
            aside = 0.6 * ((k + 0.5) / len(found) - 0.5)
            look = {"color": colour_of(method, k), "fmt": MARKERS[k % len(MARKERS)], "label": method}
            axis.errorbar(place + aside, mean, [mean - low, high - mean], capsize=2, ms=4, lw=1, **look)
        axis.set_xticks(place, [f"{share:g}" for share in shares])
        axis.set(title=title, xlabel="share of false ones allowed", ylabel="share")
    ends = np.stack([place - 0.4, place + 0.4])
    axes[0].plot(ends, np.stack([shares, shares]), color=GREY, lw=1.4)
    axes[0].set_ylim(bottom=-0.02)
    axes[1].set_ylim(-0.02, 1.02)
    legend(figure)
    return figure
