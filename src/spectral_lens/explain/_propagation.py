"""The rewritten forward pass of layer-wise relevance propagation: each layer's value, and the derivative of a rule."""

import operator
from functools import reduce
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spectral_lens.explain._layer import layer_of, stabilised
from spectral_lens.explain.rules import Rule, Terms
from spectral_lens.nn.piecewise_linear import CLIPPING, MAX_POOLING, Interpreter, PiecewiseLinear

_TENFOLD = 10


class AssumptionWarning(UserWarning):
    """A rule was used where what it assumes does not hold, so that relevance is enlarged or changes its sign."""


class Propagation(Interpreter):
    """Runs the network with each layer's value, and with the derivative that its rule asks for.

    watched: whether to note by how much layers enlarge relevance, see `enlarged`.
    """

    def __init__(
        self,
        network: PiecewiseLinear,
        rules: dict[fx.Node, Rule],
        pooling: str,
        factor: Tensor,
        *,
        watched: bool = False,
    ) -> None:
        super().__init__(network)
        self.rules, self.pooling, self.factor, self.watched = rules, pooling, factor, watched
        self.beyond: list[tuple[str, Tensor]] = []

    def affine(self, node: fx.Node, layer: nn.Module, a: Tensor) -> Tensor:
        rule = self.rules[node]
        seen = layer_of(layer, a, with_bias=rule.bias, factor=self.factor if rule.first_only else None)
        terms = rule.terms(seen)
        if not terms or any(each.shape != seen.output.shape for pair in terms for each in pair):
            shapes = [tuple(tuple(each.shape) for each in pair) for pair in terms]
            raise ValueError(
                f"{rule.name}: terms are pairs of the output's shape {tuple(seen.output.shape)}, not {shapes}."
            )
        divided: list[Tensor] = []
        passed = _passing(seen.output, terms, rule.stabiliser, divided)
        if self.watched and rule.proportional and divided:
            self.beyond.append((str(node.target), _beyond(seen.output, divided[0], self.network.rectified(node))))
        return passed

    @property
    def enlarged(self) -> list[str]:
        """The layers where relevance of an output that it reaches was taken more than tenfold, or with another sign."""
        return [name for name, most in self.beyond if most > 0]

    def run_node(self, node: fx.Node) -> Any:
        operation = self.network.operation(node)
        if operation in CLIPPING:
            (a, *_), _ = self.fetch_args_kwargs_from_env(node)
            a = a.clone()  # what clips may work in place
            return _passing(super().run_node(node), [(a, a)])
        if self.pooling == "average" and operation in MAX_POOLING:
            return self._averaged(node, MAX_POOLING[operation])
        return super().run_node(node)

    def _averaged(self, node: fx.Node, axes: int) -> Tensor:
        """The maximum of each window, with the derivative of its mean."""
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        geometry = _window(self.fetch_attr(str(node.target)) if node.op == "call_module" else None, *args[1:], **kwargs)
        if geometry.pop("dilation") not in (1, (1,) * axes):
            raise ValueError(f"{node.target}: pooling='average' knows no windows with dilation: use 'winner'.")
        a = args[0].clone()
        mean = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[axes - 1](a, **geometry)
        return _passing(super().run_node(node), [(mean, mean)])


def _window(
    layer: Any,
    kernel_size: Any = None,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> dict[str, Any]:
    """Where the windows of max pooling lie, of a module or by the arguments of a function."""
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    values = (kernel_size, stride, padding, dilation, ceil_mode)
    found = {name: getattr(layer, name, value) for name, value in zip(names, values, strict=True)}
    if found["stride"] is None:
        found["stride"] = found["kernel_size"]
    return found


@torch.no_grad()
def _beyond(value: Tensor, below: Tensor, rectified: bool) -> Tensor:
    """Above zero where a factor value / below that relevance reaches is negative or more than tenfold.

    Both are |value| > 10 sign(value) below, which takes no quotient and no mask.  Behind a rectifier relevance reaches
    what is above zero.
    """
    more = torch.sub(value, below, alpha=_TENFOLD)
    return torch.minimum(value, more).max() if rectified else (more * value.sign()).max()


def _passing(value: Tensor, terms: Terms, stabiliser: float = 0.0, divided: list[Tensor] | None = None) -> Tensor:
    """The value with the derivative of the terms' sums, each times the fixed value / denominator (zero over zero).

    divided: takes what the value is divided by, where that is asked for.
    """
    if len(terms) == 1 and terms[0][0] is terms[0][1] is value and not stabiliser:
        return value
    parts = []
    for total, denominator in terms:
        with torch.no_grad():
            below = stabilised(denominator, stabiliser) if stabiliser else denominator
            ratio = torch.where(below == 0, 0, value / below)
        if divided is not None:
            divided.append(below)
        parts.append(ratio * total)
    passed = reduce(operator.add, parts)
    return passed + (value - passed).detach()
