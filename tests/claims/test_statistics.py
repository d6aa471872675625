"""Estimates, intervals and decisions against scipy, against counting, and against noise, which must not pass."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spectral_lens.claims.statistics import (
    UnitMean,
    at_every,
    bootstrapped,
    decision,
    difference,
    estimate,
    of_summary,
    prediction,
    units_to_decide,
)

DRAWS = 1000
POSITIVE = (0.0, None)


def share(times):
    return sum(times) / len(times)


# ---- estimates


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
@settings(deadline=None)
def test_an_estimate_is_scipys(values):
    found = estimate(values)
    if found.sd < 1e-9:
        assert found.low == pytest.approx(found.high, abs=1e-6)
        return
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.low == pytest.approx(interval.low, rel=1e-9, abs=1e-9)
    assert found.high == pytest.approx(interval.high, rel=1e-9, abs=1e-9)
    assert of_summary(found.mean, found.sd, len(values)) == found


def test_one_unit_says_nothing_of_its_scatter():
    found = estimate([3.0])
    assert (found.mean, found.low, found.high, found.n) == (3.0, -math.inf, math.inf, 1)
    assert math.isnan(found.sd)
    assert decision(found, (0.0, None)) == "undecided"
    assert decision(found, (None, None)) == "inside"
    assert units_to_decide(found, (0.0, None)) is None


def test_units_that_are_all_the_same_have_no_width():
    assert estimate([0.78] * 3)[:4] == (0.78, 0.78, 0.78, 0.0), "no rounding of their sum"
    found = estimate([2.0] * 4)
    assert (found.low, found.high, found.sd) == (2.0, 2.0, 0.0)
    assert bootstrapped([2.0] * 4, seed=0) == found


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [1.0, math.inf]])
def test_what_is_no_list_of_numbers_is_refused(values):
    with pytest.raises(ValueError, match="finite numbers in one axis"):
        estimate(values)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    draw = np.random.default_rng(0)
    for n in (3, 10):
        held = [(found := estimate(draw.normal(5, 2, n).tolist())).low <= 5 <= found.high for _ in range(DRAWS)]
        assert share(held) == pytest.approx(0.95, abs=0.02)


def test_the_bootstrap_of_skewed_units_holds_the_mean_nearly_as_often():
    draw = np.random.default_rng(1)
    held = []
    for k in range(300):
        found = bootstrapped(draw.exponential(1, 60).tolist(), seed=k, draws=999)
        held.append(found.low <= 1 <= found.high)
    assert 0.90 <= share(held) <= 0.98
    with pytest.raises(ValueError, match="cannot be resampled"):
        bootstrapped([1.0], seed=0)
    two = bootstrapped([1.0, 2.0], seed=0)
    assert (two.mean, two.n) == (1.5, 2)
    assert 1.0 <= two.low < 1.5 < two.high <= 2.0
    values = draw.exponential(1, 30).tolist()
    assert bootstrapped(values, seed=4) == bootstrapped(values, seed=4, draws=10_000)
    assert bootstrapped(values, seed=4) == bootstrapped(values, seed=4)
    assert bootstrapped(values, seed=4) != bootstrapped(values, seed=5)


def test_a_replication_lies_where_it_is_predicted():
    draw = np.random.default_rng(2)
    held = []
    for _ in range(2 * DRAWS):
        printed, ours = draw.normal(0, 1, 5), draw.normal(0, 1, 8)
        low, high = prediction(printed.mean(), printed.std(ddof=1), 5, 8)
        held.append(low <= ours.mean() <= high)
    assert share(held) == pytest.approx(0.95, abs=0.015)
    for n, units in ((1, 3), (3, 0)):
        with pytest.raises(ValueError, match="two printed units"):
            prediction(0.0, 1.0, n, units)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 9), (30, 3)])
def test_a_difference_is_scipys(n, m):
    draw = np.random.default_rng(n)
    one, two = draw.normal(0, 1, n), draw.normal(3, 4, m)
    found = difference(estimate(one.tolist()), estimate(two.tolist()))
    expected = stats.ttest_ind(one, two, equal_var=False)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert found.mean == pytest.approx(one.mean() - two.mean())
    assert found.n == int(expected.df) + 1


def test_a_difference_of_one_unit_or_of_equal_ones():
    one, same = estimate([1.0]), estimate([2.0, 2.0, 2.0])
    assert difference(one, same)[:3] == difference(one, one._replace(mean=2.0))[:3] == (-1.0, -math.inf, math.inf)
    assert difference(one, same).n == 1
    assert difference(same, estimate([1.0, 1.0])) == (1.0, 1.0, 1.0, 0.0, 4)


# ---- decisions


@pytest.mark.parametrize(
    ("low", "high", "accept", "expected"),
    [
        (1.0, 2.0, (0.5, None), "inside"), (1.0, 2.0, (1.0, 2.0), "inside"), (1.0, 2.0, (None, 2.0), "inside"),
        (1.0, 2.0, (1.5, None), "undecided"), (1.0, 2.0, (None, 1.0), "undecided"), (1.0, 2.0, (1.2, 1.8), "undecided"),
        (1.0, 2.0, (2.1, None), "outside"), (1.0, 2.0, (None, 0.9), "outside"), (1.0, 2.0, (2.0, 3.0), "undecided"),
    ],
)  # fmt: skip
def test_decisions(low, high, accept, expected):
    assert decision(UnitMean(1.5, low, high, 1.0, 9), accept) == expected


def test_at_every_is_each():
    inside, outside, between = (UnitMean(m, m - 1, m + 1, 1.0, 5) for m in (3.0, -3.0, 0.5))
    assert at_every([inside, inside], POSITIVE) == "inside"
    assert at_every([inside, between], POSITIVE) == "undecided"
    assert at_every([inside, between, outside], POSITIVE) == "outside"
    with pytest.raises(ValueError, match="nothing to decide"):
        at_every([], POSITIVE)


@given(st.floats(-2, 2), st.floats(0.1, 3))
@settings(max_examples=40, deadline=None)
def test_the_units_that_would_decide(mean, sd):
    found, accept = of_summary(mean, sd, 4), (0.0, 5.0)
    many = units_to_decide(found, accept)
    if many is None:
        assert abs(mean) < 0.01
        return
    assert decision(of_summary(mean, sd, many), accept) != "undecided"
    assert many == 2 or decision(of_summary(mean, sd, many - 1), accept) == "undecided"


def test_no_number_of_units_decides_at_a_bound():
    assert units_to_decide(of_summary(0.0, 1.0, 5), POSITIVE) is None
    assert units_to_decide(of_summary(1e-9, 1.0, 5), POSITIVE) is None
    assert units_to_decide(of_summary(1.0, 1.0, 5), (None, None)) is None


@pytest.mark.parametrize("units", [3, 700_000, 999_999, 1_000_000])
def test_up_to_a_million_units_are_named(units):
    """Of a mean a little further from the bound than so many units' half width."""
    half = stats.t.ppf(0.975, units - 1) / math.sqrt(units)
    assert units_to_decide(of_summary(half * (1 + 1e-9), 1.0, 5), POSITIVE) == units
    beyond = units_to_decide(of_summary(half * (1 - 1e-9), 1.0, 5), POSITIVE)
    assert beyond == (None if units == 1_000_000 else units + 1)


# ---- many at once


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_noise_is_not_above_zero_at_every_width(parts):
    draw = np.random.default_rng(parts)
    passed = [
        at_every([estimate(draw.normal(0, 1, 10).tolist()) for _ in range(parts)], POSITIVE) == "inside"
        for _ in range(DRAWS)
    ]
    assert share(passed) <= 0.05
