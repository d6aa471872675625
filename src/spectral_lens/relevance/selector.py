"""The spectral relevance as a feature selector for scikit-learn."""

import warnings
from typing import Any

import numpy as np
import torch

from spectral_lens._runtime.extras import optional
from spectral_lens.datasets import DataSet
from spectral_lens.datasets.arrays import unclear
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance import scores
from spectral_lens.relevance.convergence import above_constant, fallen, gains, held_out
from spectral_lens.training import Trained, fit

with optional("selector"):
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_selection import SelectorMixin
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

__all__ = ["SpectralSelector"]

_TASKS = ("auto", "classification", "regression")
_TINY = np.finfo(np.float64).tiny


class SpectralSelector(SelectorMixin, BaseEstimator):
    """Keeps the features whose trained eigenvalues say that they matter.  [chicchi]

    A few networks with a spectral first layer are trained side by side, with an L1 penalty on its eigenvalues and
    eigenvectors; a feature's score is its relevance over the largest, the mean over the networks.  Features and
    regression targets are standardised first, so that units do not count; a feature that is constant up to rounding
    has the score 0 and is never kept.

    features: how many to keep, an int, or the share of them, a float below one; None keeps all with a score above
    `threshold`.  task: "classification", "regression", or "auto", which looks at y as scikit-learn does.
    hidden: nodes of the hidden layers, or of the only one.  penalty, psi_penalty: of the eigenvalues and of the
    eigenvectors.  epochs, batch_size, lr: of Adam; an eigenvalue starts at 1 and moves by about `lr` a step, so a
    feature can fall silent where the steps are several times 1 / lr.  runs: networks.  cv: folds, each with one more
    network that is trained on the others, to see whether what is learnt holds.  random_state: as everywhere in
    scikit-learn.  device: as in `training.fit`.

    After `fit`: scores_, (features,); relevance_, (runs, features), each over its largest, or 0 where all has fallen
    to nothing; feature_importances_, the scores over their sum; ranking_, the rank of each feature, 1 for those that
    are kept, as of RFE; cv_score_, of the rows that each fold's network has not seen, 0 for a constant prediction and
    1 where all are right: R^2, or the balanced accuracy adjusted for chance (see `convergence.gains`); task_; and what
    scikit-learn's transformers have.

    A ConvergenceWarning says where nothing was chosen, and why: the penalty was so strong that the relevance of all
    features fell to nothing (see `convergence.fallen`); fewer than 1 / lr steps left all features above the threshold;
    or cv_score_ is not above 0 by more than two standard errors.  Then the threshold keeps no feature.  A number of
    features is kept all the same, unless their scores are 0.

    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=200, n_features=10, n_informative=2, random_state=0)
    >>> selector = SpectralSelector(3, epochs=20, runs=2, random_state=0).fit(X, y)
    >>> selector.transform(X).shape, selector.cv_score_ > 0.5
    ((200, 3), True)
    """

    def __init__(  # of any type: scikit-learn sets what it likes, and `fit` complains
        self,
        features: Any = None,
        *,
        threshold: Any = 0.05,
        task: Any = "auto",
        hidden: Any = (100, 50),
        penalty: Any = 0.02,
        psi_penalty: Any = 0.001,
        epochs: Any = 100,
        batch_size: Any = 100,
        lr: Any = 0.01,
        runs: Any = 3,
        cv: Any = 3,
        random_state: Any = None,
        device: Any = "auto",
    ) -> None:
        self.features = features
        self.threshold = threshold
        self.task = task
        self.hidden = hidden
        self.penalty = penalty
        self.psi_penalty = psi_penalty
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.runs = runs
        self.cv = cv
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> "SpectralSelector":
        """Train the networks on X, (samples, features), and y, (samples,), classes or values."""
        floating = [np.float64, np.float32, np.float16]  # what is none of these becomes the first
        X, y = validate_data(self, X, y, dtype=floating, ensure_min_samples=2, y_numeric=False)
        self.task_ = self._task(y)
        keep, runs, folds = self._count(X.shape[1]), _whole("runs", self.runs), _whole("cv", self.cv, lowest=2)
        threshold, hidden, options = _real("threshold", self.threshold, below=1.0), self._hidden(), self._options()
        varying = ~_constant(X)
        if not varying.any():
            raise ValueError(f"all {len(varying)} features are constant: there is nothing to choose from.")
        data, outputs = self._data(X.astype(np.float64), y, varying)
        net, folds = mlp([data.dim, *hidden, outputs]), min(folds, data.samples)
        first = int(check_random_state(self.random_state).randint(2**31 - 1))
        trained = self._finite(fit(net, data, seeds=range(first, first + runs), **options))
        seeds = range(first + runs, first + runs + folds)
        unseen, others = held_out(net, data, folds=folds, seeds=seeds, **options)
        self._finite(others)
        gained = gains(unseen, data.y)
        self.cv_score_ = float(gained.mean())
        self._score(trained, varying, options["lr"])
        silent = keep is not None or bool((self.scores_[varying] <= threshold).any())
        moved = trained.steps * options["lr"]
        self._choose(keep, threshold, self._failure(moved, silent=silent, predicts=above_constant(gained)))
        return self

    def _score(self, trained: Trained, varying: np.ndarray, lr: float) -> None:
        """What each feature is worth to each network, and on the whole."""
        there = varying & ~fallen(trained, "layer1", lr=lr).numpy()[:, None]
        found = np.where(there, scores.of_inputs(trained).double().cpu().numpy(), 0)
        self.relevance_ = found / np.maximum(found.max(1, keepdims=True), _TINY)
        self.scores_ = self.relevance_.mean(0)
        self.feature_importances_ = self.scores_ / max(self.scores_.sum(), _TINY)

    def _failure(self, moved: float, *, silent: bool, predicts: bool) -> str:
        """Why the scores say nothing of the features, and what to do; empty where they do.

        moved: how far the steps can have moved an eigenvalue.  silent: whether a feature fell below the threshold, or
        none had to.  predicts: whether the networks do so for rows that they have not seen.
        """
        if not self.scores_.any():
            return (
                f"penalty={self.penalty} let the relevance of every feature fall to nothing: lower it, and where that "
                "does not help the features say nothing of y"
            )
        if predicts and (silent or moved >= 1):
            return ""
        if moved < 1:
            return (
                f"epochs={self.epochs} are too few, all steps together move an eigenvalue from 1 by {moved:.2g} at "
                "most: ask for more epochs, or for a smaller batch_size"
            )
        return (
            f"the networks predict rows that they have not seen no better than a constant, cv_score_ is "
            f"{self.cv_score_:.2g}: this is noise to them, it takes more rows or other features"
        )

    def _choose(self, keep: int | None, threshold: float, failure: str) -> None:
        """The features that are kept, and the rank of the others; a warning where the choice means nothing."""
        order = scores.ranking(torch.from_numpy(self.scores_)).numpy()
        self.support_ = self.scores_ > (threshold if keep is None else 0)
        if keep is not None:
            self.support_[order[keep:]] = False
        elif failure:
            self.support_[:] = False
        if failure:
            kept = "the features that are kept may be any" if self.support_.any() else "no feature is kept"
            warnings.warn(f"{failure}; {kept}.", ConvergenceWarning, stacklevel=3)
        left = order[~self.support_[order]]
        self.ranking_ = np.ones_like(order)
        self.ranking_[left] = np.arange(2, 2 + len(left))

    def _task(self, y: np.ndarray) -> str:
        if self.task not in _TASKS:
            raise ValueError(f"task={self.task!r} is unknown: use one of {', '.join(_TASKS)}.")
        if self.task != "auto":
            return self.task
        if type_of_target(y) == "continuous":
            return "regression"
        values = len(np.unique(y))
        if y.dtype.kind in "iuf" and unclear(values, len(y)):
            raise ValueError(
                f"task='auto': y has {values} whole numbers in {len(y)} samples, which may be classes or a quantity: "
                "say task='classification' or task='regression'."
            )
        return "classification"

    def _count(self, there: int) -> int | None:
        """How many features to keep; None where the threshold decides."""
        features = _plain(self.features)
        if features is None:
            return None
        if type(features) is int and 1 <= features <= there:
            return features
        if type(features) is float and 0 < features < 1:
            return max(round(features * there), 1)
        raise ValueError(
            f"features={self.features!r} of n_features={there}: give a number of them, or a share below one."
        )

    def _hidden(self) -> list[int]:
        """The nodes of each hidden layer."""
        hidden = _plain(self.hidden)
        layers = [hidden] if not isinstance(hidden, list | tuple | np.ndarray) else hidden
        return [_whole("hidden", nodes) for nodes in layers]

    def _options(self) -> dict[str, Any]:
        """The options of `fit`, for all networks alike."""
        penalty, psi_penalty = _real("penalty", self.penalty), _real("psi_penalty", self.psi_penalty)
        lr = _real("lr", self.lr)
        if lr == 0:
            raise ValueError("lr=0 trains nothing: give a positive number.")
        return {
            "epochs": _whole("epochs", self.epochs),
            "batch_size": _whole("batch_size", self.batch_size),
            "lr": lr,
            "loss": "mse" if self.task_ == "regression" else "cross_entropy",
            "l1": {"layer1.lam_in": penalty, "layer1.psi": psi_penalty},
            "device": self.device,
            "progress": False,
        }

    def _finite(self, trained: Trained) -> Trained:
        if trained.failed:
            raise ValueError(f"lr={self.lr}: {len(trained.failed)} of {trained.runs} networks diverged, lower it.")
        return trained

    def _data(self, X: np.ndarray, y: np.ndarray, varying: np.ndarray) -> tuple[DataSet, int]:
        """The standardised data as a set, zero where nothing varies, and the number of outputs that they need."""
        standard = np.where(varying, X - X.mean(0), 0) / np.where(varying, X.std(0), 1)
        x = torch.tensor(standard, dtype=torch.float32)
        about: dict[str, Any] = {"quantity": "the target, standardised"}
        if self.task_ == "regression":
            values = np.asarray(column_or_1d(y), np.float64)
            if np.ptp(values) == 0:
                raise ValueError(f"y is {values[0]:g} in every sample: there is nothing to learn.")
            target = torch.tensor((values - values.mean()) / values.std(), dtype=torch.float32)
            outputs = 1
        else:
            check_classification_targets(y)
            encoder = LabelEncoder().fit(y)
            if len(encoder.classes_) < 2:
                raise ValueError(f"y is {encoder.classes_[0]} in every sample: there is nothing to learn.")
            target = torch.tensor(encoder.transform(y), dtype=torch.int64)
            outputs = len(encoder.classes_)
            about = {"labels": tuple(map(str, encoder.classes_))}
        return DataSet.of(x, target, unit="standard deviations", **about), outputs

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self, "support_")
        return self.support_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def _constant(X: np.ndarray) -> np.ndarray:
    """Which columns are constant up to rounding: of the values as they are stored, or of their mean."""
    values = X.astype(np.float64)
    stored = np.ptp(values, 0) <= 2 * np.finfo(X.dtype).eps * np.abs(values).max(0)
    computed = values.std(0) <= len(X) * np.finfo(np.float64).eps * np.abs(values.mean(0))  # as of StandardScaler
    return np.asarray(stored | computed)


def _plain(value: Any) -> Any:
    """A single number of numpy or torch as Python's; all else as it is."""
    if isinstance(value, np.generic | np.ndarray | torch.Tensor) and value.ndim == 0:
        return value.item()
    return value


def _whole(name: str, value: Any, *, lowest: int = 1) -> int:
    number = _plain(value)
    if type(number) is not int or number < lowest:
        raise ValueError(f"{name}={value!r}: give a whole number of at least {lowest}.")
    return number


def _real(name: str, value: Any, *, below: float = np.inf) -> float:
    number = _plain(value)
    if type(number) not in (int, float) or not 0 <= number < below:
        limit = "" if below == np.inf else f" below {below:g}"
        raise ValueError(f"{name}={value!r}: give a number from 0 on{limit}.")
    return float(number)
