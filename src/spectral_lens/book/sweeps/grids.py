"""What a sweep goes through: grids and lists of points, from the text of a call or a file to parameters of a run."""

import csv
import io
import itertools
from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import Any

from spectral_lens._runtime import files, resources
from spectral_lens.book.chapters import BookError
from spectral_lens.book.parameters import read

__all__ = ["axis", "from_file", "product"]

Point = dict[str, Any]
_MOST = 100_000  # points: more is a slip of the pen (one zero too many), and would be planned for hours


def axis(text: str) -> tuple[str, list[Any]]:
    """The name and the values of one grid: "a=0:10:5" as Python's range (the end is left out), "a=x|y" as choices.

    Each choice is read as `run -p` reads a value. Raises BookError for anything else, and for a range without values.

    >>> axis("first_seed=1000:1030:10"), axis("lr=0.1|1e-2"), axis("digits=[3,8]|[4,9]")
    (('first_seed', [1000, 1010, 1020]), ('lr', [0.1, 0.01]), ('digits', [[3, 8], [4, 9]]))
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not name.isidentifier():
        raise BookError(f"--grid takes name=start:stop:step or name=value|value, not {text!r}.")
    if (found := _range(name, values)) is not None:
        return name, found
    choices = _choices(values)
    if not all(choices):
        raise BookError(f"--grid {text}: there is nothing between two bars, or beside one.")
    return name, [read(f"{name}={each}")[1] for each in choices]


def product(texts: Iterable[str]) -> list[Point]:
    """Every combination of the values of several grids, the last one moving fastest.

    Raises BookError as `axis`, for a name that is given twice, and for more points than anybody means.

    >>> product(["a=1|2", "b=0:2"])
    [{'a': 1, 'b': 0}, {'a': 1, 'b': 1}, {'a': 2, 'b': 0}, {'a': 2, 'b': 1}]
    """
    axes: dict[str, list[Any]] = {}
    for text in texts:
        name, values = axis(text)
        if name in axes:
            raise BookError(f"--grid names {name} twice: give all its values in one, as in {name}=1|2|3.")
        axes[name] = values
    _check_number(prod(map(len, axes.values())))
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def from_file(named: str | Path) -> list[Point]:
    """The points in a file of comma- or semicolon-separated values: names in the first line, then a point in each.

    Values are read as `run -p` reads them; lines without any are left out. Raises BookError for a file that cannot be
    read, and says the line of a mistake in it.
    """
    try:
        path = resources.named(named)
        text = files.read_text(path)
    except OSError as error:
        raise BookError(f"--points {named} cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise BookError(f"--points {named}: {error}") from None
    return _points(text, path.name)


def _range(name: str, values: str) -> list[int] | None:
    """The numbers of start:stop or start:stop:step; None where the text is no range."""
    try:
        numbers = [int(part) for part in values.split(":")]
    except ValueError:
        return None
    if len(numbers) not in (2, 3):
        return None
    if len(numbers) == 3 and numbers[2] == 0:
        raise BookError(f"--grid {name}={values}: the step of a range is not 0.")
    found = range(*numbers)
    if not found:
        raise BookError(f"--grid {name}={values} has no value: as in Python, a range ends before its second number.")
    _check_number(len(found))
    return list(found)


def _choices(values: str) -> list[str]:
    """The text between bars that stand in no quotes and no brackets."""
    found, depth, quote = [""], 0, ""
    for letter in values:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "[({") - (letter in "])}")
        if letter == "|" and not quote and depth <= 0:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found]


def _points(text: str, what: str) -> list[Point]:
    first = text.split("\n", 1)[0]
    rows = list(csv.reader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ","))
    names = [name.strip() for name in rows[0]] if rows else []
    if not any(names):
        raise BookError(f"{what}: the first line names the parameters.")
    if strange := [name for name in names if not name.isidentifier()]:
        raise BookError(f"{what}: the first line names the parameters, and {strange[0]!r} is no name.")
    if len(set(names)) < len(names):
        raise BookError(f"{what}: the first line names a parameter twice.")
    found = [_point(names, row, f"{what}, row {number}") for number, row in enumerate(rows[1:], 2) if any(row)]
    if not found:
        raise BookError(f"{what} has no point: a point is a line below the names.")
    _check_number(len(found))
    return found


def _point(names: Sequence[str], row: Sequence[str], where: str) -> Point:
    if len(row) != len(names):
        raise BookError(f"{where}: {len(row)} values for {len(names)} names (a value with commas stands in quotes).")
    if empty := [name for name, value in zip(names, row, strict=True) if not value.strip()]:
        raise BookError(f"{where}: {empty[0]} has no value.")
    return dict(_value(name, value, where) for name, value in zip(names, row, strict=True))


def _value(name: str, value: str, where: str) -> tuple[str, Any]:
    try:
        return read(f"{name}={value}")
    except BookError as error:
        raise BookError(f"{where}: {str(error).removeprefix('-p ')}") from None


def _check_number(points: int) -> None:
    if points > _MOST:
        raise BookError(f"A sweep of {points} points is more than {_MOST}: make several of it.")
