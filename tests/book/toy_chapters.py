"""A book of a few tiny chapters, for the tests of the machinery."""

from collections.abc import Mapping
from pathlib import Path

import nbformat

from spectral_lens.book import fingerprints, records, runner
from spectral_lens.book.chapters import Book, chapter
from spectral_lens.book.parameters import resolve

HEADER = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
PARAMETERS = "a, b = 2, 0.5\nwords = ['x']\nflag = False\nfree = None"


def page(title: str, *cells: str, parameters: str | None = PARAMETERS) -> str:
    """The text of a chapter."""
    text = f"{HEADER}# {title}\n\nProse.\n\n"
    if parameters is not None:
        text += f"```{{code-cell}} ipython3\n:tags: [parameters]\n\n{parameters}\n```\n\n"
    return text + "".join(f"```{{code-cell}} ipython3\n{cell}\n```\n\nMore prose.\n\n" for cell in cells)


def write(root: Path, pages: Mapping[str, str], quick: str = "", paper: str = "") -> Book:
    """A book in the folder `root` with an introduction and the given pages."""
    (root / "book" / "profiles").mkdir(parents=True, exist_ok=True)
    (root / "book" / "intro.md").write_text("# Introduction\n\n```python\nnot = to be run\n```\n")
    for name, text in pages.items():
        path = root / "book" / f"{name}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nparts:\n  - caption: Part\n    chapters:\n"
        + "".join(f"      - file: book/{name}\n" for name in pages)
    )
    fixed = "threads: 1\nenvironment: {ONLY_IN_THE_KERNEL: 1}\n"
    (root / "book" / "profiles" / "quick.yml").write_text(fixed + (quick or "chapters: {}\n"))
    (root / "book" / "profiles" / "paper.yml").write_text("threads: null\n" + (paper or "chapters: {}\n"))
    return Book(root)


def record(of, profile="quick", ran=None, **changes):
    """A record of the chapter as it is now, written without a run; one in which the functions `ran` ran."""
    values = resolve(of, "quick" if profile == "reference" else profile)
    return _written(of, records.path(of, profile), {"profile": profile, "parameters": values} | changes, ran)


def custom(plan, ran=None, **changes):
    """The record that a run of the plan would leave, written without a run."""
    made = {"profile": plan.profile, "base": plan.base, "parameters": plan.parameters, "date": "2026-01-02T03:04:05"}
    return _written(plan.chapter, plan.target, made | changes, ran)


def _written(of, where, about, ran):
    made = nbformat.from_dict(of.notebook)
    [*_, last] = [cell for cell in made.cells if cell.cell_type == "code"]
    last.outputs = [nbformat.v4.new_output("stream", text="0.25\n")]
    cells = [cell.source for cell in made.cells if cell.cell_type == "code"]
    made.metadata[records.META] = {
        "chapter": of.name,
        "code": records.code_hash(made),
        "ran": fingerprints.index(of.book.package).snapshot(ran or {}, cells),
        "data": [],
    } | about
    records.write(made, where)
    return where


def age(record):
    """Make the record one of older code: a function that ran in it is not there any more."""
    made = records.read(record)
    made.metadata[records.META]["ran"] = {"devices": {"gone": "0" * 12}}
    records.write(made, record)
    return record


def edit(of, old, new):
    text = of.path.read_text()
    assert old in text
    of.path.write_text(text.replace(old, new))
    return chapter(of.name, of.book)


def keep(plan, *, duration=1.0, peak=None):
    """Leave a record, so that the run knows what the chapter took."""
    record = nbformat.from_dict(plan.chapter.notebook)
    record.metadata[records.META] = {"duration": duration, "peak_memory": peak}
    records.write(record, plan.target)


def plans(root, pages):
    toy = write(root, pages)
    return [runner.plan(chapter(name, toy)) for name in pages]
