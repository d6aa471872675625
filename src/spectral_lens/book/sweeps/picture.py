"""A claim over a swept parameter: means with their intervals as lines, the accepted range behind them (SVG).

Colours come from the page: the series', the verdict's and the text's.  The shape of a mark says where its interval
lies, colour and dashes to which series it belongs; none is needed to read the table below.
"""

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from spectral_lens.book.scorecard_picture import GLYPHS, Axis
from spectral_lens.book.sweeps.cells import Cell
from spectral_lens.book.sweeps.scale import Scale, along, label, of_values, place, round_numbers
from spectral_lens.claims import Claim, cards
from spectral_lens.claims.statistics import Decision, UnitMean

__all__ = ["HEIGHT", "SERIES", "SHAPES", "WIDTH", "Mark", "Series", "draw", "key", "kind", "of_side"]

WIDTH, HEIGHT = 400.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 56.0, 10.0, 8.0, 46.0  # what lies around the axes
_DODGE = 7.0  # between the marks of two series at one value, at most
_LETTER = 6.4  # about the width of one in a tick's label
SERIES = 7  # with a colour of their own
SHAPES: Mapping[Decision | None, str] = {  # where an interval lies: the verdict whose shape and colour it has
    "inside": "reproduced",
    "undecided": "undecided",
    "outside": "not reproduced",
    None: "no criterion",
}


class Mark(NamedTuple):
    """A number at a value of the parameter, and the setting that it is of."""

    at: object
    number: UnitMean
    cell: Cell


class Series(NamedTuple):
    """What is drawn as one line."""

    name: str
    marks: Sequence[Mark]


def draw(x: str, values: Sequence[object], series: Sequence[Series], said: str) -> str:
    """The drawing: x names the parameter with these values.  said: what it shows, in words."""
    found = [mark.cell for each in series for mark in each.marks]
    claim, scale, across = found[0].claim, of_values(found), along(values, _LEFT, WIDTH - _RIGHT)
    dodge = min(_DODGE, 0.6 * across.step / len(series))
    lines = "".join(
        _series(each, k, len(series), scale, across, (k - (len(series) - 1) / 2) * dodge)
        for k, each in enumerate(series)
    )
    inner = _band(claim, scale) + _down(scale) + _across(across, x) + _paper(claim, scale) + lines
    return (
        f'<svg class="lens-plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{html.escape(said)}" '
        f'xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
    )


def _y(scale: Axis, value: float) -> float:
    return place(scale, value, HEIGHT - _BOTTOM, _TOP)


def _band(claim: Claim, scale: Axis) -> str:
    """The accepted range, to the edge where it is open."""
    if claim.accept is None:
        return ""
    low, high = claim.accept
    bottom = HEIGHT - _BOTTOM if low is None else _y(scale, low)
    top = _TOP if high is None else _y(scale, high)
    width = WIDTH - _LEFT - _RIGHT
    band = (
        f'<rect class="band" x="{_LEFT:.0f}" y="{_n(top)}" width="{_n(width)}" height="{_n(max(bottom - top, 1.0))}">'
    )
    band += f"<title>accepted: {html.escape(cards.accepted(claim.accept))}</title></rect>"
    ends = [end for end in (low, high) if end is not None and not scale.beyond(end)]
    return band + "".join(
        f'<path class="end" d="M{_LEFT:.0f} {_n(_y(scale, end))}H{WIDTH - _RIGHT:.0f}"/>' for end in ends
    )


def _paper(claim: Claim, scale: Axis) -> str:
    """The number that the paper prints, for its own setting."""
    mean = claim.printed.mean
    if claim.theorem or mean is None or scale.beyond(mean):
        return ""
    title = f"<title>the paper prints {html.escape(cards.printed(claim))}</title>"
    return f'<path class="paper" d="M{_LEFT:.0f} {_n(_y(scale, mean))}H{WIDTH - _RIGHT:.0f}">{title}</path>'


def _down(scale: Axis) -> str:
    """The axis of what was measured."""
    drawn = ""
    for value in round_numbers(scale.low, scale.high, log=scale.log):
        y = _n(_y(scale, value))
        drawn += f'<path class="grid" d="M{_LEFT:.0f} {y}H{WIDTH - _RIGHT:.0f}"/>'
        drawn += f'<text class="left" x="{_LEFT - 6:.0f}" y="{y}" dy="0.35em">{_short(value)}</text>'
    return f'<g class="ticks">{drawn}</g>'


