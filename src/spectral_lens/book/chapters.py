"""The chapters of the book, their parameters, and the profiles that give the parameters their values."""

import ast
import copy
import difflib
import io
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import nbformat
import yaml

from spectral_lens._runtime import resources

PROFILES = ("quick", "paper")
_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


class BookError(Exception):
    """Something that the reader can put right; the message is one line that says how."""


@dataclass(frozen=True)
class Book:
    """Where the book's folders stand: `root` holds _toc.yml, `package` the sources of spectral_lens."""

    root: Path
    package: Path = field(default=Path(resources.__file__).parents[1])


@dataclass(frozen=True)
class Chapter:
    """One page: `name` is its path under book/ without the suffix ("relevance/independent")."""

    name: str
    path: Path
    book: Book

    @cached_property
    def notebook(self) -> nbformat.NotebookNode:
        """The text as a notebook without outputs; cell ids by position (c000, c001, ...). Not to be written to."""
        return _notebook(self.path, self.path.stat().st_mtime_ns)

    @property
    def runnable(self) -> bool:
        """Whether the chapter has code to run."""
        return any(cell.cell_type == "code" for cell in self.notebook.cells)

    @property
    def title(self) -> str:
        """The first heading."""
        lines = (
            line for cell in self.notebook.cells if cell.cell_type == "markdown" for line in cell.source.splitlines()
        )
        return next((line[2:].strip() for line in lines if line.startswith("# ")), self.name)


def book(root: Path | None = None) -> Book:
    """The book of the checkout (or of the folder `root`).

    Raises BookError where the package was installed without the book's sources.
    """
    folder = root or resources.root()
    if folder is None or not (folder / "_toc.yml").is_file():
        raise BookError("The book's sources are not here: run this in a checkout (git clone, then pip install -e .).")
    return Book(folder)


def notebook(text: str) -> nbformat.NotebookNode:
    """The notebook that a text chapter stands for; a page without a notebook header is one cell of prose."""
    if not isinstance(_front_matter(text).get("kernelspec"), dict):
        parsed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    else:
        import jupytext

        parsed = jupytext.reads(text, fmt="md:myst")
    parsed.metadata["kernelspec"] = dict(_KERNEL)
    for position, cell in enumerate(parsed.cells):
        cell["id"] = f"c{position:03d}"
    return parsed


def chapters(of: Book | None = None) -> dict[str, Chapter]:
    """All pages in the order of _toc.yml, by name; those with code cells are `runnable`."""
    of = of or book()
    table = of.root / "_toc.yml"
    contents = _yaml(table, table.stat().st_mtime_ns)
    found = {}
    for file in _files(contents):
        path = (of.root / file).with_suffix(".md") if not file.endswith(".md") else of.root / file
        if not path.is_file():
            raise BookError(f"_toc.yml names {file}, but {path.name} is not there.")
        name = path.relative_to(of.root).with_suffix("").as_posix().removeprefix("book/")
        found[name] = Chapter(name, path, of)
    return found


def chapter(name: str, of: Book | None = None) -> Chapter:
    """The runnable chapter of that name ("book/" before it and ".md" behind it are forgiven)."""
    known = chapters(of)
    short = name.removeprefix("./").removeprefix("book/").removesuffix(".md")
    if short not in known:
        raise BookError(f"There is no chapter {name!r}{_close(short, [n for n, c in known.items() if c.runnable])}")
    if not known[short].runnable:
        raise BookError(f"The chapter {name!r} has no code to run.")
    return known[short]


def runnable(of: Book | None = None) -> dict[str, Chapter]:
    """The chapters with code, in the order of the book."""
    return {name: c for name, c in chapters(of).items() if c.runnable}


def parameters(of: Chapter) -> dict[str, Any]:
    """The names and quick values in the chapter's parameters cell, in its order.

    Raises BookError where the cell holds anything but plain assignments of literals.
    """
    values: dict[str, Any] = {}
    for source in _parameter_cells(of):
        for statement in ast.parse(source).body:
            try:
                values |= _assignment(statement)
            except ValueError:
                segment = ast.get_source_segment(source, statement)
                raise BookError(
                    f"{of.path.name}: the parameters cell takes plain assignments of literals, not {segment!r}."
                ) from None
    return values


def descriptions(of: Chapter) -> dict[str, str]:
    """What the chapter says of its parameters: the comment behind an assignment, for each name that it assigns.

    A parameter without a comment on the last line of its assignment is left out. Raises as `parameters`.
    """
    parameters(of)
    found: dict[str, str] = {}
    for source in _parameter_cells(of):
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        comments = {
            token.start[0]: token.string.lstrip("#").strip() for token in tokens if token.type == tokenize.COMMENT
        }
        for statement in ast.parse(source).body:
            text = comments.get(statement.end_lineno or statement.lineno, "")
            found |= dict.fromkeys(_assignment(statement), text) if text else {}
    return found


