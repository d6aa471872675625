"""Columns of a table chosen by several methods, and how often each is chosen where some rows are left out."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from spectral_lens._runtime.extras import optional
from spectral_lens.intervals import of_share
from spectral_lens.relevance import baselines

with optional("selector"):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LassoCV, LogisticRegressionCV
    from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import l1_min_c

    from spectral_lens.relevance.selector import SpectralSelector

__all__ = [
    "Chosen",
    "Method",
    "folds_of",
    "how_often",
    "lasso",
    "mutual_information",
    "over_folds",
    "spectral",
    "verdict",
]

_EPS = 0.03  # the weakest penalty of the LASSO over the strongest
_PENALTIES = 12
_INNER = 4  # folds among which the LASSO's penalty is chosen


class Chosen(NamedTuple):
    """What a method says of the columns."""

    scores: Float[np.ndarray, " d"]  # none negative: the higher, the more a column matters to it
    kept: Bool[np.ndarray, " d"]
    warning: str = ""  # why nothing was found
    score: float | None = None  # of its own networks on rows that they have not seen: 0 a constant, 1 all right


Method = Callable[[Float[np.ndarray, "n d"], np.ndarray, int], Chosen]  # of x, y and a seed


def spectral(x: Float[np.ndarray, "n d"], y: np.ndarray, seed: int, **options: Any) -> Chosen:
    """What `SpectralSelector` keeps; where it warns that this means nothing, the warning.

    y: floating for a quantity, whole numbers for classes.  options: of `SpectralSelector`.

    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> spectral(x, (x[:, 1] > 0).astype(int), 0, epochs=60, device="cpu").kept
    array([False,  True, False])
    """
    task = "regression" if _measured(y) else "classification"
    selector = SpectralSelector(task=task, random_state=seed, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        selector.fit(x, y)
    said = [str(each.message) for each in caught if issubclass(each.category, ConvergenceWarning)]
    for each in caught:
        if not issubclass(each.category, ConvergenceWarning):
            warnings.warn(each.message, stacklevel=2)
    return Chosen(selector.scores_, selector.get_support(), " ".join(said), selector.cv_score_)


def lasso(x: Float[np.ndarray, "n d"], y: np.ndarray, seed: int) -> Chosen:
    """The size of the LASSO's coefficients, of which all that are not zero are kept.  [tibshirani1996]

    The columns are standardised, the penalty is chosen by cross-validation, among some from the strongest, under which
    all coefficients are zero, down.  For classes: logistic regressions with an L1 penalty, each class against the rest;
    the score is the length of a column's coefficients.

    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> lasso(x, x[:, 1] - x[:, 2], 0).kept
    array([False,  True,  True])
    """
    x = StandardScaler().fit_transform(x)
    if _measured(y):
        model = LassoCV(cv=_INNER, alphas=_PENALTIES, eps=_EPS, random_state=seed, max_iter=100_000)
        scores = np.abs(model.fit(x, y).coef_)
    else:
        classes = np.unique(y)
        truths = [y == k for k in (classes[1:] if len(classes) == 2 else classes)]
        scores = np.linalg.norm([_against_rest(x, truth, seed) for truth in truths], axis=0)
    return Chosen(scores, scores > 0)


def _against_rest(x: np.ndarray, truth: np.ndarray, seed: int) -> Float[np.ndarray, " d"]:
    """The coefficients of a logistic regression with an L1 penalty, which the likelihood of rows held out chooses."""
    weakest = l1_min_c(x, truth, loss="log", fit_intercept=False)
    model = LogisticRegressionCV(
        Cs=weakest * np.geomspace(1, 1 / _EPS, _PENALTIES), l1_ratios=(1.0,), solver="liblinear", random_state=seed,
        cv=min(_INNER, int(np.bincount(truth).min())), scoring="neg_log_loss", use_legacy_attributes=False,
    )  # fmt: skip
    return np.asarray(model.fit(x, truth).coef_[0])


def mutual_information(x: Float[np.ndarray, "n d"], y: np.ndarray, seed: int, *, shuffles: int) -> Chosen:
    """Of each column alone with y; kept is what tells more of it than any column tells of a shuffled y.  [ross2014]

    shuffles: so many; the chance that a table of noise has a column that is kept is 1 / (1 + shuffles).
    Raises ValueError for none.

    >>> x = np.random.default_rng(0).normal(size=(200, 3))
    >>> mutual_information(x, (x[:, 1] > 0).astype(int), 0, shuffles=9).kept
    array([False,  True, False])
    """
    if shuffles < 1:
        raise ValueError(f"shuffles={shuffles}: give a whole number of at least 1.")
    draw = np.random.default_rng(seed)
    scores = baselines.mutual_information(x, y, seed)
    chance = max(baselines.mutual_information(x, draw.permutation(y), seed).max() for _ in range(shuffles))
    return Chosen(scores, scores > chance)


def folds_of(y: np.ndarray, *, folds: int, repeats: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows of each fold, (seen, held out), `repeats` times shuffled anew; every fold has its part of each class.

    Raises ValueError for fewer than two folds and for a class that has not a row for each.

    >>> [held.tolist() for _, held in folds_of(np.arange(5.0), folds=2, repeats=1, seed=0)]
    [[0, 1, 2], [3, 4]]
    """
    least = len(y) if _measured(y) else int(np.unique(y, return_counts=True)[1].min())
    if not 2 <= folds <= least or repeats < 1:
        raise ValueError(
            f"folds={folds}, repeats={repeats}: there must be 2 folds or more, {least} at most, so that each has a row "
            "of each class, and 1 repeat or more."
        )
    split = RepeatedKFold if _measured(y) else RepeatedStratifiedKFold
    return list(split(n_splits=folds, n_repeats=repeats, random_state=seed).split(np.zeros((len(y), 1)), y))


