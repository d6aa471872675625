"""Sweeps over a toy chapter, their records written by hand with numbers that the tests know."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from toy_chapters import page, write

from spectral_lens.book import fingerprints, records, sweeps
from spectral_lens.book.chapters import Book
from spectral_lens.book.runner import Plan
from spectral_lens.book.sweeps import Sweep
from spectral_lens.book.sweeps.points import Gathered, Point
from spectral_lens.claims import Measured

DISTANCE = "chicchi.independent.distance"  # a value for each run
PARAMETERS = "lr, samples, source, first_seed, runs = 0.1, 100, 'toy', 0, 3"


def book(root: Path, package: Path | None = None) -> Book:
    """A book of one chapter that can be swept."""
    made = write(root, {"toy/lens": page("Lens", "from spectral_lens.middle import f", parameters=PARAMETERS)})
    return Book(made.root, package) if package else made


def sweep(of: Book, points: Sequence[Mapping[str, Any]], name: str = "toy", base: str = "quick") -> Sweep:
    """A sweep that stands in build/sweeps."""
    made = sweeps.make(of, "toy/lens", base, points, name)
    sweeps.save(made)
    return made


def measure(plan: Plan, *measured: Measured, ran: Mapping[str, Sequence[str]] | None = None, **changes: Any) -> Path:
    """The record that a run of the plan would leave, had it measured this."""
    made = nbformat.from_dict(plan.chapter.notebook)
    cells = [cell for cell in made.cells if cell.cell_type == "code"]
    cells[-1].outputs = [
        nbformat.v4.new_output("display_data", data={"text/plain": "-"}, metadata={records.META: {"claim": each.data}})
        for each in measured
    ]
    sources = [cell.source for cell in cells]
    made.metadata[records.META] = {
        "chapter": plan.chapter.name, "profile": plan.profile, "base": plan.base, "parameters": plan.parameters,
        "code": records.code_hash(made), "replay": None, "data": [],
        "ran": fingerprints.index(plan.chapter.book.package).snapshot(ran or {}, sources),
        "commit": "0123456789abcdef", "dirty": False, "date": "2026-05-04T10:20:30+00:00", "duration": 90.0,
        "cpu_seconds": 80.0, "peak_memory": 1e9, "device": "CPU (toy, 2 cores)", "threads": 1,
        "versions": {"python": "3.11.9", "torch": "2.13.0"},
    } | changes  # fmt: skip
    records.write(nbformat.from_dict(made), plan.target)
    return plan.target


def distance(*values: float) -> Measured:
    """What a run measured of the one claim."""
    return Measured.of(DISTANCE, values, "custom")


def fail(plan: Plan, said: str = "ValueError: it does not converge") -> None:
    """Leave what a failed run leaves."""
    log = plan.failed.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"toy/lens (custom): code cell 2 failed\n\n    f()\n\n{said}\n", encoding="utf-8")


def gathered(*points: tuple[Mapping[str, Any], Sequence[Measured]]) -> Gathered:
    """A sweep as data alone, all of one code."""
    made = {"duration": 90.0, "date": "2026-05-04T10:20:30+00:00", "device": "CPU", "commit": "0123456789abcdef",
            "code": "c", "ran": {}, "parameters": {}, "versions": {"python": "3.11.9"}}  # fmt: skip
    found = tuple(Point(dict(values), "current", "", tuple(each), made, "r.ipynb") for values, each in points)
    return Gathered("toy", "toy/lens", "quick", tuple(points[0][0]), found)
