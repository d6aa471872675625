"""Explanations: heat maps, and how good they are."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from torch import Tensor
from torch.nn.functional import avg_pool2d

from spectral_lens._runtime.extras import optional
from spectral_lens.figures.inputs import eigenvalues
from spectral_lens.figures.style import GREY, MARKERS, as_array, colour_of, legend, styled

__all__ = ["SIGNED", "agreement", "heat_maps", "medians", "of_samples", "pooled", "spectra"]

SIGNED = "RdBu_r"  # for and against, white at zero


@styled
def heat_maps(
    rows: Mapping[str, Float[Tensor, "columns *d"]],
    titles: Sequence[str],
    *,
    images: Tensor | None = None,
    each: bool = False,
) -> Figure:
    """Signed heat maps, a row for each name: red speaks for, blue against, white is zero.

    A row has one scale, its largest absolute value; with `each` every map has its own.  images, (columns, c, h, w),
    come first, above.  Maps with channels, (columns, c, h, w), are summed over them.

    >>> import torch
    >>> len(heat_maps({"LRP": torch.ones(2, 8, 8), "gradient": torch.ones(2, 8, 8)}, ["three", "five"]).axes)
    4
    """
    count = len(rows) + (images is not None)
    figure, axes = plt.subplots(count, len(titles), figsize=(8, (8.4 / len(titles)) * count + 0.3), squeeze=False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, loc="center", fontsize=9)
    if images is not None:
        for axis, image in zip(axes[0], as_array(images), strict=True):
            axis.imshow(np.moveaxis(image, 0, -1).squeeze(), cmap="gray_r" if image.shape[0] == 1 else None)
    for line, (name, maps) in zip(axes[count - len(rows) :], rows.items(), strict=True):
        flat = as_array(maps.sum(1) if maps.ndim == 4 else maps)
        common = np.abs(flat).max() or 1
        for axis, values in zip(line, flat, strict=True):
            largest = np.abs(values).max() or 1 if each else common
            axis.imshow(values, cmap=SIGNED, vmin=-largest, vmax=largest)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.spines[:].set_visible(True)
        axis.spines[:].set_color("#d0d0d0")
    return figure


def pooled(
    values: Float[Tensor, "columns d"], shape: Sequence[int], *, size: int = 1
) -> Float[Tensor, "columns height width"]:
    """Explanations as heat maps of images of that shape, (c, h, w): channels added, squares of `size` pixels added.

    >>> import torch
    >>> pooled(torch.ones(2, 12), (3, 2, 2), size=2).tolist()
    [[[12.0]], [[12.0]]]
    """
    return avg_pool2d(values.unflatten(1, tuple(shape)).sum(1, keepdim=True), size).squeeze(1) * size**2


@styled
def spectra(series: Mapping[str, Float[Tensor, "n k"]], *, ylabel: str = "singular value / largest") -> Figure:
    """The singular values of each sample over the largest, as a median line with the middle half of the samples.

    >>> import torch
    >>> spectra({"LRP": torch.tensor([[2.0, 1.0], [4.0, 1.0]])}).axes[0].lines[0].get_ydata().tolist()
    [1.0, 0.375]
    """
    figure, axis = plt.subplots(figsize=(8, 2.8))
    for k, (label, values) in enumerate(series.items()):
        relative = as_array(values / values[:, :1])
        low, middle, high = np.quantile(relative, (0.25, 0.5, 0.75), axis=0)
        place, colour = np.arange(1, len(middle) + 1), colour_of(label, k)
        axis.plot(place, middle, color=colour, label=label, marker=MARKERS[k % 5], ms=3.5)
        axis.fill_between(place, low, high, color=colour, alpha=0.2, lw=0)
    axis.set(xlabel="singular value, the largest first", ylabel=ylabel, ylim=(0, 1.03))
    legend(figure)
    return figure


def of_samples(
    x: Float[Tensor, "n *d"], maps: Mapping[str, Float[Tensor, "n inputs"]], titles: Sequence[str], *, shown: int
) -> Figure:
    """The maps of the first samples below them, where they are images; else |relevance| over its largest, by input.

    maps: by the name of their method, flattened.  titles: of the samples.  shown: how many images at most.

    >>> import torch
    >>> of_samples(torch.rand(9, 1, 5, 6), {"LRP": torch.rand(9, 30)}, list("abcdefghi"), shown=4)
    <Figure size ... with 8 Axes>
    """
    if x.ndim != 4:
        sizes = {name: np.abs(as_array(each)) for name, each in maps.items()}
        least = {name: np.finfo(each.dtype).tiny for name, each in sizes.items()}
        shares = {name: each / np.maximum(each.max(1, keepdims=True), least[name]) for name, each in sizes.items()}
        return eigenvalues(shares, xlabel="input", ylabel="|relevance| / largest")
    few = x[:shown]
    light = (few - x.amin()) / (x.amax() - x.amin()).clamp(min=1e-30) if x.shape[1] in (1, 3) else None
    rows = {name: each[:shown].unflatten(1, x.shape[1:]) for name, each in maps.items()}
    figure = heat_maps(rows, titles[: len(few)], images=light, each=True)
    figure.set_size_inches(8, min(figure.get_figheight(), 12))  # a single sample would fill pages
    return figure


@styled
def medians(
    x: Sequence[int | float],
    panels: Mapping[str, Mapping[str, Float[Tensor, "n points"]]],
    *,
    xlabel: str,
    levels: Mapping[str, Mapping[str, Float[Tensor, "*m"]]] | None = None,
    logy: Sequence[str] = (),
    columns: int = 3,
    seed: int = 0,
) -> Figure:
    """Medians over the samples with their 95% bootstrap intervals, over a parameter that may be zero.

    A panel for each measure, a line for each series in it.  levels: what has no parameter, drawn as dashed lines at the
    median.  logy: the panels with a logarithmic axis.  seed: of the bootstrap.

    >>> import torch
    >>> figure = medians([0, 1, 2], {"SSM": {"LRP": torch.rand(9, 3)}}, xlabel="γ", columns=1)
    >>> figure.axes[0].get_title("left"), figure.axes[0].get_xlabel()
    ('SSM', 'γ')
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, 2.3 * rows + 0.5), squeeze=False)
    labels = list(dict.fromkeys(label for each in panels.values() for label in each))
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=False):
        for label, values in series.items():
            k = labels.index(label)
            middle, low, high = _median(as_array(values), seed)
            axis.plot(x, middle, color=colour_of(label, k), label=label, marker=MARKERS[k % 5], ms=3.5)
            axis.fill_between(x, low, high, color=colour_of(label, k), alpha=0.2, lw=0)
        for j, (label, level) in enumerate((levels or {}).get(title, {}).items()):
            look = {"color": colour_of(label, len(labels) + j), "ls": ("--", ":", "-.")[j % 3], "lw": 1.2}
            axis.axhline(np.median(as_array(level)), label=label, **look)
        axis.set(title=title, xlabel=xlabel)
        if title in logy:
            _decades(axis)
        _with_zero(axis, x)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    legend(figure)
    return figure


