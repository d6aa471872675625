"""The ledger book/claims.yml: what the papers claim, how it is measured, and which numbers count as the same."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import yaml

from spectral_lens._runtime.errors import in_one_line
from spectral_lens._runtime.resources import resource
from spectral_lens.claims.statistics import Accept

__all__ = ["AS_PRINTED", "Change", "Claim", "Estimator", "Kind", "Printed", "load"]

Kind = Literal["identity", "bound", "value", "comparison", "trend", "location"]
Estimator = Literal["mean", "every", "peak"]
AS_PRINTED = "as printed"
_THEOREMS = ("identity", "bound")
_FOUND = ("comparison", "trend", "location")  # what noise must not pass as


class Printed(NamedTuple):
    """What the paper prints: in words, and where it has them mean, standard deviation and number of units."""

    text: str
    mean: float | None = None
    sd: float | None = None
    n: int | None = None


class Change(NamedTuple):
    """What was changed of a claim's measurement or criterion after a look at a result."""

    date: str
    change: str
    commit: str | None = None


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger.

    kind: identities and bounds are theorems, which each value must meet, in every profile; the others are measurements,
    judged by the 95% interval over independent units.
    unit: what was drawn or trained on its own, a run or an image.  measure: the one number that each unit gives.
    estimator: the mean over the units; the mean of every group, as at "every width"; or a peak, whose place one half of
    the units choose and the others judge.  revision: of the estimator; numbers of another one are not judged.
    accept: (low, high), None where open, or None where nothing is judged.  because: why this range.
    nothing: the measure where there is nothing to find.  runs: how many units the paper profile needs.
    reading: how the paper is read where it is not as printed.

    >>> load()["chicchi.method.inverse"].theorem
    True
    """

    id: str
    where: str
    claim: str
    kind: Kind
    unit: str
    measure: str
    printed: Printed
    accept: Accept | None
    because: str
    nothing: float | None
    runs: int | None
    estimator: Estimator
    revision: int
    reading: str
    history: tuple[Change, ...]

    @property
    def theorem(self) -> bool:
        """Whether it is an identity or a proven bound, which only an error could break."""
        return self.kind in _THEOREMS

    def holds(self, value: float) -> bool:
        """Whether a number meets the criterion; any does where there is none."""
        low, high = self.accept or (None, None)
        return (low is None or value >= low) and (high is None or value <= high)


def load(path: Path | None = None) -> Mapping[str, Claim]:
    """The ledger by id, in its order (the project's, or the one in the file `path`).

    Raises ValueError, which names line and claim, for what is no list of entries in YAML, for missing, unknown or
    repeated fields, for a second entry of one id, and for values that a field does not take: a criterion that is not
    null or two finite bounds in order, a theorem without one, a comparison, trend or location without the number that
    says that there is nothing, or with a criterion that this number meets with room to spare.

    >>> load()["giambagli.perceptron.eigenvalues"].printed.mean
    0.82
    """
    path = path or resource("book/claims.yml")
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: Path, _changed: int) -> Mapping[str, Claim]:
    try:
        entries = _entries(path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no YAML in UTF-8: {in_one_line(error)}") from None
    ledger: dict[str, Claim] = {}
    for line, entry in entries:
        name = f" ({entry['id']})" if isinstance(entry, dict) and "id" in entry else ""
        try:
            claim = _claim(entry)
            if claim.id in ledger:
                raise ValueError("there is an entry of this id before.")
        except ValueError as error:
            raise ValueError(f"{path.name}, line {line}{name}: {error}") from None
        ledger[claim.id] = claim
    return MappingProxyType(ledger)


def _entries(path: Path) -> list[tuple[int, Any]]:
    """The line of each entry, from 1, and what it says."""
    loader = yaml.SafeLoader(path.read_text(encoding="utf-8-sig"))
    node = loader.get_single_node()
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError(f"{path.name} is a list of claims, each a table with its fields.")
    found: list[tuple[int, Any]] = []
    for child in node.value:
        line = child.start_mark.line + 1
        if isinstance(child, yaml.MappingNode):
            keys = [key.value for key, _ in child.value]
            if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
                raise ValueError(f"{path.name}, line {line}: the field {', '.join(twice)} stands there twice.")
        found.append((line, loader.construct_document(child)))
    return found


def _claim(entry: Any) -> Claim:
    given = _fields(entry, "an entry", _NEEDED, _OPTIONAL)
    kind, estimator = _one_of(given, "kind", Kind), _one_of(given, "estimator", Estimator, "mean")
    accept, nothing = _accept(given["accept"]), _number(given, "nothing")
    if kind in _THEOREMS and (accept is None or estimator != "mean" or nothing is not None):
        raise ValueError(f"a {kind} has an accept, which every value meets, and neither estimator nor nothing.")
    if accept and kind in _FOUND and nothing is None:
        raise ValueError(
            f"a {kind} says what is measured where there is nothing to find: nothing: 0, or 1 for a ratio."
        )
    if accept and nothing is not None and _inside(nothing, accept):
        raise ValueError(f"accept {list(accept)} holds {nothing:g}, which is what is measured where there is nothing.")
    texts = {name: _text(given, name) for name in ("id", "where", "claim", "unit", "measure", "because")}
    return Claim(
        **texts,
        kind=kind,
        printed=_printed(given["printed"]),
        accept=accept,
        nothing=nothing,
        runs=_whole(given, "runs"),
        estimator=estimator,
        revision=_whole(given, "revision") or 1,
        reading=_text(given, "reading") if "reading" in given else AS_PRINTED,
        history=tuple(_change(each) for each in given.get("history") or ()),
    )


_NEEDED = {"id", "where", "claim", "kind", "unit", "measure", "printed", "accept", "because"}
_OPTIONAL = {"nothing", "runs", "estimator", "revision", "reading", "history"}


def _fields(given: Any, what: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f"{what} is a table with its fields, not {given!r:.60}.")
    if lacking := sorted(needed - set(given)):
        raise ValueError(f"{what} lacks {', '.join(lacking)}.")
    if unknown := sorted(str(name) for name in set(given) - needed - optional):
        raise ValueError(f"{what} has no field {', '.join(unknown)}: there are {', '.join(sorted(needed | optional))}.")
    return given


def _text(given: Mapping[str, Any], name: str) -> str:
    text = given[name]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} is {text!r}: words are needed, in quotes where they look like a number.")
    return text.strip()


def _one_of(given: Mapping[str, Any], name: str, of: Any, otherwise: str | None = None) -> Any:
    value = given.get(name, otherwise)
    if value not in get_args(of):
        raise ValueError(f"{name} is {value!r}: it is one of {', '.join(get_args(of))}.")
    return value


def _number(given: Mapping[str, Any], name: str) -> float | None:
    value = given.get(name)
    if value is not None and not _finite(value):
        raise ValueError(f"{name} is {value!r}: a finite number is needed.")
    return None if value is None else float(value)


def _whole(given: Mapping[str, Any], name: str) -> int | None:
    value = given.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{name} is {value!r}: a whole number of at least one is needed.")
    return value


def _accept(given: Any) -> Accept | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2 or not all(end is None or _finite(end) for end in given):
        raise ValueError(f"accept is {given!r}: it is null or [low, high], null where open.")
    low, high = (None if end is None else float(end) for end in given)
    if low is None and high is None:
        raise ValueError("accept is open at both ends, which nothing fails: write null where nothing is judged.")
    if low is not None and high is not None and low > high:
        raise ValueError(f"accept is {given!r}, which accepts nothing.")
    return low, high


def _inside(value: float, accept: Accept) -> bool:
    low, high = accept
    return (low is None or value > low) and (high is None or value < high)


def _printed(given: Any) -> Printed:
    if not isinstance(given, dict):
        return Printed(str(given))
    numbers = _fields(given, "printed", {"text"}, {"mean", "sd", "n"})
    found = Printed(str(numbers["text"]), _number(numbers, "mean"), _number(numbers, "sd"), _whole(numbers, "n"))
    if found.mean is None and (found.sd is not None or found.n is not None):
        raise ValueError("printed has sd or n without a mean.")
    return found


def _change(given: Any) -> Change:
    words = _fields(given, "a change of the history", {"date", "change"}, {"commit"})
    commit = _text(words, "commit") if "commit" in words else None
    return Change(str(words["date"]), _text(words, "change"), commit)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
