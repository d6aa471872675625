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
    halves,
    of_summary,
    peak,
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
    values = draw.exponential(1, 30).tolist()
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
    assert difference(one, same)[:3] == (-1.0, -math.inf, math.inf)
    assert difference(same, estimate([1.0, 1.0]))[:4] == (1.0, 1.0, 1.0, 0.0)


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


# ---- choosing


@pytest.mark.parametrize("units", [2, 5, 8])
def test_halves_are_all_units(units):
    chosen, judged = halves(units, seed=3)
    assert sorted(chosen + judged) == list(range(units))
    assert len(judged) - len(chosen) == units % 2
    assert halves(units, seed=3) == (chosen, judged)
    with pytest.raises(ValueError, match="cannot be halved"):
        halves(1, seed=3)


def noise_passes(units, settings, draw):
    """How often a curve of noise has a peak, with units that differ among themselves as networks do."""
    passed = []
    for k in range(DRAWS):
        curves = draw.normal(0, 1, (units, settings)) + draw.normal(0, 3, (units, 1))
        found = peak(curves.tolist(), seed=k)
        passed.append(at_every([found.above_first, found.above_last], POSITIVE) == "inside")
    return share(passed)


@pytest.mark.parametrize(("units", "settings"), [(4, 4), (6, 10), (20, 10), (7, 3)])
def test_noise_has_no_peak(units, settings):
    assert noise_passes(units, settings, np.random.default_rng(units)) <= 0.05


def test_the_better_of_all_interior_points_would_pass_on_noise():
    """What the statistic in use until now makes of the same noise: best interior value over the better end."""
    draw, passed = np.random.default_rng(0), []
    for _ in range(DRAWS):
        curve = draw.normal(10, 1, 10)
        passed.append(curve[1:-1].max() / max(curve[0], curve[-1]) > 1)
    assert share(passed) == pytest.approx(0.8, abs=0.05)


def test_a_peak_that_is_there_is_found():
    """Half as high again as the units' standard deviation: four times in five with thirty units."""
    draw, found = np.random.default_rng(5), []
    for k in range(300):
        curves = draw.normal(0, 1, (30, 6)) + 1.5 * np.array([0, 0.2, 1, 0.2, 0, 0])
        each = peak(curves.tolist(), seed=k)
        found.append(at_every([each.above_first, each.above_last], POSITIVE) == "inside")
    assert share(found) >= 0.8


def test_the_units_that_judge_do_not_choose():
    """The chosen setting is the best of the choosing half, however bad it is in the other."""
    curves = np.zeros((6, 5))
    choosing, judging = halves(6, seed=1)
    curves[np.ix_(choosing, [2])] = 1.0
    curves[np.ix_(judging, [3])] = 9.0
    found = peak(curves.tolist(), seed=1)
    assert found.at == 2
    assert (found.above_first.mean, found.above_first.n) == (0.0, 3)
    for wrong in ([[1.0, 2.0, 3.0]] * 3, [[1.0, 2.0]] * 5):
        with pytest.raises(ValueError, match="at least four units with three settings"):
            peak(wrong, seed=0)


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_noise_is_not_above_zero_at_every_width(parts):
    draw = np.random.default_rng(parts)
    passed = [
        at_every([estimate(draw.normal(0, 1, 10).tolist()) for _ in range(parts)], POSITIVE) == "inside"
        for _ in range(DRAWS)
    ]
    assert share(passed) <= 0.05
