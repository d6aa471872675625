"""The reader's own table: columns of numbers to learn from, and one column to learn."""

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from spectral_lens._runtime.errors import InputError
from spectral_lens._runtime.resources import named
from spectral_lens.datasets import DataSet, tables
from spectral_lens.datasets.arrays import unclear

__all__ = ["TASKS", "read_table"]

TASKS = ("auto", "classification", "regression")
_FEWEST, _FEWEST_OF_A_CLASS = 20, 5  # rows that can be split again and again
_EMPTY = {"", "?", "na", "n/a", "#n/a", "nan", "null"}
_DASHES = {"-", "none"}  # a class may be called so
_TRUTH = {"false": 0.0, "true": 1.0}
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}(\D.*)?|\d{1,2}:\d\d(\D.*)?")
_ID = re.compile(r"(.*[\W_])?id", re.IGNORECASE), re.compile(r".*[a-z]I[dD]")
_NAMED = 5  # names that a message lists

Columns = Mapping[str, Sequence[str]]  # the cells of each, from the top


def read_table(path: str | Path, *, target: str, task: str = "auto", leave_out: Sequence[str] = ()) -> DataSet:
    """A table of text with a heading: the target's column is y, (n,), the other ones are x, (n, d), in float64.

    path: relative to where the command was called; see `tables.rows` for what stands between the cells and `tables`
    for decimal commas.  target: text, or whole numbers of which each is frequent, are classes, all else a quantity;
    task, "classification" or "regression", says which where the numbers do not.  leave_out: columns not to be read.
    True and false are 1 and 0.  Columns that are the same everywhere, that number the rows, or that are called id and
    differ in each row, are left out, and the provenance says so.
    Raises ValueError, one line that names the file and the columns and says what to do, for text, dates and gaps, for
    names of columns that lack, repeat themselves or are none, for fewer than 20 rows, for a class of fewer than 5 and
    for a target that is the same everywhere; OSError where the file cannot be read.

    >>> import tempfile
    >>> rows = "".join(f"{k};{k % 3},5;{'ab'[k % 2]}\\n" for k in range(1, 21))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "mine.csv").write_text("id;width;kind\\n" + rows)
    ...     data = read_table(Path(folder) / "mine.csv", target="kind")
    >>> data.inputs, data.labels, data.provenance
    (('width',), ('a', 'b'), "Read from mine.csv, target kind; left out: 'id', which numbers the rows")
    """
    if task not in TASKS:
        raise InputError(f"task={task!r} is unknown: use one of {', '.join(TASKS)}.")
    place = named(path)
    columns = _columns(place.read_bytes(), place.name)
    truth = columns[_known(target, columns, "target", place.name)]
    gone = [_known(each, columns, "leave_out", place.name) for each in leave_out]
    if target in gone:
        raise InputError(f"{place.name}: {target!r} is the target and cannot be left out.")
    inputs = {name: cells for name, cells in columns.items() if name != target and name not in gone}
    ids = {name: why for name, cells in inputs.items() if (why := _numbering(name, cells))}
    inputs = {name: cells for name, cells in inputs.items() if name not in ids}
    commas = tables.decimal_commas([*inputs.items(), (target, truth)], place.name)
    values = _values(inputs, place.name, commas=commas)
    same = {name: "is the same in each row" for name, each in values.items() if np.ptp(each) == 0}
    values = {name: each for name, each in values.items() if name not in same}
    if not values:
        raise InputError(f"{place.name}: no column that changes from row to row is left to tell {target!r} from.")
    notes = [f"{name!r}, which {why}" for name, why in (ids | same).items()]
    left = f"; left out: {', '.join([*map(repr, gone), *notes])}" if gone or notes else ""
    y, labels = _target(target, truth, task, place.name, commas=commas)
    return DataSet.of(
        np.stack(list(values.values()), 1), y, name=place.stem, inputs=list(values), unit="as in the table",
        labels=labels, quantity="" if labels else target, edition="the reader's own",
        provenance=f"Read from {place.name}, target {target}{left}",
    )  # fmt: skip


def _columns(content: bytes, name: str) -> dict[str, Sequence[str]]:
    """The cells of each column that has any, by the names in the first row."""
    heading, *below = tables.rows(content, name)
    cells = list(zip(*below, strict=True)) or [()] * len(heading)
    full = [k for k in range(len(heading)) if heading[k] or any(cells[k])]
    if not any(math.isnan(tables.number(heading[k], commas=True)) for k in full if heading[k]):
        raise InputError(f"{name}: the first row holds numbers: put a row with the names of the columns above it.")
    if len(below) < _FEWEST:
        raise InputError(f"{name} has {len(below)} rows below its heading: {_FEWEST} are needed to learn from some.")
    if not heading[full[0]] and _counts(cells[full[0]]):  # pandas writes its index so
        heading[full[0]] = "the first column"
    if lacking := [k + 1 for k in full if not heading[k]]:
        raise InputError(f"{name}: column {lacking[0]} has no name: give it one in the first row, or delete it.")
    names = [heading[k] for k in full]
    if twice := [each for k, each in enumerate(names) if each in names[:k]]:
        raise InputError(f"{name}: two columns are called {twice[0]!r}: rename one of them.")
    return {heading[k]: cells[k] for k in full}


