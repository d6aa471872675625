"""A claim over two swept parameters: the means as a map of coloured cells, each with its number and its mark (SVG)."""

import html
import math
from collections.abc import Mapping, Sequence

from spectral_lens.book.scorecard_picture import GLYPHS, Axis
from spectral_lens.book.sweeps.cells import Cell
from spectral_lens.book.sweeps.picture import SHAPES
from spectral_lens.book.sweeps.points import digest
from spectral_lens.book.sweeps.scale import label, of_values, place
from spectral_lens.claims import cards

__all__ = ["colour", "draw"]

# cividis, made for every kind of colour vision [nunez2018], at nine places of equal distance (matplotlib's table)
_CIVIDIS = ("#00224e", "#1a386f", "#434e6c", "#61656f", "#7d7c78", "#9b9476", "#bcae6c", "#dec958", "#fee838")
_ROW, _COLUMN, _TOP, _BOTTOM = 44.0, 62.0, 8.0, 42.0
_LETTER = 6.6  # about the width of one in a label
_LIGHT = 0.19  # the luminance from which on dark ink has more contrast than white


def draw(
    x: str, y: str, columns: Sequence[object], rows: Sequence[object], found: Mapping[tuple[str, str], Cell], said: str
) -> str:
    """The drawing: x and y name the parameters with the values of columns and rows.

    found: by the digests of both values; what is not there is an empty cell.  said: what it shows, in words.
    """
    shades = _shades(list(found.values()))
    left = max([_LETTER * len(label(value)) for value in rows] + [24.0]) + 30
    width, bottom = max(left + _COLUMN * len(columns) + 8, 300.0), _TOP + _ROW * len(rows)
    drawn = "".join(
        _cell(found.get((digest(value), digest(other))), shades, left + _COLUMN * i, bottom - _ROW * (j + 1))
        for j, other in enumerate(rows)
        for i, value in enumerate(columns)
    )
    texts = "".join(
        f'<text x="{left + _COLUMN * (i + 0.5):.1f}" y="{bottom + 17:.1f}">{html.escape(label(value))}</text>'
        for i, value in enumerate(columns)
    )
    texts += "".join(
        f'<text class="left" x="{left - 6:.1f}" y="{bottom - _ROW * (j + 0.5):.1f}" dy="0.35em">'
        f"{html.escape(label(value))}</text>"
        for j, value in enumerate(rows)
    )
    middle = (_TOP + bottom) / 2
    texts += (
        f'<text class="name" x="{left + _COLUMN * len(columns) / 2:.1f}" y="{bottom + 34:.1f}">{html.escape(x)}</text>'
    )
    texts += f'<text class="name" transform="translate(14 {middle:.1f}) rotate(-90)">{html.escape(y)}</text>'
    return (
        f'<svg class="lens-plot lens-map" viewBox="0 0 {width:.0f} {bottom + _BOTTOM:.0f}" '
        f'style="min-width: {width * 0.8:.0f}px; max-width: {width * 1.3:.0f}px" role="img" '
        f'aria-label="{html.escape(said)}" xmlns="http://www.w3.org/2000/svg"><g class="ticks">{texts}</g>{drawn}</svg>'
    )


def _shades(found: Sequence[Cell]) -> Axis:
    """From the lowest mean to the highest, by the logarithm where the figure of the same claim would have it so."""
    means = [cell.number.mean for cell in found]
    log = of_values(found).log and min(means) > 0
    return Axis(min(means), max(means), log)


def _cell(of: Cell | None, shades: Axis, x: float, y: float) -> str:
    frame = f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{_COLUMN - 2:.1f}" height="{_ROW - 2:.1f}"'
    if of is None:
        text = f'<text x="{x + _COLUMN / 2:.1f}" y="{y + _ROW / 2:.1f}" dy="0.35em">–</text>'
        return f'<g class="ticks"><rect class="none" {frame}><title>nothing measured</title></rect>{text}</g>'
    number = of.number
    share = 0.5 if shades.low == shades.high else place(shades, number.mean, 0.0, 1.0)
    ground, ink = colour(share)
    text = cards.number(number.mean, math.inf if shades.log else (shades.high - shades.low) / 10)
    title = f"<title>{html.escape(f'{of.name}: {of.words}')}</title>"
    return (
        f'<g class="cell" style="color: {ink}">{title}<rect {frame} fill="{ground}"/>'
        f'<g class="mark" transform="translate({x + _COLUMN / 2:.1f} {y + 13:.1f})">{GLYPHS[SHAPES[of.lies]]}</g>'
        f'<text x="{x + _COLUMN / 2:.1f}" y="{y + _ROW - 9:.1f}">{text}</text></g>'
    )


def colour(share: float) -> tuple[str, str]:
    """The ground at that share of the scale, and the ink that can be read on it.

    >>> colour(0.0), colour(1.0)
    (('#00224e', '#ffffff'), ('#fee838', '#111111'))
    """
    at = min(max(share, 0.0), 1.0) * (len(_CIVIDIS) - 1)
    k = min(int(at), len(_CIVIDIS) - 2)
    pairs = zip(_rgb(_CIVIDIS[k]), _rgb(_CIVIDIS[k + 1]), strict=True)
    mixed = [round(a + (b - a) * (at - k)) for a, b in pairs]
    linear = [(v / 255 / 12.92) if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in mixed]
    light = sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))
    return "#" + "".join(f"{v:02x}" for v in mixed), "#111111" if light > _LIGHT else "#ffffff"


def _rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
