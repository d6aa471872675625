"""Sphinx extension: a chapter's page takes its prose from the text notebook and its outputs from the profile's record.

`_config.yml` names `read` under `nb_custom_formats`, with `execute_notebooks: "off"`. The profile stands in the
environment variable SPECTRAL_LENS_PROFILE (default: quick). Captions, alternative texts and cell tags come from the
text notebook too, so that they may change without a run.
"""

import os
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from spectral_lens import claims
from spectral_lens.book import pages, records, second
from spectral_lens.book.chapters import Book, Chapter

log = logging.getLogger(__name__)

# What Sphinx can show without fetching a script. Everything else in a record stays there.
SHOWN = ("text/html", "text/markdown", "text/latex", "image/svg+xml", "image/png", "image/jpeg", "text/plain")

# Sphinx hands the reader a text without its place: source folder and page are noted just before.
_place: ContextVar[tuple[Path, str]] = ContextVar("place")


def profile() -> str:
    """The profile whose records the site shows."""
    return os.environ.get("SPECTRAL_LENS_PROFILE") or "quick"


def read(text: str, **options: Any) -> NotebookNode:
    """The notebook of a page: the text's cells with the record's outputs.

    A chapter without a current record is a warning, hence an error of a strict build, and its page says so.
    """
    notebook = read_myst_markdown_notebook(text, add_source_map=True)
    if not is_myst_markdown_notebook(text) or all(cell.cell_type != "code" for cell in notebook.cells):
        return notebook
    (folder, page), shown = _place.get(), profile()
    of = _chapter(folder, page)
    status = records.status(of, shown)
    run = records.read(records.path(of, shown)) if status.usable else None
    if run is None:
        log.warning(
            "%s: %s in the profile %s; run `spectral-lens run %s --profile %s`",
            of.name, status.reason, shown, of.name, shown,
            type="spectral_lens", subtype="record", location=page,
        )  # fmt: skip
        _insert(notebook, [pages.missing(of.name, shown, status.reason)], [])
        return notebook
    _take_over(notebook, run, page)
    about = records.provenance(run)
    record = records.path(of, shown).relative_to(folder).as_posix()
    _insert(notebook, pages.top(about, shown, status), [pages.provenance(about, record)])
    notebook.metadata["language_info"] = run.metadata.get("language_info", {})
    return notebook


def _chapter(folder: Path, page: str) -> Chapter:
    return Chapter(page.removeprefix("book/"), folder / f"{page}.md", Book(folder))


def _take_over(notebook: NotebookNode, run: NotebookNode, page: str) -> None:
    """Move the outputs of `run` into `notebook`; show injected parameters and mark where a claim was measured."""
    executed = [cell for cell in run.cells if cell.cell_type == "code"]
    seen: set[str] = set()
    cells: list[NotebookNode] = []
    lines: list[int] = []

    def put(cell: NotebookNode, line: int) -> None:
        cells.append(cell)
        lines.append(line)

    for cell, line in zip(notebook.cells, notebook.metadata["source_map"], strict=True):
        if cell.cell_type != "code":
            put(cell, line)
            continue
        while records.injected(executed[0]):  # the chapter has no parameters cell to put them behind
            put(executed.pop(0), line)
        got = executed.pop(0)
        cell.outputs, cell.execution_count = _outputs(got, page, line), got.execution_count
        _check_figure(cell, page, line)
        for claim in _claims(got):
            if claim not in seen:
                seen.add(claim)
                put(new_markdown_cell(f"({pages.anchor(claim)})="), line)
        put(cell, line)
        while executed and records.injected(executed[0]):
            put(executed.pop(0), line)
    notebook.cells, notebook.metadata["source_map"] = cells, lines


def _outputs(cell: NotebookNode, page: str, line: int) -> list[NotebookNode]:
    """The outputs that a page shows: no progress, no mime type that Sphinx does not know, no metadata.

    A claim's card is made anew, by the ledger as it is now.
    """
    kept = []
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            kept.append(output)
        elif "data" in output:
            data = {mime: output.data[mime] for mime in SHOWN if mime in output.data}
            if (claim := records.noted(output, "claim")) is not None:
                data["text/html"] = _card(claim, page, line)
            if data:
                kept.append(NotebookNode({**output, "data": NotebookNode(data), "metadata": NotebookNode()}))
    return kept


