"""The selector among scikit-learn's own: its checks, pipelines, and sets of which the truth is known."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes, make_regression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import oracles
from spectral_lens.datasets import synthetic
from spectral_lens.relevance.selector import SpectralSelector
from spectral_lens.relevance.spectral import by_eigenvalues

QUICK = {"hidden": (5,), "epochs": 3, "runs": 2, "device": "cpu"}


@parametrize_with_checks([SpectralSelector(**QUICK), SpectralSelector(2, task="regression", **QUICK)])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def table(samples=2000, seed=3):
    data = synthetic.linked(samples, seeds=seed, separated=3, partners=0, spurious=5, distances=(1.5, 1.5))
    return data.x.numpy(), data.y.numpy()


def test_what_matters_is_kept():
    X, y = table()
    found = SpectralSelector(random_state=0, device="cpu").fit(X, y)
    assert found.get_support().tolist() == [True] * 3 + [False] * 5
    assert found.transform(X).shape == (2000, 3)
    assert sorted(found.ranking_[:3].tolist()) == [0, 1, 2]
    assert found.relevance_.shape == (3, 8)
    assert found.relevance_.max(1).tolist() == [1, 1, 1]
    np.testing.assert_allclose(found.scores_, found.relevance_.mean(0))
    assert found.task_ == "classification"


def test_a_quantity_and_units_that_do_not_count():
    X, y, slopes = make_regression(500, 7, n_informative=2, coef=True, random_state=4)
    scale = 10.0 ** np.arange(-3, 4)
    found = SpectralSelector(2, random_state=0, device="cpu").fit(X * scale + 5, 1e3 * y - 7)
    assert found.task_ == "regression"
    assert found.get_support().tolist() == (slopes != 0).tolist()


@pytest.mark.parametrize("measured", [False, True])
def test_the_scores_are_those_of_networks_on_standardised_features(measured):
    draw = np.random.default_rng(5)
    X = draw.normal(size=(53, 6)) * [1, 9, 0.1, 3, 1, 1] + [0, 5, -3, 1, 0, 2]
    X[:, 4] = 3.0  # never changes
    y = 40 * X[:, 0] - X[:, 1] + 7 if measured else np.digitize(X[:, 0], [-0.5, 0.5])
    options = {"hidden": (5, 4), "epochs": 4, "batch_size": 20, "lr": 0.02, "penalty": 0.06, "psi_penalty": 0.01}
    found = SpectralSelector(random_state=7, runs=2, device="cpu", **options).fit(X, y)

    def standard(values):
        spread = np.sqrt(((values - values.mean(0)) ** 2).mean(0))
        return torch.from_numpy((values - values.mean(0)) / np.where(spread == 0, 1, spread)).float()

    data = oracles.data_set(standard(X), standard(y) if measured else torch.from_numpy(y))
    first = np.random.RandomState(7).randint(2**31 - 1)
    loss = "mse" if measured else "cross_entropy"
    expected = by_eigenvalues(data, seeds=(first, first + 1), loss=loss, device="cpu", **options).double().numpy()
    np.testing.assert_allclose(found.relevance_, expected, rtol=1e-6)
    np.testing.assert_allclose(found.scores_, expected.mean(0), rtol=1e-6)
    assert found.ranking_.tolist() == np.argsort(-expected.mean(0)).tolist()


def test_by_default_eigenvectors_pay_what_they_pay_elsewhere():
    data = oracles.toy(23, (5,))
    options = {"hidden": (4,), "epochs": 2, "batch_size": 10, "lr": 0.01}
    first = np.random.RandomState(4).randint(2**31 - 1)  # one of the higher half
    whole = oracles.data_set((data.x - data.x.mean(0)).div(data.x.std(0, correction=0)).float(), data.y)
    expected = by_eigenvalues(whole, penalty=0.02, seeds=range(first, first + 3), device="cpu", **options)
    found = SpectralSelector(random_state=4, device="cpu", **options).fit(data.x.numpy(), data.y.numpy())
    np.testing.assert_allclose(found.relevance_, expected, rtol=1e-6)


def test_the_threshold_keeps_what_is_above_it():
    X, y = table(60)
    scores = SpectralSelector(random_state=0, **QUICK).fit(X, y).scores_
    for kept in (1, 4, 7):
        edge = np.sort(scores)[-1 - kept]  # a score at the threshold is not above it
        found = SpectralSelector(random_state=0, threshold=edge, **QUICK).fit(X, y)
        assert found.get_support().tolist() == (scores > edge).tolist()
        assert found.get_support().sum() == kept
    longer = SpectralSelector(random_state=0, **QUICK | {"epochs": 20, "lr": 0.05}).fit(X, y)
    assert longer.get_support().tolist() == (longer.scores_ > 0.05).tolist()
    assert ((longer.scores_ > 0.05) & (longer.scores_ < 0.5)).any()


@pytest.mark.parametrize(("share", "kept"), [(0.45, 4), (0.42, 3), (0.01, 1), (0.99, 8)])
def test_a_share_of_the_features_is_rounded(share, kept):
    X, y = table(50)
    found = SpectralSelector(share, random_state=0, **QUICK).fit(X, y)
    assert np.flatnonzero(found.get_support()).tolist() == sorted(found.ranking_[:kept])


def test_names_and_labels_of_any_kind():
    X, y = table(400)
    names = np.array(["no", "yes"])[y]
    found = SpectralSelector(0.25, random_state=1, **QUICK).fit(X, names)
    assert found.get_support().sum() == 2
    again = SpectralSelector(0.25, random_state=1, **QUICK).fit(X, y)
    np.testing.assert_array_equal(found.scores_, again.scores_)
    chosen = found.get_feature_names_out([f"pixel {k}" for k in range(8)])
    assert list(chosen) == [f"pixel {k}" for k in np.flatnonzero(found.get_support())]


def test_in_a_pipeline_and_a_grid_search():
    X, y = table(600)
    model = make_pipeline(
        SpectralSelector(random_state=0, hidden=(20,), epochs=10, runs=1, device="cpu"), LogisticRegression()
    )
    search = GridSearchCV(model, {"spectralselector__features": [1, 3]}, cv=2).fit(X, y)
    assert search.best_params_ == {"spectralselector__features": 3}
    assert search.best_score_ > 0.95
    assert make_pipeline(SpectralSelector(2, random_state=0, **QUICK), Ridge()).fit(X, X[:, 0]).predict(X).shape == (
        600,
    )


@pytest.mark.parametrize(
    "change",
    [
        {"task": "clustering"},
        {"features": 0},
        {"features": 9},
        {"features": 1.5},
        {"features": 0.0},
        {"features": "all"},
        {"features": [0, 1]},
        {"runs": 0},
    ],
)
def test_wrong_options_are_named(change):
    X, y = table(50)
    with pytest.raises(ValueError, match=f"{next(iter(change))}="):
        SpectralSelector(**(QUICK | change)).fit(X, y)


def test_whole_numbers_that_may_be_a_quantity():
    X, y = load_diabetes(return_X_y=True)  # 214 whole numbers, which scikit-learn calls classes
    with pytest.raises(ValueError, match="task='auto': y has 214"):
        SpectralSelector(**QUICK).fit(X, y)
    assert SpectralSelector(task="regression", **QUICK).fit(X, y).task_ == "regression"
    assert SpectralSelector(task="classification", **QUICK).fit(X, y).task_ == "classification"
    assert SpectralSelector(**QUICK).fit(X[:300], np.arange(300) % 30).task_ == "classification"
    assert SpectralSelector(**QUICK).fit(X[:60], [f"no. {k}" for k in range(30)] * 2).task_ == "classification"
    assert SpectralSelector(**QUICK).fit(X[:50], np.arange(50) % 20).task_ == "classification"
    for values, samples in ((21, 209), (30, 299)):
        with pytest.raises(ValueError, match=f"y has {values} whole numbers in {samples}"):
            SpectralSelector(**QUICK).fit(X[:samples], np.arange(samples) % values)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_target_that_never_changes(task):
    with pytest.raises(ValueError, match="y is 4 in every sample"):
        SpectralSelector(task=task, **QUICK).fit(table(50)[0], np.full(50, 4))


def test_one_hidden_layer_as_a_number():
    X, y = table(50)
    one, same = (SpectralSelector(random_state=0, **QUICK | {"hidden": h}).fit(X, y) for h in (5, [5]))
    np.testing.assert_array_equal(one.scores_, same.scores_)


def test_a_training_that_diverges():
    with (
        pytest.warns(RuntimeWarning, match="non-finite"),
        pytest.raises(ValueError, match=r"lr=1e\+30: 2 of 2 networks"),
    ):
        SpectralSelector(lr=1e30, **QUICK).fit(*table(50))
