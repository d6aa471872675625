"""Spectra, and what a network reads in them.  Imported by the chapters that need it, not through `figures`."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from spectral_lens.figures.style import GREY, MAP, as_array, colour_of, styled

__all__ = ["Bands", "hits", "over_wavelength", "spectra"]

Bands = Mapping[str, tuple[float, float]]  # lowest and highest wavelength by name


@styled
def spectra(
    wave: Float[Tensor, " d"], series: Mapping[str, Float[Tensor, " d"]], *, bands: Bands | None = None
) -> Figure:
    """Spectra one above the other, each with its name, over the shaded bands.

    >>> import torch
    >>> wave, bands = torch.linspace(4000, 4100, 20), {"Ca4227": (4020.0, 4060.0)}
    >>> spectra(wave, {"a star": torch.rand(20)}, bands=bands)
    <Figure size ... with 1 Axes>
    """
    figure, axis = plt.subplots(figsize=(8, 1 + 0.75 * len(series)))
    _shade(axis, wave, bands or {}, named=True)
    for k, (name, flux) in enumerate(series.items()):
        up = 0.9 * (len(series) - 1 - k)
        axis.plot(as_array(wave), as_array(flux) + up, lw=0.7, color=colour_of(name, k))
        axis.annotate(name, (1, up + float(flux[-20:].mean())), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", va="center", annotation_clip=False)  # fmt: skip
    axis.set(xlabel="wavelength / Å", ylabel="flux / its largest, shifted", yticks=[], xlim=_ends(wave))
    return figure


@styled
def over_wavelength(wave: Float[Tensor, " d"], scores: Mapping[str, Float[Tensor, "r d"]], *, bands: Bands) -> Figure:
    """Relevance over wavelength, a panel for each setting: the mean over the runs, over the shaded bands.

    >>> import torch
    >>> wave, bands = torch.linspace(4000, 4100, 20), {"Ca4227": (4020.0, 4060.0)}
    >>> over_wavelength(wave, {"L1": torch.rand(3, 20)}, bands=bands)
    <Figure size ... with 1 Axes>
    """
    figure, axes = plt.subplots(len(scores), 1, figsize=(8, 0.9 + 1.5 * len(scores)), sharex=True, squeeze=False)
    for k, (axis, (name, values)) in enumerate(zip(axes.flat, scores.items(), strict=True)):
        _shade(axis, wave, bands, named=k == 0)
        axis.vlines(as_array(wave), 0, as_array(values.mean(0)), color=colour_of(name, k), lw=1)
        axis.set(ylabel=name, ylim=(0, None), xlim=_ends(wave))
    axes.flat[-1].set_xlabel("wavelength / Å")
    return figure


@styled
def hits(wave: Float[Tensor, " d"], scores: Mapping[str, Float[Tensor, "r d"]], *, bands: Bands) -> Figure:
    """The share of all relevance that falls into each band, mean over the runs: a row for each setting.

    >>> import torch
    >>> wave, bands = torch.linspace(4000, 4100, 20), {"Ca4227": (4020.0, 4060.0)}
    >>> hits(wave, {"L1": torch.rand(3, 20)}, bands=bands)
    <Figure size ... with 2 Axes>
    """
    rows = []
    for values in scores.values():
        share = values / values.sum(1, keepdim=True)
        rows.append([float(share[:, (wave >= low) & (wave <= high)].sum(1).mean()) for low, high in bands.values()])
    table = np.array(rows)
    figure, axis = plt.subplots(figsize=(8, 1.2 + 0.4 * len(rows)))
    image = axis.imshow(table, cmap=MAP, vmin=0, aspect="auto")
    axis.set_xticks(range(len(bands)), list(bands), rotation=60, ha="right", size=8)
    axis.set_yticks(range(len(rows)), list(scores))
    axis.grid(False)
    axis.tick_params(length=0)
    figure.colorbar(image, ax=axis, label="share of relevance", pad=0.01)
    return figure


def _shade(axis: Axes, wave: Tensor, bands: Bands, *, named: bool) -> None:
    """Grey stripes; names above those that leave room for them."""
    left, right = _ends(wave)
    room = left
    for name, (low, high) in sorted(bands.items(), key=lambda each: each[1]):
        if high < left or low > right:
            continue
        axis.axvspan(max(low, left), min(high, right), color=GREY, alpha=0.18, lw=0)
        if named and (middle := (low + high) / 2) >= room:
            axis.annotate(name, (middle, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                          textcoords="offset points", rotation=60, size=8)  # fmt: skip
            room = middle + (right - left) / 45


def _ends(wave: Tensor) -> tuple[float, float]:
    return float(torch.amin(wave)), float(torch.amax(wave))
