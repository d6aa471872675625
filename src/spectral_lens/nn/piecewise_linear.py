"""A network as what relevance goes through: affine layers, each with its batch normalisation, and what is piecewise
linear between them.

Whatever stands between affine layers here is piecewise linear in the values that come from the input, so that its own
derivative hands relevance on; what is computed from shapes and constants may be anything.
"""

import copy
import operator
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from spectral_lens.nn.graphs import SHAPING, module_of, operation, sees_the_input, trace, values
from spectral_lens.nn.layers import TRANSPOSED
from spectral_lens.nn.plain import AFFINE, as_plain

__all__ = ["CLIPPING", "MAX_POOLING", "TAKEN", "Interpreter", "PiecewiseLinear", "piecewise_linear"]

Operation = Any  # a type of module, a function or the name of a method

_NORMS: set[Operation] = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
_RELU: set[Operation] = {nn.ReLU, F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
# monotonous through zero and constant beyond a bound, where the derivative would lose what relevance there is
CLIPPING: set[Operation] = {nn.ReLU6, nn.Hardtanh, F.relu6, F.hardtanh, F.hardtanh_}
# by the number of the windows' axes
MAX_POOLING: dict[Operation, int] = {
    nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3,
    F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3, torch.max_pool1d: 1, torch.max_pool2d: 2, torch.max_pool3d: 3,
}  # fmt: skip
_DROPOUT: set[Operation] = {
    nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout, torch.dropout,
}  # fmt: skip
# What is piecewise linear in one tensor, the first argument, or in several in it; by what it does.
_NATURAL: dict[str, set[Operation]] = {
    "rectifiers": {*_RELU, nn.LeakyReLU, F.leaky_relu, F.leaky_relu_, nn.PReLU, F.prelu},
    "pooling": {
        *MAX_POOLING, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d,
        torch.avg_pool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
        F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d, torch.adaptive_avg_pool1d,
        nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
        F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d,
    },
    "batch normalisation": _NORMS,
    "dropout, which does nothing": _DROPOUT,
    "other sizes": {
        nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d, F.interpolate,
        nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
        nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d, nn.ReplicationPad2d,
        nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d, F.pad,
        nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, F.pixel_shuffle, F.pixel_unshuffle,
    },
    "shapes": SHAPING,
    "parts and axes": {
        torch.cat, torch.concat, torch.stack, operator.getitem, torch.squeeze, torch.unsqueeze, torch.transpose,
        torch.permute, torch.movedim, torch.swapaxes, torch.chunk, torch.split, torch.tensor_split, torch.unbind,
        torch.narrow, torch.select, torch.flip, "squeeze", "unsqueeze", "transpose", "permute", "movedim", "swapaxes",
        "chunk", "split", "tensor_split", "unbind", "narrow", "select", "flip", "expand", "repeat",
    },
    "means and sums over axes": {torch.mean, torch.sum, "mean", "sum"},
    "signs and precisions": {torch.neg, operator.neg, "neg", "neg_", "float", "double", "half", "bfloat16"},
}  # fmt: skip
_ONE_TENSOR = frozenset[Operation]().union(*_NATURAL.values(), CLIPPING)
_ADDING: set[Operation] = {
    operator.add, operator.iadd, operator.sub, operator.isub, torch.add, torch.sub, "add", "add_", "sub", "sub_",
}  # fmt: skip
_SCALING: set[Operation] = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
_DIVIDING: set[Operation] = {operator.truediv, operator.itruediv, torch.div, "div", "div_"}
# all that is taken, by what it does: types of modules, functions and names of methods
TAKEN: dict[str, Collection[Operation]] = {
    "layers that have a rule": AFFINE,
    **_NATURAL,
    "clipping, which passes all relevance": CLIPPING,
    "sums and differences": _ADDING,
    "products with a constant": _SCALING,
    "quotients by a constant": _DIVIDING,
}
_ANY_MODEL = "gradient, integrated_gradients, smoothgrad and Shapley values take any model"


@dataclass(frozen=True)
class PiecewiseLinear:
    """A model's graph, and for each call of an affine layer, in the order of calls, the plain layer that stands for it.

    A batch normalisation behind a call is part of that layer, and gone from the graph.
    """

    graph: fx.GraphModule
    layers: dict[fx.Node, nn.Module]

    def operation(self, node: fx.Node) -> Operation:
        """What a node does (see `graphs.operation`)."""
        return operation(self.graph, node)

    def sees_the_input(self, node: fx.Node) -> bool:
        """Whether a layer sees the input (see `graphs.sees_the_input`)."""
        return sees_the_input(self.graph, node)

    def rectified(self, node: fx.Node) -> bool:
        """Whether a ReLU takes all that the layer gives, so that nothing reaches a sum that is not positive.

        >>> network = piecewise_linear(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
        >>> [network.rectified(node) for node in network.layers]
        [True, False]
        """

        def stops(user: fx.Node) -> bool:
            kind = self.operation(user)
            passing = kind in SHAPING or kind in _DROPOUT or kind in MAX_POOLING
            rectifying = kind in _RELU or kind in (nn.ReLU6, F.relu6)
            return rectifying or (passing and user.op != "output" and self.rectified(user))

        return bool(node.users) and all(stops(user) for user in node.users)


def piecewise_linear(model: nn.Module) -> PiecewiseLinear:
    """The model as a piecewise linear network; raises ValueError that names what is not.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Linear(2, 1)).eval()
    >>> [str(node.target) for node in piecewise_linear(model).layers]
    ['0', '3']
    """
    try:
        whole = trace(model, apart=False)
    except ValueError as error:
        raise ValueError(f"{error}. Other methods need no layers: {_ANY_MODEL}.") from error
    # folding must not reach the model's own
    graph = fx.GraphModule(whole, copy.deepcopy(whole.graph)) if whole is model else whole
    found = PiecewiseLinear(graph, {})
    dependent = values(graph.graph)
    nodes = [node for node in graph.graph.nodes if node in dependent]
    if unknown := [node for node in nodes if not _fits(found, node, dependent)]:
        raise ValueError(
            f"no rule for {_named(found, unknown)}: LRP goes through affine layers and what is piecewise "
            f"linear between them, such as ReLU, pooling, sums and normalisation. {_ANY_MODEL[0].upper()}"
            f"{_ANY_MODEL[1:]}."
        )
    found.layers.update((node, as_plain(module_of(graph, node))) for node in nodes if _affine(found, node))
    _fold_batch_norm(found)
    return found


class Interpreter(fx.Interpreter):
    """Runs a network with its plain layers, and without the hooks of what stands between them."""

    def __init__(self, network: PiecewiseLinear) -> None:
        super().__init__(network.graph)
        self.network = network

    def affine(self, node: fx.Node, layer: nn.Module, a: Tensor) -> Tensor:
        """What the layer that a node calls gives at `a`."""
        return layer(a)

    def run_node(self, node: fx.Node) -> Any:
        if node in self.network.layers:
            (a,), _ = self.fetch_args_kwargs_from_env(node)
            return self.affine(node, self.network.layers[node], a)
        return super().run_node(node)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        module = self.fetch_attr(target)
        return type(module).forward(module, *args, **kwargs)


def _affine(network: PiecewiseLinear, node: fx.Node) -> bool:
    return node.op == "call_module" and network.operation(node) in AFFINE


def _fits(network: PiecewiseLinear, node: fx.Node, dependent: set[fx.Node]) -> bool:
    """Whether a node that depends on the input is affine or piecewise linear."""
    if node.op in ("placeholder", "output"):
        return True
    kind, given = network.operation(node), [arg for arg in node.args if isinstance(arg, fx.Node) and arg in dependent]
    if _affine(network, node):
        return len(node.args) == 1 and not node.kwargs
    if kind in _ADDING:
        return True
    alone = len(given) == 1 and len(node.args) == 2 and not node.kwargs
    if kind in _SCALING:
        return alone
    if kind in _DIVIDING:
        return alone and given[0] is node.args[0]
    others = [*node.args[1:], *node.kwargs.values()]
    return kind in _ONE_TENSOR and not any(_mentions(other, dependent) for other in others)


def _mentions(argument: Any, nodes: set[fx.Node]) -> bool:
    met: set[fx.Node] = set()
    fx.map_arg(argument, met.add)
    return not nodes.isdisjoint(met)


def _named(network: PiecewiseLinear, nodes: list[fx.Node]) -> str:
    """Each kind of operation once, by the first layer of it."""
    alike: dict[Operation, dict[str, None]] = {}
    for node in nodes:
        alike.setdefault((network.operation(node), _affine(network, node)), {})[_described(network, node)] = None
    first = [(next(iter(names)), len(names) - 1) for names in alike.values()]
    return ", ".join(name + (f" and {others} more" if others else "") for name, others in first)


def _described(network: PiecewiseLinear, node: fx.Node) -> str:
    kind: Any = network.operation(node)
    if node.op != "call_module":
        return str(getattr(kind, "__name__", kind))
    called = " called with more than its input" if kind in AFFINE else ""
    return f"{node.target} ({kind.__name__}){called}"


def _fold_batch_norm(network: PiecewiseLinear) -> None:
    """Batch normalisation that alone takes what a layer gives becomes part of the layer, for this call of it."""
    graph = network.graph.graph
    for node in list(graph.nodes):
        before = node.args[0] if node.args else None
        if node.op != "call_module" or network.operation(node) not in _NORMS or before not in network.layers:
            continue
        layer = network.layers[before]
        if len(before.users) > 1 or (type(layer) in TRANSPOSED and layer.groups != 1):
            continue
        network.layers[before] = _fused(layer, module_of(network.graph, node))
        node.replace_all_uses_with(before)
        graph.erase_node(node)


@torch.no_grad()
def _fused(layer: Any, norm: Any) -> nn.Module:
    fused = copy.deepcopy(layer)
    mean, var = norm.running_mean, norm.running_var
    scale = torch.ones_like(var) if norm.weight is None else norm.weight
    shift = torch.zeros_like(mean) if norm.bias is None else norm.bias
    of = layer.weight, layer.bias, mean, var, norm.eps, scale, shift
    if isinstance(layer, nn.Linear):
        fused.weight, fused.bias = fuse_linear_bn_weights(*of)
    else:
        fused.weight, fused.bias = fuse_conv_bn_weights(*of, transpose=type(layer) in TRANSPOSED)
    return fused
