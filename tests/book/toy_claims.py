"""Claims and measurements for the tests of the scorecard, independent of the project's ledger."""

from collections.abc import Mapping, Sequence
from typing import Any

from spectral_lens import claims
from spectral_lens.book.scorecard_rows import Reading
from spectral_lens.claims.ledger import AS_PRINTED, Printed


def claim(id: str = "chicchi.toy.gain", **changes: Any) -> claims.Claim:
    """A claim whose paper prints 0.82 +- 0.02 and that accepts 0.78 to 0.88."""
    given: dict[str, Any] = {
        "where": "Fig. 1", "claim": "light < glass & bends", "kind": "value", "unit": "run", "measure": "accuracy",
        "printed": Printed("0.82 +- 0.02", 0.82, 0.02, 10), "accept": (0.78, 0.88), "because": "three deviations",
        "nothing": None, "runs": None, "estimator": "mean", "revision": 1, "reading": AS_PRINTED, "history": (),
    }  # fmt: skip
    return claims.Claim(id, **(given | changes))


def reading(
    of: claims.Claim, values: Sequence[float] | Mapping[str, Sequence[float]], name: str = "", **about: Any
) -> Reading:
    """What was measured of it in the paper profile."""
    measured = claims.Measured.of(of.id, values, about.pop("profile", "paper"), reading=name)
    about = {"chapter": "toy/lens"} | about
    return Reading(name or of.reading, measured, claims.judge(of, measured), **about)
