"""What was measured of a claim: one number for each independent unit, as a record keeps it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from types import MappingProxyType
from typing import Any

from spectral_lens.claims.ledger import Claim
from spectral_lens.claims.statistics import UnitMean, estimate, of_summary

__all__ = ["TINY", "Measured", "plain"]

TINY = 1e-6  # numbers up to here answer "is it zero?": rounding errors, which differ from machine to machine


@dataclass(frozen=True)
class Measured:
    """A claim's numbers, one per independent unit, in a run of a profile.

    groups: the units by group ("N2 = 20", "N2 = 1000"), of a claim that holds "at every" one; else one group "".
    A record made before values were kept has mean, deviation and number alone, in `summary`, and no groups.
    reading: how the paper was read, empty where as the ledger says.  revision: of the estimator, see `ledger.Claim`.

    >>> measured = Measured.of("a.b", [0.1, 0.12], "paper")
    >>> measured.here, measured.values
    ('0.11 +- 0.01 (2 runs)', (0.1, 0.12))
    >>> Measured.of("a.b", {"N2 = 20": [0.1, 0.12], "N2 = 80": [0.3, 0.32]}, "paper").here
    '0.11 to 0.31 in 2 groups (2 runs each)'
    """

    id: str
    groups: Mapping[str, tuple[float, ...]]
    profile: str
    reading: str = ""
    revision: int = 1
    summary: UnitMean | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, id: str, values: Sequence[float] | Mapping[str, Sequence[float]], profile: str, *, reading: str = "",
        revision: int = 1,
    ) -> "Measured":  # fmt: skip
        """The claim measured as `values`, in a run of that profile."""
        groups = values if isinstance(values, Mapping) else {"": values}
        return cls(id, MappingProxyType({k: tuple(each) for k, each in groups.items()}), profile, reading, revision)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> "Measured":
        """What an output's metadata hold (see `data`)."""
        if "value" in data:
            sd = math.nan if data["sd"] is None else data["sd"]
            return cls(data["id"], {}, data["profile"], summary=of_summary(data["value"], sd, data["n"]))
        values = data["groups"] if "groups" in data else data["values"]
        reading, revision = data.get("reading", ""), data.get("revision", 1)
        return cls.of(data["id"], values, data["profile"], reading=reading, revision=revision)

    @property
    def data(self) -> dict[str, Any]:
        """What a record keeps."""
        units = {"values": list(self.values)} if set(self.groups) == {""} else {"groups": self._lists()}
        named = ({"reading": self.reading} if self.reading else {}) | {"revision": self.revision}
        return {"id": self.id, **units, "profile": self.profile, **named}

    def _lists(self) -> dict[str, list[float]]:
        return {name: list(each) for name, each in self.groups.items()}

    @property
    def values(self) -> tuple[float, ...]:
        """All numbers, group after group."""
        return tuple(value for each in self.groups.values() for value in each)

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values, or where an old record kept no more, their mean."""
        return (self.summary.mean,) if self.summary else self.values

    def reading_of(self, claim: Claim) -> str:
        """How the paper was read: as noted, else as the ledger says."""
        return self.reading or claim.reading

    @property
    def estimates(self) -> dict[str, UnitMean]:
        """The mean of each group with Student's t interval."""
        if self.summary:
            return {"": self.summary}
        return {name: estimate(each) for name, each in self.groups.items()}

    @property
    def here(self) -> str:
        """The measured number as text, three significant digits; a rounding error only as being one."""
        if self.summary:
            return plain(self.summary.mean, self.summary.sd, self.summary.n)
        means = [fmean(each) for each in self.groups.values()]
        if len(means) == 1:
            values = self.values
            return plain(means[0], stdev(values) if len(values) > 1 else math.nan, len(values))
        few, many = (end(map(len, self.groups.values())) for end in (min, max))
        runs = f"{many} run{'s' * (many > 1)} each" if few == many else f"{few} to {many} runs each"
        return f"{min(means):.3g} to {max(means):.3g} in {len(means)} groups ({runs})"


def plain(mean: float, sd: float, n: int, zero: float = TINY) -> str:
    """Mean, standard deviation and number of runs as text; of a number below `zero` only that it is.

    >>> plain(0.12345, 0.0123, 10), plain(1e-9, float("nan"), 1)
    ('0.123 +- 0.01 (10 runs)', 'below 1e-06')
    """
    text = f"below {zero:.0e}" if abs(mean) < zero else f"{mean:.3g}" + (f" +- {sd:.1g}" if math.isfinite(sd) else "")
    return text + (f" ({n} runs)" if n > 1 else "")
