"""Which modules of the package a chapter imports: what records were judged by before they noted what ran.

Only records without a note of what ran still need this; it goes when the last of them has been made again.
"""

import ast
import hashlib
import io
import tokenize
from functools import lru_cache
from pathlib import Path

import nbformat

from spectral_lens.book.syntax import PACKAGE, without_magics


def module_hashes(notebook: nbformat.NotebookNode, package: Path) -> dict[str, str]:
    """Hash of the code of each package module that the notebook's cells import, directly or through others.

    Read from the source text alone: imports inside functions count too, nothing is imported. Docstrings, comments,
    blank lines and the version number are left out; a module without any other code is not listed.
    """
    cells = [without_magics(c.source) for c in notebook.cells if c.cell_type == "code"]
    waiting = [module for cell in cells for module in _imported(ast.parse(cell), "", package)]
    found: dict[str, str] = {}
    seen: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen or module == PACKAGE:  # the front door only finds what stands elsewhere
            continue
        seen.add(module)
        path = _file(module, package)
        if path is None:
            continue
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        code, imported = _module(path, path.stat().st_mtime_ns, inside, package)
        if code:
            found[module] = code
        waiting += imported
    return dict(sorted(found.items()))


@lru_cache(maxsize=1024)
def _module(path: Path, _changed: int, inside: str, package: Path) -> tuple[str, list[str]]:
    """The hash of a module's code ("" without any) and the package modules that it imports."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    code = bare(text, tree)
    return hashlib.sha256(code.encode()).hexdigest() if code else "", _imported(tree, inside, package)


def bare(text: str, tree: ast.Module | None = None) -> str:
    """The source text without docstrings, comments, blank lines and `__version__`; the same under every Python."""
    tree = tree or ast.parse(text)
    lines = list(io.StringIO(text))  # only at line feeds, as ast counts
    cut: list[tuple[int, int, int, int]] = []  # from line, column to line, column; lines from 1, columns in characters
    kept: set[int] = set()  # lines that end inside a string, where white space is data
    for node in ast.walk(tree):
        words = _words(node)
        if words is not None:
            start = _column(lines, words.lineno, words.col_offset)
            end = _column(lines, words.end_lineno or 0, words.end_col_offset or 0)
            cut.append((words.lineno, start, words.end_lineno or 0, end))
        elif isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ):
            kept.update(range(node.lineno, node.end_lineno or node.lineno))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            cut.append((*token.start, *token.end))
    for first, start, last, end in sorted(cut, reverse=True):
        kept.difference_update(range(first, last))
        tail = lines[last - 1][end:]
        lines[first - 1] = lines[first - 1][:start] + tail
        lines[first:last] = [""] * (last - first)
    left = [line if k in kept else line.rstrip() + "\n" for k, line in enumerate(lines, 1) if k in kept or line.strip()]
    return "".join(left)


def _words(node: ast.AST) -> ast.stmt | None:
    """The statement in `node` that changes nothing: its docstring, or `__version__ = ...`."""
    if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__version__"]:
        return node
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return None
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first
    return None


def _column(lines: list[str], line: int, offset: int) -> int:
    """ast counts bytes, text counts characters."""
    return len(lines[line - 1].encode()[:offset].decode())


def _file(module: str, package: Path) -> Path | None:
    base = package.joinpath(*module.split(".")[1:])
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _imported(tree: ast.Module, inside: str, package: Path) -> list[str]:
    """The package modules that `tree` imports, with the packages around them; `inside` is the package it stands in."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = inside.split(".")
            base = ".".join(around[: len(around) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    modules = {
        ".".join(n.split(".")[: k + 1]) for n in names if n.split(".")[0] == PACKAGE for k in range(n.count(".") + 1)
    }
    return sorted(module for module in modules if _file(module, package))
