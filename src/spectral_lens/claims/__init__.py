"""A measured number against what the paper claims.

The ledger book/claims.yml holds every claim with its criterion; a chapter measures one by `measure(id, values)`, which
leaves the values as data in the output's metadata, where the records take them from. Verdict and card are made from
the data and the ledger whenever somebody looks: a changed word or criterion needs no run.
"""

import html
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any, Literal

import yaml

from spectral_lens._runtime.resources import resource

__all__ = ["TINY", "Claim", "Measured", "Verdict", "load", "measure"]

Verdict = Literal["reproduced", "not reproduced", "quick only", "no criterion"]
_FIELDS = {"id", "where", "claim", "measure", "printed", "accept"}
TINY = 1e-6  # numbers up to here answer "is it zero?": rounding errors, which differ from machine to machine


@dataclass(frozen=True)
class Claim:
    """One entry of the ledger; `accept` is (low, high) for the mean, None where open or where nothing is judged.

    >>> Claim("a.b", "p. 1", "it is small", "its size", "0.1", (None, 0.2)).holds(0.1)
    True
    """

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
    """A claim's measured values, one per independent run, with their mean and sample standard deviation (None for one).

    A record made before values were kept has mean, deviation and number of runs only: `values` is then empty.

    >>> claim = Claim("a.b", "p. 1", "it is small", "its size", "0.1", (None, 0.2))
    >>> measured = Measured.of("a.b", [0.1, 0.12], "paper")
    >>> measured.against(claim), measured.verdict(claim)
    ('0.11 +- 0.01 (2 runs)', 'reproduced')
    """

    id: str
    values: tuple[float, ...]
    profile: str
    value: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, id: str, values: Sequence[float], profile: str) -> "Measured":
        """The claim measured as `values`, in a run of that profile."""
        sd = stdev(values) if len(values) > 1 else None
        return cls(id, tuple(values), profile, fmean(values), sd, len(values))

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Measured":
        """What an output's metadata hold (see `data`)."""
        if "values" in data:
            return cls.of(data["id"], data["values"], data["profile"])
        return cls(data["id"], (), data["profile"], data["value"], data["sd"], data["n"])

    @property
    def data(self) -> dict[str, Any]:
        """What a record keeps."""
        return {"id": self.id, "values": list(self.values), "profile": self.profile}

    @property
    def here(self) -> str:
        """The measured number as text, three significant digits; a rounding error only as being one."""
        return self._text(f"below {TINY:.0e}" if abs(self.value) < TINY else None)

    def against(self, claim: Claim) -> str:
        """The same beside its criterion: of a rounding error that it meets, only that it does."""
        zero = _rounding(claim.accept) and self.verdict(claim) == "reproduced"
        return self._text(f"below {claim.accept[1]:.0e}" if zero and claim.accept else None)

    def verdict(self, claim: Claim) -> Verdict:
        """Whether the mean meets the claim's criterion.

        One that needs the paper's data, size and number of runs is "quick only" in any profile but "paper"; entries
        with `scale: any` are always judged.
        """
        if claim.accept is None:
            return "no criterion"
        if self.profile != "paper" and claim.scale != "any":
            return "quick only"
        return "reproduced" if claim.holds(self.value) else "not reproduced"

    def card(self, claim: Claim) -> str:
        """The table (HTML) that a page shows."""
        verdict = self.verdict(claim)
        rows = [("claim", claim.claim), ("measure", claim.measure), ("paper", f"{claim.printed} ({claim.where})")]
        rows += [("here", self.against(claim)), ("verdict", verdict)]
        body = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        kind = f"claim claim-{verdict.replace(' ', '-')}"
        return f'<table class="{kind}"><caption>{html.escape(self.id)}</caption><tbody>{body}</tbody></table>'

    def __str__(self) -> str:
        claim = load()[self.id]
        return f"{self.id}: paper {claim.printed}, here {self.against(claim)}: {self.verdict(claim)}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        """The measured number as text, the card, and the values as data in the output's metadata."""
        texts = {"text/plain": f"{self.id}: {self.here}", "text/html": self.card(load()[self.id])}
        return texts, {"spectral_lens": {"claim": self.data}}

    def _text(self, zero: str | None) -> str:
        text = zero or f"{self.value:.3g}" + ("" if self.sd is None else f" +- {self.sd:.1g}")
        return text + (f" ({self.n} runs)" if self.n > 1 else "")


def measure(id: str, values: Any) -> Measured:
    """The claim `id` measured as `values`: a number, or a list, array or tensor with one number per independent run.

    The profile is the environment variable SPECTRAL_LENS_PROFILE ("quick" where it is not set). Raises ValueError for
    an unknown claim, for no values, and for values that are not finite.

    >>> measure("chicchi.method.inverse", [1e-16, 3e-16]).here
    'below 1e-06 (2 runs)'
    """
    ledger = load()
    if id not in ledger:
        close = get_close_matches(id, ledger, n=3)
        raise ValueError(
            f"The ledger has no claim {id!r}" + (f": did you mean {' or '.join(close)}?" if close else ".")
        )
    return Measured.of(id, _numbers(id, values), os.environ.get("SPECTRAL_LENS_PROFILE", "quick"))


def load(path: Path | None = None) -> Mapping[str, Claim]:
    """The ledger by id, in its order (the project's, or the one in the file `path`).

    Raises ValueError for a file that is no list in YAML, an entry with an unknown or missing field, a second entry of
    one id, or an `accept` that is not null or two finite bounds in order.

    >>> load()["chicchi.method.inverse"].scale
    'any'
    """
    path = path or resource("book/claims.yml")
    return _load(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _load(path: Path, _changed: int) -> Mapping[str, Claim]:
    ledger: dict[str, Claim] = {}
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is no YAML in UTF-8: {' '.join(str(error).split())}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path.name} is a list of claims, each a table with its fields.")
    for entry in entries:
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
        if not isinstance(accept, list) or len(accept) != 2 or not all(a is None or _is_finite(a) for a in accept):
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


def _is_finite(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value)


def _rounding(accept: tuple[float | None, float | None] | None) -> bool:
    return accept is not None and accept[0] is None and accept[1] is not None and 0 <= accept[1] <= TINY
