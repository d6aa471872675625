"""A claim as a small drawing: what is accepted, what the paper prints and what was measured, on one axis.

Drawn in SVG of a few hundred bytes.  Colours come from the page: its text's, and the verdict's from the style sheet.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from spectral_lens.claims import TINY, Claim, Judgement, Measured, cards
from spectral_lens.claims.statistics import UnitMean

__all__ = ["EDGE", "GLYPHS", "WIDTH", "Axis", "axis", "draw", "legend"]

WIDTH, EDGE = 270.0, 14.0  # of the drawing, and beyond the ends of its axis
_LANE = 18.0  # height of what the paper prints, or of the only group with its units below
_GROUPS = 132.0  # height of all groups together at most
_DECADES = 30.0  # the ratio of the numbers from which on their logarithms are drawn
_BEYOND = 8.0  # an interval may reach so far beyond the other numbers, as a multiple of their range
_FOCUS = 25.0  # a range or spread that many times narrower than all numbers is what the axis shows
_SEEN = 0.1  # the part of a logarithmic axis that a range or spread needs to be seen
_ROOM = 0.09  # on both sides, as a part of the axis

GLYPHS: Mapping[str, str] = {  # by verdict, around the origin
    "reproduced": '<circle r="4.2"/>',
    "reproduced in another reading": '<path d="M0-5 4.8 3.6H-4.8Z"/>',
    "undecided": '<path d="M0-5.2 5.2 0 0 5.2-5.2 0Z"/>',
    "not reproduced": '<path d="M-4-4 4 4M-4 4 4-4" fill="none" stroke-width="2.6"/>',
    "quick only": '<path d="M-4-4H4V4H-4Z"/>',
    "no criterion": '<path d="M-4.8-3.6H4.8L0 5Z"/>',
}


class Axis(NamedTuple):
    """What lies between the ends of the drawing; log: equal ratios are equally long."""

    low: float
    high: float
    log: bool = False

    def x(self, value: float) -> float:
        """Where the value stands; one beyond an end at that end."""
        low, high, at = (self._scaled(each) for each in (self.low, self.high, value))
        return EDGE + min(max((at - low) / (high - low), 0.0), 1.0) * (WIDTH - 2 * EDGE)

    def beyond(self, value: float) -> int:
        """-1 for a value below the axis, 1 for one above, else 0."""
        return (value > self.high) - (value < self.low)

    def _scaled(self, value: float) -> float:
        if not self.log:
            return value
        return math.log10(max(value, self.low / 2))  # zero has no logarithm: it stands at the lower end


def axis(claim: Claim, measured: Iterable[tuple[Measured, Judgement]]) -> Axis:
    """The axis on which the criterion, the paper's number and all that was measured can be seen.

    Logarithmic where all are positive and far apart, and for rounding errors.  A number that would press all others
    into a corner, or an interval that is very wide, stays outside: it is drawn as an arrow.
    """
    measured = list(measured)
    ends = [end for end in claim.accept or () if end is not None]
    if claim.theorem:
        return _of_theorem(ends, [cards.worst(claim, each) for each, _ in measured])
    mean, sd = claim.printed.mean, claim.printed.sd or 0.0
    printed = [] if mean is None else [mean - sd, mean, mean + sd]
    estimates = [each for _, judged in measured for each in judged.estimates.values()]
    means = [each.mean for each in estimates]
    intervals = [end for each in estimates for end in (each.low, each.high) if math.isfinite(end)]
    must = [*ends, *printed, *means]
    if claim.nothing is not None and _near(claim.nothing, must):
        must.append(claim.nothing)
    if not must:
        return Axis(0.0, 1.0)
    every = [*must, *intervals]
    narrow = [each for each in (ends, printed) if len(each) > 1 and each[-1] > each[0]]
    ratio = max(every) / min(every) if min(every) > 0 else 1.0
    if ratio > _DECADES and all(each[-1] / each[0] > ratio**_SEEN for each in narrow):
        return Axis(min(every) / ratio**_ROOM, max(every) * ratio**_ROOM, log=True)
    width = max(must) - min(must)
    for first, *_, last in narrow:
        if last - first < width / _FOCUS:
            must, width = [first - 3 * (last - first), last + 3 * (last - first)], 0.0
            break
    return _linear(must, intervals, beyond=_BEYOND * width if width or narrow else math.inf)


def _near(value: float, others: Sequence[float]) -> bool:
    """Whether a value can be shown beside the others without pressing them together: no further than their range."""
    width = max(others, default=value) - min(others, default=value)
    return not width or min(others) - width <= value <= max(others) + width


def _linear(must: Sequence[float], may: Sequence[float], beyond: float) -> Axis:
    """All that must be seen, what may be seen as far as it is not too far away, and room on both sides."""
    low = max(min([*must, *may]), min(must) - beyond)
    high = min(max([*must, *may]), max(must) + beyond)
    width = (high - low) or max(abs(high), 1.0) / 5
    return Axis(low - _ROOM * width, high + _ROOM * width)


def _of_theorem(ends: Sequence[float], values: Sequence[float]) -> Axis:
    top = max([*ends, *values])
    if min(ends) > 0 and max(ends) <= TINY:
        low = min([each for each in [*values, *ends] if each > 0] + [1e-17])
        return Axis(low, 10 * top, log=True)
    zero = [0.0] if len(ends) == 1 and min([*ends, *values]) >= 0 else []
    return _linear([*ends, *values, *zero], [], beyond=math.inf)


def draw(
    claim: Claim, scale: Axis, measured: Measured | None = None, judged: Judgement | None = None, *, paper: bool = True
) -> str:
    """The drawing (SVG): the accepted range as a band, the paper's number, ours with interval and units.

    paper: whether the paper's number is drawn, which a second reading of the same claim can do without.
    """
    lanes, y = [], 6.0
    if paper and claim.printed.mean is not None and not claim.theorem:
        lanes.append(_paper(claim, scale, y + 5))
        y += _LANE
    if measured is not None and judged is not None:
        lane, height = _ours(claim, scale, measured, judged, y)
        lanes.append(lane)
        y += height
    bottom = y + 3
    verdict = f" lens-{judged.verdict.replace(' ', '-')}" if judged else ""
    inner = _band(claim, scale, bottom) + "".join(lanes) + _ticks(claim, scale, bottom)
    return (
        f'<svg class="lens-picture{verdict}" viewBox="0 0 {WIDTH:.0f} {_n(bottom + 14)}" role="img" '
        f'aria-label="{html.escape(_said(claim, measured, judged))}" xmlns="http://www.w3.org/2000/svg">{inner}</svg>'
    )


def _said(claim: Claim, measured: Measured | None, judged: Judgement | None) -> str:
    parts = [f"accepted {cards.accepted(claim.accept)}" if claim.accept else "", f"paper {cards.printed(claim)}"]
    if measured is not None and judged is not None:
        parts.append(f"here {cards.here(claim, measured, judged)}")
    return "; ".join(filter(None, parts))


def _band(claim: Claim, scale: Axis, bottom: float) -> str:
    """The accepted range to the axis's end where it is open, a line where it is not; and where nothing would lie."""
    low, high = claim.accept or (None, None)
    drawn = ""
    if claim.accept:
        left, right = (0.0 if low is None else scale.x(low)), (WIDTH if high is None else scale.x(high))
        drawn = f'<rect class="band" x="{_n(left)}" width="{_n(max(right - left, 1.0))}" height="{_n(bottom)}"/>'
        drawn += "".join(
            f'<path class="end" d="M{_n(scale.x(end))} 0V{_n(bottom)}"/>'
            for end in (low, high) if end is not None and not scale.beyond(end)
        )  # fmt: skip
    if claim.nothing is not None and claim.nothing not in (low, high) and not scale.beyond(claim.nothing):
        title = f"<title>nothing to find: {claim.nothing:g}</title>"
        drawn += f'<path class="nothing" d="M{_n(scale.x(claim.nothing))} 0V{_n(bottom)}">{title}</path>'
    return drawn


