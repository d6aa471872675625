"""Second runs: a paper record's measurements from other seeds, or on another machine, and whether the verdicts agree.

They are kept as data alone in data/runs/second, one file for each chapter; the notebook stays in build/second.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from spectral_lens import claims
from spectral_lens._runtime.files import replacing
from spectral_lens.book import checks, origin, records, runner
from spectral_lens.book.chapters import Book, BookError, Chapter, chapter, runnable
from spectral_lens.book.parameters import parameters
from spectral_lens.book.runner import Plan
from spectral_lens.claims import Claim, Judgement, Measured
from spectral_lens.claims.cards import here

__all__ = ["FURTHER", "Repeat", "Second", "chosen", "files", "keep", "load", "path", "plan", "repeats"]

FURTHER = 100_000  # from the record's first seed to that of a second run: nobody has looked at these
KIND = "second"
_KEPT = ("date", "device", "commit", "dirty", "versions", "parameters", "duration")

_FAILED = "not reproduced"
_UNDECIDED = ("undecided", "quick only", "no criterion")
Agreement = Literal["agree", "flipped", "no flip"]


class Second(NamedTuple):
    """One claim (of one reading) in a second run, and where that run comes from."""

    measured: Measured
    chapter: str
    first_seed: int
    date: str
    machine: str
    device: str
    commit: str | None


class Repeat(NamedTuple):
    """A claim in the paper record and in the second run: each verdict with what it rests on, None where unmeasured."""

    claim: Claim
    first: tuple[Measured, Judgement] | None
    second: tuple[Measured, Judgement] | None

    @property
    def agreement(self) -> Agreement:
        """Whether the verdicts are the same; "flipped" where one says reproduced and the other not reproduced."""
        verdicts = [each[1].verdict if each else None for each in (self.first, self.second)]
        if verdicts[0] == verdicts[1]:
            return "agree"
        good = [verdict not in (None, *_UNDECIDED, _FAILED) for verdict in verdicts]
        return "flipped" if _FAILED in verdicts and any(good) else "no flip"

    def __str__(self) -> str:
        told = [f"{each[1].verdict}, {here(self.claim, *each)}" if each else "not measured" for each in self[1:]]
        return f"{self.claim.id}: {self.agreement}. First: {told[0]}. Second: {told[1]}."


def chosen(of: Book, names: Sequence[str]) -> tuple[list[Chapter], dict[str, str]]:
    """The chapters to run again: those named, or all that measure claims; and those that cannot be, with the reason.

    Raises BookError for a named one that there is not, or that cannot be run again, and where none is left.
    """
    if names:
        found = [chapter(name, of) for name in dict.fromkeys(names)]
        for each in found:
            if why := _objection(each):
                raise BookError(f"{each.name} {why}")
        return list({each.name: each for each in found}.values()), {}
    able = [each for each in runnable(of).values() if checks.measures(each)]
    objections = {each.name: why for each in able if (why := _objection(each))}
    if len(objections) == len(able):
        raise BookError("No chapter has a paper record whose claims could be measured again: run them first.")
    return [each for each in able if each.name not in objections], objections


def plan(of: Chapter, *, first_seed: int | None = None, same_seeds: bool = False) -> Plan:
    """The paper run of the chapter from other seeds: `first_seed`, or `FURTHER` than its record's; or from the same.

    Raises BookError as `runner.plan`, and for seeds of which the record has some.
    """
    record = records.read(records.path(of, "paper"))
    used = records.provenance(record)["parameters"]["first_seed"]
    seed = used if same_seeds else used + FURTHER if first_seed is None else first_seed
    units = max(each.n for measured in records.claims(record) for each in measured.estimates.values())
    if not same_seeds and abs(seed - used) < units:
        raise BookError(
            f"{of.name}: the seeds from {seed} on are in part those of the paper record, {used} to {used + units - 1}: "
            "name others, or say --same-seeds."
        )
    if seed < 0:
        raise BookError(f"--first-seed takes a number from 0 up, not {seed}.")
    made = runner.plan(of, "paper", {"first_seed": seed})
    target = of.book.root / "build" / KIND / f"{of.name}.ipynb"
    # Not "custom": the chapter is told that this is a paper run, so that its claims are judged.
    found = Plan(of, "paper", "paper", made.parameters, target, KIND)
    checks.target(found.target)
    checks.target(path(of))
    return found


def path(of: Chapter) -> Path:
    """Where the chapter's second run is kept."""
    return records.folder(of.book, KIND) / f"{of.name}.json"


def keep(of: Plan) -> Path:
    """Keep the data of the plan's run, whole or not at all; returns their file. Raises OSError as the system does."""
    record = records.read(of.target)
    made = records.provenance(record)
    found = {"chapter": of.chapter.name, "first_seed": of.parameters["first_seed"], "machine": origin.processor()}
    found |= {name: made[name] for name in _KEPT}
    found["claims"] = [each.data for each in records.claims(record)]
    with replacing(path(of.chapter)) as aside:
        aside.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path(of.chapter)


def files(of: Book) -> list[Path]:
    """The files of all second runs that there are."""
    return sorted(records.folder(of, KIND).rglob("*.json"))


def load(of: Book) -> dict[str, list[Second]]:
    """What the second runs measured, by claim, one entry for each reading.

    Raises BookError, which names the file, for one that is damaged.
    """
    found: dict[str, list[Second]] = {}
    for file in files(of):
        for each in _read(file):
            found.setdefault(each.measured.id, []).append(each)
    return found


def repeats(of: Chapter) -> list[Repeat]:
    """The chapter's claims in its paper record and in its second run, in the order of the record.

    Raises BookError where one of them cannot be read.
    """
    first = records.claims(records.read(records.path(of, "paper")))
    second = [each.measured for each in _read(path(of))]
    ledger = claims.load()
    judged = [claims.headlines(ledger, each) for each in (first, second)]
    return [Repeat(ledger[id], *(each.get(id) for each in judged)) for id in {**judged[0], **judged[1]}]


def _read(file: Path) -> list[Second]:
    try:
        data: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        about = [data[name] for name in ("chapter", "first_seed", "date", "machine", "device", "commit")]
        return [Second(Measured.read(each), *about) for each in data["claims"]]
    except FileNotFoundError:
        raise BookError(f"There is no second run {file}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BookError(f"{file} is no second run (or a damaged one): delete it and certify again.") from None


def _objection(of: Chapter) -> str:
    """Why the chapter's paper record cannot be certified; empty where it can."""
    if not checks.measures(of):
        return "measures no claim: there is nothing to certify."
    if "first_seed" not in parameters(of):
        return "has no parameter first_seed: nothing in it follows from a seed."
    state = records.status(of, "paper")
    if not state.usable:
        return f"has no paper record to compare with ({state}): run it with --profile paper first."
    if not records.claims(records.read(records.path(of, "paper"))):
        return "measured no claim in its paper record: there is nothing to compare with."
    return ""
