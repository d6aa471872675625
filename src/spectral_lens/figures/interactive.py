"""Drawings that a reader can look into.  Imported by the chapters that need them, not through `figures`.

A drawing is one inline SVG in the page's own colours. It stands still by itself; on the site book/_static/spectrum.js
reads the numbers back from its paths and adds zoom and read-out.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from spectral_lens.figures.stars import Bands
from spectral_lens.figures.style import colour_of

__all__ = ["Drawing", "over_wavelength"]

# Units of the paths: wavelengths in tenths of an Angstrom, relevance in thousandths.
TENTHS, THOUSANDTHS = 10, 1000
# Pixels from top to bottom: the bands' names; for each setting its name and its panel; the axis.
NAMES, NAME, PANEL, AXIS = 60, 22, 90, 42
ROOM = 0.025  # of the width, between the names of two bands


@dataclass(frozen=True, repr=False)
class Drawing:
    """A drawing as a piece of a page, and what it shows in words that do not depend on the numbers."""

    page: str
    words: str

    def __repr__(self) -> str:
        return self.words

    def _repr_html_(self) -> str:
        return self.page


def over_wavelength(wave: Float[Tensor, " d"], scores: Mapping[str, Float[Tensor, "r d"]], *, bands: Bands) -> Drawing:
    """Relevance over wavelength, a panel for each setting: the mean over the runs, over the shaded bands.

    scores lie between 0 and 1.  The drawing keeps wavelengths to 0.1 Angstrom and relevance to 0.001; its text
    alternative names the highest relevance of each setting and its band.  Raises ValueError for sizes that do not fit,
    wavelengths that do not rise by 0.1 Angstrom or more, scores elsewhere, and a band whose ends are not in order.

    >>> import torch
    >>> wave, bands = torch.linspace(4000, 4100, 20), {"Ca4227": (4020.0, 4060.0)}
    >>> "<svg" in over_wavelength(wave, {"L1": torch.rand(3, 20)}, bands=bands)._repr_html_()
    True
    """
    _check(wave, scores, bands)
    means = {name: values.double().mean(0) for name, values in scores.items()}
    low, high = float(wave[0]), float(wave[-1])
    margin = (high - low) / 100
    view = low - margin, high + margin
    shown = {name: ends for name, ends in bands.items() if ends[1] >= low and ends[0] <= high}
    parts = [_names(shown, view), _stripes(shown, view, height=len(means) * (NAME + PANEL))]
    for k, (name, values) in enumerate(means.items()):
        parts.append(_panel(name, colour_of(name, k), _path(wave, values), view, top=NAMES + k * (NAME + PANEL)))
    height = NAMES + len(means) * (NAME + PANEL) + AXIS
    parts.append(_axis(view, bottom=height - AXIS))
    words = "Relevance over wavelength, mean over the runs: " + "; ".join(means)
    page = (
        '<div class="lens-spectrum" style="position: relative; padding: 0 1.5rem 0 2rem">'
        f'<svg role="img" aria-label="{html.escape(_alternative(wave, means, shown))}" width="100%" height="{height}"'
        ' fill="currentColor" font-size="12" style="display: block; overflow: visible">\n'
        + "\n".join(parts)
        + "\n</svg></div>"
    )
    return Drawing(page, words)


def _check(wave: Tensor, scores: Mapping[str, Tensor], bands: Bands) -> None:
    if wave.ndim != 1 or len(wave) < 2 or not wave.isfinite().all() or not (_tenths(wave).diff() > 0).all():
        raise ValueError("The wavelengths must be two or more that rise by 0.1 Angstrom at least.")
    if not scores:
        raise ValueError("There is no setting to draw: scores is empty.")
    for name, values in scores.items():
        if values.ndim != 2 or len(values) < 1 or values.shape[1] != len(wave):
            raise ValueError(f"{name}: scores must be (runs, {len(wave)}), not {tuple(values.shape)}.")
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(f"{name}: scores must lie between 0 and 1.")
    for name, (low, high) in bands.items():
        if not low < high:
            raise ValueError(f"The band {name} has no width: {low} to {high}.")


def _tenths(wave: Float[Tensor, " d"]) -> Int[Tensor, " d"]:
    return (TENTHS * wave.double()).round().long()


def _path(wave: Float[Tensor, " d"], values: Float[Tensor, " d"]) -> str:
    """A stroke from each value down to zero: `m` by the distance from the last wavelength and up, `v` down."""
    at = _tenths(wave)
    up = (THOUSANDTHS * values).round().long().tolist()
    along = at.diff(prepend=at[:1]).tolist()
    return f"M{at[0]} 0" + "".join(f"m{a}-{u}v{u}" if u else f"m{a} 0" for a, u in zip(along, up, strict=True))


def _plot(kind: str, inside: str, view: tuple[float, float], *, top: int, height: int, box: tuple[int, int]) -> str:
    """A window whose x axis is the wavelength, so that zooming is another viewBox; box: its lowest y, its height."""
    low, high = (round(TENTHS * end, 1) for end in view)
    return (
        f'<svg class="{kind}" y="{top}" width="100%" height="{height}" preserveAspectRatio="none"'
        f' viewBox="{low} {box[0]} {round(high - low, 1)} {box[1]}">{inside}</svg>'
    )


def _panel(name: str, colour: str, path: str, view: tuple[float, float], *, top: int) -> str:
    """The setting's name, level lines at 0, 0.5 and 1, and its relevance."""
    lines = []
    for level in (0, 0.5, 1):
        y = top + NAME + (1 - level) * PANEL
        lines.append(f'<line x2="100%" y1="{y:g}" y2="{y:g}" stroke="currentColor" stroke-opacity="0.3"/>')
        lines.append(f'<text x="-6" y="{y + 4:g}" text-anchor="end">{level:g}</text>')
    strokes = f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.25" vector-effect="non-scaling-stroke"/>'
    title = f'<text class="setting" y="{top + NAME - 6}" font-weight="600">{html.escape(name)}</text>'
    box = -THOUSANDTHS, THOUSANDTHS
    return title + "".join(lines) + _plot("panel", strokes, view, top=top + NAME, height=PANEL, box=box)


