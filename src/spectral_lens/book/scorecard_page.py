"""The scorecard as HTML: counts, a legend, and for each paper its measurements and its theorems.

Without script it is a set of tables; scorecard.js adds the filter.  Each claim is a group of rows (`tbody`): the
headline with its drawing, then a line for each other reading and for each second look.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spectral_lens.book import scorecard_picture as picture
from spectral_lens.book.pages import anchor
from spectral_lens.book.scorecard_rows import PAPERS, UNMEASURED, VERDICTS, Reading, Row, Second
from spectral_lens.claims import cards
from spectral_lens.claims.ledger import AS_PRINTED

__all__ = ["Links", "page"]

_KINDS = {"measurement": "Measurements", "theorem": "Theorems"}


@dataclass(frozen=True)
class Links:
    """Where a scorecard's links lead.

    page: the address of a chapter's page.  source: of its text at the repository's host, None where that is not known.
    data: of the folder with scorecard.csv and scorecard.json.
    """

    page: Callable[[str], str]
    source: Callable[[str], str | None]
    data: str


def page(table: Sequence[Row], links: Links, name: str = "scorecard") -> str:
    """The whole scorecard; `name` begins the ids of its parts."""
    papers = dict.fromkeys(row.paper for row in table)
    data = (
        '<p class="lens-data">All numbers of this page: '
        f'<a href="{links.data}scorecard.csv" download>scorecard.csv</a>, '
        f'<a href="{links.data}scorecard.json" download>scorecard.json</a>.</p>'
    )
    sections = "".join(
        _paper(paper, [row for row in table if row.paper == paper], links, f"{name}-{paper}") for paper in papers
    )
    return (
        f'<div class="lens-scorecard" id="{name}">{_counts(table, list(papers), name)}{data}{picture.legend()}'
        f'<div class="lens-list" id="{name}-claims">{sections}</div></div>'
    )


def _kind(row: Row) -> str:
    return "theorem" if row.claim.theorem else "measurement"


def _counts(table: Sequence[Row], papers: Sequence[str], name: str) -> str:
    """How many claims of each paper have which verdict, theorems apart; each number leads to its claims."""
    heads = "".join(f'<th scope="col">{_short(PAPERS.get(paper, (paper,))[0])}</th>' for paper in papers)
    body = ""
    for kind, title in _KINDS.items():
        own = [row for row in table if _kind(row) == kind]
        count = Counter((paper, row.verdict) for row in own for paper in (row.paper, ""))
        lines = [
            f'<tr><th scope="row">{_verdict(verdict)}</th>'
            + "".join(_count(count[paper, verdict], name, kind, paper, verdict) for paper in (*papers, ""))
            + "</tr>"
            for verdict in VERDICTS
            if count["", verdict]
        ]
        totals = "".join(
            _count(sum(count[paper, verdict] for verdict in VERDICTS), name, kind, paper, "") for paper in (*papers, "")
        )
        body += f'<tbody><tr class="lens-total"><th scope="rowgroup">{title}</th>{totals}</tr>{"".join(lines)}</tbody>'
    return (
        '<table class="lens-counts"><caption>Claims by verdict and paper</caption>'
        f'<thead><tr><td></td>{heads}<th scope="col">All</th></tr></thead>{body}</table>'
    )


def _short(paper: str) -> str:
    """The first author, and what a narrow screen has no room for."""
    first, *_ = paper.split()
    return f'{_e(first)}<span class="lens-rest">{_e(paper.removeprefix(first))}</span>'


def _count(number: int, name: str, kind: str, paper: str, verdict: str) -> str:
    if not number:
        return "<td>–</td>"
    chosen = "".join(f' data-{key}="{value}"' for key, value in (("paper", paper), ("verdict", verdict)) if value)
    return f'<td><a href="#{name}-{paper or "claims"}" data-kind="{kind}"{chosen}>{number}</a></td>'


def _paper(paper: str, table: Sequence[Row], links: Links, name: str) -> str:
    key, *title = PAPERS.get(paper, (paper,))
    tables = ""
    for kind, words in _KINDS.items():
        own = [row for row in table if _kind(row) == kind]
        if own:
            heads = ("Claim", "Paper and criterion", "Picture", "Here", "Verdict")
            drawn = "".join(_claim(row, links) for row in own)
            tables += (
                f'<table class="lens-claims lens-{kind}s"><caption>{words} of {_e(key)}</caption><thead><tr>'
                + "".join(f'<th scope="col">{head}</th>' for head in heads)
                + f"</tr></thead>{drawn}</table>"
            )
    heading = f"{_e(key)}{f': <cite>{_e(title[0])}</cite>' if title else ''}"
    return (
        f'<section id="{name}" data-paper="{paper}" aria-labelledby="{name}-title">'
        f'<h2 id="{name}-title">{heading}</h2>{tables}</section>'
    )


def _claim(row: Row, links: Links) -> str:
    """The rows of a claim: the headline, the other readings, the second looks."""
    claim, first = row.claim, row.headline
    others = [each for each in row.readings if each is not first]
    every = [*row.readings, *(each.reading for each in row.seconds)]
    scale = picture.axis(claim, [(each.measured, each.judged) for each in every])
    lines = 1 + len(others) + len(row.seconds)
    scope = f'scope="rowgroup" rowspan="{lines}"' if lines > 1 else 'scope="row"'
    head = f"<th {scope}><p>{_e(claim.claim)}</p>{_more(row)}</th>"
    criterion = (
        f'<td class="lens-criterion"><p><span class="lens-name">Paper</span> {_e(cards.printed(claim))} '
        f'<span class="lens-where">({_e(claim.where)})</span></p>'
        f'<p><span class="lens-name">Accepted</span> {_whole(cards.accepted(claim.accept))}</p></td>'
    )
    told = lines > 1 or (first is not None and first.name != AS_PRINTED)
    body = f"<tr>{head}{criterion}{_measured(row, first, scale, links, first.name if first and told else '')}</tr>"
    for each in others:
        body += f'<tr class="lens-other"><td></td>{_measured(row, each, scale, links, each.name)}</tr>'
    for second in row.seconds:
        body += f'<tr class="lens-other"><td></td>{_second(row, second, scale, links)}</tr>'
    kept = f'data-paper="{row.paper}" data-verdict="{row.verdict}" data-kind="{_kind(row)}"'
    return f'<tbody id="row-{anchor(row.id)}" {kept}>{body}</tbody>'


def _measured(row: Row, reading: Reading | None, scale: picture.Axis, links: Links, name: str) -> str:
    """Picture, number and verdict of a reading, or of a claim that nobody measured."""
    if reading is None:
        drawn = picture.draw(row.claim, scale) if row.claim.accept or row.claim.printed.mean is not None else ""
        return f'<td class="lens-drawn">{drawn}</td><td>–</td><td>{_verdict(UNMEASURED)}</td>'
    drawn = picture.draw(row.claim, scale, reading.measured, reading.judged, paper=reading is row.headline)
    notes = [reading.judged.why, _seeds(reading)]
    return _cells(row, reading, drawn, name, notes, _chapter(row, reading, links))


def _second(row: Row, second: Second, scale: picture.Axis, links: Links) -> str:
    reading = second.reading
    name = f"second look: {second.machine}, {second.date[:10]}"
    name += f", {reading.name}" if reading.name != AS_PRINTED else ""
    drawn = picture.draw(row.claim, scale, reading.measured, reading.judged, paper=False)
    notes = [reading.judged.why, f"seeds from {second.first_seed}" if second.first_seed is not None else ""]
    return _cells(row, reading, drawn, name, notes, "")


def _cells(row: Row, reading: Reading, drawn: str, name: str, notes: Iterable[str], end: str) -> str:
    here = _e(cards.here(row.claim, reading.measured, reading.judged))
    shown = f'<p class="lens-name">{_e(name[:1].upper() + name[1:])}</p>' if name else ""
    why = "".join(f'<p class="lens-why">{_e(note)}</p>' for note in notes if note)
    return (
        f'<td class="lens-drawn">{drawn}</td><td class="lens-here">{shown}<p>{here}</p>{_groups(row, reading)}</td>'
        f"<td><p>{_verdict(reading.judged.verdict)}</p>{why}{end}</td>"
    )


def _chapter(row: Row, reading: Reading, links: Links) -> str:
    """The cell that measured it, and the chapter's source where the repository's address is known."""
    where = f'<a href="{_e(links.page(reading.chapter))}#{anchor(row.id)}">{_e(reading.chapter)}</a>'
    source = links.source(reading.chapter)
    code = f', <a href="{_e(source)}" aria-label="source of {_e(reading.chapter)}">source</a>' if source else ""
    return f'<p class="lens-chapter">{where}{code}</p>'


def _seeds(reading: Reading) -> str:
    """Whether seeds confirmed it that nobody had looked at, of what is judged by them."""
    verdict = reading.judged.verdict
    if reading.fresh is None or verdict in ("no criterion", "quick only"):
        return ""
    if not reading.fresh:
        return "fresh seeds: not yet"
    said = "confirmed" if verdict.startswith("reproduced") else "judged"
    return f"{said} with seeds that nobody had looked at"


def _groups(row: Row, reading: Reading) -> str:
    """Every group's number, where there are several."""
    found = reading.judged.estimates
    if len(found) < 2 or row.claim.theorem:
        return ""
    items = "".join(
        f"<li>{'<strong>' if name == reading.judged.deciding else ''}{_e(name)}: "
        f"{_e(cards.with_interval(each, row.claim.unit, row.claim.accept))}"
        f"{'</strong>, which decides' if name == reading.judged.deciding else ''}</li>"
        for name, each in found.items()
    )
    return f"<details><summary>{len(found)} groups</summary><ul>{items}</ul></details>"


