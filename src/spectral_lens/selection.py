"""Other ways to choose inputs, several runs each, with which the spectral relevance is compared.

Each takes a data set, shared or one for each run, and gives scores, (r, d): the higher, the sooner an input is kept.
"""

import itertools
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LassoCV
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import Tensor, nn

from spectral_lens import networks
from spectral_lens.baselines import sparse_logistic
from spectral_lens.datasets import DataSet
from spectral_lens.devices import resolve
from spectral_lens.gates import GATES, Gates
from spectral_lens.losses import LOSSES
from spectral_lens.networks import mlp
from spectral_lens.relevance import ranking
from spectral_lens.training import Step, fit, initial

Scores = Float[Tensor, "r d"]
_PASSES = 100  # of a network whose inputs are shuffled, where it has not stopped before
_C = 0.1  # scikit-learn's weight of the likelihood's sum against the penalty: a few hundred samples decide
_EPS = 0.03  # the smallest penalty over the largest: below, alike inputs take the solver minutes


@dataclass(frozen=True)
class OpenGates:
    """price * sum_i P(z_i > 0): what the gates that are expected to be open cost, a penalty for `fit`."""

    gates: Gates
    price: float

    def __call__(self, step: Step) -> Float[Tensor, " r"]:
        return self.price * self.gates.probability(step.state["gates.place"]).sum(-1)


def by_gates(
    data: DataSet, *, kind: str, price: float, hidden: Sequence[int], seeds: Sequence[int], **options: Any
) -> Scores:
    """The parameters of random gates in front of a dense network, which is trained with them.

    kind: "stochastic" [yamada2020] or "hard concrete" [louizos2018].  price: of an open gate.  hidden: nodes of the
    hidden layers.  options: of `fit`.  The scores are the gates' parameters less the smallest; the order is that of
    the probabilities to be open.
    """
    if kind not in GATES:
        raise ValueError(f"kind={kind!r} is unknown: use one of {', '.join(GATES)}.")
    gates = GATES[kind](data.dim)
    net = mlp([data.dim, *hidden, max(1, data.classes)], spectral=0)
    layers = OrderedDict([("flatten", nn.Flatten()), ("gates", gates), *list(net.named_children())[1:]])
    trained = fit(nn.Sequential(layers), data, seeds=seeds, penalty=OpenGates(gates, price), **options)
    place = trained.state["gates.place"].cpu()
    return place - place.amin(1, keepdim=True)


def hierarchical(
    skip: Float[Tensor, "*r k d"], first: Float[Tensor, "*r h d"], *, strength: float, bound: float
) -> tuple[Float[Tensor, "*r k d"], Float[Tensor, "*r h d"]]:
    """The proximal step of LassoNet, for all inputs at once.  [lemhadri2021]

    For each input i the minimum of  |b - skip_i|^2 / 2 + |w - first_i|^2 / 2 + strength |b|  over all b, w with
    |w_j| <= bound |b|: where the s largest |w_j| stand at the bound,

        |b| = max(0, |skip_i| - strength + bound * (sum of these |first_ji|)) / (1 + s bound^2)

    and s is the number for which the next smaller |first_ji| is below the bound.
    """
    length = torch.linalg.vector_norm(skip, dim=-2, keepdim=True)
    unit = skip / length.clamp(min=torch.finfo(skip.dtype).tiny)
    unit[..., :1, :].masked_fill_(length == 0, 1)  # any direction serves
    size = first.abs().sort(dim=-2, descending=True).values
    s = torch.arange(size.shape[-2] + 1, device=size.device).unsqueeze(-1)
    nothing = torch.zeros_like(length)
    sums = torch.cat([nothing, size.cumsum(-2)], -2)
    radius = (length - strength + bound * sums).clamp(min=0) / (1 + s * bound**2)  # |b| for each s, (*r, h + 1, d)
    above = torch.cat([size, nothing], -2) > bound * radius
    radius = radius.gather(-2, above.to(torch.int64).cumprod(-2).sum(-2, keepdim=True))
    return unit * radius, first.sign() * torch.minimum(first.abs(), bound * radius)