def _card(claim: dict[str, Any], page: str, line: int) -> str:
    measured, ledger = claims.Measured.read(claim), claims.load()
    if measured.id not in ledger:
        log.warning(
            "the claim %s is not in book/claims.yml", measured.id,
            type="spectral_lens", subtype="claim", location=(page, line),
        )  # fmt: skip
        return ""
    return claims.card(ledger[measured.id], measured)


def _claims(cell: NotebookNode) -> Iterator[str]:
    yield from (claim["id"] for output in cell.outputs if (claim := records.noted(output, "claim")) is not None)


def _check_figure(cell: NotebookNode, page: str, line: int) -> None:
    if not any(mime.startswith("image/") for output in cell.outputs for mime in output.get("data", ())):
        return
    if not (cell.metadata.get("mystnb", {}).get("image", {}).get("alt") or "").strip():
        log.warning(
            "a figure without alternative text: give its cell `mystnb: {image: {alt: ...}}`",
            type="spectral_lens", subtype="alt", location=(page, line),
        )  # fmt: skip


def _insert(notebook: NotebookNode, top: list[str], end: list[str]) -> None:
    """Put `top` under the page's title and `end` after the last cell; the lines of all other cells stay true."""
    cells, lines = notebook.cells, notebook.metadata["source_map"]
    at, first = 0, cells[0]
    text = first.source.split("\n")
    title = next((k for k, row in enumerate(text) if row.startswith("# ")), None)
    if first.cell_type == "markdown" and title is not None:
        rest = new_markdown_cell("\n".join(text[title + 1 :]))
        first.source = "\n".join(text[: title + 1])
        cells.insert(1, rest)
        lines.insert(1, lines[0] + title + 1)
        at = 1
    cells[at:at] = [new_markdown_cell(text) for text in top]
    lines[at:at] = [lines[0]] * len(top)
    cells += [new_markdown_cell(text) for text in end]
    lines += [lines[-1]] * len(end)


def _note_place(app: Sphinx, docname: str, source: list[str]) -> None:
    _place.set((Path(app.srcdir), docname))


def outdated(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Pages to read again: those whose record, its age or claims changed, and those that list claims as soon as any did
    or there is another second look."""
    shown = profile()
    chapters = (_chapter(Path(app.srcdir), doc) for doc in sorted(env.found_docs))
    stamps = {f"book/{of.name}": _stamp(of, shown) for of in chapters if of.path.is_file() and of.runnable}
    known: dict[str, Any] = getattr(env, "spectral_lens_stamps", {})
    env.spectral_lens_stamps = stamps  # type: ignore[attr-defined]
    moved = [doc for doc in stamps if doc in known and known[doc] != stamps[doc]]
    looks = [(str(file), file.stat().st_mtime_ns) for file in second.files(Book(Path(app.srcdir)))]
    looked_again = getattr(env, "spectral_lens_looks", looks) != looks
    env.spectral_lens_looks = looks  # type: ignore[attr-defined]
    if moved or looked_again:
        listing = [doc for doc, about in env.metadata.items() if about.get("scorecard") or about.get("where")]
        moved += [doc for doc in listing if doc in env.found_docs]
    return sorted(set(moved))


def _stamp(of: Chapter, shown: str) -> tuple[str, ...]:
    """What a page is made from besides its text: the record, how it stands to the chapter, the ledger's entries."""
    status, path = records.status(of, shown), records.path(of, shown)
    if not status.usable:
        return shown, str(status)
    ledger = claims.load()
    measured = [repr(ledger.get(claim.id)) for claim in records.claims(records.read(path))]
    return shown, str(status), str(path.stat().st_mtime_ns), *measured


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _note_place)
    app.connect("env-get-outdated", outdated)
    return {"version": "1", "env_version": 2, "parallel_read_safe": True, "parallel_write_safe": True}
