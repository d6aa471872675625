"""Other ways to choose inputs: their steps against slow oracles, and known inputs found."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LassoCV, LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

import oracles
from spectral_lens.datasets import synthetic
from spectral_lens.nn.gates import GATES
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
    sparse_logistic,
)
from spectral_lens.relevance.scores import ranking
from spectral_lens.training import fit
from spectral_lens.training.penalties import OpenGates

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


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("measured", [False, True])
def test_learned_gates_are_a_dense_network_behind_gates_that_are_paid_for(kind, measured):
    data = (oracles.measured if measured else oracles.toy)(31, (2, 3), runs=2)
    options = {"seeds": (5, 8), "epochs": 3, "batch_size": 12, "lr": 0.05, **OPTIONS}
    options["loss"] = "mse" if measured else "cross_entropy"
    net = nn.Sequential(nn.Flatten(), GATES[kind](6), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU())
    net.append(nn.Linear(3, 1 if measured else 2))

    class Paid(OpenGates):
        def __call__(self, step):
            return 0.3 * self.gates.probability(step.state["1.location"]).sum(1)

    location = fit(net, data, penalty=Paid(net[1], 0.3), **options).state["1.location"]
    expected = location - location.min(1, keepdim=True).values
    found = learned_gates(data, kind=kind, penalty=0.3, hidden=[4, 3], **options)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (location.argmin(1) != location.argmax(1)).all()


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
    assert jaccard(torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 0.0, 2.0]]), 1) == 1  # not the lowest ones
    with pytest.raises(ValueError, match="two at least"):
        jaccard(scores[:1], 2)
    for count in (0, 5):
        with pytest.raises(ValueError, match=f"count={count} must lie between 1 and the 4"):
            jaccard(scores, count)


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


def few(measured):
    """Inputs of which two tell a class of three, or a quantity."""
    x = np.random.default_rng(3).normal(size=(70, 5))
    x[:, 1] = (2 * x[:, 1]).round() / 2  # equal values, which only a seed tells apart
    y = 2 * x[:, 1] - x[:, 3] + 0.1 * x[:, 0]
    return x, y / 4 if measured else np.digitize(y, [-1, 1])


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("seed", [0, 7])
def test_mutual_information_is_scikit_learns(measured, seed):
    x, y = few(measured)
    expected = (mutual_info_regression if measured else mutual_info_classif)(x, y, random_state=seed)
    np.testing.assert_array_equal(mutual_information(x, y, seed), expected)


@pytest.mark.parametrize("measured", [False, True])
def test_a_forest_is_scikit_learns_that_looks_at_a_root_of_the_inputs(measured):
    x, y = few(measured)
    make = RandomForestRegressor if measured else RandomForestClassifier
    trees = make(n_estimators=100, max_features=2, random_state=7).fit(x, y).estimators_  # floor(sqrt(5))
    expected = np.mean([tree.feature_importances_ for tree in trees], 0)
    np.testing.assert_allclose(forest(x, y, 7), expected, rtol=1e-12)


@pytest.mark.parametrize("measured", [False, True])
def test_permutation_is_scikit_learns_on_the_fifth_that_was_held_out(measured):
    x, y = few(measured)
    learn, held = train_test_split(np.arange(70), test_size=14, random_state=7)
    make = MLPRegressor if measured else MLPClassifier
    net = make(hidden_layer_sizes=(8,), early_stopping=True, max_iter=100, random_state=7)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        net.fit(x[learn], y[learn])
    lost = permutation_importance(net, x[held], y[held], n_repeats=3, random_state=7).importances
    np.testing.assert_allclose(permutation([8])(x, y, 7), lost.mean(1), rtol=1e-12, atol=1e-15)
    assert (lost.std(1) > 0).any()


def test_a_network_that_is_still_learning_is_stopped_after_a_hundred_passes():
    draw = np.random.default_rng(5)
    x = draw.normal(size=(300, 3))
    y = 20 * x[:, 0]  # a long way to go
    learn, held = train_test_split(np.arange(300), test_size=60, random_state=0)
    net = MLPRegressor(hidden_layer_sizes=(4,), early_stopping=True, max_iter=100, random_state=0)
    with pytest.warns(ConvergenceWarning):
        net.fit(x[learn], y[learn])
    lost = permutation_importance(net, x[held], y[held], n_repeats=3, random_state=0).importances_mean
    np.testing.assert_allclose(permutation([4])(x, y, 0), lost, rtol=1e-12, atol=1e-15)


def test_the_sparse_linear_scores_are_the_lassos_coefficients():
    x, y = few(True)
    y = y + np.random.default_rng(4).normal(size=70)  # so that the folds decide
    path = LassoCV(cv=4, alphas=20, eps=0.03).fit(x, y)
    np.testing.assert_allclose(sparse_linear(x, y, 7), abs(path.coef_), rtol=1e-12)
    slope = x - x.mean(0)  # what the LASSO is: |x^T (y - x w)| / n <= alpha, with equality where w is not zero
    rest = y - y.mean() - slope @ (path.coef_)
    np.testing.assert_array_less(abs(slope.T @ rest) / 70, path.alpha_ * 1.001)
    assert (path.coef_ < 0).any()


@pytest.mark.parametrize("strength", [None, 0.7])
def test_for_classes_it_is_a_logistic_lasso_of_each_against_the_rest(strength):
    x, y = few(False)

    def alone(target):
        model = LogisticRegression(l1_ratio=1, C=strength or 0.1, solver="liblinear", random_state=7)
        return model.fit(x, target).coef_[0]

    expected = np.sqrt(sum(alone(y == k) ** 2 for k in range(3)))
    given = sparse_logistic(x, y, strength=strength, seed=7) if strength else sparse_linear(x, y, 7)
    np.testing.assert_allclose(given, expected, rtol=1e-12)
    two = sparse_logistic(x, y == 1, strength=strength or 0.1, seed=7)
    np.testing.assert_allclose(two, abs(alone(y == 1)), rtol=1e-12)


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
    torch.testing.assert_close(lasso(data), lasso(data, strength=0.01, seed=0), rtol=0, atol=0)


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