def _paper(claim: Claim, scale: Axis, y: float) -> str:
    mean, sd = claim.printed.mean, claim.printed.sd
    assert mean is not None
    title = f"<title>the paper prints {html.escape(cards.printed(claim))}</title>"
    if side := scale.beyond(mean):
        return f'<g class="paper">{title}{_arrow(side, y)}</g>'
    spread = "" if sd is None else f'<path class="spread" d="{_line(scale, mean - sd, mean + sd, y)}"/>'
    x = _n(scale.x(mean))
    return f'<g class="paper">{title}{spread}<path class="mean" d="M{x} {_n(y - 6)}v12"/></g>'


def _ours(claim: Claim, scale: Axis, measured: Measured, judged: Judgement, y: float) -> tuple[str, float]:
    """Each group's line, and the height of all."""
    if claim.theorem:
        mark = _mark(scale, cards.worst(claim, measured), y + 5, judged.verdict, hollow=False)
        return f'<g class="here">{mark}</g>', _LANE - 4
    if len(judged.estimates) == 1:
        ((name, only),) = judged.estimates.items()
        dots = _dots(scale, measured.groups.get(name, ()) if only.n > 1 else (), y + 14)
        line = _interval(scale, only, y + 5) + dots + _mark(scale, only.mean, y + 5, judged.verdict, only.n == 1)
        return f'<g class="here">{_title(claim, name, only)}{line}</g>', _LANE + (2 if dots else -4)
    step = max(4.0, min(12.0, _GROUPS / len(judged.estimates)))
    lanes = []
    for k, (name, each) in enumerate(judged.estimates.items()):
        at, deciding = y + 5 + k * step, name == judged.deciding
        dots = _dots(scale, measured.groups.get(name, ()) if each.n > 1 else (), at)
        mark = _mark(scale, each.mean, at, judged.verdict if deciding else "", each.n == 1)
        kind = "here" if deciding else "group"
        lanes.append(f'<g class="{kind}">{_title(claim, name, each)}{dots}{_interval(scale, each, at)}{mark}</g>')
    return "".join(lanes), len(lanes) * step + 2