@styled
def agreement(values: Mapping[str, Float[Tensor, "m m"]], names: Sequence[str]) -> Figure:
    """Tables of correlations between measures, with the numbers in them; zero is white.

    >>> import torch
    >>> figure = agreement({"all": torch.tensor([[1.0, 0.5], [0.5, 1.0]])}, ["SSM", "entropy"])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['1.00', '0.50', '0.50', '1.00']
    """
    with optional("figures"):
        import seaborn as sns  # slow to import, and only this figure needs it

    figure, axes = plt.subplots(1, len(values), figsize=(8, 0.9 + 6.6 / len(values) * 0.7), squeeze=False, sharey=True)
    for axis, (title, table) in zip(axes.flat, values.items(), strict=True):
        look = {"cmap": SIGNED, "vmin": -1, "vmax": 1, "annot": True, "fmt": ".2f", "cbar": False, "square": True}
        sns.heatmap(as_array(table), xticklabels=names, yticklabels=names, ax=axis, annot_kws={"size": 8}, **look)
        axis.set_title(title)
        axis.tick_params(length=0)
        axis.grid(False)  # seaborn draws its table over it
        axis.set_xticklabels(axis.get_xticklabels(), rotation=35, ha="right")
    return figure


def _median(values: np.ndarray, seed: int, draws: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The median of each column and its 95% bootstrap interval, for each column with the same draws."""
    chosen = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(np.median(values[chosen], axis=1), (0.025, 0.975), axis=0)
    return np.median(values, axis=0), low, high


def _decades(axis: Axes) -> None:
    """A logarithmic y axis; with plain numbers, 1, 2 and 5 of each decade, where it has few decades."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    if high / low < 1e3:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _with_zero(axis: Axes, x: Sequence[int | float]) -> None:
    """A logarithmic axis with plain numbers on which zero has a place."""
    positive = sorted(v for v in x if v > 0)
    if len(positive) < 2 or positive[-1] / positive[0] < 20:
        return
    axis.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
    shown = [v for v in x if v == 0 or np.isclose(np.log10(v) % 1, [0, 1]).any()]
    axis.xaxis.set_major_locator(FixedLocator(shown))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    if 0 in x:
        axis.axvspan(0, positive[0], color=GREY, alpha=0.08, lw=0)
