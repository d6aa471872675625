"""What a sweep found of a claim: its units gathered by what was swept, each with its interval and where that lies."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from spectral_lens import claims
from spectral_lens.book.sweeps.points import Gathered, Point, digest, in_words
from spectral_lens.claims import Claim, Judgement, Measured, cards
from spectral_lens.claims.statistics import Decision, UnitMean

__all__ = ["SEED", "Cell", "cells", "distinct", "measured", "numeric"]

SEED = "first_seed"
_SEEDED = ("run", "network")  # units of which each follows from a seed of its own


class Cell(NamedTuple):
    """A claim (of one reading) at one setting: its units, of one point or of several that differ in their seeds."""

    claim: Claim
    values: Mapping[str, Any]
    points: tuple[Point, ...]
    measured: Measured
    judged: Judgement

    @property
    def lies(self) -> Decision | None:
        """Where the interval lies: inside what is accepted, outside, or undecided; None where nothing is judged."""
        return claims.lies(self.claim, self.judged)

    @property
    def number(self) -> UnitMean:
        """What is shown: the mean (of groups that of the deciding one), of a theorem its worst value."""
        if not self.claim.theorem:
            return self.judged.found
        return UnitMean(cards.worst(self.claim, self.measured), -math.inf, math.inf, math.nan, 1)

    @property
    def words(self) -> str:
        """Number and interval in words, of groups those of the deciding one."""
        if self.claim.theorem:
            return cards.here(self.claim, self.measured, self.judged)
        group = f"{self.judged.deciding}: " if self.judged.deciding else ""
        return group + cards.with_interval(self.judged.found, self.claim.unit, self.claim.accept)

    @property
    def name(self) -> str:
        """The setting in words."""
        return ", ".join(f"{name}={in_words(value)}" for name, value in self.values.items())


def measured(of: Gathered) -> list[tuple[Claim, str]]:
    """The claims of the ledger that the sweep measured, each with its reading, in the order of the chapter."""
    ledger = claims.load()
    found = ((each.id, each) for point in of.counted for each in point.claims)
    return list(dict.fromkeys((ledger[id], each.reading_of(ledger[id])) for id, each in found if id in ledger))


def cells(of: Gathered, claim: Claim, reading: str, apart: Iterable[str] = ()) -> list[Cell]:
    """What was measured of the claim in that reading, by setting, in the order of the points.

    Points that differ in their first seed alone are put together, where something else was swept too: their units are
    runs or networks, and their seeds do not overlap.  apart: parameters that tell settings apart in any case.
    """
    found = []
    for point in of.counted:
        of_point = [each for each in point.claims if (each.id, each.reading_of(claim)) == (claim.id, reading)]
        found += [(point, each) for each in of_point[-1:]]
    if SEED in of.swept and len(of.swept) > 1 and SEED not in apart and _poolable(claim):
        names = [name for name in of.swept if name != SEED]
        pooled = _by(found, names)
        if all(_disjoint(each) for each in pooled):
            return [_cell(claim, names, each) for each in pooled]
    return [_cell(claim, of.swept, each) for each in _by(found, of.swept)]


Part = tuple[Point, Measured]


def _poolable(claim: Claim) -> bool:
    """Peaks choose on half of the units of a run, which no sum of runs does."""
    return claim.theorem or (claim.unit in _SEEDED and claim.estimator != "peak")


def _by(found: Sequence[Part], names: Sequence[str]) -> list[list[Part]]:
    groups: dict[str, list[Part]] = {}
    for point, each in found:
        groups.setdefault(digest([point.values[name] for name in names]), []).append((point, each))
    return list(groups.values())


def _disjoint(parts: Sequence[Part]) -> bool:
    """Whether no seed was used by two: the k-th unit of a point has its k-th seed."""
    used = sorted((point.values[SEED], max(map(len, each.groups.values()), default=0)) for point, each in parts)
    return all(first + units <= second for (first, units), (second, _) in pairwise(used))


def _cell(claim: Claim, names: Sequence[str], parts: Sequence[Part]) -> Cell:
    """The parts as one: all their units, at the values of `names` that they have in common."""
    (point, first), *others = parts
    groups = {name: list(values) for name, values in first.groups.items()}
    for _, each in others:
        for name, values in each.groups.items():
            groups.setdefault(name, []).extend(values)
    whole = Measured.of(claim.id, groups, first.profile, reading=first.reading, revision=first.revision)
    whole = whole if others else first
    return Cell(
        claim,
        {name: point.values[name] for name in names},
        tuple(each for each, _ in parts),
        whole,
        claims.judge(claim, whole),
    )


def distinct(found: Iterable[Cell], name: str) -> list[Any]:
    """The values of a parameter, each once: numbers by size, others as they come."""
    values = {digest(cell.values[name]): cell.values[name] for cell in found if name in cell.values}
    return sorted(values.values()) if numeric(list(values.values())) else list(values.values())


def numeric(values: Sequence[Any]) -> bool:
    """Whether all are numbers.

    >>> numeric([1, 0.5]), numeric([True, 2]), numeric(["1"])
    (True, False, False)
    """
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
