"""Tables of text as spreadsheets save them: tabs, semicolons or commas, decimal commas, older encodings."""

import codecs
import csv
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float64

from spectral_lens._runtime.errors import InputError

__all__ = ["decimal_commas", "number", "numbers", "rows"]

_BETWEEN = {"\t": "tab", ";": "semicolon", ",": "comma"}
_SIGN = "sep="  # Excel's own first line
_THOUSAND = re.compile(r"[-+]?[1-9]\d{0,2},\d{3}")
_BELOW = re.compile(r"[-+]?[1-9]\d{0,2}")  # what has no comma, whether it is a decimal or a thousands' one


def rows(content: bytes, name: str) -> list[list[str]]:
    r"""The cells of a table, row by row, without the space around them; `name` is what messages call the file.

    The text is UTF-8 or UTF-16, with or without a byte order mark, or else Windows-1252.  Between the cells stand tabs,
    semicolons or commas: whichever cuts all rows into as many cells, more than one.  Empty lines are left out, and
    quotes around a cell.  Raises ValueError where there is no text, no row, or no such cut.

    >>> rows("4000,5;Größe\n0,25;1\n".encode("latin-1"), "stars.csv")
    [['4000,5', 'Größe'], ['0,25', '1']]
    """
    lines = [line for line in _text(content, name).splitlines() if line.strip(" ,;\t")]
    marks = list(_BETWEEN)
    if lines and lines[0].lower().startswith(_SIGN) and lines[0][len(_SIGN) :] in _BETWEEN:
        marks, lines = [lines[0][len(_SIGN) :]], lines[1:]
    if not lines:
        raise InputError(f"{name} is an empty table.")
    problem = "its lines hold no tab, semicolon or comma: save it as CSV"
    for mark in marks:
        try:
            found = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=mark, strict=True)]
        except csv.Error as error:
            problem = f"a quote is open or stands in the midst of a cell ({error})"
            continue
        width = len(found[0])
        other = next((k for k, row in enumerate(found) if len(row) != width), None)
        if width > 1 and other is None:
            return found
        if width > 1 and other is not None:
            cells = f"row {other + 1} has {len(found[other])} cells, the first has {width}"
            problem = f"cut at each {_BETWEEN[mark]}, {cells}: quote cells that hold one"
    raise InputError(f"{name} is no table: {problem}.")


def numbers(cells: Sequence[Sequence[str]], name: str, columns: Sequence[str]) -> Float64[np.ndarray, "n d"]:
    """The cells below a heading as numbers; see `decimal_commas` for what a comma in them is.

    Raises ValueError, which names row and column, for a cell that is empty, text, or no finite number.

    >>> numbers([["4000,5", "1e-3"]], "stars.csv", ["a", "b"])
    array([[4.0005e+03, 1.0000e-03]])
    """
    commas = decimal_commas([(column, [row[d] for row in cells]) for d, column in enumerate(columns)], name)
    found = np.empty((len(cells), len(columns)))
    for n, row in enumerate(cells):
        for d, cell in enumerate(row):
            found[n, d] = number(cell, commas=commas)
            if not math.isfinite(found[n, d]):
                what = "is empty" if not cell else f"holds {cell!r:.40}, no finite number"
                raise InputError(
                    f"{name}: row {n + 2}, column {columns[d]!r:.40} {what}: mend it or leave the row out."
                )
    return found


def number(cell: str, *, commas: bool) -> float:
    """What a cell says, with a decimal comma or a point; NaN where it is no number.

    >>> number("-1,5", commas=True), number("1_000", commas=True)
    (-1.5, nan)
    """
    try:
        return math.nan if "_" in cell else float(cell.replace(",", ".") if commas and cell.count(",") == 1 else cell)
    except ValueError:
        return math.nan


def decimal_commas(columns: Iterable[tuple[str, Sequence[str]]], name: str) -> bool:
    """Whether a comma in the columns' cells is a decimal one: where no number among them has a point.

    columns: their names and cells.  Raises ValueError, which names the column, where 1,234 may be a thousand as well:
    each number with a comma has three digits behind it, and others are whole and below a thousand.

    >>> decimal_commas([("a", ["1,25", "0,5"])], "mine.csv"), decimal_commas([("a", ["1.25", "3"])], "mine.csv")
    (True, False)
    """
    columns = list(columns)
    if any("." in cell and not math.isnan(number(cell, commas=False)) for _, cells in columns for cell in cells):
        return False
    for column, cells in columns:
        marked = [cell for cell in cells if not math.isnan(number(cell, commas=True)) and "," in cell]
        if marked and all(map(_THOUSAND.fullmatch, marked)) and any(map(_BELOW.fullmatch, cells)):
            raise InputError(
                f"{name}: {marked[0]!r} in column {column!r:.40} may be a thousand or have a decimal comma, beside "
                "whole numbers: save the column without marks between thousands, or with as many decimals in each row."
            )
    return True


def _text(content: bytes, name: str) -> str:
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if wide else ("utf-8-sig", "cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(f"{name} is no text: a spreadsheet saves a table as CSV under `Save as`.")
