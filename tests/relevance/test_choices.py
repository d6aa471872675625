"""What methods keep of a table: scikit-learn's own estimators, noise, folds, and intervals by their closed forms."""

import warnings
from functools import partial

import numpy as np
import pytest
from scipy import stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.linear_model import LassoCV, LogisticRegression
from sklearn.model_selection import KFold, cross_val_score

from spectral_lens.relevance import choices
from spectral_lens.relevance.selector import SpectralSelector

OPTIONS = {
    "hidden": (6,),
    "epochs": 15,
    "batch_size": 20,
    "lr": 0.04,
    "runs": 2,
    "cv": 2,
    "penalty": 0.05,
    "device": "cpu",
}


def table(rows=200, classes=0, noise=0.3):
    """Seven columns in different units, of which the third and the sixth count."""
    draw = np.random.default_rng(5)
    x = draw.normal(size=(rows, 7))
    y = 2 * x[:, 2] - 1.8 * x[:, 5] + noise * draw.normal(size=rows)
    if classes:
        y = np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))
    return x * 10.0 ** np.arange(-3, 4) + 2, y


METHODS = {
    "spectral": partial(choices.spectral, **OPTIONS),
    "LASSO": choices.lasso,
    "mutual information": partial(choices.mutual_information, shuffles=19),
}


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_what_counts_is_first_and_kept(method, classes):
    x, y = table(classes=classes)
    found = METHODS[method](x, y, 0)
    assert set(found.scores.argsort()[-2:]) == {2, 5}
    assert found.kept[2]  # of a quantity the estimate for the other one drowns in the scatter of shuffled targets
    assert found.kept[5] or (method, classes) == ("mutual information", 0)
    assert found.kept.tolist() == (found.scores >= found.scores[found.kept].min()).tolist()
    assert (found.scores >= 0).all()
    assert found.warning == ""


@pytest.mark.parametrize("classes", [0, 2])
def test_of_noise_the_selector_keeps_nothing_and_says_so(classes):
    x, y = table(rows=200)
    y = np.random.default_rng(1).permutation(y if not classes else (y > 0).astype(int))
    found = choices.spectral(x, y, 0, **OPTIONS)
    assert not found.kept.any()
    assert "no feature is kept" in found.warning
    assert found.score < 0.1
    assert not choices.mutual_information(x, y, 0, shuffles=19).kept.any()


def test_the_selectors_choice_is_its_own():
    x, y = table(rows=60, classes=3)
    options = OPTIONS | {"epochs": 8, "lr": 0.1}
    selector = SpectralSelector(random_state=4, **options).fit(x, y)
    found = choices.spectral(x, y, 4, **options)
    np.testing.assert_array_equal(found.scores, selector.scores_)
    np.testing.assert_array_equal(found.kept, selector.get_support())
    assert found.score == selector.cv_score_
    assert choices.spectral(x, y.astype(float), 4, **options).score != found.score  # a quantity


def test_only_its_own_warning_is_taken(monkeypatch):
    def fit(self, x, y):
        warnings.warn("too short", ConvergenceWarning, stacklevel=2)
        warnings.warn("another thing", UserWarning, stacklevel=2)
        self.scores_, self.support_, self.cv_score_ = np.zeros(7), np.zeros(7, dtype=bool), 0.0

    monkeypatch.setattr(SpectralSelector, "fit", fit)
    with pytest.warns(UserWarning, match="another thing") as caught:
        assert choices.spectral(*table(), 0).warning == "too short"
    assert len(caught) == 1


def test_the_lasso_is_scikit_learns_on_standardised_columns():
    x, y = table()
    standard = (x - x.mean(0)) / x.std(0)
    peer = LassoCV(cv=4, alphas=12, eps=0.03).fit(standard, y)
    found = choices.lasso(x, y, 0)
    np.testing.assert_allclose(found.scores, np.abs(peer.coef_), atol=1e-10)
    np.testing.assert_array_equal(found.kept, peer.coef_ != 0)


def test_of_two_classes_it_is_the_logistic_regression_that_held_out_rows_choose():
    x, y = table(classes=2)
    standard, sign = (x - x.mean(0)) / x.std(0), 2 * y - 1
    weakest = 2 / np.abs(standard.T @ sign).max()  # below, the gradient at zero is smaller than the penalty
    path = weakest * 0.03 ** -(np.arange(12) / 11)
    fits = [LogisticRegression(C=c, l1_ratio=1, solver="liblinear", random_state=0) for c in path]
    rated = [cross_val_score(fit, standard, y, cv=4, scoring="neg_log_loss").mean() for fit in fits]
    assert not fits[0].fit(standard, y).coef_.round(6).any()
    best = fits[int(np.argmax(rated))].fit(standard, y)
    np.testing.assert_allclose(choices.lasso(x, y, 0).scores, np.abs(best.coef_[0]), rtol=0.02, atol=1e-3)


