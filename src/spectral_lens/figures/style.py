"""Palette, style and the helpers that all figures share."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, ScalarFormatter
from torch import Tensor

__all__ = [
    "BLUE",
    "COLOURS",
    "CYCLE",
    "GREEN",
    "GREY",
    "MAP",
    "MARKERS",
    "ORANGE",
    "PINK",
    "RED",
    "SKY",
    "STYLE",
    "as_array",
    "colour_of",
    "legend",
    "logarithmic",
    "several",
    "spread",
    "styled",
]

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#767676",
)  # fmt: skip
CYCLE = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)
COLOURS = {
    "spectral": BLUE,
    "L2": BLUE,
    "L1": RED,
    "LASSO": ORANGE,
    "random": GREY,
    "ranked": BLUE,
    "eigenvalues": BLUE,
    "random subset": GREY,
    "random subset, same start": ORANGE,
    "all weights": RED,
    "eigenvalues and eigenvectors": GREEN,
}
MARKERS = "os^Dv"
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


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the book's style; the figure is closed, so that a notebook shows what is returned and only that.

    >>> @styled
    ... def line() -> Figure:
    ...     return plt.figure(figsize=(2, 1))
    >>> line()
    <Figure size ... with 0 Axes>
    """

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):
            figure = draw(*args, **kwargs)
            figure.canvas.draw()  # lays the figure out while the style holds
        plt.close(figure)
        return figure

    return drawn


def as_array(values: Tensor | Sequence[int | float] | np.ndarray) -> np.ndarray:
    """Any numbers as a numpy array on the host, without their graph.

    >>> as_array([1, 2])
    array([1, 2])
    """
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def colour_of(label: str, k: int) -> str:
    """The colour that belongs to the label, or to what it names up to its first comma; else the k-th of the cycle.

    >>> colour_of("L1, from scratch", 0) == RED, colour_of("something else", 1) == CYCLE[1]
    (True, True)
    """
    return COLOURS.get(label) or COLOURS.get(label.split(",")[0], CYCLE[k % len(CYCLE)])


def several(split: int | Sequence[int]) -> list[int]:
    """The first node of each group but the first, in order, from one such index or some.

    >>> several(3), several([5, 3])
    ([3], [3, 5])
    """
    return [split] if isinstance(split, int) else sorted(split)


def spread(axis: Axes, x: np.ndarray, scores: np.ndarray, *, fmt: str = "o", **kwargs: Any) -> None:
    """Mean over the runs as a marker with a bar of one standard deviation.

    >>> figure, axis = plt.subplots()
    >>> spread(axis, np.arange(3), np.ones((5, 3)))
    >>> plt.close(figure)
    """
    sd = scores.std(0, ddof=min(1, len(scores) - 1))
    axis.errorbar(x, scores.mean(0), sd, fmt=fmt, capsize=2, ms=4, **kwargs)


def logarithmic(axis: Axes, x: np.ndarray) -> None:
    """A logarithmic x axis with plain numbers, and with a tick at every point where they are few.

    >>> figure, axis = plt.subplots()
    >>> logarithmic(axis, np.array([1, 10, 100]))
    >>> axis.get_xscale()
    'log'
    >>> plt.close(figure)
    """
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(ScalarFormatter())
    axis.xaxis.set_minor_formatter(NullFormatter())
    if len(x) <= 8:
        axis.set_xticks(x)


def legend(figure: Figure) -> None:
    """One legend below all panels, each label once, on as many rows as it takes.

    >>> figure, axis = plt.subplots()
    >>> _ = axis.plot([0, 1], label="a line")
    >>> legend(figure)
    >>> plt.close(figure)
    """
    found = {
        label: handle for axis in figure.axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    rows = -(-sum(len(label) + 8 for label in found) // 100)  # 8 in hold about 100 letters, a handle takes about 8
    figure.legend(found.values(), found, loc="outside lower center", ncols=-(-len(found) // max(rows, 1)))
