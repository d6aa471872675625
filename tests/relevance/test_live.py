"""Scores over the live inputs, against scipy and against loops."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from spectral_lens.relevance.live import among_highest, correlation_over, correlations_over, fewest, live
from spectral_lens.relevance.scores import sparsity


def scores(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_live_is_what_sparsity_does_not_count():
    values = scores(3, 11) ** 6
    values[1] = 0
    found = live(values, threshold=0.1)
    torch.testing.assert_close(found.double().mean(1), 1 - sparsity(values, threshold=0.1))
    assert not found[1].any()
    assert 0 < found[0].sum() < 11


def test_the_threshold_itself_is_live():
    assert live(torch.tensor([1.0, 0.25, 0.2]), threshold=0.25).tolist() == [True, True, False]


@pytest.mark.parametrize(("ranks", "library"), [(False, pearsonr), (True, spearmanr)])
def test_each_run_correlates_over_its_own_inputs(ranks, library):
    a, b, among = scores(4, 13), scores(4, 13, seed=1), scores(4, 13, seed=2) > 0.4
    expected = [library(x[k].numpy(), y[k].numpy()).statistic for x, y, k in zip(a, b, among, strict=True)]
    np.testing.assert_allclose(correlation_over(a, b, among, ranks=ranks), expected, rtol=1e-12)


def test_the_table_holds_every_pair():
    given = {name: scores(2, 9, seed=k) for k, name in enumerate("abc")}
    among = torch.ones(2, 9, dtype=torch.bool)
    table = correlations_over(given, among)
    assert table.shape == (2, 3, 3)
    torch.testing.assert_close(table, table.mT)
    torch.testing.assert_close(table[:, 2, 0], correlation_over(given["a"], given["c"], among))
    torch.testing.assert_close(table.diagonal(dim1=1, dim2=2), torch.ones(2, 3, dtype=torch.float64))


def test_two_inputs_have_no_correlation():
    among = torch.tensor([[True, True, True, False], [True, True, False, False]])
    assert correlation_over(scores(2, 4), scores(2, 4, seed=1), among).isnan().tolist() == [False, True]


@pytest.mark.parametrize("count", [1, 5, 17])
def test_the_share_among_the_highest_by_sets(count):
    a, b, where = scores(6, 17), scores(6, 17, seed=1), scores(17, seed=2) > 0.4
    found = among_highest(a, b, count=count, where=where)
    for r in range(6):
        mine, its = ({*each[r].argsort(descending=True)[:count].tolist()} for each in (a, b))
        asked = {i for i in mine if where[i]}
        if asked:
            assert float(found[r]) == pytest.approx(len(asked & its) / len(asked))
        else:
            assert found[r].isnan()


@pytest.mark.parametrize("count", [0, 5])
def test_a_count_beyond_the_inputs_is_refused(count):
    with pytest.raises(ValueError, match="between 1 and the 4 inputs"):
        among_highest(scores(1, 4), scores(1, 4), count=count, where=torch.ones(4, dtype=torch.bool))


def test_the_fewest_among_the_accurate_in_each_run():
    numbers = torch.tensor([[40, 9, 7], [20, 9, 5], [1, 30, 1]])
    accuracies = torch.tensor([[0.9, 0.9, 0.9], [0.8, 0.9, 0.7], [0.7, 0.9, 0.5]])
    least = torch.tensor([0.8, 0.9, 0.9])
    assert fewest(numbers, accuracies, least=least).tolist() == [1, 0, 0]
    with pytest.raises(ValueError, match="no setting is as accurate"):
        fewest(numbers, accuracies, least=torch.tensor([0.95, 0.1, 0.1]))