def _short(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 1e-3 and value else f"{value:.6g}"


def _across(across: Scale, x: str) -> str:
    """The axis of the parameter; a label that would run into the one before is left out."""
    bottom, right = HEIGHT - _BOTTOM, -1.0
    drawn = f'<path class="axis" d="M{_LEFT:.0f} {_n(bottom)}H{WIDTH - _RIGHT:.0f}"/>'
    for at, text in across.ticks:
        half = _LETTER * len(text) / 2
        drawn += f'<path class="axis" d="M{_n(at)} {_n(bottom)}v4"/>'
        middle = min(at, WIDTH - half)
        if middle - half > right + 3:
            drawn += f'<text x="{_n(middle)}" y="{_n(bottom + 17)}">{html.escape(text)}</text>'
            right = middle + half
    name = f'<text class="name" x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 8:.0f}">{html.escape(x)}</text>'
    return f'<g class="ticks">{drawn}{name}</g>'


def _series(of: Series, k: int, count: int, scale: Axis, across: Scale, shift: float) -> str:
    """A line through the means, and at each its interval and its mark."""
    places = [(across.at(mark.at) + shift, mark) for mark in of.marks]
    line = "L".join(f"{_n(x)} {_n(_y(scale, mark.number.mean))}" for x, mark in places)
    drawn = f'<path class="line" d="M{line}"/>' if len(places) > 1 and not across.named else ""
    for x, mark in places:
        title = f"<title>{html.escape(', '.join(filter(None, (of.name, label(mark.at), mark.cell.words))))}</title>"
        own = f"point {of_side(mark.cell.lies)}" if count == 1 else "point"
        drawn += f'<g class="{own}">{title}{_interval(scale, mark.number, x)}{_mark(scale, mark, x)}</g>'
    return f'<g class="{"series alone" if count == 1 else kind(k)}">{drawn}</g>'


def of_side(lies: Decision | None) -> str:
    """The class whose colour and sign say where an interval lies: those of the verdict at the paper's own setting.

    >>> of_side("outside")
    'lens-not-reproduced'
    """
    return f"lens-{SHAPES[lies].replace(' ', '-')}"


def kind(k: int) -> str:
    """The classes of the k-th series, which have its colour and dashes.

    >>> kind(1), kind(8)
    ('series series-1', 'series series-1 dashed')
    """
    return f"series series-{k % SERIES}" + (" dashed" if k >= SERIES else "")


def _interval(scale: Axis, found: UnitMean, x: float) -> str:
    """A line with a stroke across at each end that lies on the axis."""
    if found.n == 1 or (scale.beyond(found.low) == scale.beyond(found.high) != 0):
        return ""
    ends = [end for end in (found.low, found.high) if not scale.beyond(end)]
    strokes = "".join(f"M{_n(x - 3)} {_n(_y(scale, end))}h6" for end in ends)
    return f'<path class="interval" d="M{_n(x)} {_n(_y(scale, found.low))}V{_n(_y(scale, found.high))}{strokes}"/>'


def _mark(scale: Axis, mark: Mark, x: float) -> str:
    value = mark.number.mean
    side = scale.beyond(value) if value > 0 or not scale.log else 0
    y = _y(scale, value)
    if side:
        return f'<path class="beyond" d="M{_n(x)} {_n(y)}l-5 {9 * side}h10Z"/>'
    hollow = " hollow" if mark.number.n == 1 and not mark.cell.claim.theorem else ""
    return f'<g class="mark{hollow}" transform="translate({_n(x)} {_n(y)})">{GLYPHS[SHAPES[mark.cell.lies]]}</g>'


def key(classes: str, name: str, verdict: str = "") -> str:
    """An entry of a legend: the line of a series, or the mark of a verdict."""
    inner = (
        f'<g class="mark" transform="translate(15 8)">{GLYPHS[verdict]}</g>'
        if verdict
        else '<path class="line" d="M1 8H29"/>'
    )
    drawn = (
        f'<svg class="lens-plot lens-key" viewBox="0 0 30 16" aria-hidden="true"><g class="{classes}">{inner}</g></svg>'
    )
    return f"<li>{drawn} {html.escape(name)}</li>"


def _n(value: float) -> str:
    """A place, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")
