"""`measure`: how a chapter tells what it found of a claim."""

import math
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from spectral_lens.claims.cards import card
from spectral_lens.claims.ledger import load
from spectral_lens.claims.measured import Measured

__all__ = ["Result", "measure"]


class Result(Measured):
    """A measured claim as the last line of a cell: its number, the card, and the numbers as data in the record."""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, str], dict[str, Any]]:
        texts = {"text/plain": f"{self.id}: {self.here}", "text/html": card(load()[self.id], self)}
        return texts, {"spectral_lens": {"claim": self.data}}


def measure(id: str, values: Any, *, reading: str = "") -> Result:
    """The claim `id` measured as `values`, one number for each independent unit.

    values: a number, or a list, array or tensor of them; of a claim that holds "at every" one of several groups a
    mapping from each group's name to its numbers.  reading: how the paper was read, where not as the ledger says; each
    reading of a claim is measured once.
    The profile is the environment variable SPECTRAL_LENS_PROFILE ("quick" where it is not set).  Raises ValueError for
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
    groups = values if isinstance(values, Mapping) else {"": values}
    numbers = {str(name): _numbers(id, each) for name, each in groups.items()}
    if not numbers:
        raise ValueError(f"The claim {id} takes one number, or one per run, not an empty mapping.")
    profile = os.environ.get("SPECTRAL_LENS_PROFILE", "quick")
    found = Measured.of(id, numbers, profile, reading=reading, revision=ledger[id].revision)
    return Result(found.id, found.groups, found.profile, found.reading, found.revision)


def _numbers(id: str, values: Any) -> list[float]:
    """The values as a flat list of finite numbers."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    values = [values] if not isinstance(values, Sequence) or isinstance(values, str) else list(values)
    values = [v.tolist() if hasattr(v, "tolist") else v for v in values]
    if not values or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        raise ValueError(f"The claim {id} takes one number, or one per run, not {values!r:.80}.")
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"The claim {id} was measured as {values!r:.80}: not finite.")
    return [float(v) for v in values]
