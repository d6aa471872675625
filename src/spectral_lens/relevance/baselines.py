"""Other ways to choose inputs, several runs each, with which the spectral relevance is compared.

Each takes a data set, shared or one for each run, and gives scores, (r, d): the higher, the sooner an input is kept.
"""

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime.extras import optional
from spectral_lens.datasets import DataSet
from spectral_lens.nn.gates import GATES
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.scores import Scores, ranking
from spectral_lens.training import fit
from spectral_lens.training.penalties import OpenGates

with optional("selector"):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
    from sklearn.inspection import permutation_importance
    from sklearn.linear_model import LassoCV
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier, MLPRegressor

__all__ = [
    "by_sklearn",
    "chance",
    "forest",
    "jaccard",
    "lasso",
    "learned_gates",
    "mutual_information",
    "permutation",
    "sparse_linear",
    "sparse_logistic",
]

_PASSES = 100  # of a network whose inputs are shuffled, where it has not stopped before
_C = 0.1  # scikit-learn's weight of the likelihood's sum against the penalty: a few hundred samples decide
_EPS = 0.03  # the smallest penalty over the largest: below, alike inputs take the solver minutes


def learned_gates(
    data: DataSet, *, kind: str, penalty: float, hidden: Sequence[int], seeds: Sequence[int], **options: Any
) -> Scores:
    """The parameters of random gates in front of a dense network, which is trained with them.

    kind: "stochastic" [yamada2020] or "hard concrete" [louizos2018].  penalty: of an open gate.  hidden: nodes of the
    hidden layers.  options: of `fit`.  The scores are the gates' parameters less the smallest; the order is that of
    the probabilities to be open.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(100, seeds=0)
    >>> options = {"epochs": 1, "progress": False}
    >>> learned_gates(data, kind="stochastic", penalty=0.1, hidden=[8], seeds=(1, 2), **options).shape
    torch.Size([2, 20])
    """
    if kind not in GATES:
        raise ValueError(f"kind={kind!r} is unknown: use one of {', '.join(GATES)}.")
    gates = GATES[kind](data.dim)
    net = mlp([data.dim, *hidden, max(1, data.classes)], spectral=0)
    layers = OrderedDict([("flatten", nn.Flatten()), ("gates", gates), *list(net.named_children())[1:]])
    trained = fit(nn.Sequential(layers), data, seeds=seeds, penalty=OpenGates(gates, penalty), **options)
    location = trained.state["gates.location"].cpu()
    return location - location.amin(1, keepdim=True)


def by_sklearn(
    data: DataSet, score: Callable[[np.ndarray, np.ndarray, int], np.ndarray], seeds: Sequence[int]
) -> Scores:
    """score(x, y, seed), (d,), for each run's data.

    >>> from spectral_lens.datasets import synthetic
    >>> by_sklearn(synthetic.independent(100, seeds=(0, 1)), mutual_information, seeds=(0, 1)).shape
    torch.Size([2, 20])
    """
    runs = [data.run(r).flat() for r in range(len(seeds))]
    found = [score(own.x.cpu().numpy(), own.y.cpu().numpy(), int(seed)) for own, seed in zip(runs, seeds, strict=True)]
    return torch.from_numpy(np.stack(found))


