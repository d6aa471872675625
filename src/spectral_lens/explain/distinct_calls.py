"""A model in which each call is a module of its own, as shap's DeepExplainer needs it.

shap remembers in a module what went through it, so a module that is called twice forgets the first call; and of what is
called as a function it sees nothing.
"""

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spectral_lens.nn.graphs import trace, values
from spectral_lens.nn.layers import Dense
from spectral_lens.nn.rewriting import fold

__all__ = ["distinct_calls"]

_OTHERS = "Any model can be explained by shapley.sampled and by the functions of gradients."

# exact types, as shap looks at their names; its rule for Softmax, which is not elementwise, does not add up
_LINEAR = {
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
}  # fmt: skip
_RULES = {
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.MaxPool1d, nn.MaxPool2d,
    nn.MaxPool3d,
}  # fmt: skip
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)  # when evaluated
# what is called as a function, as the module of the same arguments
_AS_MODULES: dict[Any, Callable[..., nn.Module]] = {
    F.relu: nn.ReLU, torch.relu: nn.ReLU, torch.relu_: nn.ReLU, F.relu_: nn.ReLU, "relu": nn.ReLU, "relu_": nn.ReLU,
    F.leaky_relu: nn.LeakyReLU, F.elu: nn.ELU, F.selu: nn.SELU, F.gelu: nn.GELU, F.softplus: nn.Softplus,
    torch.sigmoid: nn.Sigmoid, F.sigmoid: nn.Sigmoid, "sigmoid": nn.Sigmoid,
    torch.tanh: nn.Tanh, F.tanh: nn.Tanh, "tanh": nn.Tanh,
    F.max_pool1d: nn.MaxPool1d, F.max_pool2d: nn.MaxPool2d, F.max_pool3d: nn.MaxPool3d,
}  # fmt: skip
# linear in all their tensors together: their own derivative is the rule; what works in place, as what does not
_SUMS: dict[Any, Any] = {
    operator.add: operator.add, operator.iadd: operator.add, torch.add: torch.add, "add": "add", "add_": "add",
    operator.sub: operator.sub, operator.isub: operator.sub, torch.sub: torch.sub, "sub": "sub", "sub_": "sub",
    operator.neg: operator.neg, torch.cat: torch.cat, torch.flatten: torch.flatten, torch.reshape: torch.reshape,
    torch.unflatten: torch.unflatten, torch.mean: torch.mean, torch.sum: torch.sum, F.avg_pool2d: F.avg_pool2d,
    F.adaptive_avg_pool2d: F.adaptive_avg_pool2d,
} | {name: name for name in ("flatten", "view", "reshape", "unflatten", "contiguous", "mean", "sum", "permute",
                             "transpose", "unsqueeze", "squeeze")}  # fmt: skip
_POOL = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")  # as the functions order them
# linear where one of the two is a number
_PRODUCTS: dict[Any, Any] = {
    operator.mul: operator.mul, operator.imul: operator.mul, torch.mul: torch.mul, "mul": "mul", "mul_": "mul",
    operator.truediv: operator.truediv, operator.itruediv: operator.truediv, torch.div: torch.div, "div": "div",
    "div_": "div",
}  # fmt: skip


def distinct_calls(model: nn.Module) -> fx.GraphModule:
    """A copy for evaluation that computes the same with a module for each call, nothing of it in place.

    Spectral layers are folded, dropout goes, and shapes are changed by functions.  Functions that shap has a rule for
    become modules.
    Raises ValueError that names what it has no rule for, and for a model that cannot be followed.

    >>> relu = nn.ReLU()
    >>> found = distinct_calls(nn.Sequential(nn.Linear(4, 3), relu, nn.Linear(3, 3), relu))
    >>> [type(layer).__name__ for layer in found.children()]
    ['Linear', 'ReLU', 'Linear', 'ReLU']
    """
    try:
        whole = trace(fold(model).eval(), apart=False)
    except ValueError as error:
        raise ValueError(f"{error}. {_OTHERS}") from error
    graph = copy.deepcopy(whole.graph)
    own, numbers, unknown = nn.Module(), set(graph.nodes) - values(graph), list[str]()
    for node in list(graph.nodes):
        known = True
        if node.op == "call_module":
            known = _own_module(graph, node, own, whole.get_submodule(str(node.target)))
        elif node.op == "get_attr":
            known = _kept(own, whole, node)
        elif node.op in ("call_function", "call_method") and node not in numbers:
            known = _own_function(graph, node, own, numbers)
        if not known:
            unknown.append(_named(whole, node))
    if unknown:
        raise ValueError(f"shap's DeepExplainer has no rule for {', '.join(unknown)}. {_OTHERS}")
    return fx.GraphModule(own, graph)