def profile(name: str, of: Book | None = None) -> dict[str, Any]:
    """The profile's `threads`, `environment` (of strings) and `chapters` (what differs from a chapter's own cell)."""
    of = of or book()
    if name not in PROFILES:
        raise BookError(f"There is no profile {name!r}{_close(name, PROFILES)}")
    path = of.root / "book" / "profiles" / f"{name}.yml"
    if not path.is_file():
        raise BookError(f"The profile {name!r} has no file book/profiles/{name}.yml.")
    found = copy.deepcopy(_yaml(path, path.stat().st_mtime_ns)) or {}
    strange = set(found) - {"threads", "environment", "chapters"}
    if strange:
        raise BookError(f"{path.name} has unknown entries: {', '.join(sorted(strange))}.")
    threads = found.get("threads")
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise BookError(f"{path.name}: threads is a number from 1 up, or null for the machine's own.")
    values = found.get("chapters") or {}
    known = chapters(of) if values else {}
    for chapter_name in values:
        if chapter_name not in known:
            raise BookError(f"{path.name} names an unknown chapter {chapter_name!r}{_close(chapter_name, known)}")
    environment = {str(key): str(value) for key, value in (found.get("environment") or {}).items()}
    return {"threads": threads, "environment": environment, "chapters": values}


def resolve(of: Chapter, profile_name: str = "quick", overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All parameters of the chapter: its own cell, then the profile, then `overrides`.

    Raises BookError for an unknown profile or name (with the closest known one) and for a value of another type than
    the cell's: an int passes for a float, a bool is no int, a list's elements are of the types that the cell's list
    has, and a parameter that is None in the cell takes anything.
    """
    own = parameters(of)
    found = dict(own)
    given = profile(profile_name, of.book)["chapters"].get(of.name) or {}
    for values, origin in ((given, f" (in {profile_name}.yml)"), (overrides or {}, "")):
        for name, value in values.items():
            if name not in own:
                raise BookError(f"{of.name} has no parameter {name!r}{origin}{_close(name, own)}")
            if not _fits(value, own[name]):
                raise BookError(_mismatch(of, name, value, own[name]) + origin)
            found[name] = float(value) if type(own[name]) is float else value
    return found


@lru_cache(maxsize=256)
def _notebook(path: Path, _changed: int) -> nbformat.NotebookNode:
    return notebook(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def _yaml(path: Path, _changed: int) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _parameter_cells(of: Chapter) -> list[str]:
    cells = (cell for cell in of.notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]


def _files(node: Any) -> Iterable[str]:
    """The file names of _toc.yml in reading order."""
    if isinstance(node, list):
        for item in node:
            yield from _files(item)
    elif isinstance(node, dict):
        for key in ("root", "file"):
            if key in node:
                yield node[key]
        for key in ("parts", "chapters", "sections"):
            yield from _files(node.get(key, []))


def _front_matter(text: str) -> dict[str, Any]:
    lines = text.splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    end = next((k for k, line in enumerate(lines[1:], 1) if line.strip() in ("---", "...")), 0)
    found = yaml.safe_load("\n".join(lines[1:end]))
    return found if isinstance(found, dict) else {}


def _assignment(statement: ast.stmt) -> dict[str, Any]:
    """{name: value} of `a = 1`, `a: int = 1` or `a, b = 1, 2`; ValueError for anything else."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return {}
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
        return {statement.target.id: ast.literal_eval(statement.value)}
    if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
        raise ValueError
    target, value = statement.targets[0], ast.literal_eval(statement.value)
    if isinstance(target, ast.Name):
        return {target.id: value}
    if isinstance(target, ast.Tuple) and all(isinstance(t, ast.Name) for t in target.elts):
        return dict(zip((t.id for t in target.elts if isinstance(t, ast.Name)), value, strict=True))
    raise ValueError


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    if isinstance(default, list | tuple):
        if not isinstance(value, list | tuple):
            return False
        return not default or all(any(_fits(v, d) for d in default) for v in value)
    return isinstance(value, type(default))


def _mismatch(of: Chapter, name: str, value: Any, default: Any) -> str:
    wanted = type(default).__name__
    if isinstance(default, list | tuple) and default:
        wanted += " of " + " or ".join(dict.fromkeys(type(v).__name__ for v in default))
    hint = ""
    if isinstance(default, float) and isinstance(value, str):
        hint = " YAML reads a number without a point before its exponent as text: write 1.0e-3."
    return f"{of.name}: {name} is {wanted} (its own value: {default!r}), not {type(value).__name__} {value!r}.{hint}"


def _close(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    # "mnist" is meant to find "relevance/mnist", which is far from it letter by letter.
    close = close or [n for n in known if name and name in n]
    if close:
        return f": did you mean {' or '.join(close)}?"
    return f": there are {', '.join(known)}." if known else "."
