"""What noise makes of each claim: no comparison, trend or location may pass on nothing, and what the paper prints may.

Units are drawn with the claim's own number, criterion and estimator.  Intervals are taken of all draws at once, by
Student's quantile; that verdicts are what these say is tried on some of the draws.
"""

from functools import partial

import numpy as np
import pytest
from scipy import stats

from spectral_lens import claims
from spectral_lens.claims import Measured, judge, verdicts
from spectral_lens.claims.estimators import peak
from spectral_lens.claims.statistics import bootstrapped

DRAWS, TRIED = 1000, 30
WIDTHS, SETTINGS = 5, 8  # groups of "at every", settings of a grid
LEDGER = claims.load()
SEARCHED = [each for each in LEDGER.values() if each.nothing is not None and each.accept is not None]
PRINTED = [each for each in LEDGER.values() if each.printed.sd and each.accept and not each.theorem]


def units(claim):
    return max(claim.runs or 3, 8 if claim.estimator == "peak" else 2)


def drawn(claim, centre, scale, draws):
    """Numbers of the units around a centre, (draws, units, groups)."""
    draw, runs = np.random.default_rng(len(claim.id)), units(claim)
    if claim.estimator == "peak":
        curves = draw.normal(0, 1, (draws, runs, SETTINGS)) + draw.normal(0, 3, (draws, runs, 1))
        found = [list(peak(each.tolist(), seed=k).groups.values()) for k, each in enumerate(curves)]
        return centre + scale * np.moveaxis(found, 1, 2)
    if claim.estimator == "every":  # a unit's groups may go together
        return centre + scale * (draw.normal(0, 1, (draws, runs, WIDTHS)) + draw.normal(0, 1, (draws, runs, 1)))
    return centre + scale * draw.normal(0, 1, (draws, runs, 1))


def judged(claim, values):
    """Whether the verdict on the numbers of one draw is that they reproduce the claim."""
    groups = {f"group {k}": column.tolist() for k, column in enumerate(values.T)}
    given = groups if claim.estimator != "mean" else groups["group 0"]
    measured = Measured.of(claim.id, given, "paper", revision=claim.revision)
    return judge(claim, measured).verdict.startswith("reproduced")


def passes(claim, centre, scale, draws):
    """The share of draws that come out as reproduced."""
    values = drawn(claim, centre, scale, draws)
    if claim.unit == "image":  # resampled, each for itself
        return np.mean([judged(claim, each) for each in values])
    runs = values.shape[1]
    half = stats.t.ppf(0.975, runs - 1) * values.std(1, ddof=1) / np.sqrt(runs)
    low, high = claim.accept
    inside = np.full(len(values), True)
    for bound, end, sign in ((low, values.mean(1) - half, 1), (high, values.mean(1) + half, -1)):
        if bound is not None:
            inside &= (sign * end >= sign * bound).all(1)
    for k in (*inside.nonzero()[0][:TRIED], *(~inside).nonzero()[0][:TRIED]):
        assert judged(claim, values[k]) == inside[k]
    return inside.mean()


def spread(claim):
    """As large as the distance that the criterion keeps from nothing, or any where it keeps none."""
    return max(min(abs(bound - claim.nothing) for bound in claim.accept if bound is not None), 1e-3)


def situation(claim):
    """What the share that passes depends on: units, estimator, and the criterion in units of the spread."""
    bounds = (None if b is None else round((b - claim.nothing) / spread(claim), 2) for b in claim.accept)
    return claim.estimator, claim.unit == "image", units(claim), *bounds


ALIKE = {}
for each in SEARCHED:
    ALIKE.setdefault(situation(each), []).append(each)


def test_every_claim_that_searches_says_what_nothing_is():
    assert len(SEARCHED) > 20
    kinds = ("comparison", "trend", "location")
    assert {each.id for each in LEDGER.values() if each.kind in kinds and each.accept} <= {c.id for c in SEARCHED}


@pytest.mark.parametrize("alike", ALIKE.values(), ids=lambda alike: f"{alike[0].id} and {len(alike) - 1} more")
def test_noise_does_not_pass(alike, monkeypatch):
    """Exchangeable units around the value that says that there is nothing."""
    monkeypatch.setattr(verdicts, "bootstrapped", partial(bootstrapped, draws=400))  # enough for the ends of 95%
    assert passes(alike[0], alike[0].nothing, spread(alike[0]), DRAWS) <= 0.05


@pytest.mark.parametrize("claim", PRINTED, ids=lambda claim: claim.id)
def test_what_the_paper_prints_passes(claim):
    """Power: units as the paper has them, with its mean and standard deviation, in four of five draws at least."""
    assert passes(claim, claim.printed.mean, claim.printed.sd, DRAWS) >= 0.8
