"""Runs with parameters given by hand: which there are, and which need not be computed again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spectral_lens.book import checks, records
from spectral_lens.book.chapters import Book, BookError, Chapter, runnable
from spectral_lens.book.parameters import resolve
from spectral_lens.book.runner import Plan
from spectral_lens.claims import Measured

__all__ = ["Custom", "every", "same", "there"]

_SAME = ("current", "verified")


class Custom(NamedTuple):
    """A custom run: its record, what it says of itself, and how it stands to its chapter.

    differs: the parameters whose values are not those of the base profile.  made: the provenance, empty where the file
    cannot be read.
    """

    path: Path
    state: str
    base: str
    differs: dict[str, Any]
    made: dict[str, Any]
    claims: list[Measured]


def every(of: Book) -> list[Custom]:
    """All custom runs that there are, by chapter in the order of the book, the oldest first.

    A file that is no record, and a record of a chapter that there is no more, say so in their state.
    """
    known = runnable(of)
    found = [_look(path, known) for path in records.every(of, "custom")]
    order = {name: position for position, name in enumerate(known)}
    return sorted(found, key=lambda run: (order.get(run.made.get("chapter", ""), len(order)), run.made.get("date", "")))


def same(plan: Plan) -> records.Status | None:
    """The state of the record that this plan would write again: of the same base, parameters and files, the cells and
    all code that ran unchanged (or vouched for by the quick run); None where there is no such record.
    """
    if plan.profile != "custom":
        return None
    state = records.compared(plan.chapter, plan.target, plan.parameters, witness=True)
    if state.state not in _SAME:
        return None
    made = records.provenance(records.read(plan.target))
    read = checks.contents(plan.chapter, plan.parameters)
    return state if (made.get("base"), made.get("files", {})) == (plan.base, read) else None


def there(plans: Sequence[Plan]) -> dict[Path, records.Status]:
    """Those of the plans that need no run, by the place of their record, with its state."""
    return {plan.target: state for plan in plans if (state := same(plan))}


def _look(path: Path, known: dict[str, Chapter]) -> Custom:
    try:
        record = records.read(path)
    except BookError:
        return Custom(path, "cannot be read", "", {}, {}, [])
    made = dict(records.provenance(record))
    base, values, claims = made.get("base", "quick"), made.get("parameters", {}), records.claims(record)
    chapter = known.get(made.get("chapter", ""))
    if chapter is None:
        return Custom(path, "no such chapter", base, values, made, claims)
    usual = resolve(chapter, base)
    differs = {name: value for name, value in values.items() if name not in usual or usual[name] != value}
    state = records.compared(chapter, path, usual | differs, witness=True)
    return Custom(path, state.state, base, differs, made, claims)
