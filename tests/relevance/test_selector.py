"""The selector among scikit-learn's own: its checks, pipelines, and sets of which the truth is known."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import oracles
from spectral_lens.datasets import synthetic
from spectral_lens.relevance import selector as selector_module
from spectral_lens.relevance.selector import SpectralSelector
from spectral_lens.relevance.spectral import by_eigenvalues

QUICK = {"hidden": (5,), "epochs": 3, "runs": 2, "device": "cpu"}
short = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # as QUICK is, on purpose
LONG_ENOUGH = {"hidden": (10,), "epochs": 30, "batch_size": 10, "runs": 2, "device": "cpu"}


@short
@pytest.mark.filterwarnings("ignore:No features were selected")
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
    assert found.ranking_[:3].tolist() == [1, 1, 1]
    assert found.ranking_[3:].tolist() == [2 + sum(found.scores_[3:] > score) for score in found.scores_[3:]]
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


@short
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
    expected[:, 4] = 0
    expected /= expected.max(1, keepdims=True)
    np.testing.assert_allclose(found.relevance_, expected, rtol=1e-6)
    np.testing.assert_allclose(found.scores_, expected.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.feature_importances_, expected.mean(0) / expected.mean(0).sum(), rtol=1e-6)
    assert not found.get_support().any()  # four epochs of three steps are none too many
    assert found.ranking_[np.argsort(-expected.mean(0), kind="stable")].tolist() == [2, 3, 4, 5, 6, 7]


@short
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
    options = QUICK | {"epochs": 20, "lr": 0.05, "random_state": 0}
    found = SpectralSelector(**options).fit(X, y)
    scores = found.scores_
    assert found.get_support().tolist() == (scores > 0.05).tolist()
    assert ((scores > 0.05) & (scores < 0.5)).any()
    for kept in (1, 4, 7):
        edge = np.sort(scores)[-1 - kept]  # a score at the threshold is not above it
        found = SpectralSelector(threshold=edge, **options).fit(X, y)
        assert found.get_support().tolist() == (scores > edge).tolist()
        assert found.get_support().sum() == kept


@short
@pytest.mark.parametrize(("share", "kept"), [(0.45, 4), (0.42, 3), (0.01, 1), (0.99, 8)])
def test_a_share_of_the_features_is_rounded(share, kept):
    X, y = table(50)
    found = SpectralSelector(share, random_state=0, **QUICK).fit(X, y)
    assert found.get_support().tolist() == (found.scores_ >= np.sort(found.scores_)[-kept]).tolist()
    assert (found.ranking_ == 1).tolist() == found.get_support().tolist()
    assert sorted(found.ranking_[found.ranking_ > 1]) == list(range(2, 10 - kept))


@short
def test_names_and_labels_of_any_kind():
    X, y = table(400)
    names = np.array(["no", "yes"])[y]
    found = SpectralSelector(0.25, random_state=1, **QUICK).fit(X, names)
    assert found.get_support().sum() == 2
    again = SpectralSelector(0.25, random_state=1, **QUICK).fit(X, y)
    np.testing.assert_array_equal(found.scores_, again.scores_)
    chosen = found.get_feature_names_out([f"pixel {k}" for k in range(8)])
    assert list(chosen) == [f"pixel {k}" for k in np.flatnonzero(found.get_support())]


@short
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
        {"features": True},
        {"runs": 0},
        {"runs": 1.5},
        {"cv": 1},
        {"cv": None},
        {"hidden": 5.0},
        {"hidden": (5, 0)},
        {"hidden": "5"},
        {"epochs": 0},
        {"epochs": True},
        {"epochs": [3, 4]},
        {"batch_size": 0.5},
        {"lr": 0},
        {"lr": float("nan")},
        {"lr": "0.1"},
        {"penalty": -1},
        {"penalty": None},
        {"psi_penalty": float("inf")},
        {"threshold": 1},
        {"threshold": -0.1},
        {"threshold": True},
    ],
)
def test_wrong_options_are_named(change, monkeypatch):
    X, y = table(50)
    monkeypatch.setattr(selector_module, "fit", None)  # before any training
    with pytest.raises(ValueError, match=f"{next(iter(change))}="):
        SpectralSelector(**(QUICK | change)).fit(X, y)


@short
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


@short
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


def cancer():
    return load_breast_cancer(return_X_y=True)


DEFAULT = {"random_state": 0, "device": "cpu"}


def test_what_was_kept_before_is_kept():
    X, y = cancer()
    found = SpectralSelector(**DEFAULT).fit(X, y)
    assert found.get_support().sum() == 11
    assert 0.85 < found.cv_score_ < 1


@pytest.mark.parametrize(("penalty", "features"), [(10, None), (50, None), (50, 4)])
def test_a_penalty_that_leaves_nothing(penalty, features):
    X, y = cancer()
    with pytest.warns(ConvergenceWarning, match=f"penalty={penalty} let .* fall to nothing: lower it.*; no feature is"):
        found = SpectralSelector(features, penalty=penalty, **DEFAULT).fit(X, y)
    assert not found.get_support().any()
    assert not found.scores_.any()
    assert not found.relevance_.any()
    assert not found.feature_importances_.any()
    assert found.ranking_.tolist() == list(range(2, 32))


@pytest.mark.parametrize("epochs", [5, 10])
def test_too_few_steps(epochs):
    X, y = cancer()
    with pytest.warns(ConvergenceWarning, match=f"epochs={epochs} are too few, .* by 0.{6 * epochs // 10} at most"):
        found = SpectralSelector(epochs=epochs, **DEFAULT).fit(X, y)
    assert not found.get_support().any()
    assert SpectralSelector(4, epochs=epochs, **DEFAULT).fit(X, y).get_support().sum() == 4  # a ranking there is


@pytest.mark.parametrize(("penalty", "seed"), [(0.001, 0), (0.02, 1)])
def test_labels_that_mean_nothing(penalty, seed):
    X, y = cancer()
    draw = np.random.default_rng(seed)
    with pytest.warns(ConvergenceWarning, match="no better than a constant, cv_score_ is|fall to nothing"):
        found = SpectralSelector(penalty=penalty, **DEFAULT).fit(X, draw.permutation(y))
    assert not found.get_support().any()
    with pytest.warns(ConvergenceWarning, match="features that are kept may be any"):
        assert SpectralSelector(4, **QUICK).fit(X, draw.permutation(y)).get_support().sum() == 4


def test_a_quantity_that_means_nothing():
    X, y = load_diabetes(return_X_y=True)
    options = {"task": "regression", "epochs": 40} | DEFAULT
    kept = SpectralSelector(**options).fit(X, y)
    assert kept.get_support().any()
    assert 0 < kept.cv_score_ < 0.6
    with pytest.warns(ConvergenceWarning, match="no better than a constant"):
        found = SpectralSelector(**options).fit(X, np.random.default_rng(0).permutation(y))
    assert found.cv_score_ < 0
    assert not found.get_support().any()


def test_a_rare_class_is_no_noise():
    """Where no row is likely to be of the rare class, all answers are the frequent one: accuracy would see nothing."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(900, 5))
    y = (X[:, 0] + draw.normal(size=900) > 2.6).astype(int)
    assert 0.02 < y.mean() < 0.05
    found = SpectralSelector(penalty=0.05, **LONG_ENOUGH | {"batch_size": 90}, random_state=0).fit(X, y)
    assert found.get_support().tolist() == [True] + [False] * 4


