"""Correlations between scores, exponents and steady choices, against scipy, numpy and slow oracles."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from spectral_lens.intervals import t_quantile
from spectral_lens.relevance.agreement import correlations, exponent, highest, rank_correlation, steadiness


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


def choices(runs, inputs=23, seed=0):
    """Runs that keep different numbers, some inputs oftener than others."""
    return torch.from_numpy(np.random.default_rng(seed).random((runs, inputs)) < np.linspace(0.05, 0.9, inputs))


def test_the_highest_are_kept_and_of_equal_ones_the_first():
    scores = torch.tensor([[1.0, 3.0, 1.0, 2.0], [0.0, 0.0, 5.0, 0.0]])
    assert highest(scores, 3).tolist() == [[True, True, False, True], [True, True, True, False]]
    for count in (0, 5):
        with pytest.raises(ValueError, match="between 1 and the 4"):
            highest(scores, count)


def test_steadiness_is_one_less_the_disagreement_of_pairs_over_that_of_chance():
    kept = choices(6).numpy().astype(float)
    pairs = [((a - b) ** 2).mean() / 2 for a, b in itertools.combinations(kept, 2)]  # the variance, by pairs
    mean = kept.mean()
    assert steadiness(choices(6)).value == pytest.approx(1 - np.mean(pairs) / (mean * (1 - mean)))


def test_the_interval_is_students_with_the_variance_of_the_jackknife():
    kept = choices(9)
    value, low, high = steadiness(kept)
    left = [steadiness(kept[[k for k in range(9) if k != r]]).value for r in range(9)]
    error = np.sqrt(8 / 9 * np.sum((np.array(left) - np.mean(left)) ** 2))
    assert value - low == pytest.approx(t_quantile(8) * error)
    assert high == pytest.approx(min(1, 2 * value - low))


def test_for_many_runs_the_interval_is_the_printed_one():
    """The variance of the paper's theorem 7."""
    kept = choices(2000)
    z, d = kept.numpy().astype(float), kept.shape[1]
    value, low, _ = steadiness(kept)
    p, k = z.mean(0), z.sum(1)
    mean = k.mean()
    scale = mean / d * (1 - mean / d)
    own = (z @ p / d - k * mean / d**2 + value / 2 * (2 * k * mean / d**2 - k / d - mean / d + 1)) / scale
    assert value - low == pytest.approx(1.96 * 2 * own.std() / np.sqrt(2000), rel=0.01)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    draw = torch.Generator().manual_seed(0)
    worth = torch.randn(60, generator=draw)

    def runs(number):
        return highest(worth + torch.randn(number, 60, generator=draw), 12)

    truth = steadiness(runs(1000)).value
    found = [steadiness(runs(7)) for _ in range(200)]
    assert 0.91 <= np.mean([low <= truth <= high for _, low, high in found]) <= 1
    assert np.mean([each.value for each in found]) == pytest.approx(truth, abs=0.02)


def test_choices_alike_are_one_and_choices_by_chance_near_zero():
    assert steadiness(choices(1).expand(4, -1)) == (1, 1, 1)
    chance = highest(torch.rand(40, 500, generator=torch.Generator().manual_seed(1)), 50)
    value, low, high = steadiness(chance)
    assert low < 0 < high
    assert abs(value) < 0.02


def test_a_choice_is_needed_in_three_runs():
    with pytest.raises(ValueError, match="three at least"):
        steadiness(choices(2))
    for all_of_them in (torch.ones, torch.zeros):
        with pytest.raises(ValueError, match="no choice"):
            steadiness(all_of_them(3, 5, dtype=torch.bool))
