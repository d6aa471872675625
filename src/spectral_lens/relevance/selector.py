"""The spectral relevance as a feature selector for scikit-learn."""

from typing import Any

import numpy as np
import torch

from spectral_lens._runtime.extras import optional
from spectral_lens.datasets import DataSet, fingerprint
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance import scores
from spectral_lens.training import fit

with optional("selector"):
    from sklearn.base import BaseEstimator
    from sklearn.feature_selection import SelectorMixin
    from sklearn.preprocessing import LabelEncoder
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

__all__ = ["SpectralSelector"]

_TASKS = ("auto", "classification", "regression")


class SpectralSelector(SelectorMixin, BaseEstimator):
    """Keeps the features whose trained eigenvalues say that they matter.  [chicchi]

    A few networks with a spectral first layer are trained side by side, with an L1 penalty on its eigenvalues and
    eigenvectors; a feature's score is its relevance over the largest, the mean over the networks.  Features and
    regression targets are standardised first, so that units do not count.

    features: how many to keep, an int, or the share of them, a float below one; None keeps all with a score above
    `threshold`.  task: "classification", "regression", or "auto", which looks at y as scikit-learn does.
    hidden: nodes of the hidden layers, or of the only one.  penalty, psi_penalty: of the eigenvalues and of the
    eigenvectors.  epochs, batch_size, lr: of Adam; an eigenvalue starts at 1 and moves by about `lr` a step, so a
    feature can fall silent where the steps are several times 1 / lr.  runs: networks.  random_state: as everywhere in
    scikit-learn.  device: as in `training.fit`.

    After `fit`: scores_, (features,); relevance_, (runs, features), each over its largest; ranking_, features from the
    most to the least relevant; task_; and what scikit-learn's transformers have.

    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(n_samples=200, n_features=10, n_informative=2, random_state=0)
    >>> SpectralSelector(3, epochs=5, runs=2, random_state=0).fit_transform(X, y).shape
    (200, 3)
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
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> "SpectralSelector":
        """Train the networks on X, (samples, features), and y, (samples,), classes or values."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2, y_numeric=False)
        self.task_ = self._task(y)
        keep = self._count(X.shape[1])
        data, outputs = self._data(X, y)
        if self.runs < 1:
            raise ValueError(f"runs={self.runs}: at least one network must be trained.")
        first = int(check_random_state(self.random_state).randint(2**31 - 1))
        hidden = [self.hidden] if isinstance(self.hidden, int | np.integer) else self.hidden
        penalties = {"layer1.lam_in": self.penalty, "layer1.psi": self.psi_penalty}
        trained = fit(
            mlp([data.dim, *hidden, outputs]),
            data,
            seeds=range(first, first + self.runs),
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            loss="mse" if self.task_ == "regression" else "cross_entropy",
            l1=penalties,
            device=self.device,
            progress=False,
        )
        if trained.failed:
            raise ValueError(f"lr={self.lr}: {len(trained.failed)} of {self.runs} networks diverged, lower it.")
        found = scores.of_inputs(trained).double().cpu()
        self.relevance_ = (found / found.amax(1, keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)).numpy()
        self.scores_ = self.relevance_.mean(0)
        self.ranking_ = scores.ranking(torch.from_numpy(self.scores_)).numpy()
        self.support_ = self.scores_ > self.threshold
        if keep is not None:
            self.support_ = np.isin(np.arange(data.dim), self.ranking_[:keep])
        return self

    def _task(self, y: np.ndarray) -> str:
        if self.task not in _TASKS:
            raise ValueError(f"task={self.task!r} is unknown: use one of {', '.join(_TASKS)}.")
        if self.task != "auto":
            return self.task
        if type_of_target(y) == "continuous":
            return "regression"
        values = len(np.unique(y))
        if y.dtype.kind in "iuf" and values > 20 and len(y) < 10 * values:
            raise ValueError(
                f"task='auto': y has {values} whole numbers in {len(y)} samples, which may be classes or a quantity: "
                "say task='classification' or task='regression'."
            )
        return "classification"

    def _count(self, there: int) -> int | None:
        """How many features to keep; None where the threshold decides."""
        if self.features is None:
            return None
        if isinstance(self.features, int | np.integer) and 1 <= self.features <= there:
            return int(self.features)
        if isinstance(self.features, float | np.floating) and 0 < self.features < 1:
            return max(round(float(self.features) * there), 1)
        raise ValueError(
            f"features={self.features!r} of n_features={there}: give a number of them, or a share below one."
        )

    def _data(self, X: np.ndarray, y: np.ndarray) -> tuple[DataSet, int]:
        """The standardised data as a set, and the number of outputs that they need."""
        spread = X.std(0)
        x = torch.tensor((X - X.mean(0)) / np.where(spread > 0, spread, 1), dtype=torch.float32)
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
        names = tuple(f"x{i}" for i in range(x.shape[1]))
        known = fingerprint(x, target)
        return DataSet(
            "table", x, target, names, "standard deviations", "given", known, "Given by the user", **about
        ), outputs

    def _get_support_mask(self) -> np.ndarray:
        check_is_fitted(self, "support_")
        return self.support_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags
