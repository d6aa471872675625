"""The verdict on a claim: its interval against what the ledger accepts.

A theorem, an identity or a proven bound, is met by every value or it fails.  Of a measurement the 95% interval of the
mean over independent units must lie inside the accepted range, of every group its own one; it is not reproduced where
one lies outside, and undecided otherwise.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from spectral_lens.claims.ledger import AS_PRINTED, Claim
from spectral_lens.claims.measured import Measured
from spectral_lens.claims.statistics import (
    Decision,
    UnitMean,
    at_every,
    bootstrapped,
    decision,
    prediction,
    units_to_decide,
)

__all__ = ["Judgement", "Verdict", "headline", "headlines", "judge", "lies"]

Verdict = Literal[
    "identity holds", "bound holds", "reproduced", "reproduced in another reading", "undecided", "not reproduced",
    "quick only", "no criterion",
]  # fmt: skip
_RESAMPLED = ("image",)  # units whose numbers are far from normal


class Judgement(NamedTuple):
    """A verdict and what it rests on.

    estimates: of each group.  deciding: the group that the verdict hangs on.  needs: how many units would decide an
    undecided claim, None where that cannot be said.  why: of what is undecided, the reason in words.
    predicted: where the mean of as many units lies with 95%, if the paper's runs and these are of one kind; None where
    the paper does not print mean, standard deviation and number.
    """

    verdict: Verdict
    estimates: Mapping[str, UnitMean]
    deciding: str
    needs: int | None = None
    why: str = ""
    predicted: tuple[float, float] | None = None

    @property
    def found(self) -> UnitMean:
        """The estimate of the group that the verdict hangs on."""
        return self.estimates[self.deciding]


def judge(claim: Claim, measured: Measured) -> Judgement:
    """The verdict on what was measured, by the ledger's entry.

    A measurement in any profile but "paper" is "quick only"; theorems are judged in all.

    >>> from dataclasses import replace
    >>> from spectral_lens.claims.ledger import load
    >>> claim = replace(load()["giambagli.perceptron.eigenvalues"], accept=(0.78, 0.88))
    >>> judge(claim, Measured.of(claim.id, [0.82, 0.84, 0.83], "paper")).verdict
    'reproduced'
    >>> judge(claim, Measured.of(claim.id, [0.82, 0.94, 0.73], "paper")).why
    '20 runs would decide, if mean and scatter stayed'
    """
    estimates = _estimates(claim, measured)
    if claim.accept is None:
        return Judgement("no criterion", estimates, next(iter(estimates)))
    if claim.theorem:
        return _theorem(claim, measured, estimates)
    deciding = _deciding(estimates, claim)
    if measured.profile != "paper":
        return Judgement("quick only", estimates, deciding)
    if measured.revision != claim.revision or (claim.estimator != "mean" and not _grouped(measured)):
        why = "this was measured by an earlier estimator: it is to be measured anew"
        return Judgement("undecided", estimates, deciding, why=why)
    predicted = _predicted(claim, estimates)
    verdict = at_every(list(estimates.values()), claim.accept)
    if verdict == "inside":
        printed = measured.reading_of(claim) == AS_PRINTED
        reproduced: Verdict = "reproduced" if printed else "reproduced in another reading"
        return Judgement(reproduced, estimates, deciding, predicted=predicted)
    if verdict == "outside":
        return Judgement("not reproduced", estimates, deciding, predicted=predicted)
    needs, why = _needed(claim, estimates)
    return Judgement("undecided", estimates, deciding, needs, why, predicted)


def lies(claim: Claim, judged: Judgement) -> Decision | None:
    """Where what was measured lies, whether or not it gets a verdict: of every group; None where nothing is judged.

    A theorem that holds lies inside.  Of what was measured with other settings than the paper's this is all there is.

    >>> from dataclasses import replace
    >>> from spectral_lens.claims.ledger import load
    >>> claim = replace(load()["giambagli.perceptron.eigenvalues"], accept=(0.78, 0.88))
    >>> judged = judge(claim, Measured.of(claim.id, [0.82, 0.84, 0.83], "custom"))
    >>> judged.verdict, lies(claim, judged)
    ('quick only', 'inside')
    """
    if claim.accept is None:
        return None
    if claim.theorem:
        return "outside" if judged.verdict == "not reproduced" else "inside"
    return at_every(list(judged.estimates.values()), claim.accept)


def headline(judged: Sequence[Judgement]) -> Judgement:
    """The verdict on a claim that was read in several ways: the one as printed, unless only another one reproduces.

    judged: the reading as printed first, where there is one.  Raises ValueError for none.

    >>> one, other = (Judgement(verdict, {}, "") for verdict in ("not reproduced", "reproduced in another reading"))
    >>> headline([one, other]).verdict, headline([one]).verdict
    ('reproduced in another reading', 'not reproduced')
    """
    if not judged:
        raise ValueError("there is nothing to judge: at least one reading is needed.")
    good = [each for each in judged if each.verdict.startswith("reproduced")]
    return next((each for each in good if each.verdict == "reproduced"), good[0] if good else judged[0])


def headlines(ledger: Mapping[str, Claim], measured: Iterable[Measured]) -> dict[str, tuple[Measured, Judgement]]:
    """Each claim that was measured and stands in the ledger, in the reading that its headline comes from.

    >>> from spectral_lens.claims.ledger import load
    >>> list(headlines(load(), [Measured.of("chicchi.method.inverse", [1e-16], "quick")]))
    ['chicchi.method.inverse']
    """
    readings: dict[str, list[Measured]] = {}
    for each in measured:
        if each.id in ledger:
            readings.setdefault(each.id, []).append(each)
    found = {}
    for id, several in readings.items():
        several.sort(key=lambda each: each.reading_of(ledger[each.id]) != AS_PRINTED)
        judged = [judge(ledger[id], each) for each in several]
        best = headline(judged)
        found[id] = next(pair for pair in zip(several, judged, strict=True) if pair[1] is best)
    return found


def _estimates(claim: Claim, measured: Measured) -> Mapping[str, UnitMean]:
    """By group; of images by the bootstrap, with the claim's own seed: the same numbers get the same verdict."""
    found = measured.estimates
    if claim.unit not in _RESAMPLED or claim.theorem:
        return found
    seed = zlib.crc32(claim.id.encode())
    return {
        name: bootstrapped(measured.groups[name], seed=seed) if each.n > 1 and name in measured.groups else each
        for name, each in found.items()
    }


def _theorem(claim: Claim, measured: Measured, estimates: Mapping[str, UnitMean]) -> Judgement:
    holds: Verdict = "identity holds" if claim.kind == "identity" else "bound holds"
    verdict = holds if all(map(claim.holds, measured.numbers)) else "not reproduced"
    return Judgement(verdict, estimates, next(iter(estimates)))


def _grouped(measured: Measured) -> bool:
    return bool(measured.groups) and set(measured.groups) != {""}


def _deciding(estimates: Mapping[str, UnitMean], claim: Claim) -> str:
    """The group that is worst off: outside before undecided before inside, and of these the one nearest to an end."""
    order: dict[Decision, int] = {"outside": 0, "undecided": 1, "inside": 2}
    low, high = claim.accept or (None, None)

    def room(name: str) -> tuple[int, float]:
        found = estimates[name]
        ends = [found.mean - low] if low is not None else []
        ends += [high - found.mean] if high is not None else []
        return order[decision(found, (low, high))], min(ends)

    return min(estimates, key=room)


def _needed(claim: Claim, estimates: Mapping[str, UnitMean]) -> tuple[int | None, str]:
    assert claim.accept is not None
    open_ = [each for each in estimates.values() if decision(each, claim.accept) == "undecided"]
    if any(each.n == 1 for each in open_):
        return None, f"one {claim.unit} says nothing of the scatter"
    needs = [units_to_decide(each, claim.accept) for each in open_]
    if None in needs:
        return None, "the mean lies so near to an end of the range that no number of units would decide"
    most = max(need for need in needs if need is not None)
    return most, f"{most} {claim.unit}s would decide, if mean and scatter stayed"


def _predicted(claim: Claim, estimates: Mapping[str, UnitMean]) -> tuple[float, float] | None:
    mean, sd, n = claim.printed[1:]
    if mean is None or sd is None or n is None or n < 2 or len(estimates) > 1:
        return None
    return prediction(mean, sd, n, next(iter(estimates.values())).n)
