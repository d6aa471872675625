"""The measured numbers as a table, one row per claim and run, and two records side by side."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spectral_lens import claims
from spectral_lens.book import records
from spectral_lens.book.chapters import Book, BookError, chapter
from spectral_lens.claims.ledger import AS_PRINTED
from spectral_lens.claims.statistics import UnitMean, difference, estimate

__all__ = ["COLUMNS", "COMPARED", "Compared", "as_csv", "as_json", "compare", "find", "of_run", "rows"]

COLUMNS = (
    "claim", "reading", "group", "run", "value", "mean", "low", "high", "sd", "n", "unit", "accept_low", "accept_high",
    "printed", "lies", "verdict", "chapter", "profile", "first_seed", "date", "commit", "device", "record",
)  # fmt: skip
COMPARED = (
    "claim", "reading", "group", "first", "second", "difference", "low", "high", "first_n", "second_n", "interval",
)  # fmt: skip


class Compared(NamedTuple):
    """A claim (of one reading and group) in two records, and the mean of the first less that of the second.

    paired: whether the units were drawn from the same seeds and the interval is that of their differences one by one;
    else it is Welch's, of units apart.
    """

    claim: str
    reading: str
    group: str
    first: UnitMean
    second: UnitMean
    difference: UnitMean
    paired: bool

    @property
    def name(self) -> str:
        """Claim, reading where it is not as printed, and group, in words."""
        reading = "" if self.reading == AS_PRINTED else self.reading
        return ", ".join(part for part in (self.claim, reading, self.group) if part)

    @property
    def interval(self) -> str:
        """What the interval is: "paired by seed", "Welch", or "none" where there is one unit alone."""
        if not math.isfinite(self.difference.low):
            return "none"
        return "paired by seed" if self.paired else "Welch"

    @property
    def row(self) -> dict[str, Any]:
        """The columns `COMPARED`."""
        numbers = {"first": self.first.mean, "second": self.second.mean, "difference": self.difference.mean}
        ends = {"low": self.difference.low, "high": self.difference.high}
        units = {"first_n": self.first.n, "second_n": self.second.n}
        named = {"claim": self.claim, "reading": self.reading, "group": self.group}
        return named | numbers | ends | units | {"interval": self.interval}


def find(of: Book, names: Sequence[str] = (), profile: str = "paper") -> list[Path]:
    """The records of that name: a chapter's of the profile, or a file; without names all there are, of any profile.

    Raises BookError for what is neither, and for a chapter without a record.
    """
    if not names:
        return [path for kind in ("paper", "quick", "custom") for path in records.every(of, kind)]
    found = []
    for name in names:
        path = Path(name)
        if path.suffix != ".ipynb":
            path = records.path(chapter(name, of), profile)
        if not path.is_file():
            raise BookError(f"{name} has no record ({path}): run it first, or name another --profile.")
        found.append(path)
    return found


def rows(paths: Iterable[Path], of: Book) -> list[dict[str, Any]]:
    """One row for each claim, reading, group and unit of these records, with the columns `COLUMNS`.

    run: the seed of the run where the record says the first, else its place; value: what it measured, none where an old
    record kept mean, deviation and number alone; low, high: the 95% interval of the mean over the units of the group.
    """
    found = []
    for path in paths:
        record = records.read(path)
        made = records.provenance(record)
        known = {"profile": _profile(path, of, made), "record": _shown(path, of)}
        found += of_run(records.claims(record), made, known)
    return found


def of_run(
    measured: Iterable[claims.Measured], made: Mapping[str, Any], known: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The rows of what one run measured, see `rows`.

    made: the run's provenance (see `records.provenance`).  known: the columns profile and record.
    """
    ledger, first = claims.load(), made["parameters"].get("first_seed")
    where = {name: made.get(name) for name in ("chapter", "date", "commit", "device")} | {"first_seed": first, **known}
    found = []
    for each in measured:
        judged, estimates = _judged(ledger.get(each.id), each)
        for group, interval in estimates.items():
            for run, value in enumerate(each.groups.get(group, (None,))):
                own = {"group": group, "run": run if first is None else first + run, "value": value}
                found.append({**judged, **own, **interval._asdict(), **where})
    return [{name: row[name] for name in COLUMNS} for row in found]


def _judged(claim: claims.Claim | None, measured: claims.Measured) -> tuple[dict[str, Any], Mapping[str, UnitMean]]:
    """What the ledger says of it, and the estimate of each group as it is judged by."""
    if claim is None:
        blank = dict.fromkeys(("unit", "accept_low", "accept_high", "printed", "lies"))
        return {
            "claim": measured.id, "reading": measured.reading, **blank, "verdict": "not in the ledger",
        }, measured.estimates  # fmt: skip
    judged, (low, high) = claims.judge(claim, measured), claim.accept or (None, None)
    return {
        "claim": measured.id,
        "reading": measured.reading_of(claim),
        "unit": claim.unit,
        "accept_low": low,
        "accept_high": high,
        "printed": claim.printed.text,
        "lies": claims.lies(claim, judged),
        "verdict": judged.verdict,
    }, judged.estimates


def compare(first: Path, second: Path) -> list[Compared]:
    """The claims that both records measured, in the order of the first, by reading and group.

    Two runs of one chapter from the same first seed drew the same: where a group has the same number of units in both,
    the interval is that of the differences unit by unit, which is free of what the draws have in common. Else it is
    Welch's.  Raises BookError where there is no claim in common.
    """
    one, two = (records.read(path) for path in (first, second))
    same_draws = _drawn(one) is not None and _drawn(one) == _drawn(two)
    ours, theirs = (dict(_groups(record)) for record in (one, two))
    found = []
    for key, (units, mean) in ours.items():
        if key not in theirs:
            continue
        others, other = theirs[key]
        paired = same_draws and 0 < len(units) == len(others)
        apart = estimate([a - b for a, b in zip(units, others, strict=True)]) if paired else difference(mean, other)
        found.append(Compared(*key, mean, other, apart, paired))
    if not found:
        raise BookError(f"{first} and {second} have no claim in common.")
    return found


def _drawn(record: Any) -> tuple[str, int] | None:
    """What the draws follow from: chapter and first seed."""
    made = records.provenance(record)
    seed = made["parameters"].get("first_seed")
    return None if seed is None else (made["chapter"], seed)


def _groups(record: Any) -> Iterator[tuple[tuple[str, str, str], tuple[Sequence[float], UnitMean]]]:
    """(claim, reading, group), and its units with their mean."""
    ledger = claims.load()
    for each in records.claims(record):
        reading = each.reading_of(ledger[each.id]) if each.id in ledger else each.reading or AS_PRINTED
        for group, mean in each.estimates.items():
            yield (each.id, reading, group), (each.groups.get(group, ()), mean)


def as_csv(table: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS) -> str:
    """The rows as comma-separated values with a header; what is not there, and an end that is infinite, is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in table)
    return text.getvalue()


def as_json(table: Iterable[Mapping[str, Any]]) -> str:
    """The rows as a list of objects; what is not there, and an end that is infinite, is null."""
    return json.dumps(
        [{name: _plain(value) for name, value in row.items()} for row in table], indent=1, allow_nan=False
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _profile(path: Path, of: Book, made: dict[str, Any]) -> str:
    return "custom" if records.folder(of, "custom") in path.resolve().parents else str(made["profile"])


def _shown(path: Path, of: Book) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(of.root)) if of.root in resolved.parents else str(path)
