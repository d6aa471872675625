"""Layer-wise relevance propagation for all outputs at once, as a rewritten forward pass.

LRP hands the relevance of a node to its inputs in proportion to their contributions to a sum zt, which a rule chooses
(see `rules`).  Rewritten, each layer computes its usual output z, but with the derivative of zt, scaled by the fixed
number z / zt.  Then relevance is the derivative of the output by a factor in front of each input, and automatic
differentiation does the rest: no hooks, no patched weights, any precision, under vmap and forward mode too.
[montavon2019]
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional as F

from spectral_lens.explain._layer import Layer, layer_of, stabilised
from spectral_lens.explain.rules import (
    Rule,
    Terms,
    alpha_beta,
    box,
    epsilon,
    flat,
    gamma,
    generalised_gamma,
    w_square,
    z_plus,
    zero,
)
from spectral_lens.nn.graphs import module_of, sees_the_input, traced, weighted_nodes
from spectral_lens.operators._pullback import Outputs, checked, pullback

__all__ = [
    "Layer", "Rule", "Rules", "alpha_beta", "assigned", "box", "composite", "epsilon", "flat", "gamma",
    "generalised_gamma", "lrp", "rewritten", "w_square", "weighted", "z_plus", "zero",
]  # fmt: skip

# a selector is a str, a type, an int or a slice
Rules = Rule | Sequence[Rule] | Mapping[Any, Rule] | Sequence[tuple[Any, Rule]]


def lrp(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    rules: Rules,
    pooling: str = "winner",
    outputs: Outputs = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """Relevance of each input for each output.

    rules: one rule for all layers with weights; or one for each in the order of `weighted(model)`, see `composite`; or
    pairs (selector, rule), in a mapping or a list, of which each layer takes the first that fits.  A selector is a
    layer's name or a pattern of names ("features.*"), a type of layer, a position or a slice of positions.  A layer
    that batch normalisation follows is taken together with it, as one plain layer.
    pooling: through max pooling to the winner, or to all inputs of the window in proportion to their size.
    outputs, chunk: see `gradients.gradient`.
    Raises ValueError that names what has no rule, a selector that no layer is left for, a rule for first layers
    elsewhere and, for one rule a layer, another number of rules, before any computing.

    >>> model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    >>> x = torch.rand(2, 5)
    >>> lrp(model, x, rules=gamma(0.25)).shape
    torch.Size([2, 3, 5])
    >>> by_name, by_position = {"0": box(0.0, 1.0), "*": zero()}, [(0, box(0.0, 1.0)), (slice(1, None), zero())]
    >>> torch.equal(lrp(model, x, rules=by_name), lrp(model, x, rules=by_position))
    True
    """
    checked(model, x)
    forward = rewritten(model, rules=rules, pooling=pooling)
    return pullback(lambda factor: forward(x, factor), torch.ones_like(x), outputs=outputs, chunk=chunk)


def weighted(model: nn.Module) -> list[str]:
    """The names of the layers with weights, in the order in which the model applies them.

    >>> weighted(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    ['0', '2']
    """
    return [str(node.target) for node in weighted_nodes(traced(model))]


def composite(model: nn.Module, *, first: Rule, inner: Rule, last: Rule) -> list[Rule]:
    """One rule for each layer with weights: for the first, for those in between, for the last.

    >>> model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    >>> [rule.name for rule in composite(model, first=flat(), inner=gamma(0.25), last=zero())]
    ['flat', 'gamma', 'zero']
    """
    count = len(weighted(model))
    return [first, *[inner] * (count - 2), last][:count] if count > 1 else [first]


def rewritten(model: nn.Module, *, rules: Rules, pooling: str = "winner") -> Callable[[Tensor, Tensor], Tensor]:
    """(x, factor) to the model's outputs at x, whose derivative by the factor, at one, is the inputs' relevance.

    rules, pooling, errors: as in `lrp`.

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> torch.allclose(rewritten(model, rules=gamma(0.25))(x, torch.ones_like(x)), model(x))
    True
    """
    if pooling not in ("winner", "average"):
        raise ValueError(f"pooling={pooling!r} is unknown: use 'winner' or 'average'.")
    graph = traced(model)
    chosen = assigned(graph, rules)
    for node, rule in chosen.items():
        if rule.first_only and not sees_the_input(graph, node):
            raise ValueError(f"{node.target}: the rule {rule.name!r} is for layers that see the input itself.")
    return lambda x, factor: _Rewritten(graph, chosen, pooling, factor).run(x * factor)


def assigned(graph: fx.GraphModule, rules: Rules) -> dict[fx.Node, Rule]:
    """The rule of each layer with weights of a traced model; rules, errors: as in `lrp`.

    >>> graph = traced(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    >>> [(node.target, rule.name) for node, rule in assigned(graph, {-1: zero(), nn.Linear: gamma(0.25)}).items()]
    [('0', 'gamma'), ('2', 'zero')]
    """
    nodes = weighted_nodes(graph)
    if isinstance(rules, Rule):
        return dict.fromkeys(nodes, rules)
    each: list[Any] = list(rules.items() if isinstance(rules, Mapping) else rules)
    if not all(isinstance(rule, Rule) for rule in each):
        return _selected(graph, nodes, each)
    if len(each) != len(nodes):
        raise ValueError(f"{len(each)} rules for {len(nodes)} layers with weights: {_names(nodes)}.")
    return dict(zip(nodes, each, strict=True))


def _selected(graph: fx.GraphModule, nodes: list[fx.Node], pairs: list[Any]) -> dict[fx.Node, Rule]:
    """Of the pairs (selector, rule), the first that fits each layer."""
    found: dict[fx.Node, Rule] = {}
    for pair in pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Rule)):
            raise ValueError(f"rules are all rules, or all pairs (selector, rule): {pair!r} does not fit.")
        selector, rule = pair
        matching = _matching(graph, nodes, selector)
        if not matching:
            layers = ", ".join(f"{node.target} ({type(module_of(graph, node)).__name__})" for node in nodes)
            raise ValueError(f"the selector {selector!r} fits none of the layers with weights: {layers}.")
        free = [node for node in matching if node not in found]
        if not free:
            raise ValueError(f"earlier selectors take all layers that {selector!r} fits: put it before them.")
        found.update((node, rule) for node in free)
    if left := [node for node in nodes if node not in found]:
        raise ValueError(f"the layers {_names(left)} have no rule: add ('*', rule) as the last pair.")
    return {node: found[node] for node in nodes}


def _matching(graph: fx.GraphModule, nodes: list[fx.Node], selector: Any) -> list[fx.Node]:
    if isinstance(selector, str):
        return [node for node in nodes if fnmatchcase(str(node.target), selector)]
    if isinstance(selector, type):
        return [node for node in nodes if isinstance(module_of(graph, node), selector)]
    if isinstance(selector, slice):
        return nodes[selector]
    if isinstance(selector, int):
        return [nodes[selector]] if -len(nodes) <= selector < len(nodes) else []
    raise ValueError(f"{selector!r} selects no layers: name a pattern, a type of layer, a position or a slice.")


def _names(nodes: list[fx.Node]) -> str:
    return ", ".join(str(node.target) for node in nodes)


class _Rewritten(fx.Interpreter):
    """Runs the graph with each layer's value, and with the derivative that its rule asks for."""

    def __init__(self, graph: fx.GraphModule, rules: dict[fx.Node, Rule], pooling: str, factor: Tensor) -> None:
        super().__init__(graph)
        self.graph_module, self.rules, self.pooling, self.factor = graph, rules, pooling, factor

    def run_node(self, node: fx.Node) -> Any:
        layer = module_of(self.graph_module, node) if node.op == "call_module" else None
        if node in self.rules:
            (a,), _ = self.fetch_args_kwargs_from_env(node)
            return _propagated(layer, self.rules[node], a, self.factor)
        if self.pooling == "average" and isinstance(layer, nn.MaxPool2d):
            return _averaged(layer, *self.fetch_args_kwargs_from_env(node)[0])
        return super().run_node(node)


def _propagated(module: Any, rule: Rule, a: Tensor, factor: Tensor) -> Tensor:
    """The layer's output at `a`, with the derivative of the sums that the rule chooses."""
    layer = layer_of(module, a, with_bias=rule.bias, factor=factor if rule.first_only else None)
    terms = rule.terms(layer)
    if not terms or any(each.shape != layer.output.shape for pair in terms for each in pair):
        shapes = [tuple(tuple(each.shape) for each in pair) for pair in terms]
        raise ValueError(
            f"{rule.name}: terms are pairs of the output's shape {tuple(layer.output.shape)}, not {shapes}."
        )
    return _passing(layer.output, terms, rule.stabiliser)


def _passing(value: Tensor, terms: Terms, stabiliser: float = 0.0) -> Tensor:
    """The value with the derivative of the terms' sums, each times the fixed value / denominator (zero over zero)."""
    if len(terms) == 1 and terms[0][0] is terms[0][1] is value and not stabiliser:
        return value
    parts = []
    for total, denominator in terms:
        with torch.no_grad():
            below = stabilised(denominator, stabiliser) if stabiliser else denominator
            ratio = torch.where(below == 0, 0, value / below)
        parts.append(ratio * total)
    passed = reduce(operator.add, parts)
    return passed + (value - passed).detach()


def _averaged(layer: nn.MaxPool2d, a: Tensor) -> Tensor:
    """The maximum of each window, with the derivative of its mean."""
    stride = layer.kernel_size if layer.stride is None else layer.stride
    mean = F.avg_pool2d(a, layer.kernel_size, stride, layer.padding, layer.ceil_mode)
    return _passing(layer(a), [(mean, mean)])
