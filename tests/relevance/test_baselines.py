"""Other ways to choose inputs: their steps against slow oracles, and known inputs found."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from spectral_lens.datasets import synthetic
from spectral_lens.relevance.baselines import (
    by_sklearn,
    chance,
    forest,
    jaccard,
    lasso,
    learned_gates,
    mutual_information,
    permutation,
    sparse_linear,
)
from spectral_lens.relevance.scores import ranking

OPTIONS = {"dtype": torch.float64, "device": "cpu"}


@pytest.fixture(scope="module")
def known():
    """Three of eight inputs matter."""
    sizes = {"separated": 3, "partners": 0, "spurious": 5, "distances": (0.7, 0.9)}
    data = synthetic.linked(600, seeds=(1, 2), dtype=torch.float64, **sizes)
    return data, [0, 1, 2]


@pytest.mark.parametrize("kind", ["stochastic", "hard concrete"])
def test_gates_find_what_matters(known, kind):
    data, truth = known
    scores = learned_gates(
        data, kind=kind, penalty=0.02, hidden=[8], seeds=(5, 6), epochs=60, batch_size=50, lr=0.02, **OPTIONS
    )
    assert scores.shape == (2, 8)
    assert scores.min() == 0
    for order in ranking(scores):
        assert sorted(order[:3].tolist()) == truth


def test_scores_of_scikit_learn_see_their_runs_data(known):
    data, _ = known
    scores = by_sklearn(data, lambda x, y, seed: x.mean(0) + seed, seeds=(10, 20))
    torch.testing.assert_close(scores, data.x.mean(1) + torch.tensor([[10.0], [20.0]], dtype=torch.float64))


def test_chance_is_even_and_each_seeds_own(known):
    scores = by_sklearn(known[0], chance, seeds=(10, 20))
    np.testing.assert_array_equal(scores[1], np.random.default_rng(20).random(8))
    assert (scores[0] != scores[1]).all()
    many = chance(np.zeros((2, 10_000)), np.zeros(2), 3)
    np.testing.assert_allclose(np.quantile(many, [0, 0.25, 0.5, 0.75, 1]), [0, 0.25, 0.5, 0.75, 1], atol=0.02)


def test_jaccard_by_hand():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    # the two highest: {0, 1}, {0, 2}, {3, 2}: 1/3, 0, 1/3
    assert jaccard(scores, 2) == pytest.approx(2 / 9)
    assert jaccard(scores, 4) == 1
    with pytest.raises(ValueError, match="two at least"):
        jaccard(scores[:1], 2)


def test_unknown_gates_are_refused(known):
    with pytest.raises(ValueError, match="is unknown"):
        learned_gates(known[0], kind="garden", penalty=1.0, hidden=[4], seeds=(1, 2), epochs=1)


SKLEARN = {
    "mutual information": mutual_information,
    "forest": forest,
    "permutation": permutation([8]),
    "LASSO": sparse_linear,
}


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("measured", [False, True])
def test_scores_of_scikit_learn_find_what_matters(name, measured):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(900, 5))
    y = 2 * x[:, 1] - x[:, 3]
    target = y / 4 if measured else np.digitize(y, [-1, 1])
    score = SKLEARN[name](x, target, 0)
    assert sorted(np.argsort(-score)[:2]) == [1, 3]
    np.testing.assert_array_equal(SKLEARN[name](x, target, 0), score)


def test_mutual_information_of_a_copy_is_the_entropy():
    y = np.arange(600) % 3
    noise = np.random.default_rng(0).normal(size=600)
    score = mutual_information(np.stack([10.0 * y + 0.01 * noise, noise], 1), y, 0)
    assert score == pytest.approx([np.log(3), 0], abs=0.05)


def test_the_lasso_is_scikit_learns_for_each_run():
    data = synthetic.linked(200, seeds=(1, 2), separated=2, partners=0, spurious=3, dtype=torch.float64)
    found = lasso(data, strength=0.1)
    for r in range(2):
        model = LogisticRegression(l1_ratio=1, C=0.1, solver="liblinear", random_state=0)
        coefficients = model.fit(data.x[r].numpy(), data.y[r].numpy()).coef_[0]
        torch.testing.assert_close(found[r], torch.from_numpy(abs(coefficients)))
    torch.testing.assert_close(lasso(data.run(1), strength=0.1), found[1])


def test_the_lasso_tells_two_classes_apart():
    data = synthetic.linked(50, separated=1, partners=0, spurious=1)
    three = replace(data, y=torch.arange(50) % 3, labels=("a", "b", "c"))
    with pytest.raises(ValueError, match="3 classes"):
        lasso(three)


def test_the_lasso_takes_its_seed():
    data = synthetic.linked(200, seeds=1, separated=2, partners=0, spurious=3, dtype=torch.float64)
    model = LogisticRegression(l1_ratio=1, C=0.1, solver="liblinear", random_state=7)
    expected = torch.from_numpy(abs(model.fit(data.x.numpy(), data.y.numpy()).coef_[0]))
    torch.testing.assert_close(lasso(data, strength=0.1, seed=7), expected, rtol=0, atol=0)
    assert not torch.equal(lasso(data, strength=0.1), expected)  # only as far as the solver has converged
