"""A sweep as a table, one row for each point, claim, reading, group and run; and what a terminal is told of it."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spectral_lens._runtime import files
from spectral_lens.book import results, sweeps
from spectral_lens.book.pages import duration
from spectral_lens.book.sweeps import Sweep
from spectral_lens.book.sweeps.points import Gathered, Point, gather

__all__ = ["as_csv", "columns", "rows", "status", "table", "write"]

_ABOUT = ("state", "counted", "code", "seconds", "peak_memory", "threads")  # of the point, beside what results have
_MOST = 12  # points of one kind that are named in a terminal


def columns(swept: Sequence[str]) -> tuple[str, ...]:
    """The columns of the table: what was swept, then those of `results.COLUMNS`, then what there is to say of a point.

    A parameter that has the name of another column is called parameter_NAME; first_seed is both the same.

    >>> columns(["unit", "first_seed"])[:3]
    ('parameter_unit', 'first_seed', 'claim')
    """
    own = tuple(_column(name) for name in swept)
    return own + tuple(name for name in (*results.COLUMNS, *_ABOUT) if name not in own)


def _column(name: str) -> str:
    return f"parameter_{name}" if name in {*results.COLUMNS, *_ABOUT} - {"first_seed"} else name


def rows(sweep: Sweep) -> list[dict[str, Any]]:
    """The rows of the sweep as its records are now, see `table`."""
    return table(gather(sweep))


def table(of: Gathered) -> list[dict[str, Any]]:
    """One row for each point, claim, reading, group and run, with the columns `columns`; see `results.rows`.

    state: how the point's record stands to the chapter.  counted: whether page and summary show it, which they do of
    points of one code alone.  code: a fingerprint of cells and functions that ran.  seconds, peak_memory (bytes),
    threads: of the run.  A point that is missing or failed, or measured no claim, has one row without numbers.
    """
    found = []
    for point in of.points:
        made = point.made
        own = {_column(name): value for name, value in point.values.items()}
        about = own | {"state": point.state, "counted": point.counted, "code": point.code}
        about |= {"seconds": made.get("duration"), "peak_memory": made.get("peak_memory")}
        about |= {"threads": made.get("threads"), "chapter": of.chapter}
        known = {"profile": "custom", "record": point.record}
        measured = results.of_run(point.claims, made, known) if point.there else []
        found += [each | about for each in measured or [known | about]]
    return [{name: row.get(name) for name in columns(of.swept)} for row in found]


def as_csv(of: Gathered) -> str:
    """The table as CSV, see `results.as_csv`; lists and tables among the parameters as JSON."""
    flat = (
        {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in row.items()}
        for row in table(of)
    )
    return results.as_csv(flat, columns(of.swept))


def write(sweep: Sweep) -> Path:
    """Write build/sweeps/NAME/table.csv, whole or not at all; returns its place. Raises OSError as the system does."""
    where = sweeps.folder(sweep.chapter.book, sweep.name) / "table.csv"
    with files.replacing(where) as aside:
        aside.write_text(as_csv(gather(sweep)), encoding="utf-8")
    return where


def status(sweep: Sweep) -> list[str]:
    """What is there of the sweep, in lines: counts and time, then the points that are not, by what was swept."""
    of = gather(sweep)
    counted = Counter(point.state for point in of.points)
    spent = sum(point.made.get("duration") or 0 for point in of.points)
    there = sum(point.there for point in of.points)
    states = ", ".join(f"{number} {state}" for state, number in counted.items())
    lines = [f"{of.name}: {there} of {len(of.points)} points are there ({states}); {duration(spent)} of computing."]
    for state in ("failed", "missing", "stale", "older"):
        named = [point for point in of.points if point.state == state]
        lines += [_told(point) for point in named[:_MOST]]
        if len(named) > _MOST:
            lines.append(f"  and {len(named) - _MOST} more {state}")
    if apart := sum(point.there and not point.counted for point in of.points):
        lines.append(f"Left out of page and summary, being stale or made with other code than the others: {apart}.")
    return lines


def _told(point: Point) -> str:
    why = point.reason if point.state != "missing" else ""
    line = f"  {point.state}: {point.name}" + (f" ({why})" if why else "")
    return line + (f", see {point.log}" if point.log else "")
