"""Selectors of columns judged by scikit-learn's folds: how many columns to keep, and what keeping them costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from spectral_lens._runtime.extras import optional

with optional("selector"):
    from sklearn.base import clone

__all__ = ["one_standard_error", "score_by_count"]


def one_standard_error(results: Mapping[str, Any]) -> int:
    """The first candidate of a grid whose score lies within one standard error of the best: `refit` of GridSearchCV.

    The grid has to go from simple to complex, so that the first is the simplest.  [breiman1984, 3.4.3]
    results: `cv_results_`; the standard error is the standard deviation over the folds over the root of their number.
    Candidates without a score, whose fits failed, are none.
    Raises ValueError for scores of fewer than two folds, and where no candidate has one.

    >>> folds = {f"split{k}_test_score": None for k in range(4)}
    >>> mean, sd = np.array([0.7, 0.89, 0.9]), np.array([0.1, 0.1, 0.1])
    >>> one_standard_error({"mean_test_score": mean, "std_test_score": sd, **folds})
    1
    """
    folds = sum(name.startswith("split") and name.endswith("_test_score") for name in results)
    if folds < 2:
        raise ValueError("the results hold no scores of two folds or more: is this cv_results_ of a grid search?")
    mean = results["mean_test_score"]
    if np.isnan(mean).all():
        raise ValueError("no candidate of the grid has a score: all their fits failed.")
    best = np.nanargmax(mean)
    return int(np.flatnonzero(mean >= mean[best] - results["std_test_score"][best] / folds**0.5)[0])


Splits = Sequence[tuple[np.ndarray, np.ndarray]]  # the rows of each fold, (seen, held out)
Scorer = Callable[[Any, np.ndarray, np.ndarray], float]  # scikit-learn's: of a fitted estimator, x and y


def score_by_count(
    model: Any,
    x: Float[np.ndarray, "n d"],
    y: np.ndarray,
    rankings: Sequence[np.ndarray],
    *,
    counts: Sequence[int],
    splits: Splits,
    scoring: Scorer | None = None,
) -> Float[np.ndarray, "folds counts"]:
    """A model's score on the rows held out, fitted to the first columns of a ranking of the rows seen.

    model: an estimator of scikit-learn, fitted anew each time.  splits: the rows of each fold, (seen, held out).
    rankings: one for each fold, made from its seen rows alone.  scoring: a scorer of scikit-learn, by default the
    model's own score.
    Raises ValueError for counts beyond the columns and where there are not as many rankings as splits.

    >>> from sklearn.linear_model import LogisticRegression
    >>> x, y = np.eye(2)[[0, 1] * 6], np.array([0, 1] * 6)
    >>> splits = [(np.arange(6), np.arange(6, 12))]
    >>> score_by_count(LogisticRegression(), x, y, [np.array([1, 0])], counts=[1, 2], splits=splits).tolist()
    [[1.0, 1.0]]
    """
    if len(rankings) != len(splits):
        raise ValueError(f"{len(rankings)} rankings for {len(splits)} folds: give one for each.")
    if not counts or min(counts) < 1 or max(counts) > x.shape[1]:
        raise ValueError(f"counts must lie between 1 and the {x.shape[1]} columns.")
    pairs = list(zip(rankings, splits, strict=True))
    return np.array(
        [[_score(model, x, y, split, order[:count], scoring) for count in counts] for order, split in pairs]
    )


def _score(
    model: Any, x: np.ndarray, y: np.ndarray, split: tuple[np.ndarray, np.ndarray], columns: Any, scoring: Scorer | None
) -> float:
    """Of the model, fitted to these columns of the rows seen, on the rows held out."""
    seen, held = split
    fitted = clone(model).fit(x[seen][:, columns], y[seen])
    rows = x[held][:, columns], y[held]
    return float(scoring(fitted, *rows) if scoring else fitted.score(*rows))
