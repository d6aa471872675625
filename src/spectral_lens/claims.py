"""A measured number against what the paper claims.

The ledger book/claims.yml holds every claim with its criterion; a chapter measures one by `measure(id, values)`, which
shows paper, here and verdict, and leaves the same as data in the output's metadata, where the records take it from.
"""

import html
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any, Literal

import yaml

from spectral_lens.resources import resource

Verdict = Literal["reproduced", "not reproduced", "quick only", "no criterion"]
_FIELDS = {"id", "where", "claim", "measure", "printed", "accept"}
_TINY = 1e-6  # criteria up to here ask "is it zero?": rounding errors, which differ from machine to machine


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger; `accept` is (low, high) for the mean, None where open or where nothing is judged."""

    id: str
    where: str
    claim: str
    measure: str
    printed: str
    accept: tuple[float | None, float | None] | None
    scale: Literal["paper", "any"] = "paper"

    def holds(self, value: float) -> bool:
        """Whether `value` meets the criterion."""
        low, high = self.accept or (None, None)
        return (low is None or value >= low) and (high is None or value <= high)


@dataclass(frozen=True)
class Measured:
    """A claim's measured value: mean and sample standard deviation (None for one run) of n runs, and the verdict."""

    id: str
    value: float
    sd: float | None
    n: int
    printed: str
    accept: tuple[float | None, float | None] | None
    scale: Literal["paper", "any"]
    profile: str
    verdict: Verdict

    @property
    def here(self) -> str:
        """The value as text, three significant digits; a rounding error only as being below its criterion."""
        if _rounding(self.accept) and self.verdict == "reproduced":
            text = f"below {(self.accept or (0, 0))[1]:.0e}"
        else:
            text = f"{self.value:.3g}" + ("" if self.sd is None else f" +- {self.sd:.1g}")
        return text + (f" ({self.n} runs)" if self.n > 1 else "")

    def __str__(self) -> str:
        return f"{self.id}: paper {self.printed}, here {self.here}: {self.verdict}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """The line and the card that a page shows, and the claim as data in the output's metadata."""
        entry = load()[self.id]
        rows = [("claim", entry.claim), ("measure", entry.measure), ("paper", f"{self.printed} ({entry.where})")]
        rows += [("here", self.here), ("verdict", self.verdict)]
        body = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        kind = self.verdict.replace(" ", "-")
        card = (
            f'<table class="claim claim-{kind}"><caption>{html.escape(self.id)}</caption><tbody>{body}</tbody></table>'
        )
        data = asdict(self) | {"accept": None if self.accept is None else list(self.accept)}
        return {"text/plain": str(self), "text/html": card}, {"spectral_lens": {"claim": data}}


def measure(id: str, values: Any) -> Measured:
    """The claim `id` judged by the mean of `values`: a number, or a list, array or tensor with one number per run.

    A claim whose criterion needs the paper's data, size and number of runs is shown without being judged
    ("quick only") unless the environment variable SPECTRAL_LENS_PROFILE is "paper"; entries with `scale: any` are
    always judged. Raises ValueError for an unknown claim, for no values, and for values that are not finite.
    """
    ledger = load()
    if id not in ledger:
        close = get_close_matches(id, ledger, n=3)
        raise ValueError(
            f"The ledger has no claim {id!r}" + (f": did you mean {' or '.join(close)}?" if close else ".")
        )
    claim, numbers = ledger[id], _numbers(id, values)
    value = fmean(numbers)
    profile = os.environ.get("SPECTRAL_LENS_PROFILE", "quick")
    if claim.accept is None:
        verdict: Verdict = "no criterion"
    elif profile != "paper" and claim.scale != "any":
        verdict = "quick only"
    else:
        verdict = "reproduced" if claim.holds(value) else "not reproduced"
    sd = stdev(numbers) if len(numbers) > 1 else None
    return Measured(id, value, sd, len(numbers), claim.printed, claim.accept, claim.scale, profile, verdict)


def load(path: Path | None = None) -> Mapping[str, Claim]:
    """The ledger by id, in its order (the project's, or the one in the file `path`).

    Raises ValueError for an entry with an unknown or missing field, a second entry of one id, or an `accept` that is
    not null or two bounds in order.
    """
    path = path or resource("book/claims.yml")
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: Path, _changed: int) -> Mapping[str, Claim]:
    ledger: dict[str, Claim] = {}
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        claim = _claim(entry)
        if claim.id in ledger:
            raise ValueError(f"The ledger has two entries {claim.id}.")
        ledger[claim.id] = claim
    return MappingProxyType(ledger)


def _claim(entry: dict[str, Any]) -> Claim:
    name = entry.get("id", entry)
    if wrong := _FIELDS - set(entry) | set(entry) - _FIELDS - {"scale"}:
        raise ValueError(f"The claim {name} has missing or unknown fields: {', '.join(sorted(wrong))}.")
    accept, scale = entry["accept"], entry.get("scale", "paper")
    if scale not in ("paper", "any"):
        raise ValueError(f"The claim {name} has scale {scale!r}: it is 'any' or 'paper' (the default).")
    if accept is not None:
        if not isinstance(accept, list) or len(accept) != 2 or not all(a is None or _is_number(a) for a in accept):
            raise ValueError(f"The claim {name} has accept {accept!r}: it is null or [low, high], null where open.")
        low, high = (None if a is None else float(a) for a in accept)
        if low is not None and high is not None and low > high:
            raise ValueError(f"The claim {name} accepts nothing: {accept!r}.")
        accept = (low, high)
    texts = {field: str(entry[field]) for field in _FIELDS - {"accept"}}
    return Claim(**texts, accept=accept, scale=scale)


def _numbers(id: str, values: Any) -> list[float]:
    """The values as a flat list of finite numbers."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    values = [values] if not isinstance(values, Sequence) or isinstance(values, str) else list(values)
    values = [v.tolist() if hasattr(v, "tolist") else v for v in values]
    if not values or not all(_is_number(v) for v in values):
        raise ValueError(f"The claim {id} takes one number, or one per run, not {values!r:.80}.")
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"The claim {id} was measured as {values!r:.80}: not finite.")
    return [float(v) for v in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rounding(accept: tuple[float | None, float | None] | None) -> bool:
    return accept is not None and accept[0] is None and accept[1] is not None and 0 <= accept[1] <= _TINY