def _more(row: Row) -> str:
    """Measure and criterion in full, and the history in its own disclosure."""
    claim = row.claim
    unit = "" if claim.theorem else f", for each {claim.unit}"
    facts = [("Measure", f"{claim.measure}{unit}"), ("Why this range", claim.because)]
    if row.headline and (replication := cards.replication(row.headline.judged)):
        facts.append(("Replication", replication))
    shown = "".join(f"<dt>{name}</dt><dd>{_e(text)}</dd>" for name, text in [*facts, ("Name", row.id)])
    more = f"<details><summary>How it is judged</summary><dl>{shown}</dl></details>"
    if claim.history:
        changes = "".join(f"<li>{_e(each.date)}: {_e(each.change)}</li>" for each in claim.history)
        more += f"<details><summary>History</summary><ul>{changes}</ul></details>"
    return more


def _verdict(verdict: str) -> str:
    # The sign before the words comes from the style sheet: the words say it without colour or sign.
    return f'<span class="lens-verdict lens-{verdict.replace(" ", "-")}">{verdict}</span>'


def _whole(text: str) -> str:
    """The text with numbers like 1e-08 that no line is broken in."""
    return re.sub(r"\S*\de-\S+", r'<span class="lens-number">\g<0></span>', _e(text))


def _e(text: str) -> str:
    return html.escape(text)
