"""Small, stable copies of the quick records, which nbval runs again and compares output by output.

They are records themselves: the tests build the site from them, and a paper record of older code is verified by them.
"""

import re
from pathlib import Path
from typing import Any

import nbformat

from spectral_lens.book import records, replay
from spectral_lens.book.chapters import Book, BookError, Chapter, book, runnable
from spectral_lens.claims import TINY

_KEPT = ("chapter", "profile", "parameters", "code", "ran", "date", "duration", "data")
_WHEN = {"date": None, "duration": None}
# A transparent point stands for every picture: nbval compares none, and the site needs one to put the words to.
_POINT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
# The patterns of `pytest --nbval --nbval-sanitize-with`: what is no number may change without a run.
_PATTERNS = {
    "drawings": (r"(?s)^.*<svg.*$", "<svg/>"),
    "cards": (r'(?s)^<table class="claim.*$', "<claim/>"),
    "figures": (r"<Figure size [^>]*>", "<Figure>"),
}


def folder(of: Book) -> Path:
    """Where the references stand."""
    return records.folder(of, records.REFERENCE)


def path(of: Chapter) -> Path:
    """The chapter's reference."""
    return records.path(of, records.REFERENCE)


def reference(record: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The record with its code, the tags that nbval reads, and its texts: no pictures, nothing of the machine.

    nbval compares text/plain, text/html, and whatever else stands in an output, but no PNG and no metadata. Drawings
    (SVG), cards and sizes of figures are made equal here and in the run by sanitize.cfg. Of cells tagged
    nbval-ignore-output only pictures and claims are kept. Warnings are left out: a run prints them with paths, and a
    quick chapter should give none.
    """
    made = records.provenance(record)
    cells = []
    for cell in record.cells:
        if cell.cell_type != "code" or records.injected(cell):
            continue
        tags = cell.metadata.get("tags", [])
        outputs = [o for o in cell.outputs if not set(tags) & replay.IGNORED or _counts(o)]
        outputs = [_bare(o) for o in outputs if o.get("name") != "stderr"]
        cells.append(
            nbformat.v4.new_code_cell(
                cell.source,
                id=cell["id"],
                execution_count=cell.execution_count,
                metadata={"tags": list(tags)} if tags else {},
                outputs=outputs,
            )
        )
    kept = {name: made[name] for name in _KEPT if name in made}
    kept["duration"] = round(kept.get("duration", 0))
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": dict(record.metadata["kernelspec"]), records.META: kept}
    )


def write(of: Book | None = None) -> list[Path]:
    """Write the references that changed from the quick records, delete those without a chapter; returns the new ones.

    A run that differs from the reference by its date and duration alone does not change it.
    Raises BookError where a quick record is missing, stale or older, before anything is written.
    """
    of = of or book()
    chapters = runnable(of)
    for name, chapter in chapters.items():
        state = records.status(chapter, "quick")
        if state.state != "current":
            raise BookError(f"{name}: the quick record is {state}: run `spectral-lens run --older` first.")
    written = []
    for chapter in chapters.values():
        made = reference(records.read(records.path(chapter, "quick")))
        if _lasting(made) != _standing(chapter):
            records.write(made, path(chapter))
            written.append(path(chapter))
    for left in set(folder(of).glob("*.ipynb")) - {path(chapter) for chapter in chapters.values()}:
        left.unlink()
    rules = (f"[{name}]\nregex: {regex}\nreplace: {text}\n" for name, (regex, text) in _PATTERNS.items())
    (folder(of) / "sanitize.cfg").write_text("\n".join(rules), encoding="utf-8")
    return written


def differing(of: Book | None = None) -> dict[str, str]:
    """Why a chapter's reference is not the one of its source, for those where it is not; nothing is run.

    One of older code is none of them: nbval tells whether it still prints the same.
    """
    of = of or book()
    found, chapters = {}, runnable(of)
    for name, chapter in chapters.items():
        state = records.status(chapter, records.REFERENCE)
        if not state.usable:
            found[name] = "no reference" if state.state == "missing" else state.reason
    strays = {p.stem.replace("__", "/") for p in folder(of).glob("*.ipynb")} - set(chapters)
    return found | dict.fromkeys(sorted(strays), "no such chapter")


def _lasting(reference: nbformat.NotebookNode) -> dict[str, Any]:
    """All of a reference but when its run was and how long it took."""
    return reference | {"metadata": reference.metadata | {records.META: {**records.provenance(reference), **_WHEN}}}


def _standing(of: Chapter) -> dict[str, Any] | None:
    """What lasts of the chapter's reference; None where there is none, or no record."""
    try:
        return _lasting(records.read(path(of)))
    except (FileNotFoundError, BookError):
        return None


def _counts(output: dict[str, Any]) -> bool:
    """Whether a page needs the output even where nbval does not look: a picture, a drawing or a claim."""
    data = output.get("data", {})
    drawn = any(kind.startswith("image/") for kind in data) or "<svg" in data.get("text/html", "")
    return drawn or records.noted(output, "claim") is not None


def _bare(output: dict[str, Any]) -> nbformat.NotebookNode:
    kept = nbformat.from_dict(output)
    if "data" not in kept:
        return kept
    claim, pictures = records.noted(output, "claim"), [kind for kind in kept.data if kind.startswith("image/")]
    kept.metadata = nbformat.from_dict({records.META: {"claim": _rounded(claim)}} if claim else {})
    kept.data = nbformat.from_dict({kind: _plain(text) for kind, text in kept.data.items() if kind not in pictures})
    if "image/svg+xml" in pictures:
        kept.data["image/svg+xml"] = "<svg/>"
    elif pictures:
        kept.data["image/png"] = _POINT
    return kept


def _plain(text: Any) -> Any:
    """The text as the patterns leave it."""
    if isinstance(text, str):
        for regex, replacement in _PATTERNS.values():
            text = re.sub(regex, replacement, text)
    return text


def _rounded(claim: dict[str, Any]) -> dict[str, Any]:
    """The claim with what every machine agrees on: six digits, no rounding errors."""

    def rounded(values: list[float]) -> list[float]:
        return [0.0 if abs(v) < TINY else float(f"{v:.6g}") for v in values]

    if "groups" in claim:
        return {**claim, "groups": {name: rounded(values) for name, values in claim["groups"].items()}}
    return {**claim, "values": rounded(claim["values"])}
