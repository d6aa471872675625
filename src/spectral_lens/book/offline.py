"""Sphinx extension: the site carries its own MathJax; it needs no network."""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

FONTS = "output/chtml/fonts/woff-v2"
# What MathJax loads by itself when a formula uses such a macro; the rest of its extensions stays behind.
EXTENSIONS = ("bbox", "boldsymbol", "braket", "cancel", "color", "enclose", "unicode")


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ExtensionError(f"The site needs the Python package {name}: install spectral-lens[book].")
    return Path(spec.origin).parent


def copy_mathjax(app: Sphinx) -> None:
    """Copy the parts of MathJax that the pages use into `_static/mathjax` (1.7 MB of 24)."""
    if app.builder.format != "html":
        return
    source = _package("sphinx-mathjax-offline") / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    names = ["tex-mml-chtml.js", *(f"input/tex/extensions/{name}.js" for name in EXTENSIONS)]
    for name in [*names, *(f"{FONTS}/{path.name}" for path in (source / FONTS).glob("*.woff"))]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if not (target / name).exists():
            shutil.copy2(source / name, target / name)


def drop_thebe(app: Sphinx) -> None:
    """Take out what Jupyter Book loads for live cells: no page has them, and the script on each would be an error."""
    for event in ("env-before-read-docs", "doctree-resolved"):
        for listener in list(app.events.listeners.get(event, [])):
            if listener.handler.__module__ == "sphinx_thebe":
                app.disconnect(listener.id)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    drop_thebe(app)
    app.connect("builder-inited", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
