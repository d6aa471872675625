"""A claim over what was swept as HTML: its figure and its table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape as _e

from spectral_lens.book.sweeps import heat_map, picture
from spectral_lens.book.sweeps.cells import SEED, Cell, cells, distinct, numeric
from spectral_lens.book.sweeps.picture import SERIES, Mark, Series
from spectral_lens.book.sweeps.points import Gathered, Point, digest, in_words
from spectral_lens.claims import Claim, cards
from spectral_lens.claims.ledger import AS_PRINTED

__all__ = ["EVERYTHING", "Links", "Wanted", "section"]

_OPEN = 12  # rows of a table that are shown without being asked for
_MAP = 3  # values of each of two parameters from which on they make a map
_UNJUDGED = "not judged"


@dataclass(frozen=True)
class Links:
    """Where the links lead: to the table, to what measured a claim, to the record and to the log of a point.

    Each may be empty, where there is nothing to lead to.
    """

    table: str
    claim: Callable[[Claim], str] = lambda claim: ""
    record: Callable[[Point], str] = lambda point: ""
    log: Callable[[Point], str] = lambda point: ""


@dataclass(frozen=True)
class Wanted:
    """What is to be shown: claims and readings (none: all), the parameter along the axis and that of the colours."""

    claims: tuple[str, ...] = ()
    readings: tuple[str, ...] = ()
    x: str = ""
    colour: str = ""


EVERYTHING = Wanted()


def section(of: Gathered, claim: Claim, reading: str, chosen: Wanted, links: Links) -> str:
    """The claim, in that reading: a figure, what it shows, and a row for each setting."""
    found = cells(of, claim, reading, filter(None, (chosen.x, chosen.colour)))
    names = [name for name in found[0].values if len(distinct(found, name)) > 1]
    free = [name for name in names if name != chosen.colour] or list(found[0].values)
    x = chosen.x or next((name for name in free if numeric(distinct(found, name))), free[0])
    colour = chosen.colour or next((name for name in names if name != x), "")
    rest = [name for name in names if name not in (x, colour)]
    panels: dict[str, list[Cell]] = {}
    for cell in found:
        panels.setdefault(", ".join(f"{name}={in_words(cell.values[name])}" for name in rest), []).append(cell)
    drawn = "".join(_panel(name, each, x, colour, mapped=not chosen.colour) for name, each in panels.items())
    where = links.claim(claim)
    title = f'<a href="{_e(where)}">{_e(claim.claim)}</a>' if where else _e(claim.claim)
    read = f" ({_e(reading)})" if reading != AS_PRINTED else ""
    return (
        f"<figure>{drawn}<figcaption><p><strong>{title}</strong>{read}</p>{_caption(found)}</figcaption></figure>"
        + (_table(found, links))
    )


def _panel(name: str, found: Sequence[Cell], x: str, colour: str, *, mapped: bool) -> str:
    """A figure of its own for each setting of what is neither axis nor colour."""
    columns, rows = distinct(found, x), distinct(found, colour) if colour else []
    head = f'<p class="lens-panel">{_e(name)}</p>' if name else ""
    if mapped and min(len(columns), len(rows)) >= _MAP:
        placed = {(digest(cell.values[x]), digest(cell.values[colour])): cell for cell in found}
        drawn = heat_map.draw(x, colour, columns, rows, placed, _said(found, x))
        return f'{head}<div class="lens-scroll">{drawn}</div>'
    series = _series(found, x, colour)
    return head + picture.draw(x, columns, series, _said(found, x)) + _key(series)


def _series(found: Sequence[Cell], x: str, colour: str) -> list[Series]:
    """A line for each value of the second parameter; without one, for each group as far as there are colours."""
    order = {digest(value): k for k, value in enumerate(distinct(found, x))}
    along = sorted(found, key=lambda cell: order[digest(cell.values[x])])
    if colour:
        return [
            Series(f"{colour}={in_words(value)}", [
                Mark(cell.values[x], cell.number, cell)
                for cell in along if digest(cell.values[colour]) == digest(value)
            ])
            for value in distinct(found, colour)
        ]  # fmt: skip
    groups = list(dict.fromkeys(name for cell in along for name in cell.judged.estimates))
    if not 1 < len(groups) <= SERIES or along[0].claim.theorem:
        return [Series("", [Mark(cell.values[x], cell.number, cell) for cell in along])]
    return [
        Series(name, [
            Mark(cell.values[x], cell.judged.estimates[name], cell) for cell in along if name in cell.judged.estimates
        ])
        for name in groups
    ]  # fmt: skip


def _key(series: Sequence[Series]) -> str:
    if len(series) == 1:
        return ""
    items = "".join(picture.key(picture.kind(k), each.name) for k, each in enumerate(series))
    return f'<ul class="lens-keys">{items}</ul>'


def _said(found: Sequence[Cell], x: str) -> str:
    """The figure in words: how many settings, from where to where, and on which side of the range."""
    claim, means = found[0].claim, [cell.number.mean for cell in found]
    sides = {side: sum(cell.lies == side for cell in found) for side in dict.fromkeys(cell.lies for cell in found)}
    told = ", ".join(f"{number} {side or _UNJUDGED}" for side, number in sides.items())
    return (
        f"{claim.measure} over {x}: {len(found)} settings, {min(means):.3g} to {max(means):.3g}; "
        f"accepted {cards.accepted(claim.accept)}: {told}"
    )


def _caption(found: Sequence[Cell]) -> str:
    claim = found[0].claim
    words = [f"{claim.measure[:1].upper()}{claim.measure[1:]}"]
    if not claim.theorem:
        words[0] += f", for each {claim.unit}: mean and 95% interval"
    words.append(f"accepted: {cards.accepted(claim.accept)}")
    if claim.printed.mean is not None and not claim.theorem:
        words.append(f"the paper prints {cards.printed(claim)} for its own setting")
    if len(found[0].judged.estimates) > 1 and not claim.theorem:
        words.append("of several groups the one worst off decides")
    if pooled := max(len(cell.points) for cell in found) - 1:
        words.append(f"the units of up to {pooled + 1} first seeds together")
    return f"<p>{_e('; '.join(words))}. <code>{_e(claim.id)}</code></p>"


def _table(found: Sequence[Cell], links: Links) -> str:
    """A row for each setting."""
    names = list(found[0].values)
    linked = any(links.record(point) for cell in found for point in cell.points)
    heads = [*names, "here", "range", *(["record"] if linked else [])]
    head = "".join(f'<th scope="col">{_e(text)}</th>' for text in heads)
    lines = "".join(_row(cell, names, links, linked=linked) for cell in found)
    table = (
        f'<div class="lens-scroll" tabindex="0" role="region" aria-label="{_e(found[0].claim.claim)}, as a table">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
    )
    opened = " open" if len(found) <= _OPEN else ""
    return f"<details{opened}><summary>As a table: {len(found)} settings</summary>{table}</details>"


def _row(cell: Cell, names: Sequence[str], links: Links, *, linked: bool) -> str:
    values = "".join(f"<td>{_e(in_words(cell.values[name]))}</td>" for name in names)
    judged = cell.judged.verdict if cell.claim.theorem else cell.lies or _UNJUDGED
    kind = f"lens-{judged.replace(' ', '-')}" if cell.claim.theorem else picture.of_side(cell.lies)
    places = [(point, links.record(point)) for point in cell.points]
    notebooks = ", ".join(
        f'<a href="{_e(where)}">{_e(in_words(point.values[SEED]) if len(places) > 1 else "notebook")}</a>'
        for point, where in places if where
    )  # fmt: skip
    end = f"<td>{notebooks}</td>" if linked else ""
    side = f'<span class="lens-verdict {kind}">{judged}</span>'
    return f'<tr>{values}<td class="lens-here">{_e(cell.words)}</td><td>{side}</td>{end}</tr>'
