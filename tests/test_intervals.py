"""Intervals against scipy and closed forms, and how often they hold what they should."""

import numpy as np
import pytest
from scipy import stats

from spectral_lens.intervals import half_width, of_mean, of_share, t_quantile


@pytest.mark.parametrize("shape", [(3,), (5, 2), (4, 3, 2)])
def test_the_interval_of_a_mean_is_scipys(shape):
    values = np.random.default_rng(len(shape)).normal(size=shape)
    expected = stats.ttest_1samp(values, 0, axis=0).confidence_interval(0.95)
    found = of_mean(values)
    np.testing.assert_allclose(found.value, values.mean(0))
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
    with pytest.raises(ValueError, match="no spread"):
        of_mean(values[:1])


@pytest.mark.parametrize(("hits", "of"), [(0, 7), (7, 7), (3, 11), (500, 1000)])
def test_the_interval_of_a_share_is_wilsons(hits, of):
    p, z = hits / of, stats.norm.ppf(0.975)
    middle = (p + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * np.sqrt(p * (1 - p) / of + z**2 / (4 * of**2))
    assert of_share(hits, of) == pytest.approx((p, middle - half, middle + half), abs=1e-12)


@pytest.mark.parametrize(("hits", "of"), [(-1, 3), (4, 3), (0, 0)])
def test_shares_that_are_none_are_refused(hits, of):
    with pytest.raises(ValueError, match=r"must be|must not|n >="):
        of_share(hits, of)


def test_the_quantile_of_many_is_the_normal_one():
    assert t_quantile(10**7) == pytest.approx(stats.norm.ppf(0.975), abs=1e-6)
    assert t_quantile(1) == pytest.approx(12.706, abs=1e-3)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_the_half_width_is_scipys(n):
    low, high = stats.t.interval(0.95, n - 1, loc=3, scale=0.7 / n**0.5)
    assert half_width(0.7, n) == pytest.approx((high - low) / 2)
    np.testing.assert_allclose(half_width(np.array([0.7, 1.4]), n), [(high - low) / 2, high - low])
