"""The scorecard: every claim of the ledger beside what the records measured, as rows and as a Sphinx directive.

    ```{scorecard}
    :part: relevance             only claims measured in chapters whose name starts so
    :claims: chicchi.independent only claims whose name starts so
    ```

Nothing here is typed: the claims come from the ledger, the figures from the records of the profile.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from spectral_lens import claims
from spectral_lens._runtime.resources import resource
from spectral_lens.book import chapters, records
from spectral_lens.book.pages import anchor
from spectral_lens.book.sphinx_reader import profile as chosen_profile
from spectral_lens.claims import cards
from spectral_lens.claims.ledger import AS_PRINTED

PAPERS = {
    "giambagli": ("Giambagli et al. (2021)", "Machine learning in spectral domain"),
    "chicchi": ("Chicchi et al. (2026)", "Estimating global input relevance"),
    "maess": ("Maess et al. (2025)", "Structure of explanation quality"),
    "katende": ("Katende (2026)", "Matrix-spectral stability and interpretability"),
}
UNMEASURED = "not measured yet"
VERDICTS = (
    "identity holds", "bound holds", "reproduced", "reproduced in another reading", "undecided", "not reproduced",
    "no criterion", "quick only", UNMEASURED,
)  # fmt: skip
FRESH = 1000  # seeds from here on were not looked at before the estimator was fixed


@dataclass(frozen=True)
class Reading:
    """One way in which a claim was read: what was measured, and its verdict."""

    name: str
    measured: claims.Measured
    judged: claims.Judgement


@dataclass(frozen=True)
class Row:
    """One claim of the ledger with its verdict and, where a record measured it, the readings, as printed first.

    fresh: whether the record's seeds were ones that nobody had looked at; None where it has none.
    """

    claim: claims.Claim
    verdict: str = UNMEASURED
    readings: tuple[Reading, ...] = ()
    chapter: str | None = None
    fresh: bool | None = None

    @property
    def id(self) -> str:
        """The claim's name."""
        return self.claim.id

    @property
    def paper(self) -> str:
        """The paper's key, the first part of the claim's name."""
        return self.id.split(".", 1)[0]

    @property
    def here(self) -> str:
        """What was measured in the first reading, in words."""
        if not self.readings:
            return ""
        first = self.readings[0]
        return cards.here(self.claim, first.measured, first.judged)


def rows(profile: str = "quick", of: chapters.Book | None = None) -> list[Row]:
    """One row per claim of the ledger, in its order.

    A claim that no current record of the profile carries is "not measured yet"; a stale record counts as none.
    """
    measured = _measured(profile, of or chapters.book())
    return [measured.get(claim.id, Row(claim)) for claim in claims.load().values()]


def _measured(profile: str, of: chapters.Book) -> dict[str, Row]:
    ledger, found = claims.load(), {}
    for chapter in chapters.runnable(of).values():
        if not records.status(chapter, profile).usable:
            continue
        record = records.read(records.path(chapter, profile))
        measured = [each for each in records.claims(record) if each.id in ledger]
        seed = records.provenance(record)["parameters"].get("first_seed")
        for id, headline in claims.headlines(ledger, measured).items():
            own = [each for each in measured if each.id == id]
            names = [each.reading or ledger[id].reading for each in own]
            readings = [
                Reading(name, each, claims.judge(ledger[id], each)) for name, each in zip(names, own, strict=True)
            ]
            readings.sort(key=lambda each: each.name != AS_PRINTED)
            fresh = None if seed is None or ledger[id].theorem else seed >= FRESH
            found[id] = Row(ledger[id], headline.verdict, tuple(readings), chapter.name, fresh)
    return found


def summary(table: Sequence[Row]) -> dict[str, Counter[str]]:
    """How many claims of each paper have which verdict."""
    return {paper: Counter(row.verdict for row in table if row.paper == paper) for paper in _papers(table)}


def _papers(table: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.paper for row in table))


class HeadCell(nodes.entry):
    """A table cell that names its row or column for a screen reader."""


def _visit_head(self: Any, node: HeadCell) -> None:
    self.body.append(self.starttag(node, "th", "", scope=node["scope"], CLASS="head"))


def _depart_head(self: Any, node: HeadCell) -> None:
    self.body.append("</th>\n")


