"""Statistics against scipy, numpy and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from spectral_lens.stability.statistics import (
    Interval,
    bootstrap_rank_correlation,
    group_ranks,
    quantiles_along,
    separation,
)

pytestmark = pytest.mark.usefixtures("double")


def related(n, rho):
    a = torch.randn(n)
    return a, rho * a + math.sqrt(1 - rho**2) * torch.randn(n)


def test_ranks_within_groups():
    values, groups = torch.tensor([5.0, 1.0, 3.0, 2.0, 2.0, 9.0, 0.0]), ["a", "a", "a", "b", "b", "b", "c"]
    expected = [1 / 3, -1 / 3, 0, -1 / 6, -1 / 6, 1 / 3, 0]  # (rank - 1/2) / size - 1/2, ties in the middle
    assert group_ranks(values, groups).tolist() == pytest.approx(expected)
    assert group_ranks(values[:4]).tolist() == pytest.approx([0.375, -0.375, 0.125, -0.125])


def test_one_group_is_spearmans_correlation():
    a, b = related(61, 0.4)
    b[:7] = b[7]  # ties
    expected = spearmanr(a, b).statistic
    found = bootstrap_rank_correlation(a, b, seed=3)
    assert isinstance(found, Interval)
    assert found.value == pytest.approx(expected)
    assert found.low < found.value < found.high
    assert bootstrap_rank_correlation(a, b, groups=["x"] * 61, seed=3) == pytest.approx(found)
    assert bootstrap_rank_correlation(a.exp(), -b, draws=50, seed=3).value == pytest.approx(-expected)


def test_groups_that_differ_count_for_nothing():
    a, b = related(60, -0.5)
    groups = [k % 3 for k in range(60)]
    shift = 100 * torch.tensor([float(group) for group in groups])
    within = bootstrap_rank_correlation(a, b, groups=groups, seed=0)
    assert bootstrap_rank_correlation(a + shift, b + shift, groups=groups, seed=0) == pytest.approx(within)
    assert bootstrap_rank_correlation(a + shift, b + shift, seed=0).value > 0.8  # over all, the groups decide
    assert within.value < 0


def test_the_interval_is_as_wide_as_theory_has_it():
    """Spearman's correlation of normal pairs has, on Fisher's scale, the variance (1 + rho^2 / 2) / (n - 3).

    [Bonett and Wright 2000]
    """
    a, b = related(500, 0.6)
    found = bootstrap_rank_correlation(a, b, draws=2000, seed=1)
    expected = 2 * 1.96 * math.sqrt((1 + found.value**2 / 2) / 497)
    assert math.atanh(found.high) - math.atanh(found.low) == pytest.approx(expected, rel=0.15)


def test_the_interval_holds_the_quantiles_of_pairs_drawn_again():
    """Of few pairs that are nearly ordered alike, whose correlations scatter to one side."""
    a, b = related(13, 0.9)
    found = bootstrap_rank_correlation(a, b, draws=4000, seed=5)
    ranks = np.stack([each.argsort().argsort().double().numpy() for each in (a, b)])
    rows = np.random.default_rng(6).integers(0, 13, (4000, 13))
    x, y = (each[rows] - each[rows].mean(1, keepdims=True) for each in ranks)
    drawn = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
    low, high = np.quantile(drawn, (0.025, 0.975))
    assert found.high == pytest.approx(high, abs=0.01)
    assert found.low == pytest.approx(low, abs=0.03)


def test_the_seed_decides_the_interval():
    a, b = related(40, 0.3)
    assert bootstrap_rank_correlation(a, b, seed=1) == bootstrap_rank_correlation(a, b, draws=1000, seed=1)
    assert bootstrap_rank_correlation(a, b, seed=1) != bootstrap_rank_correlation(a, b, draws=999, seed=1)
    assert bootstrap_rank_correlation(a, b, seed=1) == bootstrap_rank_correlation(a, b, seed=1)
    assert bootstrap_rank_correlation(a, b, seed=1) != bootstrap_rank_correlation(a, b, seed=2)


def test_nothing_to_rank():
    a = torch.randn(9)
    with pytest.raises(ValueError, match="have no rank"):
        bootstrap_rank_correlation(torch.where(a > a.median(), math.nan, a), a, seed=0)
    with pytest.raises(ValueError, match="alike"):
        bootstrap_rank_correlation(torch.ones(9), a, seed=0)
    with pytest.raises(ValueError, match="8 groups are named for 9 values"):
        bootstrap_rank_correlation(a, a, groups=[0] * 8, seed=0)


@pytest.mark.parametrize(("count", "parts"), [(23, 4), (20, 5), (3, 3), (7, 1)])
def test_quantiles_along_another_number(count, parts):
    values, by = torch.rand(count), torch.randperm(count).double()
    found = quantiles_along(values, by, parts=parts, level=0.9)
    order = np.argsort(by.numpy())
    expected = [np.quantile(part, 0.9) for part in np.array_split(values.numpy()[order], parts)]
    assert found.tolist() == pytest.approx(expected)


def test_more_parts_than_samples():
    for parts in (0, 6):
        with pytest.raises(ValueError, match=f"parts={parts}"):
            quantiles_along(torch.rand(5), torch.rand(5), parts=parts)


def test_the_separation_has_no_unit():
    a, b = torch.randn(41), 2 * torch.randn(31) + 1
    expected = abs(np.median(a) - np.median(b)) / math.sqrt((np.var(a.numpy(), ddof=1) + np.var(b.numpy(), ddof=1)) / 2)
    assert separation(a, b) == pytest.approx(expected)
    assert separation(-7 * b, -7 * a) == pytest.approx(expected)
    with pytest.raises(ValueError, match="at least two"):
        separation(a, b[:1])


def test_quarters_and_their_95_percent_by_default():
    values, by = torch.rand(23), torch.randperm(23).double()
    assert torch.equal(quantiles_along(values, by), quantiles_along(values, by, parts=4, level=0.95))


def test_two_values_have_a_spread():
    """Of each: medians 0 and 5 (torch takes the lower of two), variances 2 and 8."""
    a, b = torch.tensor([0.0, 2.0]), torch.tensor([5.0, 9.0])
    assert separation(a, b) == pytest.approx(5 / math.sqrt((2 + 8) / 2))
