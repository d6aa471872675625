"""The axes of a sweep's figures: where a value stands, and which values get a tick."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from spectral_lens.book.scorecard_picture import Axis, axis
from spectral_lens.book.sweeps.cells import Cell, numeric
from spectral_lens.book.sweeps.points import digest, in_words
from spectral_lens.claims import Judgement, Measured

__all__ = ["Scale", "along", "label", "of_values", "place"]

_DECADES = 30.0  # the ratio of the values from which on their logarithms are drawn
_FOCUS, _REACH = 5.0, 12.0  # how much wider than the means alone range and printed number may make the axis; intervals
_ROOM = 0.05  # on both sides, as a part of the scale
_TICKS = 6  # about as many
_LETTERS = 12  # of a value that is a text


@dataclass(frozen=True)
class Scale:
    """An axis from `start` to `end` in the drawing; of values that are no numbers each has a place of its own.

    values: those of the parameter, in their order.  log: equal ratios are equally long.
    """

    values: tuple[Any, ...]
    low: float
    high: float
    start: float
    end: float
    log: bool = False
    named: bool = False

    def at(self, value: Any) -> float:
        """Where the value stands; one beyond an end at that end."""
        keys = [digest(each) for each in self.values] if self.named else []
        number = float(keys.index(digest(value))) if self.named else float(value)
        return place(Axis(self.low, self.high, self.log), number, self.start, self.end)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where ticks stand, with their labels: at all values where they are few, else at round numbers."""
        if self.named or len(self.values) <= _TICKS:
            return [(self.at(value), label(value)) for value in self.values]
        return [(self.at(value), label(value)) for value in round_numbers(self.low, self.high, log=self.log)]

    @property
    def step(self) -> float:
        """The least distance between two of the values."""
        places = [self.at(value) for value in self.values]
        return min((abs(b - a) for a, b in pairwise(places)), default=abs(self.end - self.start))


def along(values: Sequence[Any], start: float, end: float) -> Scale:
    """The axis of a swept parameter: logarithmic where its values are positive and span decades."""
    if not numeric(values):
        return Scale(tuple(values), -0.5, len(values) - 0.5, start, end, named=True)
    low, high = float(min(values)), float(max(values))
    if low > 0 and high / low >= _DECADES:
        room = (high / low) ** _ROOM
        return Scale(tuple(values), low / room, high * room, start, end, log=True)
    room = ((high - low) or abs(high) or 1.0) * _ROOM
    return Scale(tuple(values), low - room, high + room, start, end)


def of_values(found: Sequence[Cell]) -> Axis:
    """The axis of what was measured: all means, and of accepted range, printed number and intervals what is near them.

    Logarithmic where the means are positive and span decades.  Theorems have the axis of the scorecard.
    """
    claim = found[0].claim
    if claim.theorem:
        judged: list[tuple[Measured, Judgement]] = [(cell.measured, cell.judged) for cell in found]
        return axis(claim, judged)
    parts = [part for cell in found for part in cell.judged.estimates.values()]
    means = [part.mean for part in parts]
    log = min(means) > 0 and max(means) / min(means) >= _DECADES
    wide = [end for end in (*(claim.accept or ()), claim.printed.mean) if end is not None]
    near = _as_far(means, wide, _FOCUS, log=log)
    every = _as_far(near, [end for part in parts for end in (part.low, part.high)], _REACH, log=log)
    low, high = min(every), max(every)
    if log:
        room = (high / low) ** _ROOM
        return Axis(low / room, high * room, log=True)
    room = ((high - low) or abs(high) or 1.0) * _ROOM
    return Axis(low - room, high + room)


def _as_far(found: Sequence[float], others: Sequence[float], far: float, *, log: bool) -> list[float]:
    """The numbers, and those of the others that keep the whole within `far` times their width."""
    low, high = min(found), max(found)
    if log:
        low, high = math.log(low), math.log(high)
    kept = list(found)
    for value in others:
        if not math.isfinite(value) or (log and value <= 0):
            continue
        at = math.log(value) if log else value
        if low == high or max(high, at) - min(low, at) <= far * (high - low):
            kept.append(value)
    return kept


def place(on: Axis, value: float, start: float, end: float) -> float:
    """Where a value stands between `start` and `end`; one beyond an end of the axis at that end."""
    low, high, at = on.low, on.high, min(max(value, on.low), on.high)
    if on.log:
        low, high, at = (math.log(each) for each in (low, high, at))
    return start + (at - low) / (high - low) * (end - start)


def round_numbers(low: float, high: float, *, log: bool) -> list[float]:
    """Some round numbers between two ends.

    >>> round_numbers(0.0, 1.0, log=False), round_numbers(0.5, 2000.0, log=True)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 10.0, 100.0, 1000.0])
    """
    if log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        every = max(1, math.ceil((last - first + 1) / _TICKS))
        found = [10.0**power for power in range(first, last + 1, every)]
        return found if len(found) > 1 else [low, high]
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 5, 10) if each * power >= rough * 0.9)
    count = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [float(f"{number * step:.12g}") for number in count]


def label(value: Any) -> str:
    """A value as a tick's label.

    >>> label(1e-05), label(0.25), label("a very long name"), label([3, 8])
    ('1e-05', '0.25', 'a very long…', '[3, 8]')
    """
    if numeric([value]):
        return f"{value:.6g}"
    text = in_words(value)
    return text if len(text) <= _LETTERS else text[: _LETTERS - 1] + "…"