def test_of_three_classes_the_lasso_takes_the_length_of_their_coefficients():
    x, y = table(classes=3)
    each = [choices.lasso(x, (y == k).astype(int), 0).scores for k in range(3)]
    np.testing.assert_allclose(choices.lasso(x, y, 0).scores, np.sqrt(np.square(each).sum(0)), rtol=1e-6)


def test_a_class_of_few_rows_has_fewer_inner_folds():
    x, y = table(rows=60)
    rare = (y >= np.sort(y)[-3]).astype(int)
    assert choices.lasso(x, rare, 0).scores.shape == (7,)


@pytest.mark.parametrize(("classes", "peer"), [(0, mutual_info_regression), (3, mutual_info_classif)])
def test_mutual_information_has_to_beat_every_shuffled_target(classes, peer):
    x, y = table(classes=classes)
    draw = np.random.default_rng(6)
    beaten = max(peer(x, draw.permutation(y), random_state=6).max() for _ in range(3))
    found = choices.mutual_information(x, y, 6, shuffles=3)
    np.testing.assert_allclose(found.scores, peer(x, y, random_state=6))
    assert found.kept.tolist() == (found.scores > beaten).tolist()
    with pytest.raises(ValueError, match="shuffles=0"):
        choices.mutual_information(x, y, 0, shuffles=0)


def test_each_row_is_held_out_once_in_each_repeat_and_each_class_in_each_fold():
    y = np.array([0] * 7 + [1] * 14)
    splits = choices.folds_of(y, folds=7, repeats=2, seed=3)
    assert len(splits) == 14
    for half in (splits[:7], splits[7:]):
        assert sorted(np.concatenate([held for _, held in half])) == list(range(21))
    for seen, held in splits:
        assert sorted([*seen, *held]) == list(range(21))
        assert np.bincount(y[held]).tolist() == [1, 2]
    assert [held.tolist() for _, held in splits[:7]] != [held.tolist() for _, held in splits[7:]]
    again = choices.folds_of(y, folds=7, repeats=2, seed=3)
    assert all((a[1] == b[1]).all() for a, b in zip(splits, again, strict=True))
    values = choices.folds_of(np.linspace(0, 1, 11), folds=4, repeats=1, seed=0)
    peer = KFold(4, shuffle=True, random_state=0).split(np.zeros((11, 1)))
    assert sorted(len(held) for _, held in values) == sorted(len(held) for _, held in peer)


@pytest.mark.parametrize(("folds", "repeats"), [(1, 1), (8, 1), (3, 0)])
def test_folds_without_a_row_of_each_class_are_refused(folds, repeats):
    with pytest.raises(ValueError, match=rf"folds={folds}, repeats={repeats}: .*7 at most"):
        choices.folds_of(np.array([0] * 7 + [1] * 14), folds=folds, repeats=repeats, seed=0)


def test_each_fold_is_chosen_from_the_rows_seen_with_its_own_seed():
    x, y = table(rows=31)
    splits = choices.folds_of(y, folds=3, repeats=1, seed=0)
    asked = []

    def method(rows, target, seed):
        asked.append((rows, target, seed))
        return choices.Chosen(np.full(7, seed), np.ones(7, dtype=bool))

    found = choices.over_folds({"first": method, "second": method}, x, y, splits, seed=8)
    assert [[each.scores[0] for each in of] for of in found.values()] == [[8, 9, 10]] * 2
    for (rows, target, _), (seen, _) in zip(asked, splits * 2, strict=True):
        np.testing.assert_array_equal(rows, x[seen])
        np.testing.assert_array_equal(target, y[seen])


def chosen(kept, warning="", score=0.75):
    return choices.Chosen(np.array(kept, float), np.array(kept, dtype=bool), warning, score)


def test_the_verdict_is_plain():
    good, bad = chosen([1, 0, 1]), chosen([0, 0, 0], "this is noise; no feature is kept.")
    text = "2 of 3 columns are kept. For rows that its networks have not seen their score is 0.75: a constant answer "
    assert choices.verdict(good, [good] * 4) == text + "has 0, the right one 1."
    assert "But in 1 of 2 folds nothing was found: this" in choices.verdict(good, [good, bad])
    assert "No column is silent" in choices.verdict(chosen([1, 1]), [good])
    assert "No column is silent" not in choices.verdict(chosen([1]), [good])
    lost = "Nothing was found: this is noise; no feature is kept. The same in 1 of 3 folds."
    assert choices.verdict(bad, [good, bad, good]) == lost
    with pytest.raises(ValueError, match="no score of its own"):
        choices.verdict(good._replace(score=None), [good])


def test_shares_have_wilsons_interval():
    kept = np.arange(9)[:, None] < np.array([0, 4, 9])
    share, low, high = choices.how_often(kept)
    z, n = stats.norm.ppf(0.975), 9
    middle, half = (share + z**2 / (2 * n)), z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose(share, [0, 4 / 9, 1])
    np.testing.assert_allclose(low, (middle - half) / (1 + z**2 / n), atol=1e-12)
    np.testing.assert_allclose(high, (middle + half) / (1 + z**2 / n), atol=1e-12)
