"""How inputs repeat one another, against numpy, pair by pair."""

import itertools

import numpy as np
import pytest
import torch

from spectral_lens.relevance.redundancy import mean_correlation, near_copies


def repeating():
    """Nine columns of which 0, 3 and 7 are near copies, one of them with the other sign."""
    x = np.random.default_rng(0).normal(size=(40, 9))
    x[:, 3] = 5 - 2 * x[:, 0] + 0.1 * x[:, 3]
    x[:, 7] = x[:, 0] + 0.1 * x[:, 7]
    return x


def test_the_mean_correlation_goes_over_all_pairs():
    x = np.stack([repeating(), np.random.default_rng(1).normal(size=(40, 9)) + 3])
    pairs = list(itertools.combinations(range(9), 2))
    expected = [np.mean([np.corrcoef(each[:, a], each[:, b])[0, 1] for a, b in pairs]) for each in x]
    np.testing.assert_allclose(mean_correlation(torch.from_numpy(x)), expected, atol=1e-12)


def test_one_input_has_no_pair():
    with pytest.raises(ValueError, match="two at least"):
        mean_correlation(torch.rand(2, 5, 1))


@pytest.mark.parametrize(
    ("chosen", "copies"), [([0, 1, 2, 3, 7], 3), ([1, 2, 3, 4, 7], 2), ([1, 2, 4, 7], 0), ([0], 0), ([], 0)]
)
def test_near_copies_count_where_both_are_chosen(chosen, copies):
    assert near_copies(repeating(), chosen, threshold=0.9) == copies
    assert near_copies(repeating(), np.array(chosen[::-1], dtype=int), threshold=1.0) == 0


def test_a_copy_correlates_by_more_than_nine_tenths_by_default():
    x = np.array([[1, 1, -1, -1], [3, 1, -1, -3], [1, 0, -1, 0]]).T  # of the first two: 8 / sqrt(4 * 20)
    assert near_copies(x.astype(float), [0, 1, 2]) == 0
    assert near_copies(x.astype(float), [0, 1, 2], threshold=0.89) == 2
    same = x[:, [0, 0]].astype(float)  # a correlation of exactly one, which is not above one
    assert near_copies(same, [0, 1], threshold=1.0) == 0
    assert near_copies(same, [0, 1], threshold=0.999) == 2


@pytest.mark.parametrize("chosen", [[0, 0], [9], [-1]])
def test_columns_have_to_be_there_once(chosen):
    with pytest.raises(ValueError, match=r"some of 0 \.\.\. 8"):
        near_copies(repeating(), chosen)


def test_a_constant_is_correlated_with_nothing():
    x = np.random.default_rng(0).normal(size=(20, 4))
    x[:, 1], x[:, 3] = 0.1, x[:, 0]
    assert near_copies(x, [0, 1, 2, 3]) == 2
    assert near_copies(x, [0, 1]) == near_copies(x, [1]) == 0
    with pytest.raises(ValueError, match="an input is constant"):
        mean_correlation(torch.from_numpy(x)[None])
