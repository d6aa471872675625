"""Ways to choose inputs, side by side on one task: what fresh networks reach with the inputs that each would keep."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from jaxtyping import Float
from torch import Tensor

from spectral_lens.datasets import DataSet
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.scores import ranking
from spectral_lens.training import Trained, accuracy, error, fit

__all__ = ["Choice", "behind_best", "best_choice", "best_network", "refitted", "timed"]

T = TypeVar("T")


class Choice(NamedTuple):
    """What a method says of the inputs: scores, (r, d), and the seconds that one run took."""

    scores: Float[Tensor, "r d"]
    seconds: float


def timed(method: Callable[[DataSet], Tensor], data: DataSet, *, runs: int) -> Choice:
    """The scores of a method and its wall time over the number of runs; once, since the longest take minutes.

    >>> import torch
    >>> from spectral_lens.datasets import synthetic
    >>> choice = timed(lambda data: torch.rand(2, data.dim), synthetic.independent(10, inputs=7, relevant=3), runs=2)
    >>> choice.scores.shape, choice.seconds > 0
    (torch.Size([2, 7]), True)
    """
    if runs < 1:
        raise ValueError(f"runs={runs} must be at least 1.")
    began = time.perf_counter()
    scores = method(data)
    return Choice(scores, (time.perf_counter() - began) / runs)


def refitted(
    scores: Float[Tensor, "r d"],
    learn: DataSet,
    test: DataSet,
    *,
    count: int,
    hidden: Sequence[int],
    **options: Any,
) -> Float[Tensor, " r"]:
    """What plain networks reach on `test`, trained afresh on nothing but the `count` highest inputs of each run.

    The accuracy, or the mean absolute error where y is a quantity.  hidden: nodes of the hidden layers.  options: of
    `fit`.  Where the inputs are kept and nothing is trained again, see `top_k.top_k_curve`.
    Raises ValueError for a count that is not between 1 and the inputs.

    >>> import torch
    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(80, inputs=7, relevant=3)
    >>> options = {"seeds": (0, 1), "epochs": 1, "device": "cpu"}
    >>> refitted(torch.rand(2, 7), *data.split(0.5), count=3, hidden=[5], **options).shape
    torch.Size([2])
    """
    if not 1 <= count <= scores.shape[1]:
        raise ValueError(f"count={count} must lie between 1 and the {scores.shape[1]} inputs.")
    chosen = ranking(scores)[:, :count]
    few = learn.columns(chosen)
    trained = fit(mlp([count, *hidden, max(1, few.classes)], spectral=0), few, **options)
    return _quality(trained, test.columns(chosen)).cpu()


def best_choice(choices: Sequence[Choice], learn: DataSet, held: DataSet, **options: Any) -> Choice:
    """The choice, of several penalties say, whose inputs serve fresh networks best on held-out data; see `refitted`.

    >>> import torch
    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(400, inputs=5, relevant=1, largest=9.0)
    >>> good, bad = (Choice(each.expand(2, -1), 0.0) for each in (data.truth["distance"], -data.truth["distance"]))
    >>> options = {"seeds": (0, 1), "epochs": 30, "batch_size": 50, "lr": 0.01, "device": "cpu"}
    >>> best_choice([bad, good], *data.split(0.5), count=1, hidden=[5], **options) is good
    True
    """
    return _best(choices, lambda each: refitted(each.scores, learn, held, **options), held)


def best_network(candidates: Sequence[Trained], held: DataSet) -> Trained:
    """The trained networks with the best mean accuracy, or the smallest mean error, on held-out data; ties: the first.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(400, inputs=5, relevant=5)
    >>> options = {"seeds": (0, 1), "batch_size": 50, "lr": 0.01, "device": "cpu"}
    >>> short, long = (fit(mlp([5, 5, 2]), data, epochs=epochs, **options) for epochs in (1, 30))
    >>> best_network([short, long], data) is long
    True
    """
    return _best(candidates, lambda each: _quality(each, held), held)


def behind_best(results: Mapping[str, Float[Tensor, " r"]], *, lower: bool = False) -> dict[str, float]:
    """What each method's mean result misses of the best one's, in per cent of that.

    lower: whether a lower result is better, as of errors.
    Raises ValueError where the best result is zero, of which there are no per cents, or where one is not finite.

    >>> import torch
    >>> behind_best({"a": torch.tensor([0.5, 1.0]), "b": torch.tensor([1.0, 1.0])})
    {'a': 25.0, 'b': 0.0}
    """
    means = {method: each.mean().item() for method, each in results.items()}
    top = (min if lower else max)(means.values())
    if top == 0 or not all(map(math.isfinite, means.values())):
        raise ValueError(f"the mean results are {means}: they must be finite, and the best must not be zero.")
    return {method: 100 * abs(value - top) / abs(top) for method, value in means.items()}


def _best(candidates: Sequence[T], quality: Callable[[T], Tensor], held: DataSet) -> T:
    if not candidates:
        raise ValueError("there is nothing to choose from: give one candidate at least.")
    sign = -1 if held.quantity else 1
    return max(candidates, key=lambda each: sign * quality(each).mean().item())


def _quality(trained: Trained, data: DataSet) -> Float[Tensor, " r"]:
    return error(trained, data) if data.quantity else accuracy(trained, data)
