"""Correlations between scores, and exponents, against scipy and numpy."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from spectral_lens.relevance.agreement import correlations, exponent, rank_correlation


@pytest.mark.parametrize("ranks", [False, True])
def test_correlations_are_the_libraries_means_over_the_runs(ranks):
    draw = np.random.default_rng(0)
    values = draw.integers(0, 5, size=(3, 4, 9)).astype(float)  # of 3 scores and 4 runs; equal ones among them
    found = correlations({f"score {k}": torch.from_numpy(each) for k, each in enumerate(values)}, ranks=ranks)
    of_run = [spearmanr(each.T).statistic if ranks else np.corrcoef(each) for each in values.swapaxes(0, 1)]
    np.testing.assert_allclose(found, np.mean(of_run, 0), atol=1e-12)


def test_scores_of_different_inputs_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        correlations({"a": torch.rand(2, 3), "b": torch.rand(2, 4)})


def test_the_exponent_is_the_slope_of_the_logarithms():
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 11, dtype=torch.float64, generator=draw) + 0.1
    assert exponent(x, y) == pytest.approx(np.polyfit(x.log(), y.log(), 1)[0])
    assert exponent(x, 3 * x**-0.7) == pytest.approx(-0.7)


@pytest.mark.parametrize("x", [[1.0, 0.0], [2.0, 2.0], [1.0, -1.0]])
def test_what_is_no_power_law_is_refused(x):
    with pytest.raises(ValueError, match="positive numbers"):
        exponent(torch.tensor(x), torch.ones(2))
    for y in ([1.0, 0.0], [-1.0, 1.0], [1.0, float("nan")], [1.0, float("inf")]):
        with pytest.raises(ValueError, match="positive numbers"):
            exponent(torch.tensor([1.0, 2.0]), torch.tensor(y))


@pytest.mark.parametrize("points", [3, 6, 11])
def test_rank_correlations_are_scipys(points):
    a, b = torch.randn(4, points), torch.randint(0, 4, (4, points)).double()  # the second with ties
    b[:, 0] = -1.0  # so that no row is constant
    expected = [spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert rank_correlation(a, b).tolist() == pytest.approx(expected)


def test_a_row_of_ties_has_no_rank_correlation():
    assert rank_correlation(torch.ones(5), torch.arange(5.0)).isnan()
