"""Layer-wise relevance propagation for all outputs at once, as a rewritten forward pass.

LRP hands the relevance of a node to its inputs in proportion to their contributions to a sum zt, which a rule chooses
(see `rules`).  Rewritten, each layer computes its usual output z, but with the derivative of zt, scaled by the fixed
number z / zt.  Then relevance is the derivative of the output by a factor in front of each input, and automatic
differentiation does the rest: no hooks, no patched weights, any precision, under vmap and forward mode too.
[montavon2019]
"""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from spectral_lens._runtime.errors import warn
from spectral_lens.explain._layer import Layer
from spectral_lens.explain._propagation import AssumptionWarning, Propagation
from spectral_lens.explain.rules import (
    Rule,
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
from spectral_lens.nn._checks import Outputs, Target, Tried, checked, same
from spectral_lens.nn.graphs import module_of
from spectral_lens.nn.piecewise_linear import Interpreter, PiecewiseLinear, piecewise_linear
from spectral_lens.nn.plain import altered
from spectral_lens.operators._pullback import pullback

__all__ = [
    "AssumptionWarning", "Layer", "Rule", "Rules", "alpha_beta", "assigned", "box", "check_followed", "composite",
    "epsilon", "flat", "gamma", "generalised_gamma", "lrp", "redistributing", "rewritten", "w_square", "weighted",
    "z_plus", "zero",
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
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """Relevance of each input for each output.

    rules: one rule for all layers with weights; or one for each in the order of `weighted(model)`, see `composite`; or
    pairs (selector, rule), in a mapping or a list, of which each layer takes the first that fits.  A selector is a
    layer's name or a pattern of names ("features.*"), a type of layer, a position or a slice of positions.  A layer
    that batch normalisation follows is taken together with it, as one plain layer.
    pooling: through max pooling to the winner, or to all inputs of the window in proportion to their size.
    outputs, target, chunk: see `gradients.gradient`.
    Affine layers have a rule each; what is piecewise linear between them passes relevance as its derivative says, what
    clips (ReLU6) passes all of it, and constants that are added keep theirs, as biases do.
    Raises ValueError that names what has no rule, a selector that no layer is left for, a rule for first layers
    elsewhere and, for one rule a layer, another number of rules, before any computing; and for a model whose layers,
    followed one by one, do not give its outputs, as hooks may bring about.
    Warns (`AssumptionWarning`) that names the layers where a rule enlarges relevance by more than ten times or turns
    its sign: `gamma` does so at negative inputs and at negative outputs that no ReLU follows, rules without the bias
    where the bias outweighs the rest.

    >>> model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    >>> x = torch.rand(2, 5)
    >>> lrp(model, x, rules=gamma(0.25)).shape
    torch.Size([2, 3, 5])
    >>> by_name, by_position = {"0": box(0.0, 1.0), "*": zero()}, [(0, box(0.0, 1.0)), (slice(1, None), zero())]
    >>> torch.equal(lrp(model, x, rules=by_name), lrp(model, x, rules=by_position))
    True
    """
    forward = redistributing(model, x, rules=rules, pooling=pooling)
    return pullback(forward, torch.ones_like(x), outputs=outputs, target=target, chunk=chunk)


def redistributing(
    model: nn.Module, x: Float[Tensor, "n *d"], *, rules: Rules, pooling: str = "winner"
) -> Callable[[Tensor], Tensor]:
    """The model's outputs at x as a function of a factor before each input: its derivative at one is the relevance.

    Checks the model and x as `lrp` does, and warns as that.  rules, pooling, errors: as there.

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> torch.allclose(redistributing(model, x, rules=zero())(torch.ones_like(x)), model(x))
    True
    """
    tried = checked(model, x)
    prepared = _prepared(model, rules, pooling)
    check_followed(model, prepared[0], tried)
    x = x.detach()

    def forward(factor: Tensor) -> Tensor:
        run = Propagation(*prepared, factor, watched=True)
        out = run.run(x * factor)
        if run.enlarged:
            warn(_advice(run.enlarged), AssumptionWarning)
        return out

    return forward


def weighted(model: nn.Module) -> list[str]:
    """The names of the layers with weights, in the order in which the model applies them.

    >>> weighted(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    ['0', '2']
    """
    return [str(node.target) for node in piecewise_linear(model).layers]


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
    prepared = _prepared(model, rules, pooling)
    return lambda x, factor: Propagation(*prepared, factor).run(x * factor)


def _prepared(model: nn.Module, rules: Rules, pooling: str) -> tuple[PiecewiseLinear, dict[fx.Node, Rule], str]:
    if pooling not in ("winner", "average"):
        raise ValueError(f"pooling={pooling!r} is unknown: use 'winner' or 'average'.")
    network = piecewise_linear(model)
    chosen = assigned(network, rules)
    for node, rule in chosen.items():
        if rule.first_only and not network.sees_the_input(node):
            raise ValueError(f"{node.target}: the rule {rule.name!r} is for layers that see the input itself.")
    return network, chosen, pooling


@torch.no_grad()
def check_followed(model: nn.Module, network: PiecewiseLinear, tried: Tried) -> None:
    """Raises ValueError where the layers that relevance goes through do not give the model's outputs.

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> check_followed(model, piecewise_linear(model), checked(model, x))
    """
    if same(Interpreter(network).run(tried.x.clone())[0], tried.out[0]):
        return
    changed = [f"{name or 'the model'} {found}" for name, part in model.named_modules() if (found := altered(part))]
    raise ValueError(
        "followed layer by layer the model does not give its own outputs: "
        + ("; ".join(changed) if changed else "is a normalisation along another axis than the layer before it?")
    )


def _advice(layers: list[str]) -> str:
    return (
        f"relevance is enlarged more than tenfold, or changes its sign, in {', '.join(dict.fromkeys(layers))}: the "
        "rule divides by sums near zero, as gamma does at negative inputs, and at negative outputs that no ReLU "
        "follows. There generalised_gamma is meant for any sign; stabiliser=1e-6 keeps denominators from zero."
    )


def assigned(network: PiecewiseLinear, rules: Rules) -> dict[fx.Node, Rule]:
    """The rule of each layer with weights; rules, errors: as in `lrp`.

    >>> network = piecewise_linear(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)))
    >>> [(node.target, rule.name) for node, rule in assigned(network, {-1: zero(), nn.Linear: gamma(0.25)}).items()]
    [('0', 'gamma'), ('2', 'zero')]
    """
    nodes = list(network.layers)
    if isinstance(rules, Rule):
        return dict.fromkeys(nodes, rules)
    if not isinstance(rules, Mapping | Sequence) or isinstance(rules, str):
        raise TypeError(f"rules={rules!r}: give a rule, as gamma(0.25), one for each layer, or pairs (selector, rule).")
    each: list[Any] = list(rules.items() if isinstance(rules, Mapping) else rules)
    if not all(isinstance(rule, Rule) for rule in each):
        return _selected(network.graph, nodes, each)
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
    if isinstance(selector, type):  # the model's own, a spectral layer too
        return [node for node in nodes if isinstance(module_of(graph, node), selector)]
    if isinstance(selector, slice):
        return nodes[selector]
    if isinstance(selector, Integral):
        position = int(selector)
        return [nodes[position]] if -len(nodes) <= position < len(nodes) else []
    raise ValueError(f"{selector!r} selects no layers: name a pattern, a type of layer, a position or a slice.")


def _names(nodes: list[fx.Node]) -> str:
    return ", ".join(str(node.target) for node in nodes)