def lassonet(
    data: DataSet,
    *,
    hidden: Sequence[int],
    seeds: Sequence[int],
    start: float = 1.0,
    growth: float = 1.2,
    longest: int = 100,
    bound: float = 10.0,
    warm_up: int = 10,
    epochs: int = 2,
    batch: int = 200,
    rate: float = 1e-3,
    loss: str = "cross_entropy",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "auto",
) -> Scores:
    """The strength at which each input leaves LassoNet's path for the first time.  [lemhadri2021]

    A network with a linear layer beside it, from the inputs to the outputs, in which an input's first weights are at
    most `bound` times its linear one.  `warm_up` epochs of Adam with the plain network come first.  Then the strength
    of the price rises from `start` by the factor `growth`, until no input is left in any run or the path is `longest`;
    at each there are `epochs` of gradient descent with momentum and a proximal step after each step.
    Written here, since the authors' package is not made for several runs at once.
    """
    if start <= 0 or growth <= 1 or longest < 1:
        raise ValueError(f"start={start}, growth={growth}, longest={longest}: the strength must be positive and rise.")
    device = resolve(device)
    data, outputs = data.flat().to(device, dtype), max(1, data.classes)
    net = mlp([data.dim, *hidden, outputs], spectral=0)
    shape = {"loss": loss, "batch": batch, "dtype": dtype, "device": device, "progress": False}
    state = fit(net, data, seeds=seeds, epochs=warm_up, rate=rate, **shape).state  # type: ignore[arg-type]
    linear = initial(nn.Linear(data.dim, outputs, bias=False), seeds, dtype=dtype)["weight"].to(device)
    state = {"skip": linear, **state}
    velocity = {name: torch.zeros_like(value) for name, value in state.items()}
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    x, y = (part if data.runs is not None else part.expand(len(seeds), *part.shape) for part in (data.x, data.y))
    left = torch.zeros(len(seeds), data.dim, dtype=dtype, device=device)
    alive = torch.ones_like(left, dtype=torch.bool)
    for k in range(longest * epochs):
        strength = start * growth ** (k // epochs)
        order = torch.stack([torch.randperm(data.samples, generator=generator) for generator in generators])
        for rows in order.to(device).split(batch, 1):
            own = {name: value.requires_grad_() for name, value in state.items()}
            inputs = x.gather(1, rows.unsqueeze(2).expand(-1, -1, data.dim))
            out = networks.forward(net, own, inputs) + inputs @ own["skip"].mT
            gradients = torch.autograd.grad(LOSSES[loss](out, y.gather(1, rows)).sum(), list(own.values()))
            with torch.no_grad():
                for (name, value), gradient in zip(own.items(), gradients, strict=True):
                    velocity[name].mul_(0.9).add_(gradient)
                    state[name] = value.detach() - rate * velocity[name]
                pair = hierarchical(state["skip"], state["layer1.weight"], strength=rate * strength, bound=bound)
                state["skip"], state["layer1.weight"] = pair
        if not state["skip"].isfinite().all():
            raise RuntimeError(f"LassoNet's path diverged at a strength of {strength:.3g}: lower rate={rate}.")
        alive &= state["skip"].abs().amax(1) > 0  # who comes back when a stronger one leaves has left all the same
        left[alive] = strength
        if not alive.any():
            break
    # those that never left are told apart by their linear weights
    return (left + alive * state["skip"].detach().norm(dim=1)).cpu()


def by_sklearn(
    data: DataSet, score: Callable[[np.ndarray, np.ndarray, int], np.ndarray], seeds: Sequence[int]
) -> Scores:
    """score(x, y, seed), (d,), for each run's data."""
    runs = [data.run(r).flat() for r in range(len(seeds))]
    found = [score(own.x.cpu().numpy(), own.y.cpu().numpy(), int(seed)) for own, seed in zip(runs, seeds, strict=True)]
    return torch.from_numpy(np.stack(found))


def mutual_information(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Of each input alone with the target, from nearest neighbours.  [ross2014]"""
    estimate = mutual_info_regression if _measured(y) else mutual_info_classif
    return np.asarray(estimate(x, y, random_state=seed))


def forest(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """How much each input's splits purify the nodes of a random forest.  [breiman2001]"""
    make = RandomForestRegressor if _measured(y) else RandomForestClassifier
    return np.asarray(make(max_features="sqrt", random_state=seed).fit(x, y).feature_importances_)


def permutation(hidden: Sequence[int]) -> Callable[[np.ndarray, np.ndarray, int], np.ndarray]:
    """What a plain network loses on a held-out fifth when one input is shuffled.  [breiman2001]"""

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
    """Size of the coefficients of the LASSO; for classes of logistic regressions, one against the rest."""
    if _measured(y):
        return np.abs(LassoCV(cv=4, alphas=20, eps=_EPS, random_state=seed).fit(x, y).coef_)
    return sparse_logistic(x, y, strength=_C, seed=seed)


def _measured(y: np.ndarray) -> bool:
    return np.issubdtype(y.dtype, np.floating)


def jaccard(scores: Scores, count: int) -> float:
    """How alike the runs choose: |A and B| / |A or B| of their `count` highest inputs, the mean over pairs of runs."""
    chosen = [set(each[:count].tolist()) for each in ranking(scores)]
    pairs = list(itertools.combinations(chosen, 2))
    if not pairs:
        raise ValueError("one run has nobody to agree with: give two at least.")
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs)
