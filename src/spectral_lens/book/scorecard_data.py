"""The scorecard's numbers as tables for others: one row for each claim, reading, look and group."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spectral_lens._runtime import files
from spectral_lens.book import results
from spectral_lens.book.scorecard_rows import Reading, Row
from spectral_lens.claims import Claim

__all__ = ["COLUMNS", "as_csv", "table", "write"]

COLUMNS = (
    "id", "paper", "where", "claim", "kind", "unit", "measure", "printed", "printed_mean", "printed_sd", "printed_n",
    "accept_low", "accept_high", "because", "nothing", "headline", "look", "reading", "group", "mean", "low", "high",
    "sd", "n", "verdict", "why", "needs", "chapter", "profile", "fresh_seeds", "date", "machine", "device",
    "first_seed", "commit", "history",
)  # fmt: skip


def table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """One row for each claim, reading, look and group, with the columns `COLUMNS`.

    headline: the claim's verdict; verdict, why, needs: the reading's.  look: "record", or "second" where the chapter
    was rerun with other seeds or elsewhere, with date, machine, device, first seed and commit.  low, high: the 95%
    interval of the mean over the n units of the group.  history: a list of changes, each with date, change and commit.
    A claim that was not measured has one row without numbers.
    """
    found: list[dict[str, Any]] = []
    for row in rows:
        known = _of_claim(row.claim) | {"headline": row.verdict}
        looks: list[tuple[Reading, dict[str, Any]]] = [(each, {"look": "record"}) for each in row.readings]
        for second in row.seconds:
            about = {name: getattr(second, name) for name in ("date", "machine", "device", "first_seed", "commit")}
            looks.append((second.reading, {"look": "second", **about}))
        if not row.readings:
            found.append(known | {"verdict": row.verdict})
        found += [known | about | each for reading, about in looks for each in _of_reading(reading)]
    return [{name: row.get(name) for name in COLUMNS} for row in found]


def _of_claim(claim: Claim) -> dict[str, Any]:
    low, high = claim.accept or (None, None)
    return {
        "id": claim.id, "paper": claim.id.split(".", 1)[0], "where": claim.where, "claim": claim.claim,
        "kind": claim.kind, "unit": claim.unit, "measure": claim.measure, "printed": claim.printed.text,
        "printed_mean": claim.printed.mean, "printed_sd": claim.printed.sd, "printed_n": claim.printed.n,
        "accept_low": low, "accept_high": high, "because": claim.because, "nothing": claim.nothing,
        "history": [each._asdict() for each in claim.history],
    }  # fmt: skip


def _of_reading(reading: Reading) -> Iterable[dict[str, Any]]:
    judged = reading.judged
    for group, found in judged.estimates.items():
        yield {
            "reading": reading.name, "group": group, **found._asdict(), "verdict": judged.verdict, "why": judged.why,
            "needs": judged.needs, "chapter": reading.chapter, "profile": reading.measured.profile,
            "fresh_seeds": reading.fresh,
        }  # fmt: skip


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as CSV, see `results.as_csv`; the history as words."""
    return results.as_csv(({**row, "history": _words(row["history"])} for row in rows), COLUMNS)


def _words(history: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(f"{each['date']}: {each['change']}" for each in history)


def write(rows: Iterable[Row], folder: Path) -> None:
    """scorecard.csv and scorecard.json in that folder."""
    found = table(rows)
    for name, text in (("scorecard.csv", as_csv(found)), ("scorecard.json", results.as_json(found))):
        with files.replacing(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
