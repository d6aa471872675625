"""Selectors judged by folds, against scikit-learn's own search and scores."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from spectral_lens.relevance.cross_validation import one_standard_error, score_by_count


def table(samples=90, columns=6):
    x = np.random.default_rng(0).normal(size=(samples, columns))
    noise = np.random.default_rng(1).normal(size=samples)
    return x, (x[:, 2] + 0.5 * x[:, 4] + 0.5 * noise > 0).astype(int)


@pytest.mark.parametrize(("sd", "chosen"), [(0.0, 2), (0.01, 2), (0.1, 1), (0.4, 0)])
def test_the_simplest_within_one_standard_error(sd, chosen):
    means, folds = np.array([0.75, 0.86, 0.9, 0.88]), {f"split{k}_test_score": None for k in range(5)}
    spread = np.array([9.0, 9.0, sd, 9.0])  # only the best one's counts: sd / sqrt(5) is 0.004, 0.045, 0.18
    assert one_standard_error({"mean_test_score": means, "std_test_score": spread, **folds}) == chosen
    learned = {f"split{k}_train_score": None for k in range(5)}  # the same folds, not five more
    assert one_standard_error({"mean_test_score": means, "std_test_score": spread, **folds, **learned}) == chosen


def test_it_is_what_a_grid_search_refits_by():
    x, y = table()
    grid = {"n_neighbors": [40, 20, 10, 5, 1]}
    search = GridSearchCV(KNeighborsClassifier(), grid, cv=5, refit=one_standard_error).fit(x, y)
    scores = np.array([cross_val_score(KNeighborsClassifier(k), x, y, cv=5) for k in grid["n_neighbors"]])
    best = scores.mean(1).argmax()
    within = scores.mean(1) >= scores[best].mean() - scores[best].std() / 5**0.5
    assert search.best_index_ == np.flatnonzero(within)[0]


def test_results_without_folds_are_refused():
    with pytest.raises(ValueError, match="two folds or more"):
        one_standard_error({"mean_test_score": np.ones(3), "std_test_score": np.ones(3)})


def test_each_fold_has_its_own_ranking():
    x, y = table()
    splits = list(StratifiedKFold(3).split(x, y))
    orders = [np.roll(np.arange(6), k) for k in range(3)]
    found = score_by_count(LogisticRegression(), x, y, orders, counts=[2], splits=splits)
    for k, (order, split) in enumerate(zip(orders, splits, strict=True)):
        alone = score_by_count(LogisticRegression(), x, y, [order], counts=[2], splits=[split])
        np.testing.assert_array_equal(found[k], alone[0])


@pytest.mark.parametrize(
    ("rankings", "counts", "message"), [(2, [1], "one for each"), (3, [0], "between 1"), (3, [7], "the 6 columns")]
)
def test_what_does_not_fit_is_refused(rankings, counts, message):
    x, y = table()
    splits = list(StratifiedKFold(3).split(x, y))
    with pytest.raises(ValueError, match=message):
        score_by_count(LogisticRegression(), x, y, [np.arange(6)] * rankings, counts=counts, splits=splits)


def test_candidates_whose_fits_failed_are_none():
    folds = {f"split{k}_test_score": None for k in range(4)}
    mean, sd = np.array([np.nan, 0.7, np.nan, 0.89, 0.9]), np.array([np.nan, 0.1, np.nan, 0.1, 0.1])
    assert one_standard_error({"mean_test_score": mean, "std_test_score": sd, **folds}) == 3
    with pytest.raises(ValueError, match="no candidate of the grid has a score"):
        one_standard_error({"mean_test_score": mean * np.nan, "std_test_score": sd, **folds})


def test_the_score_is_that_of_the_models_cross_validation():
    x, y = table()
    model, folds, order = LogisticRegression(), StratifiedKFold(3), np.array([2, 4, 0, 5, 1, 3])
    splits, scorer = list(folds.split(x, y)), make_scorer(balanced_accuracy_score, adjusted=True)
    for scoring in (None, scorer):
        found = score_by_count(model, x, y, [order] * 3, counts=[1, 4], splits=splits, scoring=scoring)
        for k, count in enumerate([1, 4]):
            peer = cross_val_score(model, x[:, order[:count]], y, cv=folds, scoring=scoring)
            np.testing.assert_allclose(found[:, k], peer)
    assert not hasattr(model, "coef_")
    with pytest.raises(ValueError, match="between 1 and the 6"):
        score_by_count(model, x, y, [order] * 3, counts=[7], splits=splits)
    with pytest.raises(ValueError, match="2 rankings for 3 folds"):
        score_by_count(model, x, y, [order] * 2, counts=[1], splits=splits)