def over_folds(
    methods: Mapping[str, Method],
    x: Float[np.ndarray, "n d"],
    y: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
) -> dict[str, list[Chosen]]:
    """What each method says of the rows seen, for each fold, which has a seed of its own: `seed` and those after it.

    >>> x, y = np.eye(3)[[0, 1, 2] * 4], np.array([1.0, 2.0, 2.0] * 4)
    >>> found = over_folds({"LASSO": lasso}, x, y, folds_of(y, folds=3, repeats=1, seed=0), seed=0)
    >>> [each.kept.shape for each in found["LASSO"]]
    [(3,), (3,), (3,)]
    """
    return {
        name: [method(x[seen], y[seen], seed + k) for k, (seen, _) in enumerate(splits)]
        for name, method in methods.items()
    }


def verdict(found: Chosen, again: Sequence[Chosen]) -> str:
    """What the selector found, in plain words: of the whole table, and of the rows seen in each fold.

    Raises ValueError for what another method found, which has no score of its own.

    >>> lost = Chosen(np.zeros(2), np.array([False, False]), "epochs=1 are too few; no feature is kept.", 0.1)
    >>> verdict(lost, [lost, lost])
    'Nothing was found: epochs=1 are too few; no feature is kept. The same in 2 of 2 folds.'
    """
    if found.score is None:
        raise ValueError("this is no choice of the spectral selector: it has no score of its own.")
    kept, columns, folds = int(found.kept.sum()), len(found.kept), len(again)
    lost = sum(bool(each.warning) for each in again)
    if found.warning:
        return f"Nothing was found: {found.warning} The same in {lost} of {folds} folds."
    text = (
        f"{kept} of {columns} columns are kept. For rows that its networks have not seen their score is "
        f"{found.score:.2f}: a constant answer has 0, the right one 1."
    )
    if kept == columns > 1:
        text += " No column is silent: a stronger penalty would leave some out."
    if lost:
        text += f" But in {lost} of {folds} folds nothing was found: this choice hangs on a few rows."
    return text


def how_often(kept: Bool[np.ndarray, "r d"]) -> Float[np.ndarray, "3 d"]:
    """The share of the runs in which each column is kept, and Wilson's 95% interval of it: share, lower and upper end.

    >>> how_often(np.array([[True], [True], [False], [True]])).round(2).ravel().tolist()
    [0.75, 0.3, 0.95]
    """
    runs, often = len(kept), kept.sum(0).tolist()
    return np.array([of_share(k, runs) for k in often]).T


def _measured(y: np.ndarray) -> bool:
    return np.issubdtype(y.dtype, np.floating)
