"""A small book with the real configuration and hand-made records, for the tests of the site's machinery."""

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
import pytest
from filelock import FileLock
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from toy_chapters import HEADER

from spectral_lens import claims
from spectral_lens.book import fingerprints, records
from spectral_lens.book.chapters import Book, chapter, runnable
from spectral_lens.book.parameters import parameters

ROOT = Path(__file__).parents[2]
STRICT = ("-W", "--keep-going", "-n")
PAGES = ["book/intro", "book/toy/lens", "book/scorecard"]
INTRO = """# A toy book

Light through a lens, $\\lambda = 2$.

```{math}
:label: inverse
\\boldsymbol{\\Phi}^{-1} = 2 \\mathbf{I} - \\boldsymbol{\\Phi}
```

```{scorecard}
:part: toy
:claims: chicchi
```

```{scorecard}
:part: elsewhere
```
"""
TOY = (
    HEADER
    + """# The toy lens

Words about the spyglass, {eq}`inverse` and {numref}`toy-figure`.

```{code-cell} ipython3
:tags: [parameters]

samples, rate = 5, 0.1
```

## A figure

```{code-cell} ipython3
---
mystnb:
  figure:
    caption: "What to see: a *line* that rises with $x$."
    name: toy-figure
  image:
    alt: A line that rises from the lower left to the upper right.
    width: 60%
---
draw(samples)
```

## The claims

```{code-cell} ipython3
claims.measure("giambagli.inverse", 0.0)
```

```{code-cell} ipython3
claims.measure("chicchi.independent.distance", [0.97, 0.98])
```
"""
)


def make(folder: Path, toy: str = TOY, url: str = "") -> Book:
    """The toy book in `folder`, without records."""
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert '\n  url: ""' in config
    files = {
        "_config.yml": config.replace('\n  url: ""', f'\n  url: "{url}"'),
        "_toc.yml": "format: jb-book\nroot: book/intro\nchapters:\n"
        + "".join(f"  - file: {page}\n" for page in PAGES[1:]),
        "book/intro.md": INTRO,
        "book/toy/lens.md": toy,
        "book/profiles/quick.yml": "threads: 1\n",
        "book/profiles/paper.yml": "threads: 1\nchapters: {toy/lens: {samples: 50}}\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "book" / "_static", folder / "book" / "_static")
    for name in ("scorecard.md", "references.bib"):
        shutil.copy(ROOT / "book" / name, folder / "book")
    return Book(folder)


def record(
    book: Book,
    profile: str = "quick",
    ran: fingerprints.Ran | None = None,
    changes: Mapping[str, float] | None = None,
) -> Path:
    """A record of the toy chapter as the runner would write it; `changes` replaces measured values."""
    of = chapter("toy/lens", book)
    run = nbformat.from_dict(of.notebook)
    values = parameters(of) | ({"samples": 50} if profile == "paper" else {})
    values_of = {"giambagli.inverse": 0.0, "chicchi.independent.distance": [0.97, 0.98]} | dict(changes or {})
    os.environ["SPECTRAL_LENS_PROFILE"] = profile
    try:
        measured = [claims.measure(name, value) for name, value in values_of.items()]
    finally:
        del os.environ["SPECTRAL_LENS_PROFILE"]
    code = [cell for cell in run.cells if cell.cell_type == "code"]
    code[1].outputs = [_output({"image/png": _picture(), "text/plain": "<Figure>", "application/x-odd": "?"})]
    code[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="a progress bar"))
    for cell, claim in zip(code[2:], measured, strict=True):
        cell.outputs = [_output(*claim._repr_mimebundle_())]
    if profile == "paper":
        new = nbformat.v4.new_code_cell("samples = 50", metadata={"tags": [records.INJECTED]})
        run.cells.insert(run.cells.index(code[0]) + 1, new)
    index = fingerprints.index(book.package)
    cells = [cell.source for cell in code if not records.injected(cell)]
    run.metadata[records.META] = {
        "chapter": of.name, "profile": profile, "parameters": values,
        "code": records.code_hash(of.notebook),
        "ran": index.snapshot({"relevance": ["of_inputs"]}, cells) | dict(ran or {}),
        "commit": "0123456789abcdef", "dirty": True,
        "date": "2026-05-04T10:20:30+00:00", "duration": 200.0, "device": "cpu", "threads": 1,
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
        "data": [{"name": "toy (train)", "edition": "generated", "sha256": "feedface" * 8}],
    }  # fmt: skip
    where = records.path(of, profile)
    records.write(nbformat.from_dict(run), where)
    return where


def build(
    book: Book, *options: str, profile: str = "quick", output: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`jupyter-book build` of the book in a process of its own, into `output` (default: build/site of the book)."""
    command = [
        sys.executable,
        "-c",
        "from jupyter_book.cli.main import main; main()",
        "build",
        str(book.root),
        *options,
    ]
    return subprocess.run(
        [*command, "--path-output", str(output or book.root / "build" / "site")],
        env=os.environ | {"SPECTRAL_LENS_PROFILE": profile}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def built(factory: pytest.TempPathFactory) -> Path:
    """The real book, built strictly from its references, once for all workers; returns the site, to be read alone."""
    folder = factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "real-book"
    whole = folder / "whole"
    with FileLock(f"{folder}.lock"):
        if not whole.is_file():
            _build_real(folder)
            whole.touch()
    return folder / "_build" / "html"


def _build_real(folder: Path) -> None:
    book = Book(ROOT)
    states = {name: records.status(chapter, records.REFERENCE) for name, chapter in runnable(book).items()}
    lacking = [f"{name} ({status.reason})" for name, status in states.items() if not status.usable]
    if lacking:
        pytest.fail(f"references are lacking, `make references` makes them: {', '.join(lacking)}", pytrace=False)
    done = build(book, *STRICT, profile=records.REFERENCE, output=folder)
    assert done.returncode == 0, done.stderr


def site(book: Book) -> Path:
    """Where `build` puts the site."""
    return book.root / "build" / "site" / "_build" / "html"


def _output(data: dict[str, Any], metadata: dict[str, Any] | None = None) -> nbformat.NotebookNode:
    return nbformat.v4.new_output("display_data", data=data, metadata=metadata or {})


def _picture() -> str:
    figure, file = Figure(figsize=(3, 2)), BytesIO()
    FigureCanvasAgg(figure)
    figure.add_subplot().plot([0, 1], [0, 1])
    figure.savefig(file, transparent=True)
    return base64.b64encode(file.getvalue()).decode()