def _stripes(bands: Bands, view: tuple[float, float], *, height: int) -> str:
    """The bands, grey behind all panels; each has its name as a title."""
    rows = "".join(
        f'<rect x="{round(TENTHS * low, 2)}" width="{round(TENTHS * (high - low), 2)}" height="1" fill-opacity="0.14">'
        f"<title>{html.escape(name)}</title></rect>"
        for name, (low, high) in bands.items()
    )
    return _plot("bands", rows, view, top=NAMES, height=height, box=(0, 1))


def _names(bands: Bands, view: tuple[float, float]) -> str:
    """The names of the bands, where a band begins and leaves room for it."""
    texts, room = [], 0.0
    for name, (low, _) in sorted(bands.items(), key=lambda each: each[1]):
        place = _share(max(low, view[0]), view)
        if place >= room:
            text = f'<text transform="rotate(-60)">{html.escape(name)}</text>'
            texts.append(f'<svg x="{place:.2%}" y="{NAMES - 4}" overflow="visible">{text}</svg>')
            room = place + ROOM
    return f'<g class="names">{"".join(texts)}</g>'


def _axis(view: tuple[float, float], *, bottom: int) -> str:
    ticks = [at for at in MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(*view) if view[0] <= at <= view[1]]
    texts = "".join(
        f'<text x="{_share(at, view):.2%}" y="{bottom + 16}" text-anchor="middle">{at:g}</text>' for at in ticks
    )
    label = f'<text x="50%" y="{bottom + 36}" text-anchor="middle">wavelength / Å</text>'
    return f'<g class="ticks">{texts}</g>{label}'


def _share(at: float, view: tuple[float, float]) -> float:
    return (at - view[0]) / (view[1] - view[0])


def _alternative(wave: Float[Tensor, " d"], means: Mapping[str, Float[Tensor, " d"]], bands: Bands) -> str:
    """What the drawing shows, in words: where each setting is highest, and how many wavelengths reach half of it."""
    texts = [f"Relevance over wavelength, {float(wave[0]):.1f} to {float(wave[-1]):.1f} Å, mean over the runs."]
    for name, values in means.items():
        top, k = (float(found) for found in values.max(0))
        at = float(wave[int(k)])
        inside = ", ".join(band for band, (low, high) in bands.items() if low <= at <= high)
        half = int((values >= top / 2).sum())
        texts.append(
            f"{name}: highest {top:.3f} at {at:.1f} Å ({f'in {inside}' if inside else 'in no band'}); "
            f"{half} of {len(wave)} wavelengths have at least half of that."
        )
    return " ".join(texts)
