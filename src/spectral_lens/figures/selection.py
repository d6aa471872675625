"""Methods that choose inputs, side by side.  Imported by the chapters that need it, not through `figures`."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from spectral_lens.figures.style import GREY, MARKERS, as_array, colour_of, legend, spread, styled

__all__ = ["contest", "shares"]


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
