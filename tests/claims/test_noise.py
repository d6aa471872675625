"""What noise makes of each claim: no comparison, trend or location may pass on nothing, and what the paper prints may.

Each draw is judged as a chapter's numbers are, with the claim's own number of units, criterion and estimator.
"""

from functools import partial

import numpy as np
import pytest

from spectral_lens import claims
from spectral_lens.claims import Measured, judge, verdicts
from spectral_lens.claims.estimators import peak
from spectral_lens.claims.statistics import bootstrapped

DRAWS = 1000
WIDTHS, SETTINGS = 5, 8  # groups of "at every", settings of a grid
LEDGER = claims.load()
SEARCHED = [each for each in LEDGER.values() if each.nothing is not None and each.accept is not None]
PRINTED = [each for each in LEDGER.values() if each.printed.sd and each.accept and not each.theorem]


def units(claim):
    return max(claim.runs or 3, 8 if claim.estimator == "peak" else 2)


def drawn(claim, centre, scale, draw, seed):
    """Numbers of the units around a centre, in the form that the claim's estimator takes."""
    runs = units(claim)
    if claim.estimator == "peak":
        curves = draw.normal(0, 1, (runs, SETTINGS)) + draw.normal(0, 3, (runs, 1))
        return {
            name: (centre + scale * np.array(v)).tolist() for name, v in peak(curves.tolist(), seed=seed).groups.items()
        }
    if claim.estimator == "every":
        together = draw.normal(0, 1, (runs, 1))  # a unit's groups may go together
        values = centre + scale * (draw.normal(0, 1, (runs, WIDTHS)) + together)
        return {f"group {k}": values[:, k].tolist() for k in range(WIDTHS)}
    return (centre + scale * draw.normal(0, 1, runs)).tolist()


def passes(claim, centre, scale, draws):
    """The share of draws that come out as reproduced."""
    draw = np.random.default_rng(len(claim.id))
    found = 0
    for seed in range(draws):
        values = drawn(claim, centre, scale, draw, seed)
        measured = Measured.of(claim.id, values, "paper", revision=claim.revision)
        found += judge(claim, measured).verdict.startswith("reproduced")
    return found / draws


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
    assert passes(claim, claim.printed.mean, claim.printed.sd, 200) >= 0.8
