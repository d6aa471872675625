"""A sweep's points as data: what each measured, and how it stands to the chapter and the code as they are now."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spectral_lens.book import checks, records, sweeps
from spectral_lens.book.chapters import BookError, Chapter
from spectral_lens.book.runner import Plan
from spectral_lens.book.sweeps import Sweep
from spectral_lens.claims import Measured

__all__ = ["Compare", "Gathered", "Point", "apart", "comparing", "digest", "gather", "in_words", "why"]

_MADE = (
    "chapter", "profile", "base", "parameters", "code", "ran", "replay", "commit", "dirty", "date", "duration",
    "cpu_seconds", "peak_memory", "device", "threads", "versions", "data", "files",
)  # fmt: skip
_SAID = 300  # letters of an error that are worth keeping


@dataclass(frozen=True)
class Point:
    """One point of a sweep: the values of what was swept, and what came of them.

    state: its record's ("current", "verified", "older", "stale", "missing"), or "failed" where a log is all there is.
    reason: what changed.  made: the provenance (see `records.provenance`), empty without a record.  record, log: their
    paths from the book's root.  said: the last line of the log.  apart: why it is not shown with the others.
    """

    values: Mapping[str, Any]
    state: str
    reason: str = ""
    claims: tuple[Measured, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)
    record: str = ""
    log: str = ""
    said: str = ""
    apart: str = ""

    @property
    def there(self) -> bool:
        """Whether a run has measured it, with whatever code."""
        return bool(self.made)

    @property
    def counted(self) -> bool:
        """Whether it is shown and summarised with the others."""
        return self.there and not self.apart

    @property
    def name(self) -> str:
        """Its values in words."""
        return sweeps.shown(self.values)

    @property
    def code(self) -> str:
        """A fingerprint of the cells and of the functions that ran; of points with other values others may run."""
        return digest([self.made["code"], self.made["ran"]]) if "ran" in self.made else ""


@dataclass(frozen=True)
class Gathered:
    """A sweep with what its points measured. kept: whether it comes from the book's own data."""

    name: str
    chapter: str
    base: str
    swept: tuple[str, ...]
    points: tuple[Point, ...]
    kept: bool = False

    @property
    def varied(self) -> tuple[str, ...]:
        """The parameters that tell the points apart."""
        return sweeps.varied(self.swept, [point.values for point in self.points])

    @property
    def counted(self) -> list[Point]:
        """The points that are shown and summarised: all made with the same code."""
        return [point for point in self.points if point.counted]


def in_words(value: Any) -> str:
    """A parameter's value in words.

    >>> in_words("mnist"), in_words([3, 8]), in_words(1e-4), in_words(True)
    ('mnist', '[3, 8]', '0.0001', 'true')
    """
    return value if isinstance(value, str) else json.dumps(value)


def gather(sweep: Sweep) -> Gathered:
    """The sweep with what the records of its points say, in its order."""
    compare = comparing(sweep.chapter)
    points = (_look(plan, sweep.swept, compare) for plan in sweep.plans)
    return Gathered(sweep.name, sweep.chapter.name, sweep.base, tuple(sweep.swept), apart(points))


Compare = Callable[[Mapping[str, Any], Mapping[str, Any]], records.Status]


def comparing(of: Chapter | None) -> Compare:
    """Compares a provenance with the chapter, of all points with the same code and parameters alike once."""
    known: dict[str, records.Status] = {}

    def compare(made: Mapping[str, Any], values: Mapping[str, Any]) -> records.Status:
        if of is None:
            return records.Status("stale", "there is no such chapter any more")
        if digest(made["parameters"]) != digest(values):
            return records.since(of, made, values, witness=True)
        key = digest([made["code"], made["ran"], made.get("replay")])
        if key not in known:
            known[key] = records.since(of, made, values, witness=True)
        return known[key]

    return compare


def _look(plan: Plan, swept: Sequence[str], compare: Compare) -> Point:
    """The point as its record is now."""
    root = plan.chapter.book.root
    values = {name: plan.parameters[name] for name in swept}
    place, log = plan.target.relative_to(root).as_posix(), plan.failed.with_suffix(".log")
    told, said = (log.relative_to(root).as_posix(), _last(log)) if log.is_file() else ("", "")
    if not plan.target.is_file():
        return Point(values, "failed" if told else "missing", said, log=told, said=said)
    try:
        record = records.read(plan.target)
        made = records.provenance(record)
        if "ran" not in made or records.code_hash(record) != made["code"]:
            status = records.stands(plan.chapter, record, plan.parameters)
        elif (other := _other_files(plan, made)) is not None:
            status = records.Status("stale", other)
        else:
            status = compare(made, plan.parameters)
        claims = tuple(records.claims(record))
    except (BookError, ValueError, TypeError) as error:
        return Point(values, "stale", f"the record cannot be read ({error})", log=told, said=said)
    about = {name: made[name] for name in _MADE if name in made}
    if status.state in ("current", "verified"):
        told, said = "", ""  # of a run that was asked for again
    return Point(values, status.state, why(status), claims, about, place, told, said)


def _other_files(plan: Plan, made: Mapping[str, Any]) -> str | None:
    """What a run of the plan would read otherwise than the record's run did."""
    if made.get("base") != plan.base:
        return f"it started from the profile {made.get('base')}"
    return None if made.get("files", {}) == checks.contents(plan.chapter, plan.parameters) else "it read other files"


def why(status: records.Status) -> str:
    """What changed, without the state itself."""
    return str(status).removeprefix(status.state).strip(" ()") if status.changed or status.reason else ""


def _last(log: Path) -> str:
    """The last line of a log, which names the error."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()[:_SAID] if lines else ""


def apart(points: Iterable[Point]) -> tuple[Point, ...]:
    """The points, with the reason of each that was made with other code than those that count.

    Those of the present code count, verified ones among them; where there is none, the most that share their code.
    """
    found = list(points)
    good = [k for k, point in enumerate(found) if point.state in ("current", "verified")]
    if not good:
        good = max(_of_one_code(found), key=len, default=[])
    with_others = "made with other code than the others"
    for k, point in enumerate(found):
        if not point.there:
            found[k] = replace(point, apart=point.state)
        elif k not in good:
            found[k] = replace(point, apart=point.state if point.state == "stale" else with_others)
    return tuple(found)


def _of_one_code(points: Sequence[Point]) -> list[list[int]]:
    """The older points in groups within which no function that ran in two of them was another."""
    groups: list[tuple[dict[tuple[str, str], str], list[int]]] = []
    for k, point in enumerate(points):
        if point.state != "older":
            continue
        ran = {(m, name): text for m, names in point.made["ran"].items() for name, text in names.items()}
        for known, members in groups:
            if all(known.get(place, text) == text for place, text in ran.items()):
                known.update(ran)
                members.append(k)
                break
        else:
            groups.append((ran, [k]))
    return [members for _, members in groups]


def digest(data: Any) -> str:
    """A fingerprint of what JSON holds."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]
