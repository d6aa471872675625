"""The parameters of a chapter: their names and values, and what a profile or the reader makes of them."""

import ast
import io
import math
import tokenize
from collections.abc import Mapping
from typing import Any

from spectral_lens.book import plain_yaml
from spectral_lens.book.chapters import BookError, Chapter, close, profile


def parameters(of: Chapter) -> dict[str, Any]:
    """The names and quick values in the chapter's parameters cell, in its order.

    Raises BookError where the cell holds anything but plain assignments of literals that a record can hold.
    """
    values: dict[str, Any] = {}
    for source in _parameter_cells(of):
        for statement in _parsed(of, source).body:
            try:
                values |= _assignment(statement)
            except ValueError:
                segment = ast.get_source_segment(source, statement)
                raise BookError(
                    f"{of.path.name}: the parameters cell takes plain assignments of literals, not {segment!r}."
                ) from None
    for name, value in values.items():
        plain(value, f"{of.path.name}: {name}")
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


def resolve(of: Chapter, profile_name: str = "quick", overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All parameters of the chapter: its own cell, then the profile, then `overrides`.

    Raises BookError for an unknown profile or name (with the closest known one) and for a value of another type than
    the cell's: an int passes for a float, a bool is no int, a list's elements are of the types that the cell's list
    has, and a parameter that is None in the cell takes anything that JSON holds. Tuples become lists and NumPy's
    numbers plain ones, as the record keeps them.
    """
    own = parameters(of)
    found = dict(own)
    chosen = profile(profile_name, of.book)["chapters"].get(of.name) or {}
    for values, origin in ((chosen, f" (in {profile_name}.yml)"), (overrides or {}, "")):
        for name, given in values.items():
            if name not in own:
                raise BookError(f"{of.name} has no parameter {name!r}{origin}{close(name, own)}")
            value = plain(given, f"{of.name}: {name}{origin}")
            if not _fits(value, own[name]):
                raise BookError(_mismatch(of, name, value, own[name]) + origin)
            found[name] = float(value) if type(own[name]) is float else value
    return found


def read(text: str) -> tuple[str, Any]:
    """("digits", [3, 8]) of "digits=[3,8]": a Python literal, else what YAML makes of it. Raises BookError.

    >>> read("digits=3,8"), read("day=2020-01-01")
    (('digits', [3, 8]), ('day', '2020-01-01'))
    """
    name, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise BookError(f"-p takes name=value, not {text!r}.")
    try:
        found = ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        try:
            found = plain_yaml.load(value, f"-p {text}")
        except ValueError as error:
            raise BookError(f"{error} The value is neither a Python literal nor YAML.") from None
    return name, plain(found, f"-p {name}")


def plain(value: Any, what: str) -> Any:
    """The value as JSON would give it back; BookError, which speaks of `what`, for one that JSON cannot hold.

    >>> plain((3, {"a": (8, None)}), "x")
    [3, {'a': [8, None]}]
    """
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, list | tuple):
        return [plain(each, what) for each in value]
    if isinstance(value, dict):
        if strange := [key for key in value if not isinstance(key, str)]:
            raise BookError(f"{what}: the keys of a table are text, not {strange[0]!r}.")
        return {key: plain(each, what) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        raise BookError(f"{what}: a record holds finite numbers, not {value!r}.")
    if value is not None and not isinstance(value, bool | int | float | str):
        kind = type(value).__name__
        raise BookError(f"{what}: a record cannot hold {kind} {value!r:.60}: give a number, text, a list or a table.")
    return value


def _parameter_cells(of: Chapter) -> list[str]:
    cells = (cell for cell in of.notebook.cells if cell.cell_type == "code")
    return [cell.source for cell in cells if "parameters" in cell.metadata.get("tags", [])]


def _parsed(of: Chapter, source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError as error:
        raise BookError(
            f"{of.path.name}: the parameters cell does not parse: {error.msg} (line {error.lineno})."
        ) from None


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
    return f"{of.name}: {name} is {wanted} (its own value: {default!r}), not {type(value).__name__} {value!r}."
