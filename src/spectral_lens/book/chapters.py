"""The chapters of the book, and the profiles that give their parameters values."""

import copy
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import nbformat

from spectral_lens._runtime import files, resources
from spectral_lens._runtime.errors import in_one_line
from spectral_lens.book import plain_yaml

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
    """The notebook that a text chapter stands for; a page without a notebook header is one cell of prose.

    Raises ValueError where the header or the options of a cell are no YAML.
    """
    if not isinstance(_front_matter(text).get("kernelspec"), dict):
        parsed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    else:
        import jupytext
        from jupytext.myst import MystMetadataParsingError

        try:
            parsed = jupytext.reads(text, fmt="md:myst")
        except MystMetadataParsingError as error:
            raise ValueError(in_one_line(error)) from None
        except nbformat.ValidationError as error:
            raise ValueError(f"the notebook's header: {error.message}") from None
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
        if not isinstance(file, str):
            raise BookError(f"_toc.yml: a page is named by its path, not by {file!r}.")
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
        raise BookError(f"There is no chapter {name!r}{close(short, [n for n, c in known.items() if c.runnable])}")
    if not known[short].runnable:
        raise BookError(f"The chapter {name!r} has no code to run.")
    return known[short]


def runnable(of: Book | None = None) -> dict[str, Chapter]:
    """The chapters with code, in the order of the book."""
    return {name: c for name, c in chapters(of).items() if c.runnable}


def profile(name: str, of: Book | None = None) -> dict[str, Any]:
    """The profile's `threads`, `environment` (of strings) and `chapters` (what differs from a chapter's own cell)."""
    of = of or book()
    if name not in PROFILES:
        raise BookError(f"There is no profile {name!r}{close(name, PROFILES)}")
    path = of.root / "book" / "profiles" / f"{name}.yml"
    if not path.is_file():
        raise BookError(f"The profile {name!r} has no file book/profiles/{name}.yml.")
    found = copy.deepcopy(_yaml(path, path.stat().st_mtime_ns))
    strange = set(found) - {"threads", "environment", "chapters"}
    if strange:
        raise BookError(f"{path.name} has unknown entries: {', '.join(sorted(strange))}.")
    threads = found.get("threads")
    if threads is not None and (not isinstance(threads, int) or isinstance(threads, bool) or threads < 1):
        raise BookError(f"{path.name}: threads is a number from 1 up, or null for the machine's own.")
    values = _table(found.get("chapters"), f"{path.name}: chapters")
    known = chapters(of) if values else {}
    for chapter_name in values:
        if chapter_name not in known:
            raise BookError(f"{path.name} names an unknown chapter {chapter_name!r}{close(chapter_name, known)}")
        values[chapter_name] = _table(values[chapter_name], f"{path.name}: {chapter_name}")
    environment = _table(found.get("environment"), f"{path.name}: environment")
    environment = {key: str(value) for key, value in environment.items()}
    return {"threads": threads, "environment": environment, "chapters": values}


@lru_cache(maxsize=256)
def _notebook(path: Path, _changed: int) -> nbformat.NotebookNode:
    text = _text(path)
    try:
        return notebook(text)
    except ValueError as error:
        raise BookError(f"{path.name}: {error}") from None


@lru_cache(maxsize=64)
def _yaml(path: Path, _changed: int) -> dict[str, Any]:
    text = _text(path)
    try:
        found = plain_yaml.load(text, path.name)
    except ValueError as error:
        raise BookError(str(error)) from None
    return _table(found, path.name)


def _text(path: Path) -> str:
    try:
        return files.read_text(path)
    except (ValueError, OSError) as error:
        raise BookError(str(error)) from None


def _table(found: Any, what: str) -> dict[str, Any]:
    """`found`, which has to be a table of names; nothing at all is an empty one."""
    if not isinstance(found, dict | None) or not all(isinstance(key, str) for key in found or {}):
        raise BookError(f"{what} is a table (name: value), not {found!r:.60}.")
    return found or {}


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
    found = plain_yaml.load("\n".join(lines[1:end]), "the notebook's header")
    return found if isinstance(found, dict) else {}


def close(name: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown name: the names that are like it, or all."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    # "mnist" is meant to find "relevance/mnist", which is far from it letter by letter.
    close = close or [n for n in known if name and name in n]
    if close:
        return f": did you mean {' or '.join(close)}?"
    return f": there are {', '.join(known)}." if known else "."
