"""A sweep on a page of the book, as a Sphinx directive.

    ```{sweep} NAME
    :claims: chicchi.independent.distance, chicchi.independent.zeros
    :readings: as printed; the authors' code
    :x: lr                    the parameter along the axis
    :colour: samples          the one that tells the lines apart
    ```

NAME is a sweep that is kept in data/runs/sweeps, or that stands in build/sweeps.  The site offers its numbers as
sweeps/NAME.csv.
"""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from spectral_lens._runtime import files
from spectral_lens._runtime.resources import resource
from spectral_lens.book import chapters
from spectral_lens.book.chapters import Book, BookError
from spectral_lens.book.pages import anchor
from spectral_lens.book.sweeps import kept, table
from spectral_lens.book.sweeps.body import body, wanted
from spectral_lens.book.sweeps.points import Gathered, digest
from spectral_lens.book.sweeps.section import Links
from spectral_lens.claims import Claim

__all__ = ["Sweep", "setup"]

log = logging.getLogger(__name__)


class Sweep(SphinxDirective):
    """The directive `{sweep}`."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = dict.fromkeys(("claims", "readings", "x", "colour"), directives.unchanged)

    def run(self) -> list[nodes.Node]:
        """The figures and tables; a sweep that is nowhere, damaged or without a point is a warning."""
        of, name = Book(Path(self.env.srcdir)), self.arguments[0].strip()
        shown = self.env.metadata[self.env.docname].setdefault("sweeps", {})
        shown[name] = _stamp(of, name)
        self.env.note_dependency(str(resource("book/claims.yml")))
        try:
            found = kept.find(of, name)
            if not found.counted:
                raise BookError(f"The sweep {name} has no point that the book could show{_reason(found)}.")
            chosen = wanted(found, **{key: value or "" for key, value in self.options.items()})
        except BookError as error:
            log.warning("%s", error, type="spectral_lens", subtype="sweep", location=self.get_location())
            return [nodes.warning("", nodes.paragraph("", str(error)))]
        number = self.env.new_serialno("sweep")
        drawn = body(found, self._links(found, of), chosen, f"sweep-{name}" + (f"-{number}" if number else ""))
        return [nodes.raw("", drawn, format="html")]

    def _links(self, found: Gathered, of: Book) -> Links:
        page = self.env.docname
        to = partial(self.env.app.builder.get_relative_uri, page)
        there = found.chapter in chapters.runnable(of)

        def claim(about: Claim) -> str:
            return f"{to(f'book/{found.chapter}')}#{anchor(about.id)}" if there else ""

        return Links(f"{'../' * page.count('/')}sweeps/{found.name}.csv", claim)


def _reason(found: Gathered) -> str:
    reasons = dict.fromkeys(point.reason or point.state for point in found.points)
    return f" ({', '.join(reasons)})"


def _stamp(of: Book, name: str) -> str:
    """What a sweep's page is made from besides the ledger: its data, and how they stand to the code."""
    try:
        found = kept.find(of, name)
    except BookError as error:
        return str(error)
    return digest(
        [[point.state, point.reason, point.said, point.code, *(c.data for c in point.claims)] for point in found.points]
    )


def _outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """The pages whose sweeps, or whose age, changed."""
    of = Book(Path(app.srcdir))
    return [
        doc
        for doc, about in env.metadata.items()
        if doc in env.found_docs and any(_stamp(of, name) != stamp for name, stamp in about.get("sweeps", {}).items())
    ]


def _write_data(app: Sphinx, exception: Exception | None) -> None:
    """The numbers as tables, where the pages offer them."""
    if exception is not None or app.builder.format != "html":
        return
    of = Book(Path(app.srcdir))
    for name in dict.fromkeys(name for about in app.env.metadata.values() for name in about.get("sweeps", {})):
        try:
            found = kept.find(of, name)
        except BookError:  # the page has said so
            continue
        with files.replacing(Path(app.outdir) / "sweeps" / f"{name}.csv") as aside:
            aside.write_text(table.as_csv(found), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("sweep", Sweep)
    app.connect("env-get-outdated", _outdated)
    app.connect("build-finished", _write_data)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