def mutual_information(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Of each input alone with the target, from nearest neighbours.  [ross2014]

    >>> y = np.arange(90) % 3
    >>> scores = mutual_information(np.stack([y, 0 * y], 1).astype(float), y, seed=0)
    >>> bool(scores[0] > 1 > scores[1])  # log 3 of a copy, nothing of a constant
    True
    """
    estimate = mutual_info_regression if _measured(y) else mutual_info_classif
    return np.asarray(estimate(x, y, random_state=seed))


def forest(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """How much each input's splits purify the nodes of a random forest.  [breiman2001]

    >>> y = np.arange(90) % 3
    >>> forest(np.stack([y, 0 * y], 1).astype(float), y, seed=0)
    array([1., 0.])
    """
    make = RandomForestRegressor if _measured(y) else RandomForestClassifier
    return np.asarray(make(max_features="sqrt", random_state=seed).fit(x, y).feature_importances_)


def permutation(hidden: Sequence[int]) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    """What a plain network loses on a held-out fifth when one input is shuffled.  [breiman2001]

    >>> y = np.arange(100) % 2
    >>> permutation([4])(np.stack([y, 0 * y], 1).astype(float), y, 0).shape
    (2,)
    """

    def score(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        make = MLPRegressor if _measured(y) else MLPClassifier
        learn, held, target, truth = train_test_split(x, y, test_size=0.2, random_state=seed)
        net = make(hidden_layer_sizes=tuple(hidden), early_stopping=True, max_iter=_PASSES, random_state=seed)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # enough is what is wanted
            net.fit(learn, target)
        found = permutation_importance(net, held, truth, n_repeats=3, random_state=seed)
        return np.asarray(found.importances_mean)

    return score


def sparse_linear(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Size of the coefficients of the LASSO; for classes of logistic regressions, one against the rest.

    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> sparse_linear(x, x[:, 1], seed=0).argmax()
    np.int64(1)
    """
    if _measured(y):
        return np.abs(LassoCV(cv=4, alphas=20, eps=_EPS, random_state=seed).fit(x, y).coef_)
    return sparse_logistic(x, y, strength=_C, seed=seed)


def _measured(y: np.ndarray) -> bool:
    return np.issubdtype(y.dtype, np.floating)


def jaccard(scores: Scores, count: int) -> float:
    """How alike the runs choose: |A and B| / |A or B| of their `count` highest inputs, the mean over pairs of runs.

    Raises ValueError for a count that is not between 1 and the inputs, and for one run.

    >>> jaccard(torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 0.0, 1.0, 2.0]]), 2)  # one of three in both
    0.3333333333333333
    """
    if not 1 <= count <= scores.shape[1]:
        raise ValueError(f"count={count} must lie between 1 and the {scores.shape[1]} inputs.")
    chosen = [set(each[:count].tolist()) for each in ranking(scores)]
    pairs = list(itertools.combinations(chosen, 2))
    if not pairs:
        raise ValueError("one run has nobody to agree with: give two at least.")
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs)


def lasso(data: DataSet, *, strength: float = 0.01, seed: int = 0) -> Float[Tensor, "*r d"]:
    """|coefficients| of a logistic regression with an L1 penalty, by scikit-learn: (d,), or (r, d) for a set per run.

    strength: scikit-learn's C, the weight of the likelihood's sum against the penalty; smaller is sparser.
    seed: of the order in which the solver visits the inputs.
    Raises ValueError where there are not two classes.

    >>> from spectral_lens.datasets import synthetic
    >>> lasso(synthetic.independent(100, seeds=(0, 1))).shape
    torch.Size([2, 20])
    """
    if data.classes != 2:
        raise ValueError(f"{data.name} has {data.classes} classes: the LASSO here tells two apart.")
    data = data.flat()

    def coefficients(x: Tensor, y: Tensor) -> Tensor:
        return torch.from_numpy(sparse_logistic(x.cpu().numpy(), y.cpu().numpy(), strength=strength, seed=seed))

    if data.runs is None:
        return coefficients(data.x, data.y)
    return torch.stack([coefficients(x, y) for x, y in zip(data.x, data.y, strict=True)])


def sparse_logistic(x: np.ndarray, y: np.ndarray, *, strength: float, seed: int = 0) -> np.ndarray:
    """Size of the coefficients of logistic regressions with an L1 penalty, (d,): one, or each class against the rest.

    strength: as for `lasso`.

    >>> x = np.random.default_rng(0).normal(size=(60, 3))
    >>> sparse_logistic(x, x[:, 1] > 0, strength=1.0).argmax()
    np.int64(1)
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    one = LogisticRegression(l1_ratio=1, C=strength, solver="liblinear", random_state=seed)
    return np.asarray(
        np.linalg.norm([each.coef_[0] for each in OneVsRestClassifier(one).fit(x, y).estimators_], axis=0)
    )


def chance(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Random scores, even between 0 and 1: what every other method has to beat.

    >>> chance(np.zeros((5, 7)), np.zeros(5), seed=0).shape
    (7,)
    """
    return np.random.default_rng(seed).random((x.shape[1],))
