"""A book of a few tiny chapters, for the tests of the machinery."""

from collections.abc import Mapping
from pathlib import Path

from spectral_lens.book.chapters import Book

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
