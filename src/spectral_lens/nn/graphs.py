"""A model as a graph of its layers, for what goes through a network layer by layer.

`trace` follows a model once; its graph is a model itself, and may stand wherever a model is asked for.  `traced` makes
of it what LRP reads: batch normalisation folded into the layer before, and nothing that is not piecewise linear.
"""

import copy
import operator
from collections import Counter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spectral_lens.nn.layers import DENSE_LAYERS, SpectralConv2d
from spectral_lens.nn.rewriting import fold

__all__ = ["Graph", "module_of", "sees_the_input", "trace", "traced", "trained_parameters", "weighted_nodes"]

# exact types: a subclass may do something else
_WEIGHTED = {*DENSE_LAYERS, nn.Conv2d, SpectralConv2d}
# the derivative that they have is the one that relevance needs: piecewise linear, through zero
_NATURAL = (
    nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout,
    nn.Dropout2d,
)  # fmt: skip
_FUNCTIONS = {
    F.relu, torch.relu, F.avg_pool2d, F.adaptive_avg_pool2d, F.dropout, torch.flatten, torch.cat, torch.add,
    operator.add, operator.iadd,
}  # fmt: skip
_METHODS = {"relu", "relu_", "flatten", "view", "reshape", "add", "add_", "size", "contiguous", "unflatten"}


class Graph(fx.GraphModule):
    """What `trace` makes of a model: it computes the same, with the same layers."""


class _Tracer(fx.Tracer):
    """Looks into all that is no layer: torch's own, the weighted ones, and what has parameters to train are layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str = "") -> bool:
        weighted = type(m) in _WEIGHTED or bool(trained_parameters(m, recurse=False))
        return weighted or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module) -> Graph:
    """The model's graph; a graph is given back as it is, so that what is handed on is not traced again.

    A model that is a single layer becomes the layer "0".
    Raises ValueError for a model that cannot be followed, as where it branches on what it computes.

    >>> graph = trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> [node.op for node in graph.graph.nodes], trace(graph) is graph
    (['placeholder', 'call_module', 'call_module', 'output'], True)
    """
    if isinstance(model, Graph):
        return model
    tracer = _Tracer()
    root = nn.Sequential(model) if tracer.is_leaf_module(model) else model  # the root itself is always looked into
    try:
        graph = Graph(root, tracer.trace(root))
    except Exception as error:
        raise ValueError(f"{type(model).__name__} cannot be followed layer by layer: {error}") from error
    for part in graph.modules():
        if type(part) is nn.Module:  # the graph's own, which hold the model's layers
            part.training = model.training
    graph.training = model.training
    return graph


def traced(model: nn.Module) -> fx.GraphModule:
    """The model's graph with batch normalisation folded away; raises ValueError that names what has no rule.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU()).eval()
    >>> [str(node.target) for node in weighted_nodes(traced(model))]
    ['0']
    """
    whole = trace(model)
    graph = fx.GraphModule(whole, copy.deepcopy(whole.graph))  # folding must not reach the model's own
    _fold_batch_norm(graph)
    unknown = [_described(graph, node) for node in graph.graph.nodes if not _has_rule(graph, node)]
    if unknown:
        raise ValueError(
            f"no rule for {', '.join(unknown)}: LRP knows weights, ReLU, pooling, sums and concatenations."
        )
    return graph


def trained_parameters(layer: nn.Module, *, recurse: bool = True) -> dict[str, Tensor]:
    """The parameters of a layer that are trained, by their names.

    >>> list(trained_parameters(nn.Linear(3, 2).requires_grad_(False))), list(trained_parameters(nn.Linear(3, 2)))
    ([], ['weight', 'bias'])
    """
    return {name: each for name, each in layer.named_parameters(recurse=recurse) if each.requires_grad}


def weighted_nodes(graph: fx.GraphModule) -> list[fx.Node]:
    """The calls of layers with weights, in the order in which the model applies them.

    >>> [node.target for node in weighted_nodes(traced(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))))]
    ['0', '2']
    """
    return [n for n in graph.graph.nodes if n.op == "call_module" and type(module_of(graph, n)) in _WEIGHTED]


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The layer that a node calls.

    >>> graph = traced(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> module_of(graph, weighted_nodes(graph)[0])
    Linear(in_features=3, out_features=2, bias=True)
    """
    return graph.get_submodule(str(node.target))


def _has_rule(graph: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return type(module_of(graph, node)) in _WEIGHTED or isinstance(module_of(graph, node), _NATURAL)
    if node.op == "call_function":
        return node.target in _FUNCTIONS
    return node.op in ("placeholder", "output") or (node.op == "call_method" and node.target in _METHODS)


def _described(graph: fx.GraphModule, node: fx.Node) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(module_of(graph, node)).__name__})"
    return str(getattr(node.target, "__name__", node.target))


def sees_the_input(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nothing but a change of shape stands between the input and the layer.

    >>> graph = traced(nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
    >>> [sees_the_input(graph, node) for node in weighted_nodes(graph)]
    [True, False]
    """
    before = node.args[0]
    while isinstance(before, fx.Node) and before.op != "placeholder":
        shaping = before.target in (torch.flatten, "flatten", "view", "reshape")
        if not shaping and not (
            before.op == "call_module" and isinstance(module_of(graph, before), nn.Flatten | nn.Unflatten | nn.Identity)
        ):
            return False
        before = before.args[0]
    return isinstance(before, fx.Node)


def _fold_batch_norm(graph: fx.GraphModule) -> None:
    """Batch normalisation behind a layer with weights becomes part of that layer, where only this use of it is."""
    uses = Counter(node.target for node in graph.graph.nodes)
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(module_of(graph, node), nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        before = node.args[0]
        if not isinstance(before, fx.Node) or before not in weighted_nodes(graph):
            continue
        if len(before.users) > 1 or uses[before.target] > 1:
            continue
        norm: Any = module_of(graph, node)
        layer: Any = fold(module_of(graph, before))
        fused = fuse_conv_bn_eval(layer, norm) if isinstance(layer, nn.Conv2d) else fuse_linear_bn_eval(layer, norm)
        parent, _, name = str(before.target).rpartition(".")
        graph.get_submodule(parent).register_module(name, fused)
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
    graph.recompile()
