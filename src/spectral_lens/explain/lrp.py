"""Layer-wise relevance propagation for all outputs at once, as a rewritten forward pass.

LRP hands the relevance of a node to its inputs in proportion to their contributions to a sum zt, which a rule chooses.
Rewritten, each layer computes its usual output z, but with the derivative of zt, scaled by the fixed number z / zt.
Then relevance is the derivative of the output by a factor in front of each input, and automatic differentiation does
the rest: no hooks, no patched weights, any precision, under vmap and forward mode too.  [Montavon et al. 2019]
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spectral_lens.nn.graphs import module_of, sees_the_input, traced, weighted_nodes
from spectral_lens.nn.layers import SpectralConv2d
from spectral_lens.operators._pullback import Outputs, checked, pullback

Affine = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Rule:
    """How relevance passes a layer with weights; made by `zero`, `epsilon`, `gamma`, `signed_gamma`, `box` and `flat`.

    bias: whether the bias is one more input, which keeps the relevance that falls to it, or left out of the sum.
    """

    name: str
    amount: float = 0.0
    low: tuple[float, ...] = (0.0,)
    high: tuple[float, ...] = (0.0,)
    bias: bool = True


def zero(*, bias: bool = True) -> Rule:
    """Contributions a_j w_jk."""
    return Rule("zero", bias=bias)


def epsilon(amount: float, *, bias: bool = True) -> Rule:
    """Contributions a_j w_jk; their sum is moved away from zero by `amount` in the denominator."""
    return Rule("epsilon", _positive("epsilon", amount), bias=bias)


def gamma(amount: float, *, bias: bool = True) -> Rule:
    """Contributions a_j (w_jk + gamma w_jk^+), for inputs that are not negative.  [maess, eq. 3]"""
    return Rule("gamma", _positive("gamma", amount), bias=bias)


def signed_gamma(amount: float, *, bias: bool = True) -> Rule:
    """The generalised gamma rule, for inputs and outputs of any sign: what has the output's sign is favoured.

    a^+ (w + gamma w^+) + a^- (w + gamma w^-) where the output is positive; w^+ and w^- exchanged where it is negative.
    The same as `gamma` for inputs that are not negative and positive outputs.
    """
    return Rule("signed gamma", _positive("gamma", amount), bias=bias)


def box(low: float | Sequence[float], high: float | Sequence[float]) -> Rule:
    """Contributions x_j w_jk - low w_jk^+ - high w_jk^-: the rule z^B, for first layers with inputs in [low, high].

    The bounds are one number each, or one for each channel of images.
    """
    lows, highs = (tuple(map(float, [b] if isinstance(b, int | float) else b)) for b in (low, high))
    if len(lows) != len(highs) or not all(a < b for a, b in zip(lows, highs, strict=True)):
        raise ValueError(f"box({low}, {high}): the inputs lie between a lower and a higher bound.")
    return Rule("box", low=lows, high=highs, bias=False)


def flat() -> Rule:
    """The same contribution of every input, whatever it is: for first layers."""
    return Rule("flat", bias=False)


def lrp(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    rules: Rule | Sequence[Rule],
    pooling: str = "winner",
    outputs: Outputs = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """Relevance of each input for each output.

    rules: one for all layers with weights, or one for each in the order of `weighted(model)`; see `composite`.
    pooling: through max pooling to the winner, or to all inputs of the window in proportion to their size.
    outputs, chunk: see `gradients.gradient`.
    Raises ValueError that names what has no rule, and for a number of rules that does not fit, before any computing.
    """
    checked(model, x)
    forward = rewritten(model, rules=rules, pooling=pooling)
    return pullback(lambda factor: forward(x, factor), torch.ones_like(x), outputs=outputs, chunk=chunk)


def weighted(model: nn.Module) -> list[str]:
    """The names of the layers with weights, in the order in which the model applies them."""
    return [str(node.target) for node in weighted_nodes(traced(model))]


def composite(model: nn.Module, *, first: Rule, inner: Rule, last: Rule) -> list[Rule]:
    """One rule for each layer with weights: for the first, for those in between, for the last."""
    count = len(weighted(model))
    return [first, *[inner] * (count - 2), last][:count] if count > 1 else [first]


def rewritten(
    model: nn.Module, *, rules: Rule | Sequence[Rule], pooling: str = "winner"
) -> Callable[[Tensor, Tensor], Tensor]:
    """(x, factor) to the model's outputs at x, whose derivative by the factor, at one, is the inputs' relevance."""
    if pooling not in ("winner", "average"):
        raise ValueError(f"pooling={pooling!r} is unknown: use 'winner' or 'average'.")
    graph = traced(model)
    nodes = weighted_nodes(graph)
    chosen = one_each(rules, nodes)
    for node, rule in zip(nodes, chosen, strict=True):
        if rule.name in ("box", "flat") and not sees_the_input(graph, node):
            raise ValueError(f"{node.target}: the rule {rule.name!r} is for layers that see the input itself.")
    return lambda x, factor: _Rewritten(graph, dict(zip(nodes, chosen, strict=True)), pooling, factor).run(x * factor)


def one_each(rules: Rule | Sequence[Rule], nodes: Sequence[fx.Node]) -> list[Rule]:
    """A rule for each of the layers; raises ValueError for another number of rules."""
    chosen = [rules] * len(nodes) if isinstance(rules, Rule) else list(rules)
    if len(chosen) != len(nodes):
        raise ValueError(
            f"{len(chosen)} rules for {len(nodes)} layers with weights: {', '.join(str(n.target) for n in nodes)}."
        )
    return chosen


class _Rewritten(fx.Interpreter):
    """Runs the graph with each layer's value, and with the derivative that its rule asks for."""

    def __init__(self, graph: fx.GraphModule, rules: dict[fx.Node, Rule], pooling: str, factor: Tensor) -> None:
        super().__init__(graph)
        self.graph_module, self.rules, self.pooling, self.factor = graph, rules, pooling, factor

    def run_node(self, node: fx.Node) -> Any:
        layer = module_of(self.graph_module, node) if node.op == "call_module" else None
        if node in self.rules:
            (a,), _ = self.fetch_args_kwargs_from_env(node)
            return _layer(layer, self.rules[node], a, self.factor)
        if self.pooling == "average" and isinstance(layer, nn.MaxPool2d):
            return _averaged(layer, *self.fetch_args_kwargs_from_env(node)[0])
        return super().run_node(node)


