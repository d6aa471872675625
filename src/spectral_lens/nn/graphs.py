"""A model as a graph of its layers, for what goes through a network layer by layer.

Batch normalisation is folded into the layer before it, and what is no layer of a piecewise linear network is named.
"""

import operator
from collections import Counter
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from spectral_lens.nn.layers import Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.rewriting import fold

# exact types: a subclass may do something else
_WEIGHTED = {nn.Linear, Dense, nn.Conv2d, SpectralLinear, SpectralConv2d}
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


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in _WEIGHTED or super().is_leaf_module(m, module_qualified_name)


def traced(model: nn.Module) -> fx.GraphModule:
    """The model's graph with batch normalisation folded away; raises ValueError that names what has no rule."""
    model = nn.Sequential(model) if type(model) in _WEIGHTED else model  # the root itself is always looked into
    try:
        graph = fx.GraphModule(model, _Tracer().trace(model))
    except Exception as error:
        raise ValueError(f"{type(model).__name__} cannot be followed layer by layer: {error}") from error
    _fold_batch_norm(graph)
    unknown = [_described(graph, node) for node in graph.graph.nodes if not _has_rule(graph, node)]
    if unknown:
        raise ValueError(
            f"no rule for {', '.join(unknown)}: LRP knows weights, ReLU, pooling, sums and concatenations."
        )
    return graph


def weighted_nodes(graph: fx.GraphModule) -> list[fx.Node]:
    return [n for n in graph.graph.nodes if n.op == "call_module" and type(module_of(graph, n)) in _WEIGHTED]


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
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
    """Whether nothing but a change of shape stands between the input and the layer."""
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
