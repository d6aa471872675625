"""How far LRP can amplify, layer by layer: the closed form of each step's norm, and the product that bounds sigma_1.

[maess, 3.4 and appendix B]  A bias counts as one more input, so the closed form holds with and without.
"""

import math
from collections import Counter

import torch
from jaxtyping import Bool, Float
from torch import Tensor, fx, nn

from spectral_lens.explain._layer import layer_of
from spectral_lens.explain.lrp import Rules, assigned, check_followed
from spectral_lens.explain.rules import Rule
from spectral_lens.nn._checks import checked
from spectral_lens.nn.piecewise_linear import Interpreter, PiecewiseLinear, piecewise_linear

__all__ = ["column_norm", "contributions", "layer_norms", "product_bound"]


def contributions(
    model: nn.Module, x: Float[Tensor, "n *d"], *, bias: bool = True
) -> dict[str, tuple[Float[Tensor, "n units"], Float[Tensor, "n units"]]]:
    """For each layer with weights, by name: the positive contributions to each of its sums, p, and the negative, |n|.

    The sum itself is p - |n|.  bias: whether it is one of the contributions.

    >>> model = nn.Linear(3, 1, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0, 2.0]]))
    >>> contributions(model, torch.ones(1, 3))
    {'0': (tensor([[5.]]), tensor([[1.]]))}
    """
    return _summed(model, piecewise_linear(model), x, bias).sums


def column_norm(
    positive: Float[Tensor, "*n units"], negative: Float[Tensor, "*n units"], gamma: float
) -> Float[Tensor, "*n units"]:
    """The 1-norm of each column of the layer's redistribution under LRP-gamma.  [maess, eq. 11]

    ((1 + gamma) p + |n|) / |(1 + gamma) p - |n||, which is 1 + 2c / (1 - c + gamma) with c = |n| / p where p > |n|.
    Infinite where the contributions cancel.

    >>> column_norm(torch.tensor([[5.0]]), torch.tensor([[1.0]]), 0.0)  # (5 + 1) / (5 - 1)
    tensor([[1.5000]])
    """
    raised = (1 + gamma) * positive
    return (raised + negative) / (raised - negative).abs()


def layer_norms(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    rules: Rules,
    mask: Bool[Tensor, "n k"] | None = None,
) -> dict[str, Float[Tensor, " n"]]:
    """||R^(l)||_1 of each layer with weights: the largest `column_norm` among the columns that relevance can reach.

    These are the active ones where a ReLU follows, and the `mask` ones of a layer that makes the outputs.
    Raises ValueError for what has no such closed form: rules without a `column_gamma`, gamma for negative inputs.

    >>> from spectral_lens.explain.lrp import gamma
    >>> model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    >>> norms = layer_norms(model, torch.rand(2, 5), rules=gamma(0.25))
    >>> list(norms), bool((norms["0"] >= 1).all())
    (['0', '2'], True)
    """
    network = piecewise_linear(model)
    chosen = assigned(network, rules)
    gammas = {node: _proven(rule) for node, rule in chosen.items()}
    found = {bias: _summed(model, network, x, bias) for bias in {True, *(rule.bias for rule in chosen.values())}}
    signed = [str(n.target) for n, rule in chosen.items() if rule.nonnegative and str(n.target) in found[True].signed]
    if signed:
        raise ValueError(
            f"LRP-gamma has a closed form for inputs that are not negative: {', '.join(signed)} has others."
        )
    norms = {}
    for node, rule in chosen.items():
        name = str(node.target)
        positive, negative = found[True].sums[name]
        reached = positive > negative if network.rectified(node) else torch.ones_like(positive, dtype=torch.bool)
        if mask is not None and any(user.op == "output" for user in node.users):
            reached = reached & mask
        norms[name] = torch.where(reached, column_norm(*found[rule.bias].sums[name], gammas[node]), 1).amax(1)
    return norms


def product_bound(norms: dict[str, Float[Tensor, " n"]], columns: Float[Tensor, " n"] | int) -> Float[Tensor, " n"]:
    """sqrt(K) prod_l ||R^(l)||_1; K: the number of columns.  [maess, eqs. 8 and 9]

    Never below sigma_1 in a chain of layers that lose no relevance to biases.  Pooling and ReLU redistribute without
    amplifying: their factors are one.

    >>> product_bound({"0": torch.tensor([2.0]), "2": torch.tensor([1.5])}, 4)
    tensor([6.])
    """
    scale = columns.sqrt() if isinstance(columns, Tensor) else math.sqrt(columns)
    return scale * torch.stack(list(norms.values())).prod(0)


def _proven(rule: Rule) -> float:
    if rule.column_gamma is None:
        raise ValueError(f"no closed form is proven for the rule {rule}: use zero or gamma, without a stabiliser.")
    return rule.column_gamma


def _summed(model: nn.Module, network: PiecewiseLinear, x: Tensor, bias: bool) -> "_Contributions":
    check_followed(model, network, checked(model, x, rows=False))
    twice = [name for name, count in Counter(str(node.target) for node in network.layers).items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)} is called more than once: its contributions are those of each call.")
    found = _Contributions(network, bias)
    with torch.no_grad():
        found.run(x.clone())
    return found


class _Contributions(Interpreter):
    """Runs the network and keeps, of each layer with weights, what speaks for and what against each sum."""

    def __init__(self, network: PiecewiseLinear, bias: bool) -> None:
        super().__init__(network)
        self.bias = bias
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}
        self.signed: set[str] = set()  # layers with negative inputs

    def affine(self, node: fx.Node, layer: nn.Module, a: Tensor) -> Tensor:
        seen, name = layer_of(layer, a, with_bias=self.bias), str(node.target)
        if (a < 0).any():
            self.signed.add(name)
        self.sums[name] = seen.positive.flatten(1), -seen.negative.flatten(1)
        return seen.output
