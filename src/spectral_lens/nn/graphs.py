"""A model as a graph of its layers, for what goes through a network layer by layer.

`trace` follows a model once; its graph is a model itself, and may stand wherever a model is asked for.
"""

from typing import Any

import torch
from torch import Tensor, fx, nn

from spectral_lens.nn.plain import AFFINE, kind_of

__all__ = [
    "SHAPING", "Graph", "is_size", "module_of", "operation", "sees_the_input", "trace", "trained_parameters", "values",
]  # fmt: skip

# what changes the shape of a tensor alone: types of modules, functions and names of methods
SHAPING: set[Any] = {
    nn.Flatten, nn.Unflatten, nn.Identity, torch.flatten, torch.reshape, torch.unflatten,
    "flatten", "unflatten", "view", "reshape", "contiguous", "clone",
}  # fmt: skip
# what depends on the shape and kind of a tensor alone
_SIZES = {"size", "dim", "numel", "new_zeros", "new_ones", "new_full", "is_floating_point"}
_ATTRIBUTES = {"shape", "ndim", "dtype", "device"}


class Graph(fx.GraphModule):
    """What `trace` makes of a model: it computes the same, with the same layers."""


class _Tracer(fx.Tracer):
    """Looks into all that is no layer: torch's own and the affine are, and, apart, what has parameters to train."""

    def __init__(self, apart: bool) -> None:
        super().__init__()
        self.apart = apart

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str = "") -> bool:
        layer = kind_of(m) in AFFINE or (self.apart and bool(trained_parameters(m, recurse=False)))
        return layer or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, *, apart: bool = True) -> Graph:
    """The model's graph; a graph is given back as it is, so that what is handed on is not traced again.

    A model that is a single layer becomes the layer "0".
    apart: whether a module that has parameters of its own to train is one layer, as derivatives by them need it.
    Raises ValueError for a model that cannot be followed, as where it branches on what it computes.

    >>> graph = trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> [node.op for node in graph.graph.nodes], trace(graph) is graph
    (['placeholder', 'call_module', 'call_module', 'output'], True)
    """
    tracer = _Tracer(apart)
    if isinstance(model, Graph) and all(tracer.is_leaf_module(layer) for layer in _called(model)):
        return model
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


def _called(graph: fx.GraphModule) -> list[nn.Module]:
    return [module_of(graph, node) for node in graph.graph.nodes if node.op == "call_module"]


def trained_parameters(layer: nn.Module, *, recurse: bool = True) -> dict[str, Tensor]:
    """The parameters of a layer that are trained, by their names.

    >>> list(trained_parameters(nn.Linear(3, 2).requires_grad_(False))), list(trained_parameters(nn.Linear(3, 2)))
    ([], ['weight', 'bias'])
    """
    return {name: each for name, each in layer.named_parameters(recurse=recurse) if each.requires_grad}


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The layer that a node calls.

    >>> graph = trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> [module_of(graph, node) for node in graph.graph.nodes if node.op == "call_module"]
    [Linear(in_features=3, out_features=2, bias=True), ReLU()]
    """
    return graph.get_submodule(str(node.target))


def operation(graph: fx.GraphModule, node: fx.Node) -> Any:
    """What a node does: the type of its module, the function, or the method's name.

    >>> graph = trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()))
    >>> [operation(graph, node).__name__ for node in graph.graph.nodes if node.op == "call_module"]
    ['Linear', 'ReLU']
    """
    return kind_of(module_of(graph, node)) if node.op == "call_module" else node.target


def sees_the_input(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether nothing but a change of shape stands between the input and the layer.

    >>> graph = trace(nn.Sequential(nn.Flatten(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
    >>> [sees_the_input(graph, node) for node in graph.graph.nodes if operation(graph, node) is nn.Linear]
    [True, False]
    """
    before = node.args[0]
    while isinstance(before, fx.Node) and before.op != "placeholder":
        if operation(graph, before) not in SHAPING:
            return False
        before = before.args[0]
    return isinstance(before, fx.Node)


def is_size(node: fx.Node) -> bool:
    """Whether a node asks a tensor for its shape, type or device, which its numbers do not change.

    >>> class Model(nn.Module):
    ...     def forward(self, x):
    ...         return x.view(x.shape[0], -1)
    >>> [is_size(node) for node in trace(Model()).graph.nodes]
    [False, True, False, False, False]
    """
    if node.target is getattr:
        return node.args[1] in _ATTRIBUTES
    return node.op == "call_method" and node.target in _SIZES


def values(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose numbers depend on those of the input, not on its shape alone.

    >>> graph = trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU())).graph
    >>> values(graph) == set(graph.nodes)
    True
    """
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or (not is_size(node) and not found.isdisjoint(node.all_input_nodes)):
            found.add(node)
    return found