def _own_module(graph: fx.Graph, node: fx.Node, own: nn.Module, layer: nn.Module) -> bool:
    """Give the call a module of its own, or a function where it only changes the shape; False where none is known."""
    if isinstance(layer, _NOTHING):
        node.replace_all_uses_with(node.all_input_nodes[0])
        graph.erase_node(node)
    elif type(layer) is nn.Flatten:
        _replace(graph, node, torch.flatten, layer.start_dim, layer.end_dim)
    elif type(layer) is nn.Unflatten:
        _replace(graph, node, torch.unflatten, layer.dim, layer.unflattened_size)
    elif type(layer) is Dense:  # of a name that shap does not know
        plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None).to(layer.weight)
        plain.load_state_dict(layer.state_dict())
        _call(node, own, plain)
    elif type(layer) in _LINEAR | _RULES:
        _call(node, own, copy.deepcopy(layer))
    else:
        return False
    return True


def _replace(graph: fx.Graph, node: fx.Node, function: Callable[..., Tensor], *arguments: Any) -> None:
    with graph.inserting_before(node):
        new = graph.call_function(function, (node.all_input_nodes[0], *arguments))
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _call(node: fx.Node, own: nn.Module, layer: nn.Module) -> None:
    """Make of a node the call of a layer that is added for it."""
    if hasattr(layer, "inplace"):
        setattr(layer, "inplace", False)  # noqa: B010  # a layer's attributes are of any type
    name = f"call{len(list(own.children()))}"
    own.add_module(name, layer)
    node.op, node.target, node.args, node.kwargs = "call_module", name, (node.all_input_nodes[0],), {}


def _own_function(graph: fx.Graph, node: fx.Node, own: nn.Module, numbers: set[fx.Node]) -> bool:
    """Make a module of a function that has a rule, and see that any other is linear."""
    tensors = [each for each in node.all_input_nodes if each not in numbers]
    if node.target in _AS_MODULES and len(node.all_input_nodes) == 1:
        make, given = _AS_MODULES[node.target], node.args[1:]
        options = dict(node.kwargs) | (dict(zip(_POOL, given, strict=False)) if "Pool" in make.__name__ else {})
        _call(node, own, make(**options) if "Pool" in make.__name__ else make(*given, **options))
        return True
    if node.target in _SUMS:
        node.target = _SUMS[node.target]
    elif node.target in _PRODUCTS and tensors == [node.args[0]] and not node.kwargs:  # such as rounding_mode
        node.target = _PRODUCTS[node.target]
    else:
        return node.target in (operator.mul, torch.mul) and len(tensors) == 1 and node.args.count(tensors[0]) == 1
    return True


def _kept(own: nn.Module, whole: nn.Module, node: fx.Node) -> bool:
    """Hand a tensor of the model on to its copy."""
    parent, _, name = str(node.target).rpartition(".")
    value = getattr(whole.get_submodule(parent), name)
    if not isinstance(value, Tensor):
        return False
    node.target = name = str(node.target).replace(".", "_")
    own.register_buffer(name, value.detach())
    return True


def _named(whole: nn.Module, node: fx.Node) -> str:
    if node.op == "call_module":
        return f"{node.target} ({type(whole.get_submodule(str(node.target))).__name__})"
    return str(getattr(node.target, "__name__", node.target))