class Scorecard(SphinxDirective):
    """The directive `{scorecard}`."""

    option_spec: ClassVar[dict[str, Any]] = {"part": directives.unchanged, "claims": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """A summary and one table per paper."""
        self.env.metadata[self.env.docname]["scorecard"] = True
        self.env.note_dependency(str(resource("book/claims.yml")))
        part, prefix = self.options.get("part", ""), self.options.get("claims", "")
        table = [
            row
            for row in rows(chosen_profile(), chapters.Book(Path(self.env.srcdir)))
            if row.id.startswith(prefix) and (not part or (row.chapter or "").startswith(part))
        ]
        if not table:
            return [nodes.paragraph("", "No claim of this part has been measured yet.")]
        return [self._summary(table), *(self._paper(key, table) for key in _papers(table))]

    def _summary(self, table: Sequence[Row]) -> nodes.table:
        counts = summary(table)
        total = sum(counts.values(), Counter[str]())
        shown = [verdict for verdict in VERDICTS if total[verdict]]
        named = {PAPERS.get(paper, (paper,))[0]: count for paper, count in counts.items()} | {"All": total}
        body = [
            [self._head(name), *(self._cell(str(count[verdict] or "–")) for verdict in shown)]
            for name, count in named.items()
        ]
        heads = [self._head("Paper", "col"), *(self._head(self._verdict(verdict), "col") for verdict in shown)]
        return self._table("Claims by paper and verdict", heads, body, "lens-summary")

    def _paper(self, paper: str, table: Sequence[Row]) -> nodes.table:
        names = ("Claim", "Where", "Printed", "Here", "Accepted", "Verdict")
        body = []
        for row in (row for row in table if row.paper == paper):
            claim = nodes.paragraph("", row.claim.claim)
            measure = nodes.paragraph("", row.claim.measure, classes=["lens-measure"])
            verdict = nodes.entry("", self._block(self._verdict(row.verdict)))
            if row.chapter is not None:
                verdict += self._block(self._link(row.id, row.chapter))
            cells = [
                self._cell(text)
                for text in (
                    row.claim.where,
                    row.claim.printed.text.replace("+-", "±"),
                    row.here or "–",
                    cards.accepted(row.claim.accept),
                )
            ]
            for cell, name in zip(cells, names[1:], strict=False):
                cell["classes"].append(f"lens-{name.lower()}")
            body.append([self._head(claim, "row", measure), *cells, verdict])
        heads = [self._head(name, "col") for name in names]
        return self._table(": ".join(PAPERS.get(paper, (paper,))), heads, body, "lens-scorecard")

    def _link(self, claim: str, chapter: str) -> nodes.Node:
        inner = nodes.inline("", chapter)
        return pending_xref(
            "", inner, refdomain="std", reftype="ref", reftarget=anchor(claim), refexplicit=True, refwarn=True,
            refdoc=self.env.docname,
        )  # fmt: skip

    def _verdict(self, verdict: str) -> nodes.inline:
        # The sign before the words comes from the style sheet: the words say it without colour or sign.
        return nodes.inline("", verdict, classes=["lens-verdict", "lens-" + verdict.replace(" ", "-")])

    def _head(self, content: str | nodes.Node, scope: str = "row", *more: nodes.Node) -> HeadCell:
        return HeadCell("", self._block(content), *more, scope=scope)

    def _cell(self, content: str | nodes.Node) -> nodes.entry:
        return nodes.entry("", self._block(content))

    @staticmethod
    def _block(content: str | nodes.Node) -> nodes.Node:
        if isinstance(content, nodes.paragraph):
            return content
        return nodes.paragraph("", "", nodes.Text(content) if isinstance(content, str) else content)

    def _table(
        self, caption: str, heads: Sequence[nodes.Node], body: Sequence[Sequence[nodes.Node]], kind: str
    ) -> nodes.table:
        group = nodes.tgroup("", *(nodes.colspec(colwidth=1) for _ in heads), cols=len(heads))
        group += nodes.thead("", nodes.row("", *heads))
        group += nodes.tbody("", *(nodes.row("", *cells) for cells in body))
        return nodes.table("", nodes.title("", caption), group, classes=[kind, "colwidths-auto"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    other = (lambda self, node: self.visit_entry(node), lambda self, node: self.depart_entry(node))
    app.add_node(HeadCell, html=(_visit_head, _depart_head), latex=other, text=other)
    app.add_directive("scorecard", Scorecard)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
