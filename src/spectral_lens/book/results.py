"""The measured numbers as a table, one row per claim and run, and two records side by side."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spectral_lens import claims
from spectral_lens.book import records
from spectral_lens.book.chapters import Book, BookError, chapter
from spectral_lens.claims.statistics import UnitMean, difference

__all__ = ["COLUMNS", "Compared", "as_csv", "as_json", "compare", "find", "rows", "side_by_side"]

COLUMNS = (
    "claim", "reading", "group", "run", "value", "mean", "low", "high", "sd", "n", "unit", "accept_low", "accept_high",
    "printed", "verdict", "chapter", "profile", "first_seed", "date", "commit", "device", "record",
)  # fmt: skip


class Compared(NamedTuple):
    """A claim (of one reading and group) in two records, and the mean of the first less that of the second."""

    claim: str
    first: UnitMean
    second: UnitMean
    difference: UnitMean


def find(of: Book, names: Sequence[str] = (), profile: str = "paper") -> list[Path]:
    """The records of that name: a chapter's of the profile, or a file; without names all there are, of any profile.

    Raises BookError for what is neither, and for a chapter without a record.
    """
    if not names:
        return sorted(
            path for kind in ("paper", "quick", "custom") for path in records.folder(of, kind).rglob("*.ipynb")
        )
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
    ledger, found = claims.load(), []
    for path in paths:
        record = records.read(path)
        made = records.provenance(record)
        first = made["parameters"].get("first_seed")
        where = {
            "chapter": made["chapter"],
            "profile": _profile(path, of, made),
            "first_seed": first,
            "date": made["date"],
            "commit": made["commit"],
            "device": made["device"],
            "record": _shown(path, of),
        }
        for measured in records.claims(record):
            claim = ledger.get(measured.id)
            judged = _judged(claim, measured)
            for group, interval in (claims.judge(claim, measured) if claim else measured).estimates.items():
                for run, value in enumerate(measured.groups.get(group, (None,))):
                    own = {"group": group, "run": run if first is None else first + run, "value": value}
                    found.append({**judged, **own, **interval._asdict(), **where})
    return [{name: row[name] for name in COLUMNS} for row in found]


def _judged(claim: claims.Claim | None, measured: claims.Measured) -> dict[str, Any]:
    low, high = claim.accept or (None, None) if claim else (None, None)
    return {
        "claim": measured.id,
        "reading": measured.reading or (claim.reading if claim else ""),
        "unit": claim.unit if claim else "",
        "accept_low": low,
        "accept_high": high,
        "printed": claim.printed.text if claim else None,
        "verdict": claims.judge(claim, measured).verdict if claim else "not in the ledger",
    }


def compare(first: Path, second: Path) -> list[Compared]:
    """The claims that both records measured, in the order of the first, by reading and group.

    Raises BookError where there is none.
    """
    one, two = (_by_name(records.claims(records.read(path))) for path in (first, second))
    both = [name for name in one if name in two]
    if not both:
        raise BookError(f"{first} and {second} have no claim in common.")
    return [Compared(name, one[name], two[name], difference(one[name], two[name])) for name in both]


def _by_name(measured: Iterable[claims.Measured]) -> dict[str, UnitMean]:
    found = {}
    for each in measured:
        for group, interval in each.estimates.items():
            found[", ".join(part for part in (each.id, each.reading, group) if part)] = interval
    return found


def as_csv(table: Sequence[dict[str, Any]]) -> str:
    """The rows as comma-separated values with a header; what is not there, and an end that is infinite, is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in row.items()} for row in table)
    return text.getvalue()


def as_json(table: Sequence[dict[str, Any]]) -> str:
    """The rows as a list of objects; what is not there, and an end that is infinite, is null."""
    return json.dumps(
        [{name: _plain(value) for name, value in row.items()} for row in table], indent=1, allow_nan=False
    )


def side_by_side(compared: Sequence[Compared]) -> str:
    """A line for each claim: both means, and their difference with its 95% interval."""
    lines = [["claim", "first", "second", "difference", "95% interval"]]
    for each in compared:
        ends = f"{each.difference.low:.3g} to {each.difference.high:.3g}"
        means = (f"{value:.4g}" for value in (each.first.mean, each.second.mean, each.difference.mean))
        lines.append([each.claim, *means, ends])
    widths = [max(len(line[k]) for line in lines) for k in range(5)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _profile(path: Path, of: Book, made: dict[str, Any]) -> str:
    return "custom" if records.folder(of, "custom") in path.resolve().parents else str(made["profile"])


def _shown(path: Path, of: Book) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(of.root)) if of.root in resolved.parents else str(path)
