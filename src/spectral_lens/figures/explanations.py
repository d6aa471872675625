"""Explanations: heat maps, how good they are, and pages on which a reader chooses one."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens.figures.style import GREY, MARKERS, as_array, colour_of, legend, styled

__all__ = ["Chooser", "agreement", "chooser", "heat_maps", "medians", "spectra"]

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
    >>> heat_maps({"LRP": torch.randn(2, 8, 8)}, ["three", "eight"])
    <Figure size ... with 2 Axes>
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


@styled
def spectra(series: Mapping[str, Float[Tensor, "n k"]], *, ylabel: str = "singular value / largest") -> Figure:
    """The singular values of each sample over the largest, as a median line with the middle half of the samples.

    >>> import torch
    >>> spectra({"LRP": torch.rand(6, 4)})
    <Figure size ... with 1 Axes>
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


@styled
def medians(
    x: Sequence[int | float],
    panels: Mapping[str, Mapping[str, Float[Tensor, "n points"]]],
    *,
    xlabel: str,
    levels: Mapping[str, Mapping[str, Float[Tensor, " m"]]] | None = None,
    logy: Sequence[str] = (),
    columns: int = 3,
) -> Figure:
    """Medians over the samples with their 95% bootstrap intervals, over a parameter that may be zero.

    A panel for each measure, a line for each series in it.  levels: what has no parameter, drawn as dashed lines.
    logy: the panels with a logarithmic axis.

    >>> import torch
    >>> medians([0, 1, 2], {"SSM": {"LRP": torch.rand(6, 3)}}, xlabel="gamma")
    <Figure size ... with 3 Axes>
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(8, 2.3 * rows + 0.5), squeeze=False)
    labels = list(dict.fromkeys(label for each in panels.values() for label in each))
    for axis, (title, series) in zip(axes.flat, panels.items(), strict=False):
        for label, values in series.items():
            k = labels.index(label)
            middle, low, high = _median(as_array(values))
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
    >>> agreement({"pearson": torch.eye(2)}, ["SSM", "flipping"])
    <Figure size ... with 1 Axes>
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


@dataclass(frozen=True, repr=False)
class Chooser:
    """Rows of small maps of which a reader sees one, chosen by two lists; works without a server or a network."""

    page: str

    def __repr__(self) -> str:
        return f"a page of {len(self.page)} bytes"

    def _repr_html_(self) -> str:
        return self.page


def chooser(
    rows: Mapping[tuple[str, str], Mapping[str, Float[Tensor, "height width"]]],
    *,
    names: tuple[str, str],
    images: Mapping[str, Float[Tensor, "c height width"]] | None = None,
    identifier: str,
) -> Chooser:
    """For each pair of choices a row of signed maps on one scale, beside the image of the first choice.

    names: of the two choices; identifier: of this chooser on its page.  The maps of a row have the titles of its keys.

    >>> import torch
    >>> rows = {("three", "LRP"): {"output 3": torch.randn(4, 4)}}
    >>> "<select" in chooser(rows, names=("image", "method"), identifier="maps")._repr_html_()
    True
    """
    first, second = (list(dict.fromkeys(pair[k] for pair in rows)) for k in (0, 1))
    parts = []
    for (a, b), maps in rows.items():
        largest = max(float(m.abs().max()) for m in maps.values()) or 1.0
        cells = [("image", _png(_grey(as_array(images[a]))), a)] if images else []
        for title, values in maps.items():
            colours = colormaps[SIGNED](as_array(values) / largest / 2 + 0.5)[..., :3]
            cells.append((title, _png(colours), f"heat map of {a}, {names[1]} {b}: {title}"))
        figures = "".join(
            f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(alt)}">'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
            for title, data, alt in cells
        )
        hidden = "" if (a, b) == (first[0], second[0]) else " hidden"
        parts.append(f'<div data-first="{html.escape(a)}" data-second="{html.escape(b)}"{hidden}>{figures}</div>')
    lists = "".join(
        f'<label>{html.escape(name)} <select name="{key}">'
        + "".join(f"<option>{html.escape(each)}</option>" for each in choices)
        + "</select></label> "
        for name, key, choices in zip(names, ("first", "second"), (first, second), strict=True)
    )
    return Chooser(_PAGE.replace("IDENTIFIER", identifier).replace("LISTS", lists).replace("ROWS", "".join(parts)))


_PAGE = """<div class="lens-chooser" id="IDENTIFIER"><p>LISTS</p>ROWS</div>
<style>
.lens-chooser > div { display: flex; flex-wrap: wrap; gap: 0.6rem; }
.lens-chooser > div[hidden] { display: none; }
.lens-chooser figure { margin: 0 !important; width: 5.5rem; }
.lens-chooser img { width: 100%; padding: 0 !important; image-rendering: pixelated; border: 1px solid #d0d0d0; }
.lens-chooser figcaption { font-size: 0.8rem; line-height: 1.3; }
.lens-chooser label { margin-right: 1.5rem; }
</style>
<script>
(() => {
  const box = document.getElementById("IDENTIFIER"), lists = box.querySelectorAll("select");
  const show = () => box.querySelectorAll(":scope > div").forEach(row => {
    row.hidden = row.dataset.first !== lists[0].value || row.dataset.second !== lists[1].value;
  });
  lists.forEach(list => list.addEventListener("change", show));
  show();
})();
</script>"""


def _grey(image: np.ndarray) -> np.ndarray:
    """Channels first to a picture: one channel is ink on white."""
    return np.repeat(1 - image[0][..., None], 3, -1) if image.shape[0] == 1 else np.moveaxis(image, 0, -1)


def _png(picture: Float[np.ndarray, "height width 3"]) -> str:
    with optional("figures"):
        from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray((255 * np.clip(picture, 0, 1)).round().astype(np.uint8)).quantize(128).save(
        buffer, "png", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode()


def _median(values: np.ndarray, draws: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The median of each column and its 95% bootstrap interval, always with the same draws."""
    chosen = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
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
