"""What of a paper is where in the book, as a Sphinx directive.

    ```{where} chicchi
    ```

Two tables.  The first has the paper's figures, tables and printed numbers, which book/where.yml lists with their
counterparts here; the second what else the ledger says of the paper.  Links and verdicts come from the records.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from spectral_lens.book import chapters, plain_yaml
from spectral_lens.book.chapters import BookError
from spectral_lens.book.pages import anchor
from spectral_lens.book.scorecard_rows import PAPERS, Row, rows
from spectral_lens.book.sphinx_reader import profile

__all__ = ["Entry", "Where", "load", "others", "setup", "tables"]

NAME = "book/where.yml"


@dataclass(frozen=True)
class Entry:
    """A figure, table or number of a paper, with its counterparts: figures, claims and pages of the book.

    note: what differs; the reason, where there is no counterpart.
    """

    at: str
    shows: str
    figures: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    note: str = ""

    @property
    def found(self) -> bool:
        """Whether anything stands for it."""
        return bool(self.figures or self.claims or self.pages)


_FIELDS = tuple(each.name for each in fields(Entry))


def load(text: str, ledger: Iterable[str]) -> dict[str, tuple[Entry, ...]]:
    """The entries of each paper.

    Raises BookError, which names the entry, for what is unknown, and for an entry with neither counterpart nor reason.

    >>> load('chicchi: [{at: "Fig. 2", shows: "the set", figures: [fig-set]}]', ())["chicchi"][0].figures
    ('fig-set',)
    """
    known = set(ledger)
    try:
        given = plain_yaml.load(text, NAME)
    except ValueError as error:
        raise BookError(str(error)) from None
    if not isinstance(given, dict) or not set(given) <= set(PAPERS):
        raise BookError(f"{NAME} is a table of the papers {', '.join(PAPERS)}.")
    return {paper: tuple(_entry(paper, each, known) for each in listed) for paper, listed in given.items()}


def _entry(paper: str, given: Mapping[str, Any], known: set[str]) -> Entry:
    name = f"{NAME}, {paper}, {given.get('at', '?')}"
    if wrong := (set(given) - set(_FIELDS)) | ({"at", "shows"} - set(given)):
        raise BookError(f"{name}: an entry has at and shows, and may have {', '.join(_FIELDS[2:])}; see {min(wrong)}.")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    entry = Entry(**values)
    if strange := [claim for claim in entry.claims if claim not in known or not claim.startswith(f"{paper}.")]:
        raise BookError(f"{name}: the ledger has no claim {strange[0]} of this paper.")
    if not entry.found and not entry.note:
        raise BookError(f"{name}: there is no counterpart, and no note says why.")
    return entry


def others(entries: Sequence[Entry], table: Sequence[Row]) -> list[Row]:
    """The claims that no entry names."""
    named = {claim for entry in entries for claim in entry.claims}
    return [row for row in table if row.id not in named]


def tables(entries: Sequence[Entry], table: Sequence[Row], sources: Mapping[str, str]) -> str:
    """Both tables as MyST.  table: the paper's claims.  sources: the text of each chapter, by name.

    >>> print(tables([Entry("Fig. 2", "the set", figures=("fig-set",))], [], {"a/set": "    name: fig-set"}))
    :::{rubric} Figures, tables and printed numbers
    :::
    <BLANKLINE>
    :::{list-table}
    :header-rows: 1
    :class: lens-parts
    :widths: 40 60
    <BLANKLINE>
    * - In the paper
      - Here
    * - **Fig. 2:** the set
      - {numref}`fig-set` in {doc}`a/set`
    :::
    """
    of = {row.id: row for row in table}
    drawn = [(f"**{entry.at}:** {entry.shows}", list(_here(entry, of, sources))) for entry in entries]
    said = [(f"**{row.claim.where}:** {_said(row)}", [_link(row, sources)]) for row in others(entries, table)]
    parts = [("Figures, tables and printed numbers", drawn), ("What else is claimed", said)]
    return "\n\n".join(_table(title, lines) for title, lines in parts if lines)


def _table(title: str, lines: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = f":::{{rubric}} {title}\n:::\n\n:::{{list-table}}\n:header-rows: 1\n:class: lens-parts\n:widths: 40 60\n"
    body = "\n".join(f"* - {left}\n  - {_paragraphs(right)}" for left, right in [("In the paper", ["Here"]), *lines])
    return f"{head}\n{body}\n:::"


def _paragraphs(lines: Sequence[str]) -> str:
    return "\n\n    ".join(lines)


def _here(entry: Entry, of: Mapping[str, Row], sources: Mapping[str, str]) -> Iterator[str]:
    for page, figures in groupby(entry.figures, lambda name: _page_of(name, sources)):
        yield ", ".join(f"{{numref}}`{name}`" for name in figures) + (f" in {{doc}}`{page}`" if page else "")
    yield from (f"{{doc}}`{page}`" for page in entry.pages)
    yield from (_named(of[claim], sources) for claim in entry.claims)
    if entry.note:
        yield entry.note if entry.found else f"None: {entry.note[0].lower()}{entry.note[1:]}"


def _page_of(figure: str, sources: Mapping[str, str]) -> str | None:
    """The chapter with that figure."""
    return next((page for page, text in sources.items() if re.search(rf"^ +name: {figure}$", text, re.MULTILINE)), None)


def _named(row: Row, sources: Mapping[str, str]) -> str:
    """A claim that leads to the cell that measured it, with its verdict."""
    if row.chapter:
        return f"{{ref}}`{row.claim.claim} <{anchor(row.id)}>`: {row.verdict}"
    return f"{_said(row)}: {_link(row, sources)}"


def _link(row: Row, sources: Mapping[str, str]) -> str:
    """The verdict, or why there is none, which leads to where it is measured."""
    if row.chapter:
        return f"{{ref}}`{row.verdict} <{anchor(row.id)}>`, {{doc}}`{row.chapter}`"
    asked = next((name for name, text in sources.items() if f'"{row.id}"' in text), None)
    return f"not measured in this profile, {{doc}}`{asked}`" if asked else "none yet (no chapter measures it)"


def _said(row: Row) -> str:
    """A claim's words, in which nothing is markup."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]<>|$#^~" else letter for letter in row.claim.claim)


class Where(SphinxDirective):
    """The directive `{where}`."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Both tables of the paper that the argument names."""
        of, paper = chapters.Book(Path(self.env.srcdir)), self.arguments[0]
        self.env.metadata[self.env.docname]["where"] = True
        file = of.root / NAME
        self.env.note_dependency(str(file))
        found = rows(profile(), of)
        try:
            entries = load(file.read_text(encoding="utf-8"), [row.id for row in found]).get(paper)
        except BookError as error:
            raise self.error(str(error)) from None
        if entries is None:
            raise self.error(f"{NAME} has no paper {paper!r}.")
        sources = {name: each.path.read_text(encoding="utf-8") for name, each in chapters.runnable(of).items()}
        text = tables(entries, [row for row in found if row.paper == paper], sources)
        holder = nodes.Element()
        self.state.nested_parse(StringList(text.split("\n"), source=str(file)), 0, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("where", Where)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