def _known(column: str, columns: Columns, what: str, name: str) -> str:
    """The column, where the table has it."""
    if column in columns:
        return column
    there = f"its columns are {_listed(list(columns))}"
    if not column:
        raise InputError(f"{name}: say with {what}=... which column is to be told from the others: {there}.")
    folded = {each.casefold(): each for each in columns}
    near = [folded[each] for each in difflib.get_close_matches(column.casefold(), folded)]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"{there}."
    raise InputError(f"{name} has no column {column!r} ({what}): {hint}")


def _counts(cells: Sequence[str]) -> bool:
    """Whether they count the rows, from 0 or 1 on."""
    return any(list(cells) == [str(first + k) for k in range(len(cells))] for first in (0, 1))


def _numbering(column: str, cells: Sequence[str]) -> str:
    """Why the column says which row it is and nothing about it; empty where it may say something."""
    if _counts(cells):
        return "numbers the rows"
    called = any(form.fullmatch(column) for form in _ID)
    return "differs in each row and is called so" if called and len(set(cells)) == len(cells) else ""


# What is wrong with some columns, {0} their names and {1} the first such cell, and what to do.
_GAPS = "gaps in {0} (the first in {1}): fill them, or leave these rows out"
_DATES = "dates in {0} ({1}): write how long it is since one of them"
_TEXT = "text in {0} ({1}): make a column of 0 and 1 for each of its values (one-hot)"
_SLIPS = "no finite number in {0} ({1}): mend it"


def _values(columns: Columns, name: str, *, commas: bool) -> dict[str, np.ndarray]:
    """The columns as numbers; ValueError names all that are none, and what to do with each kind."""
    found: dict[str, np.ndarray] = {}
    wrong: dict[str, dict[str, str]] = {}
    for column, cells in columns.items():
        found[column] = np.array([_TRUTH.get(cell.lower(), tables.number(cell, commas=commas)) for cell in cells])
        if bad := np.flatnonzero(~np.isfinite(found[column])).tolist():
            kind, row = _fault(cells, bad)
            cell = f"{cells[row]!r:.30} in " if cells[row] else ""
            wrong.setdefault(kind, {})[column] = f"{cell}row {row + 2}"
    if wrong:
        said = [kind.format(_listed(list(each)), next(iter(each.values()))) for kind, each in wrong.items()]
        out = ", ".join(f'"{column}"' for each in wrong.values() for column in each)
        raise InputError(f"{name}: {'; '.join(said)}; or leave out what is not needed: leave_out=[{out}].")
    return found


def _fault(cells: Sequence[str], bad: Sequence[int]) -> tuple[str, int]:
    """What is wrong with a column in its bad rows, and the first that shows it: a gap where that is all."""
    full = [row for row in bad if cells[row].lower() not in _EMPTY | _DASHES]
    if not full:
        return _GAPS, bad[0]
    if _DATE.fullmatch(cells[full[0]]):
        return _DATES, full[0]
    return (_SLIPS if 2 * len(full) < len(cells) else _TEXT), full[0]


def _target(
    column: str, cells: Sequence[str], task: str, name: str, *, commas: bool
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Values and no labels, or the label of each row and all of them in order."""
    what = f"{name}: the target {column!r}"
    if lacking := [row for row, cell in enumerate(cells) if cell.lower() in _EMPTY]:
        raise InputError(f"{what} lacks a value in row {lacking[0] + 2}: leave such rows out.")
    values = np.array([tables.number(cell, commas=commas) for cell in cells])
    odd = np.flatnonzero(~np.isfinite(values)).tolist()
    texts = list(cells) if odd else [f"{value:.15g}" for value in values]
    labels = sorted(set(texts)) if odd else sorted(set(texts), key=float)
    if len(labels) == 1:
        raise InputError(f"{what} is {cells[0]!r} in each row: there is nothing to learn.")
    if odd and task == "regression":
        raise InputError(f"{what} holds {cells[odd[0]]!r:.40} in row {odd[0] + 2}, which is no number of a quantity.")
    whole = not odd and bool((values == values.round()).all())
    if task == "auto" and whole and unclear(len(labels), len(values)):
        raise InputError(
            f"{what} has {len(labels)} different whole numbers in {len(values)} rows, which may be classes or a "
            "quantity: say task=classification or task=regression."
        )
    if task == "regression" or (task == "auto" and not odd and not whole):
        return values, ()
    if rare := [label for label in labels if texts.count(label) < _FEWEST_OF_A_CLASS]:
        raise InputError(
            f"{what} has {len(labels)} classes, of which {len(rare)} have fewer than {_FEWEST_OF_A_CLASS} rows "
            f"({_listed(rare)}): join them with others, or leave their rows out."
        )
    return np.array(texts), tuple(labels)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(f"{name!r:.40}" for name in names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