def _layer(layer: Any, rule: Rule, a: Tensor, factor: Tensor) -> Tensor:
    """The layer's output at `a`, with the derivative of the sum that the rule chooses."""
    affine, w, b = affine_of(layer)
    z = affine(a, w, b)
    kept = b if rule.bias else None
    if rule.name in ("zero", "epsilon"):
        zt = z if kept is b else affine(a, w, None)
        if rule.name == "zero" and zt is z:
            return z
        return _passing(z, zt, zt + rule.amount * torch.where(zt < 0, -1.0, 1.0))
    if rule.name == "gamma":
        return _passing(z, affine(a, _raised(w, rule.amount), _raised(kept, rule.amount)))
    if rule.name == "signed gamma":
        above, below = a.clamp(min=0), a.clamp(max=0)
        up, down = _raised(w, rule.amount), _lowered(w, rule.amount)
        positive = affine(above, up, _raised(kept, rule.amount)) + affine(below, down, None)
        negative = affine(above, down, _lowered(kept, rule.amount)) + affine(below, up, None)
        return _passing(z, torch.where(z > 0, positive, negative))
    there = factor.reshape(a.shape)
    if rule.name == "box":
        low, high = (there * there.new_tensor(b).view(-1, *[1] * (a.ndim - 2)) for b in (rule.low, rule.high))
        outside = affine(low, w.clamp(min=0), None) + affine(high, w.clamp(max=0), None)
        return _passing(z, affine(a, w, None) - outside)
    return _passing(z, affine(there, torch.ones_like(w), None))


def _positive(name: str, amount: float) -> float:
    if not amount >= 0:
        raise ValueError(f"{name}={amount} must not be negative.")
    return float(amount)


def _passing(z: Tensor, zt: Tensor, denominator: Tensor | None = None) -> Tensor:
    """The value z with the derivative of zt, times the fixed z / denominator (zero where that is zero)."""
    with torch.no_grad():
        denominator = zt if denominator is None else denominator
        ratio = torch.where(denominator == 0, 0, z / denominator)
    passed = ratio * zt
    return passed + (z - passed).detach()


def _raised(values: Tensor | None, amount: float) -> Any:
    return None if values is None else values + amount * values.clamp(min=0)


def _lowered(values: Tensor | None, amount: float) -> Any:
    return None if values is None else values + amount * values.clamp(max=0)


def _averaged(layer: nn.MaxPool2d, a: Tensor) -> Tensor:
    """The maximum of each window, with the derivative of its mean."""
    stride = layer.kernel_size if layer.stride is None else layer.stride
    mean = F.avg_pool2d(a, layer.kernel_size, stride, layer.padding, layer.ceil_mode)
    return _passing(layer(a), mean)


def affine_of(layer: Any) -> tuple[Affine, Tensor, Tensor | None]:
    """The layer as a function of inputs, weights and bias, and its weights and bias."""
    plain = layer._plain[0] if isinstance(layer, SpectralConv2d) else layer
    return plain._conv_forward if isinstance(plain, nn.Conv2d) else F.linear, layer.weight, layer.bias
