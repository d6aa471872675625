"""Methods that choose inputs, side by side.  Imported by the chapter that needs it, not through `figures`."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from spectral_lens.figures.style import MARKERS, as_array, colour_of, legend, spread, styled

__all__ = ["contest"]


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