def test_one_network_of_several_that_fell_counts_as_silent():
    """Its largest relevance is as much of an accident as the others."""
    X, y = table(200)
    plain = SpectralSelector(random_state=0, **LONG_ENOUGH).fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selector_module, "fallen", lambda trained, layer, lr: torch.tensor([True, False]))
        found = SpectralSelector(random_state=0, **LONG_ENOUGH).fit(X, y)
    np.testing.assert_array_equal(found.relevance_[0], np.zeros(8))
    np.testing.assert_array_equal(found.relevance_[1], plain.relevance_[1])


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.0, np.float64), (14.62, np.float64), (1e6 + 0.1, np.float64), (-3e-9, np.float64), (0.1, np.float32),
        (1e6 + 0.1, np.float32), (0.0, np.float32), (14.62, np.float16), (0.1, np.float16),
    ],
)  # fmt: skip
def test_a_constant_is_never_kept(value, dtype):
    X, y = table(100)
    X = np.column_stack([X, np.full(100, value)]).clip(-6e4, 6e4).astype(dtype)
    found = SpectralSelector(9 if dtype is np.float32 else None, random_state=0, **LONG_ENOUGH).fit(X, y)
    assert found.scores_[8] == 0
    assert not found.get_support()[8]
    assert found.get_support()[:3].all()


@pytest.mark.parametrize(
    ("column", "constant"),
    [
        (np.where(np.arange(200) % 3, 0.1 + 0.2, 0.3), True),  # one rounding apart
        (np.where(np.arange(200) % 3, np.float32(0.1) + np.float32(0.2), 0.3).astype(np.float32), True),
        (1.7e9 + np.arange(200) % 7, False),  # seconds since 1970
        (1 + 1e-9 * (np.arange(200) % 7), False),
        (np.float32(1000) + np.arange(200, dtype=np.float32) / 200, False),
        (1e-100 * np.arange(200), False),
        (np.arange(200) == 7, False),
    ],
)
def test_what_varies_and_what_does_not(column, constant):
    X = np.asarray(column).astype(np.float64 if column.dtype == bool else column.dtype)[:, None]
    assert selector_module._constant(X).tolist() == [constant]


def test_constants_alone_are_refused():
    with pytest.raises(ValueError, match="all 3 features are constant: there is nothing to choose from"):
        SpectralSelector(**QUICK).fit(np.full((20, 3), 0.1), np.arange(20) % 2)


@pytest.mark.parametrize("one", [np.int64, np.int32, np.uint8, np.array, torch.tensor])
def test_numbers_of_numpy_and_torch(one):
    X, y = table(60)
    same = SpectralSelector(2, random_state=0, **LONG_ENOUGH).fit(X, y)
    options = {name: one(LONG_ENOUGH[name]) for name in ("epochs", "batch_size", "runs")}
    reals = {"lr": np.float64(0.01), "penalty": np.array(0.02), "psi_penalty": torch.tensor(0.001, dtype=torch.float64)}
    found = SpectralSelector(
        one(2), cv=one(3), hidden=np.array([10]), threshold=np.float32(0.05), random_state=0, device="cpu",
        **options, **reals,
    ).fit(X, y)  # fmt: skip
    np.testing.assert_array_equal(found.scores_, same.scores_)
    assert found.cv_score_ == same.cv_score_
    again = SpectralSelector(2, random_state=0, **LONG_ENOUGH | {"hidden": one(10)}).fit(X, y)
    np.testing.assert_array_equal(again.scores_, same.scores_)


def test_a_choice_of_nothing_among_scikit_learns_tools():
    X, y = (each[::3] for each in load_breast_cancer(return_X_y=True, as_frame=True))
    selector = SpectralSelector(penalty=50, epochs=20, batch_size=20, runs=1, **DEFAULT)
    with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
        found = clone(selector).set_output(transform="pandas").fit(X, y)
    found = pickle.loads(pickle.dumps(found))
    with pytest.warns(UserWarning, match="No features were selected"):
        assert found.transform(X).shape == (190, 0)
    assert list(found.get_feature_names_out()) == []
    search = GridSearchCV(
        make_pipeline(selector, LogisticRegression(max_iter=9000)),
        {"spectralselector__penalty": [0.1, 50]}, cv=2, error_score=-1.0,
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):  # of the folds in which nothing is left to fit
        search.fit(X, y)
    assert search.best_params_ == {"spectralselector__penalty": 0.1}
    assert search.cv_results_["mean_test_score"][1] == -1


def test_the_importances_serve_other_selectors():
    X, y = table(200)
    estimator = SpectralSelector(random_state=0, **LONG_ENOUGH)
    assert SelectFromModel(estimator, max_features=3, threshold=-np.inf).fit(X, y).get_support().sum() == 3
    found = RFE(estimator, n_features_to_select=3, step=3).fit(X, y)
    assert found.get_support().tolist() == [True] * 3 + [False] * 5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # three steps are few
def test_two_samples_are_enough_to_be_fitted():
    X = np.array([[0.0, 1.0, 2.0], [1.0, -1.0, 5.0]])
    found = SpectralSelector(1, task="regression", **QUICK).fit(X, [0.5, 1.5])
    assert found.get_support().sum() == 1
    with pytest.raises(ValueError, match="minimum of 2"):
        SpectralSelector(1, task="regression", **QUICK).fit(X[:1], [0.5])
