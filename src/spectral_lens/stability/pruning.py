"""Networks of which only some inputs are left, without retraining, and what that does to their spectra."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.explain.lrp import Rule, lrp
from spectral_lens.explain.quality import redistribution, ssm
from spectral_lens.nn.graphs import module_of, sees_the_input, trace
from spectral_lens.nn.rewriting import fold
from spectral_lens.operators.jacobian import jacobian
from spectral_lens.operators.spectra import sigma, spectral_entropy
from spectral_lens.stability.diagnostics import _KEPT
from spectral_lens.training import Trained

__all__ = ["pruned", "pruning_curves"]


def pruned(model: nn.Module, kept: Int[Tensor, " k"]) -> nn.Module:
    """A copy in evaluation mode, folded, whose first layer has no weights but those of the inputs `kept`.

    Raises ValueError where the first layer with weights, in the order of calls, is not a plain dense one that alone
    sees the inputs, and only once; and for places that are no inputs.

    >>> from spectral_lens.nn.mlp import mlp
    >>> net = pruned(mlp([5, 4, 3]), torch.tensor([0, 3]))
    >>> next(net.parameters()).abs().amax(0) > 0
    tensor([ True, False, False,  True, False])
    """
    net = fold(model).eval()
    first = _first(net)
    inputs = first.in_features
    if kept.numel() and not 0 <= int(kept.min()) <= int(kept.max()) < inputs:
        raise ValueError(f"the places of the inputs lie between 0 and {inputs - 1}; found {kept.tolist()}.")
    lost = torch.ones(inputs, dtype=torch.bool, device=first.weight.device).index_fill_(0, kept, False)
    first.weight.data[:, lost] = 0
    return net


def _first(net: nn.Module) -> nn.Linear:
    """The dense layer that the inputs enter, and nothing else does."""
    graph = trace(net)
    nodes = [node for node in graph.graph.nodes if node.op == "call_module"]
    calls = [node for node in nodes if next(module_of(graph, node).parameters(), None) is not None]
    first = module_of(graph, calls[0]) if calls else None
    if type(first) is not nn.Linear or "weight" not in first._parameters:  # a reparametrised one has none of its own
        raise ValueError(f"the first layer with weights is {type(first).__name__}: only a dense one can lose inputs.")
    way: list[Any] = [calls[0].args[0]] if sees_the_input(graph, calls[0]) else []
    while way and way[-1].op != "placeholder":
        way.append(way[-1].args[0])
    ends = [[user for user in node.users if user.target not in ("size", getattr)] for node in way]
    if not way or any(len(users) > 1 for users in ends) or any(node.target == calls[0].target for node in calls[1:]):
        raise ValueError(f"{calls[0].target} must be the only layer that sees the inputs, and be called once.")
    return first


def pruning_curves(
    trained: Trained,
    order: Int[Tensor, "r d"],
    *,
    counts: Sequence[int],
    test: DataSet,
    few: DataSet,
    rules: Callable[[nn.Module], Rule | Sequence[Rule]],
) -> dict[str, Float[Tensor, "r counts"]]:
    """Each run with the first inputs of its own order alone, for every count of them, without retraining.

    By name: accuracy on `test`; and means over `few` of the Jacobian's entropy and largest singular value, s_1, and of
    SSM of the LRP explanation.  A sample whose Jacobian or explanation is zero has no entropy and no SSM and is left
    out of that mean.  In double precision, on the CPU; computed on the device of `few`, which is that of `test`.
    rules: of LRP for a network, as for `assessment.diagnoses`.
    Raises ValueError for an order of another number of runs, and for counts that are not between 1 and d.

    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.explain.lrp import zero
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> train, test = (part.flat() for part in images.digits())
    >>> trained = fit(mlp([64, 10]), train, seeds=[0, 1], epochs=1)
    >>> options = {"counts": [10, 30, 64], "test": test, "few": test.take(4), "rules": lambda net: zero()}
    >>> from spectral_lens.relevance.scores import random_ranking
    >>> curves = pruning_curves(trained, random_ranking(64, [0, 1]), **options)
    >>> {name: tuple(values.shape) for name, values in curves.items()}
    {'accuracy': (2, 3), 'entropy': (2, 3), 's_1': (2, 3), 'ssm': (2, 3)}
    """
    if len(order) != trained.runs:
        raise ValueError(f"there are {len(order)} orders for {trained.runs} runs: give one for each.")
    if not len(counts) or not 1 <= min(counts) <= max(counts) <= order.shape[1]:
        raise ValueError(f"counts={list(counts)} must lie between 1 and the {order.shape[1]} inputs.")
    rows = []
    for own, r in zip(order.to(few.x.device), range(trained.runs), strict=True):
        net = trained.run(r).to(few.x.device)
        rows += [_look(pruned(net, own[:count]), test, few, rules) for count in counts]
    table = torch.tensor(rows, dtype=torch.float64).view(trained.runs, len(counts), -1)
    return dict(zip(("accuracy", "entropy", "s_1", "ssm"), table.unbind(2), strict=True))


def _look(net: nn.Module, test: DataSet, few: DataSet, rules: Callable[..., Any]) -> tuple[float, float, float, float]:
    with torch.no_grad():
        right = (net(test.x.clone()).argmax(1) == test.y).double().mean()
    s = sigma(jacobian(net, few.x).to_dense())
    R = lrp(net, few.x, rules=rules(net))
    lit = R.flatten(1).abs().amax(1) > 0
    explained, _ = redistribution(R[lit], threshold=_KEPT)
    return float(right), float(spectral_entropy(s).nanmean()), float(s[:, 0].mean()), float(ssm(explained).mean())