def _title(claim: Claim, name: str, found: UnitMean) -> str:
    text = cards.with_interval(found, claim.unit, claim.accept)
    return f"<title>{html.escape(f'{name}: {text}' if name else text)}</title>"


def _interval(scale: Axis, found: UnitMean, y: float) -> str:
    if found.n == 1 or (scale.beyond(found.low) == scale.beyond(found.high) != 0):
        return ""
    return f'<path class="interval" d="{_line(scale, found.low, found.high, y)}"/>'


def _line(scale: Axis, low: float, high: float, y: float) -> str:
    """A line with a stroke across at each end, or an arrow's head where it goes on beyond the axis."""
    left, right = scale.x(low), scale.x(high)
    heads = [
        f"M{_n(x - side * 5)} {_n(y - 3)}l{5 * side} 3 {-5 * side} 3" if side else f"M{_n(x)} {_n(y - 3)}v6"
        for x, side in ((left, scale.beyond(low)), (right, scale.beyond(high)))
    ]
    return f"M{_n(left)} {_n(y)}H{_n(right)}" + "".join(heads)


def _dots(scale: Axis, units: Sequence[float], y: float) -> str:
    """The units; those that would lie on one another or beyond the axis are drawn once."""
    places = sorted({round(2 * scale.x(each)) / 2 for each in units})
    return f'<path class="units" d="{"".join(f"M{_n(x)} {_n(y)}h0" for x in places)}"/>' if places else ""


def _mark(scale: Axis, value: float, y: float, verdict: str, hollow: bool) -> str:
    side = scale.beyond(value) if value > 0 or not scale.log else 0
    if side:
        return _arrow(side, y)
    # a theorem that holds is drawn as what is reproduced
    glyph = GLYPHS.get(verdict, GLYPHS["reproduced"]) if verdict else '<circle r="2.2"/>'
    kind = "mark hollow" if hollow else "mark"
    return f'<g class="{kind}" transform="translate({_n(scale.x(value))} {_n(y)})">{glyph}</g>'


def _arrow(side: int, y: float) -> str:
    """The number lies beyond that end of the axis."""
    tip = WIDTH - 2 if side > 0 else 2.0
    return f'<path class="beyond" d="M{_n(tip)} {_n(y)}l{-9 * side}-5v10Z"/>'


def _ticks(claim: Claim, scale: Axis, bottom: float) -> str:
    """The axis, with the numbers at the criterion's ends and at its own, as far as there is room."""
    ends = [end for end in claim.accept or () if end is not None and not scale.beyond(end)]
    placed: list[tuple[float, float, str]] = []
    for value in (*ends, scale.low, scale.high):
        text = f"{value:.7g}" if value in ends else f"{float(f'{value:.2g}'):g}"
        half = 3.1 * len(text)
        x = min(max(scale.x(value), half + 1), WIDTH - half - 1)
        if all(abs(x - other) > half + room + 6 and text != said for other, room, said in placed):
            placed.append((x, half, text))
    texts = "".join(f'<text x="{_n(x)}" y="{_n(bottom + 11)}">{text}</text>' for x, _, text in placed)
    return f'<path class="axis" d="M0 {_n(bottom)}H{WIDTH:.0f}"/><g class="ticks">{texts}</g>'


def legend() -> str:
    """What the parts of a drawing mean, each part beside its words (HTML)."""
    parts = (
        ('<rect class="band" x="10" width="40" height="20"/><path class="end" d="M10 0V20M50 0V20"/>', "accepted"),
        ('<g class="paper"><path class="spread" d="M14 10H46M14 7v6M46 7v6"/><path class="mean" d="M30 4v12"/></g>',
         "the paper's number and its spread"),
        (f'<g class="here"><path class="interval" d="M12 8H48M12 5v6M48 5v6"/>{_glyph("reproduced")}</g>',
         "ours with its 95% interval; the shape is the verdict's"),
        ('<path class="units" d="M12 10h0M24 10h0M29 10h0M35 10h0M47 10h0"/>',
         "the single runs, networks or images; at the edge: further out"),
        (_glyph("reproduced", "mark hollow"), "one measurement, no interval"),
        ('<path class="beyond" d="M48 10l-9-5v10Z"/>', "a mean further out"),
        ('<path class="nothing" d="M30 0V20"/>', "what there is where there is nothing to find"),
    )  # fmt: skip
    items = "".join(
        f'<li><svg class="lens-picture" viewBox="0 0 60 20" aria-hidden="true">{drawn}</svg> {html.escape(words)}</li>'
        for drawn, words in parts
    )
    return f'<ul class="lens-legend">{items}</ul>'


def _glyph(verdict: str, kind: str = "mark") -> str:
    return f'<g class="{kind}" transform="translate(30 {8 if kind == "mark" else 10})">{GLYPHS[verdict]}</g>'


def _n(value: float) -> str:
    """A place, to a tenth."""
    text = f"{value:.1f}"
    return text.removesuffix(".0")
