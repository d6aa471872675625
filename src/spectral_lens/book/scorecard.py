"""The scorecard: every claim of the ledger beside what the records measured, as a Sphinx directive.

    ```{scorecard}
    :part: relevance             only claims measured in chapters whose name starts so
    :claims: chicchi.independent only claims whose name starts so
    ```

Nothing here is typed: the claims come from the ledger, the figures from the records of the profile.  The site also
offers all numbers as scorecard.csv and scorecard.json.
"""

from functools import partial
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from spectral_lens._runtime.resources import resource
from spectral_lens.book import chapters, scorecard_data, scorecard_page, second
from spectral_lens.book.scorecard_rows import rows
from spectral_lens.book.sphinx_reader import profile as chosen_profile

__all__ = ["Scorecard", "setup"]

_SCRIPT = "scorecard.js"


class Scorecard(SphinxDirective):
    """The directive `{scorecard}`."""

    option_spec: ClassVar[dict[str, Any]] = {"part": directives.unchanged, "claims": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """The counts, and for each paper a drawing of each claim."""
        of = chapters.Book(Path(self.env.srcdir))
        self.env.metadata[self.env.docname]["scorecard"] = True
        for file in (resource("book/claims.yml"), *second.files(of)):
            self.env.note_dependency(str(file))
        part, prefix = self.options.get("part", ""), self.options.get("claims", "")
        table = [
            row
            for row in rows(chosen_profile(), of)
            if row.id.startswith(prefix) and (not part or (row.chapter or "").startswith(part))
        ]
        if not table:
            return [nodes.paragraph("", "No claim of this part has been measured yet.")]
        number = self.env.new_serialno("scorecard")
        name = f"scorecard-{number + 1}" if number else "scorecard"
        return [nodes.raw("", scorecard_page.page(table, self._links(), name), format="html")]

    def _links(self) -> scorecard_page.Links:
        options, page = self.config.html_theme_options, self.env.docname
        url, branch = options.get("repository_url") or "", options.get("repository_branch") or "main"

        def source(chapter: str) -> str | None:
            return f"{url}/blob/{quote(branch)}/book/{quote(chapter)}.md" if url else None

        to = partial(self.env.app.builder.get_relative_uri, page)
        return scorecard_page.Links(lambda chapter: to(f"book/{chapter}"), source, "../" * page.count("/"))


def _load_script(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """The filter's script, on the pages that have something to filter."""
    if app.env.metadata.get(pagename, {}).get("scorecard"):
        app.add_js_file(_SCRIPT, loading_method="defer")


def _write_data(app: Sphinx, exception: Exception | None) -> None:
    """The numbers as tables, beside the pages that offer them."""
    offered = any(about.get("scorecard") for about in app.env.metadata.values())
    if exception is None and offered and app.builder.format == "html":
        scorecard_data.write(rows(chosen_profile(), chapters.Book(Path(app.srcdir))), Path(app.outdir))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("scorecard", Scorecard)
    app.connect("html-page-context", _load_script)
    app.connect("build-finished", _write_data)
    return {"version": "2", "parallel_read_safe": True, "parallel_write_safe": True}
