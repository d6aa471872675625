"""What can be found before a kernel starts: claims that are not there, files that cannot be read, no place to write."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from spectral_lens import claims as ledger
from spectral_lens._runtime import files as _files
from spectral_lens._runtime import resources
from spectral_lens.book import syntax
from spectral_lens.book.chapters import BookError, Chapter
from spectral_lens.book.parameters import descriptions

__all__ = ["claims", "contents", "files", "measures", "target", "whole"]


def claims(of: Chapter) -> None:
    """Raise BookError for claims that are measured twice in one reading, or that the ledger doesn't have."""
    try:
        known, seen = ledger.load(), set()
    except ValueError as error:
        raise BookError(str(error)) from None
    for number, call in _measurements(of):
        id = call.args[0].value if isinstance(call.args[0], ast.Constant) else None
        if not isinstance(id, str):
            continue
        if id not in known:
            raise BookError(f"{of.name}: code cell {number} measures {id!r}, which is not in book/claims.yml.")
        reading = next((ast.unparse(k.value) for k in call.keywords if k.arg == "reading"), "")
        if (id, reading) in seen:
            raise BookError(f"{of.name}: code cell {number} measures {id!r} a second time in one reading.")
        seen.add((id, reading))


def measures(of: Chapter) -> bool:
    """Whether the chapter measures a claim. Raises BookError for a cell that does not parse."""
    return any(True for _ in _measurements(of))


def files(of: Chapter, values: Mapping[str, Any]) -> None:
    """Raise BookError for a file that a parameter names, and that cannot be read."""
    for name, path in _named(of, values):
        try:
            with resources.named(path).open("rb"):
                pass
        except OSError as error:
            raise BookError(f"{of.name}: {name}={values[name]} cannot be read ({error.strerror}).") from None
        except ValueError as error:
            raise BookError(f"{of.name}: {name}: {error}") from None


def contents(of: Chapter, values: Mapping[str, Any]) -> dict[str, str]:
    """A hash of what each parameter that names a file stands for: the name alone does not say what a run reads.

    Of a function in a module this is the module with those beside it and one folder below, which it may import.
    Raises OSError where one cannot be read.
    """
    found = {}
    for name, path in _named(of, values):
        whole, digest = resources.named(path), hashlib.sha256()
        beside = {*whole.parent.glob("*.py"), *whole.parent.glob("*/*.py")} if whole.suffix == ".py" else set()
        for each in (whole, *sorted(beside - {whole})):
            if each == whole or each.is_file():
                with each.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        found[name] = digest.hexdigest()
    return found


def whole(of: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, those that name a file with its whole path: they mean the same from any folder.

    Raises BookError for a file in a home folder that there is not.
    """
    found = dict(values)
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    for name, path in _named(of, texts):
        try:
            found[name] = f"{resources.named(path)}{str(values[name])[len(path) :]}"
        except ValueError as error:
            raise BookError(f"{of.name}: {name}: {error}") from None
    return found


def target(path: Path) -> None:
    """Raise BookError where no record could be written to."""
    try:
        _files.check_writable(path)
    except OSError as error:
        raise BookError(f"The record {path} cannot be written ({error}): make room for it, then run again.") from None


def _measurements(of: Chapter) -> Iterator[tuple[int, ast.Call]]:
    """Each call of `measure` with the number of its code cell."""
    for number, cell in enumerate((c for c in of.notebook.cells if c.cell_type == "code"), 1):
        try:
            nodes = list(ast.walk(ast.parse(syntax.without_magics(cell.source))))
        except SyntaxError as error:
            raise BookError(
                f"{of.name}: code cell {number} does not parse: {error.msg} (line {error.lineno})."
            ) from None
        for node in nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("measure", "claims.measure") and node.args:
                yield number, node


def _named(of: Chapter, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The parameters that name a file, by what the chapter says of them, with the file."""
    for name, said in descriptions(of).items():
        if name in values and (path := _file(said, values[name])):
            yield name, path


def _file(said: str, value: Any) -> str:
    """The file that a parameter names: all of "file ...", of "function ..." what stands before the function."""
    if said.startswith("file "):
        return str(value or "")
    path = str(value).rpartition(":")[0] if said.startswith("function ") else ""
    return path if path.endswith(".py") else ""
