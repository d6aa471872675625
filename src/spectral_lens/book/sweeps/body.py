"""A sweep as HTML: a figure and a table for each claim, what is missing, where the numbers are and come from.

The same body stands in a page of the book and, with its own few styles, in a file that is looked at offline.
"""

from collections import Counter
from collections.abc import Sequence
from html import escape as _e

from spectral_lens.book.chapters import BookError, close
from spectral_lens.book.pages import duration
from spectral_lens.book.sweeps import picture
from spectral_lens.book.sweeps.cells import measured
from spectral_lens.book.sweeps.picture import SHAPES
from spectral_lens.book.sweeps.points import Gathered, in_words
from spectral_lens.book.sweeps.section import EVERYTHING, Links, Wanted, section
from spectral_lens.claims.statistics import Decision

__all__ = ["body", "wanted"]

_MOST = 40  # points that are named as missing


def wanted(of: Gathered, claims: str = "", readings: str = "", x: str = "", colour: str = "") -> Wanted:
    """What the options of the directive ask for: claims after commas, readings after semicolons.

    Raises BookError for a claim, reading or parameter that the sweep has not.
    """
    ids, ways = (tuple(filter(None, map(str.strip, text.split(by)))) for text, by in ((claims, ","), (readings, ";")))
    known = [claim.id for claim, _ in measured(of)]
    for id in ids:
        if id not in known:
            raise BookError(f"The sweep {of.name} measured no claim {id!r}{close(id, known)}")
    read = list(dict.fromkeys(reading for claim, reading in measured(of) if not ids or claim.id in ids))
    for reading in ways:
        if reading not in read:
            raise BookError(f"The sweep {of.name} has no reading {reading!r}: there are {'; '.join(read)}.")
    for name in filter(None, (x, colour)):
        if name not in of.swept:
            raise BookError(f"The sweep {of.name} has no parameter {name!r}{close(name, of.swept)}")
    if x and x == colour:
        raise BookError(f"The sweep {of.name}: {x!r} is either the axis or the colour.")
    return Wanted(ids, ways, x, colour)


def body(of: Gathered, links: Links, chosen: Wanted = EVERYTHING, name: str = "sweep") -> str:
    """All of it; `name` begins the ids of its parts."""
    claims = [
        (claim, reading)
        for claim, reading in measured(of)
        if (not chosen.claims or claim.id in chosen.claims) and (not chosen.readings or reading in chosen.readings)
    ]
    figures = "".join(section(of, claim, reading, chosen, links) for claim, reading in claims)
    if not figures:
        figures = "<p>No point of this sweep has measured a claim yet.</p>"
    return (
        f'<div class="lens-sweep" id="{_e(name)}">{_notes(of)}{_legend() if claims else ""}{figures}'
        f"{_absent(of, links)}{_data(of, links)}{_provenance(of)}</div>"
    )


def _legend() -> str:
    """What the marks mean."""
    names: dict[Decision, str] = {
        "inside": "the interval lies inside what is accepted",
        "undecided": "reaches over an end of it",
        "outside": "lies outside",
    }
    keys = "".join(picture.key(f"point {picture.of_side(side)}", name, SHAPES[side]) for side, name in names.items())
    band = '<li><svg class="lens-plot lens-key" viewBox="0 0 30 16" aria-hidden="true">'
    band += '<rect class="band" width="30" height="16"/></svg> accepted</li>'
    return f'<ul class="lens-keys">{keys}{band}</ul>'


def _notes(of: Gathered) -> str:
    """What a reader has to know first: that it is no verdict, and how old the numbers are."""
    there = of.counted
    swept = ", ".join(f"<code>{_e(name)}</code>" for name in of.varied)
    other = Counter("left out" if point.there else point.state for point in of.points if not point.counted)
    lacking = "".join(f", {number} {state}" for state, number in other.items()) + (" (see below)" if other else "")
    text = (
        f"{len(there)} of {len(of.points)} points over {swept}{lacking}. Points of a sweep get no verdict: shown is "
        "where each interval lies against what is accepted for the paper's own setting."
    )
    older = next((point for point in there if point.state == "older"), None)
    if older is None:
        return f'<p class="lens-note">{text}</p>'
    return (
        f'<p class="lens-note">{text}</p>'
        '<p class="lens-note lens-old"><strong>This sweep is older than the code</strong> '
        f"({_e(older.reason)}). <code>spectral-lens sweep {_e(of.name)}</code> computes it again.</p>"
    )


def _absent(of: Gathered, links: Links) -> str:
    """The points that are not shown: failed with the log, of other code with what changed, missing."""
    failed = [point for point in of.points if point.state == "failed"]
    other = [point for point in of.points if point.there and not point.counted]
    missing = [point for point in of.points if point.state == "missing"]
    parts = ""
    if failed:
        parts += _list("Failed", [f"{_e(p.name)}: {_e(p.said)} ({_linked(links.log(p), p.log)})" for p in failed])
    if other:
        parts += _list(
            "Left out, being stale or made with other code",
            [f"{_e(p.name)}: {_e(p.apart)} ({_e(p.reason)})" for p in other],
        )
    if missing:
        more = [f"and {len(missing) - _MOST} more"] if len(missing) > _MOST else []
        parts += _list("Not computed yet", [_e(point.name) for point in missing[:_MOST]] + more)
    return parts


def _list(title: str, items: Sequence[str]) -> str:
    lines = "".join(f"<li>{item}</li>" for item in items)
    return f'<div class="lens-absent"><p><strong>{title}</strong></p><ul>{lines}</ul></div>'


def _linked(where: str, text: str) -> str:
    return f'<a href="{_e(where)}">{_e(text)}</a>' if where else f"<code>{_e(text)}</code>"


def _data(of: Gathered, links: Links) -> str:
    if not links.table:
        return ""
    name = links.table.rpartition("/")[2]
    return f'<p class="lens-data">All numbers of this sweep: <a href="{_e(links.table)}" download>{_e(name)}</a>.</p>'


def _provenance(of: Gathered) -> str:
    """Where the points come from, those that are not shown with the others included."""
    made = [point.made for point in of.points if point.there]
    if not made:
        return ""
    dates = sorted(str(each["date"])[:10] for each in made if each.get("date"))
    spent = sum(each.get("duration") or 0 for each in made)
    commits = dict.fromkeys(
        str(each["commit"])[:12] + (", with changes not committed" if each.get("dirty") else "")
        for each in made if each.get("commit")
    )  # fmt: skip
    versions = dict.fromkeys(
        ", ".join(f"{name} {value}" for name, value in each.get("versions", {}).items()) for each in made
    )
    facts = [
        ("Chapter", of.chapter),
        ("Profile", of.base),
        ("Swept", "; ".join(f"{n}: {', '.join(_values(of, n))}" for n in of.varied)),
        ("With", "; ".join(f"{n}: {', '.join(_values(of, n))}" for n in of.swept if n not in of.varied)),
        ("Dates", " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else ""),
        ("Computing", duration(spent)),
        ("Devices", "; ".join(dict.fromkeys(str(each["device"]) for each in made if each.get("device")))),
        ("Versions", "; ".join(filter(None, versions))),
        ("Commits", "; ".join(commits)),
    ]
    lines = "".join(f'<tr><th scope="row">{name}</th><td>{_e(text)}</td></tr>' for name, text in facts if text)
    return f"<details><summary>How this sweep was computed</summary><table><tbody>{lines}</tbody></table></details>"


def _values(of: Gathered, name: str) -> list[str]:
    return list(dict.fromkeys(in_words(point.values[name]) for point in of.points))
