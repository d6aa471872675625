"""Sweeps: one chapter with many values of some parameters, each point a run of one's own with its ordinary record."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectral_lens._runtime import files
from spectral_lens.book import checks, runner
from spectral_lens.book.chapters import Book, BookError, Chapter, chapter, close
from spectral_lens.book.runner import Plan

__all__ = ["Sweep", "every", "folder", "load", "make", "named", "point", "save", "shown", "varied"]

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


@dataclass(frozen=True)
class Sweep:
    """A chapter at many points. Their records stand where `run -p` puts them: what is there by hand is there here."""

    name: str
    chapter: Chapter
    base: str  # the profile that the points start from
    swept: tuple[str, ...]  # names of the parameters, in the order given
    plans: tuple[Plan, ...]  # one for each point, in the order of the grid

    @property
    def varied(self) -> tuple[str, ...]:
        """The parameters that tell the points apart; all that were given values, where there is one point."""
        return varied(self.swept, [plan.parameters for plan in self.plans])


def make(of: Book, chapter_name: str, base: str, points: Sequence[Mapping[str, Any]], name: str | None = None) -> Sweep:
    """The sweep over `points`, which all give values to the same parameters; every point is checked as a run is.

    Points that come to the same run are there once. Files that parameters name are kept with their whole path, so that
    the sweep can go on from any folder. `name`: by default the chapter's with a short hash of all points. Raises
    BookError as `runner.plan` does, and for a name that is no file's.
    """
    found = chapter(chapter_name, of)
    if not points or not points[0]:
        raise BookError("A sweep needs points: give --grid NAME=VALUES or --points FILE.csv.")
    swept = tuple(points[0])
    if any(tuple(each) != swept for each in points):
        raise ValueError("The points of a sweep give values to the same parameters, in one order.")
    plans = {plan.target: plan for plan in (runner.plan(found, base, checks.whole(found, each)) for each in points)}
    told = json.dumps([found.name, base, [point(plan, swept) for plan in plans.values()]], sort_keys=True)
    short = f"{found.name.replace('/', '-')}-{hashlib.sha256(told.encode()).hexdigest()[:6]}"
    return Sweep(short if name is None else named(name), found, base, swept, tuple(plans.values()))


def named(name: str) -> str:
    """The name, which becomes that of a file. Raises BookError where it cannot."""
    if not re.fullmatch(_NAME, name):
        raise BookError(f"A sweep is named by letters, digits, '.', '_' and '-', not {name!r}.")
    return name


def point(of: Plan, swept: Sequence[str]) -> dict[str, Any]:
    """The values that the plan gives to the swept parameters."""
    return {name: of.parameters[name] for name in swept}


def varied(names: Sequence[str], points: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Those of the names that have more than one value in the points; where there is none, all.

    >>> varied(["lr", "runs"], [{"lr": 0.1, "runs": 3}, {"lr": 0.2, "runs": 3}])
    ('lr',)
    """
    several = (name for name in names if len({json.dumps(each[name], sort_keys=True) for each in points}) > 1)
    return tuple(several) or tuple(names)


def shown(of: Mapping[str, Any]) -> str:
    """A point in a line.

    >>> shown({"lr": 0.1, "digits": [3, 8]})
    'lr=0.1 digits=[3, 8]'
    """
    return " ".join(f"{name}={value!r}" for name, value in of.items())


def folder(of: Book, name: str) -> Path:
    """Where what belongs to the sweep stands, but for the records."""
    return of.root / "build" / "sweeps" / name


def every(of: Book) -> list[str]:
    """The names of all sweeps that there are."""
    return sorted(path.parent.name for path in (of.root / "build" / "sweeps").glob("*/sweep.json"))


def load(of: Book, name: str) -> Sweep:
    """The sweep of that name, its points planned anew: what the chapter has become since counts.

    Raises BookError where there is none, where its file is damaged, and where a point is none any more.
    """
    known = every(of)
    if name not in known:
        raise BookError(f"There is no sweep {name!r}{close(name, known)}")
    told = _read(folder(of, name) / "sweep.json")
    try:
        return make(of, told["chapter"], told["base"], told["points"], name)
    except BookError as error:
        raise BookError(f"The sweep {name}: {error}") from None


def save(sweep: Sweep) -> Path:
    """Write down which points the sweep has; returns the file. One that has the same points already stays as it is.

    Raises BookError where another sweep has the name.
    """
    path = folder(sweep.chapter.book, sweep.name) / "sweep.json"
    points = [point(plan, sweep.swept) for plan in sweep.plans]
    told = {"chapter": sweep.chapter.name, "base": sweep.base, "points": points}
    if path.exists():
        if _told(_read(path)) != _told(told):
            raise BookError(
                f"There is another sweep {sweep.name!r}, of other points: give this one a name of its own with --name, "
                f"or delete {path.parent} (the records of its points stay)."
            )
        return path
    checks.target(path)
    with files.replacing(path) as aside:
        aside.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        _told(found)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BookError(f"{path} says of no sweep what it is: delete it and make the sweep again.") from None
    return found


def _told(found: Mapping[str, Any]) -> tuple[str, str, list[str]]:
    """What makes two sweeps the same: chapter, profile and points, in whatever order."""
    points = sorted(json.dumps(dict(each), sort_keys=True) for each in found["points"])
    return str(found["chapter"]), str(found["base"]), points
