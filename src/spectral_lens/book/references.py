"""Small, stable copies of the quick records, which nbval runs again and compares output by output."""

from pathlib import Path
from typing import Any

import nbformat

from spectral_lens.book import records
from spectral_lens.book.chapters import Book, BookError, Chapter, book, runnable

_IGNORED = ("nbval-ignore-output", "nbval-skip")
_DRAWING = "image/svg+xml"


def folder(of: Book) -> Path:
    """Where the references stand."""
    return of.root / "tests" / "reference"


def path(of: Chapter) -> Path:
    """The chapter's reference."""
    return folder(of.book) / (of.name.replace("/", "__") + ".ipynb")


def reference(record: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The record without pictures, times and metadata: its code, the tags that nbval reads, and its texts.

    nbval compares text/plain, text/html, and whatever else stands in an output, but no PNG and no metadata. A drawing
    (SVG) is compared too: it is left empty here and made empty in the run by sanitize.cfg. Cells tagged
    nbval-ignore-output keep no outputs.
    """
    made = records.provenance(record)
    cells = []
    for cell in record.cells:
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        outputs = [] if set(tags) & set(_IGNORED) else [_bare(o) for o in cell.outputs]
        cells.append(
            nbformat.v4.new_code_cell(
                cell.source,
                id=cell["id"],
                execution_count=cell.execution_count,
                metadata={"tags": list(tags)} if tags else {},
                outputs=outputs,
            )
        )
    kept = {"chapter": made["chapter"], "parameters": made["parameters"], "key": made["key"]}
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": dict(record.metadata["kernelspec"]), records.META: kept}
    )


def write(of: Book | None = None) -> list[Path]:
    """Write all references anew from the quick records and delete those without a chapter; returns the new ones.

    Raises BookError where a quick record is missing or stale, before anything is written.
    """
    of = of or book()
    chapters = runnable(of)
    for name, chapter in chapters.items():
        state = records.status(chapter, "quick")
        if not state.usable:
            raise BookError(f"{name}: {state.reason} in the quick profile: run `spectral-lens run --stale` first.")
    written = []
    for chapter in chapters.values():
        records.write(reference(records.read(records.path(chapter, "quick"))), path(chapter))
        written.append(path(chapter))
    for left in set(folder(of).glob("*.ipynb")) - set(written):
        left.unlink()
    # The pattern file of `pytest --nbval --nbval-sanitize-with`.
    (folder(of) / "sanitize.cfg").write_text("[drawings]\nregex: (?s)^.*<svg.*$\nreplace: <svg/>\n", encoding="utf-8")
    return written


def differing(of: Book | None = None) -> dict[str, str]:
    """Why a chapter's reference is not the one of its source, for those where it is not; nothing is run."""
    of = of or book()
    found = {}
    chapters = runnable(of)
    for name, chapter in chapters.items():
        if not path(chapter).is_file():
            found[name] = "no reference"
            continue
        kept = nbformat.read(path(chapter), as_version=4)
        code = records.code_hash(chapter.notebook)
        if records.code_hash(kept) != code:
            found[name] = "the code cells changed"
        elif kept.metadata[records.META]["key"] != records.key(code, records.resolve(chapter, "quick")):
            found[name] = "the parameters changed"
    strays = {p.stem.replace("__", "/") for p in folder(of).glob("*.ipynb")} - set(chapters)
    return found | dict.fromkeys(sorted(strays), "no such chapter")


def _bare(output: dict[str, Any]) -> nbformat.NotebookNode:
    kept = nbformat.from_dict(output)
    if "data" in kept:
        kept.metadata = nbformat.from_dict({})
        kept.data = nbformat.from_dict(
            {kind: value for kind, value in kept.data.items() if not kind.startswith("image/")}
        )
        if _DRAWING in output["data"]:
            kept.data[_DRAWING] = "<svg/>"
    return kept
