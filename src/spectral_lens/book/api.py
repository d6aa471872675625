"""Sphinx extension: a page with the package's functions and classes, made from their docstrings.

Empty directives say where: `{api-tasks}` for those of the front door, by task; `{api-rooms}` for all, by room, with
signatures as they stand in the source; `{api-layers}` and `{api-networks}` for what is taken (see `coverage`).
"""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx

import spectral_lens
from spectral_lens.book import coverage, docstrings
from spectral_lens.book.syntax import FUNCTION, PACKAGE

ROOMS = (
    "nn",
    "training",
    "relevance",
    "operators",
    "explain",
    "stability",
    "datasets",
    "intervals",
    "figures",
    "claims",
)
_TASK = re.compile(r"^\* (.+?): (.+)$", re.MULTILINE)
_KEY = re.compile(r"^@\w+\{([^,\s]+),", re.MULTILINE)


def offered(module: ModuleType) -> list[Any]:
    """The functions and classes that a reader imports from this module, in the order of its source.

    What is written in a private module belongs to the room that offers it.
    """
    found = (value for name, value in vars(module).items() if not name.startswith("_"))
    things = (each for each in found if inspect.isclass(each) or inspect.isroutine(each))
    return [each for each in things if _home(each) == module.__name__]


def tasks() -> str:
    """What the front door offers, by task; MyST."""
    parts = []
    for task, names in _TASK.findall(spectral_lens.__doc__ or ""):
        things = {name: getattr(spectral_lens, name) for name in re.findall(r"`(\w+)`", names)}
        parts.append(f"**{task}**")
        parts.append("\n".join(f"* {_link(name, each)}: {_summary(each)}" for name, each in things.items()))
    return "\n\n".join(parts)


def rooms() -> str:
    """All functions and classes, by room; MyST."""
    return "\n\n".join(part for room in ROOMS for part in _room(room))


def _room(room: str) -> Iterator[str]:
    package = importlib.import_module(f"{PACKAGE}.{room}")
    names = sorted(path.stem for folder in getattr(package, "__path__", ()) for path in Path(folder).glob("[!_]*.py"))
    yield f"## {room}"
    yield _entries(package)
    for name in names:
        yield f"### {room}.{name}"
        yield _entries(importlib.import_module(f"{package.__name__}.{name}"))


def _entries(module: ModuleType) -> str:
    """What autodoc is asked for: the module's own words, then each function and class."""
    asked = [f".. automodule:: {module.__name__}"]
    for each in offered(module):
        kind, members = ("class", "\n   :members:") if inspect.isclass(each) else ("function", "")
        asked.append(f".. auto{kind}:: {module.__name__}.{each.__name__}{members}")
    return "```{eval-rst}\n" + "\n\n".join(asked) + "\n```"


def _home(thing: Any) -> str:
    """The module that a reader imports it from."""
    return re.sub(r"\._\w+$", "", str(getattr(thing, "__module__", "")))


def _link(name: str, thing: Any) -> str:
    return f"{{py:obj}}`{name} <{_home(thing)}.{thing.__name__}>`"


def _summary(thing: Any) -> str:
    return docstrings.summary(inspect.getdoc(thing) or "")


def signature(thing: Any) -> tuple[str, str] | None:
    """Arguments and what is returned, as the source says it; None where there is no `def`.

    >>> signature(signature)
    ('(thing: Any)', 'tuple[str, str] | None')
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing))))
    except (OSError, TypeError, SyntaxError):
        return None
    (made,) = tree.body
    inits = [each for each in getattr(made, "body", ()) if isinstance(each, FUNCTION) and each.name == "__init__"]
    function = made if isinstance(made, FUNCTION) else inits[0] if inits else None
    if function is None:
        return None
    arguments = function.args
    for group in (arguments.posonlyargs, arguments.args):
        if group and group[0].arg in ("self", "cls"):
            del group[0]
    returned = ast.unparse(function.returns) if function.returns and function is made else ""
    return _axes(f"({ast.unparse(arguments)})"), _axes(returned.strip("'"))


def _axes(text: str) -> str:
    """Without the space that linters want before the name of a single axis."""
    return text.replace("[Tensor, ' ", "[Tensor, '")


def write(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put what a page asks for in its place."""
    made = {
        "api-tasks": tasks,
        "api-rooms": rooms,
        "api-layers": coverage.layers,
        "api-networks": lambda: coverage.networks(Path(app.srcdir) / "data" / "torchvision.csv"),
    }
    for name, make in made.items():
        if (here := f"```{{{name}}}\n```") in source[0]:
            source[0] = source[0].replace(here, make())


def describe(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make a docstring readable, in place."""
    lines[:] = docstrings.readable(lines, _keys(app))


def sign(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature_: str | None, returned: str | None
) -> tuple[str, str] | None:
    """The signature as the source says it, where autodoc would write types out at length."""
    return signature(obj) if what in ("function", "method", "class") else None


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, whose words say their number only."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def _keys(app: Sphinx) -> frozenset[str]:
    files = [Path(app.srcdir) / name for name in app.config.bibtex_bibfiles]
    return frozenset(key for file in files for key in _KEY.findall(file.read_text(encoding="utf-8")))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("source-read", write)
    app.connect("autodoc-process-docstring", describe)
    app.connect("autodoc-process-signature", sign)
    app.connect("autodoc-skip-member", skip)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
