"""Which layer sees a network's inputs: found in the order of the calls, which need not be that of the registration."""

import operator
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn import functional as F

from spectral_lens.nn.graphs import is_size, trace
from spectral_lens.nn.layers import Spectral, SpectralConv2d, SpectralLinear
from spectral_lens.nn.plain import check_plain

__all__ = ["first_layer"]

# what leaves every input where it stands: one number in, one number out, however it may be laid out
_MODULES = (
    nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Hardtanh,
    nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Tanhshrink,
    nn.modules.batchnorm._BatchNorm,
)  # fmt: skip
_FUNCTIONS = {
    torch.flatten, torch.reshape, torch.unsqueeze, torch.squeeze, torch.clone, torch.relu, torch.tanh, torch.sigmoid,
    torch.add, torch.sub, torch.mul, torch.div, torch.true_divide, torch.neg, torch.abs, torch.square, torch.clamp,
    F.relu, F.gelu, F.silu, F.leaky_relu, F.elu, F.dropout, F.tanh, F.sigmoid,
    operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.iadd, operator.isub,
    operator.imul, operator.itruediv,
}  # fmt: skip
_METHODS = {
    "flatten", "reshape", "view", "unflatten", "unsqueeze", "squeeze", "contiguous", "clone", "to", "float", "double",
    "half", "type", "type_as", "relu", "relu_", "tanh", "sigmoid", "abs", "neg", "square", "clamp", "add", "add_",
    "sub", "sub_", "mul", "mul_", "div", "div_",
}  # fmt: skip


def first_layer(model: nn.Module) -> str:
    """The name of the only layer that sees the inputs, "" where it is the model itself, if it is spectral.

    Before it there may be what leaves each input in its place, such as a change of shape, a normalisation by fixed
    numbers, or an activation.
    Raises ValueError that names the layer or operation which is not spectral, mixes the inputs or moves them, for a
    layer that hooks or a reparametrisation change, for inputs that reach several layers, and for models that cannot be
    followed.

    >>> first_layer(nn.Sequential(nn.Flatten(), SpectralLinear(4, 3), nn.ReLU(), SpectralLinear(3, 2)))
    '1'
    """
    for name, layer in _chain(model, ""):
        if any(layer.children()) or not (_is_layer(layer) or type(layer).__module__.startswith("torch.nn.")):
            return _followed(model)  # what it calls, and when, only its code knows
        if _is_spectral(name, layer):
            return name
    raise ValueError(f"{type(model).__name__} has no layer with weights.")


def _chain(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The parts of nested Sequentials in the order of their calls."""
    if type(module) is not nn.Sequential:
        yield name, module
        return
    for child_name, child in module.named_children():
        yield from _chain(child, f"{name}.{child_name}" if name else child_name)


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, Spectral) or next(module.parameters(recurse=False), None) is not None


def _is_spectral(name: str, layer: nn.Module) -> bool:
    """True for a spectral layer, False for one that leaves the inputs in their places; ValueError for all others."""
    kind, named = type(layer).__name__, name or type(layer).__name__
    if isinstance(layer, SpectralLinear | SpectralConv2d):
        check_plain(named, layer)
        return True
    if _is_layer(layer):
        converted = isinstance(layer, nn.Linear | nn.Conv2d)
        why = "see spectralize()" if converted else f"{kind} has no such form, Linear and Conv2d have"
        raise ValueError(f"the first layer, {named}, is not spectral: {why}.")
    if not isinstance(layer, _MODULES):
        raise ValueError(
            f"{named}, a {kind}, stands between the inputs and the first layer: which of them it hands on where is "
            "not known."
        )
    return False


def _followed(model: nn.Module) -> str:
    """The first layer of a model that is more than a chain, by following its inputs through its code."""
    kind = type(model).__name__
    try:
        graph = trace(model, apart=False).graph
    except ValueError as error:
        raise ValueError(
            f"{kind} cannot be followed from its inputs ({error}): call relevance(layer.lam_in, layer.psi) of the "
            "layer that sees them."
        ) from error
    found = list(dict.fromkeys(_reached(model, graph)))
    if not found:
        raise ValueError(f"the inputs of {kind} reach no layer with weights.")
    if len(found) > 1:
        raise ValueError(
            f"the inputs of {kind} reach {len(found)} layers, {', '.join(found)}: none alone is the first."
        )
    return found[0]


def _reached(model: nn.Module, graph: fx.Graph) -> Iterator[str]:
    """The spectral layers that are called with nothing but the inputs, each in its place."""
    first, *others = graph.nodes
    inputs, sizes = {first}, set[fx.Node]()
    for node in others:
        operands = set(node.all_input_nodes)
        if is_size(node) or (operands and operands <= sizes):
            sizes.add(node)
        elif inputs.isdisjoint(operands):
            continue
        elif node.op == "call_module":
            name = str(node.target)
            if _is_spectral(name, model.get_submodule(name)):
                yield name
            else:
                inputs.add(node)
        elif _keeps_places(node) and all(each in inputs | sizes or _is_fixed(model, each) for each in operands):
            inputs.add(node)
        else:
            raise ValueError(
                f"the inputs of {type(model).__name__} reach {_named(node)} before or beside a spectral layer: which "
                "of them it uses where is not known."
            )


def _keeps_places(node: fx.Node) -> bool:
    if node.op == "call_function":
        return node.target in _FUNCTIONS
    return node.op == "call_method" and node.target in _METHODS


def _is_fixed(model: nn.Module, node: fx.Node) -> bool:
    """Whether an operand is a tensor of the model that is not trained."""
    if node.op != "get_attr":
        return False
    parent, _, name = str(node.target).rpartition(".")
    return not isinstance(getattr(model.get_submodule(parent), name), nn.Parameter)


def _named(node: fx.Node) -> str:
    return "the output" if node.op == "output" else f"{getattr(node.target, '__name__', node.target)}"
