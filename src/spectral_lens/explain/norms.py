"""Norms of redistribution matrices that are written out: the oracle of the closed forms in `lrp_bounds`."""

import warnings
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spectral_lens.explain.lrp import AssumptionWarning, Rule, composite, gamma, lrp, zero
from spectral_lens.explain.lrp_bounds import column_norm, contributions
from spectral_lens.operators.spectra import sensitivity, sigma

__all__ = ["enlargement", "formula_deviations", "step_norms", "upper_bounds"]


def step_norms(layer: nn.Module, a: Float[Tensor, "n *d"], *, rule: Rule) -> Float[Tensor, "n units"]:
    """The 1-norm of each column of one layer's matrix at the activations a, from the relevance of each of its nodes.

    Columns of nodes that are not active may be as long as they like, so that the rule does not warn of them.

    >>> layer = nn.Linear(3, 2, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[1.0, 1.0, 1.0], [2.0, 1.0, -1.0]]))
    >>> step_norms(layer, torch.ones(1, 3), rule=gamma(0.0)).tolist()
    [[1.0, 2.0]]
    """
    with warnings.catch_warnings(action="ignore", category=AssumptionWarning):
        E = lrp(nn.Sequential(layer, nn.Flatten()).eval(), a, rules=rule).flatten(2)
    return E.abs().sum(2) / E.sum(2).abs()


def formula_deviations(
    model: nn.Sequential,
    x: Float[Tensor, "n *d"],
    *,
    gammas: Sequence[float],
    rule: Callable[[float], Rule] = gamma,
    least: float = 1e-6,
) -> Float[Tensor, "layers gammas"]:
    """The largest relative difference between `lrp_bounds.column_norm` and `step_norms`, by layer and gamma.

    Over the active nodes: those whose sum is above `least` of the layer's largest positive part, since the norms of
    the others are beyond all bounds.  [maess, eq. 11]
    Raises ValueError for a model with biases, whose share of a column the written matrix has no row for, and where no
    node of a layer is active.

    >>> model = nn.Sequential(nn.Linear(2, 3, bias=False)).eval()
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, 1.0], [2.0, -1.0], [1.0, -2.0]]))
    >>> bool((formula_deviations(model, torch.ones(1, 2), gammas=[0.0, 0.3]) < 1e-5).all())
    True
    """
    if any(getattr(layer, "bias", None) is not None for layer in model):
        raise ValueError("the model has biases: build it without them, as with bias=False.")
    sums, a, rows = contributions(model, x), x, []
    for name, layer in model.named_children():
        if name in sums:
            p, n = sums[name]
            active = p - n > least * p.amax(1, keepdim=True)
            if not active.any():
                raise ValueError(f"no node of the layer {name} is active at these inputs.")
            found = [(column_norm(p, n, g)[active], step_norms(layer, a, rule=rule(g))[active]) for g in gammas]
            rows.append(torch.stack([(matrix / formula - 1).abs().max() for formula, matrix in found]))
        a = layer(a).detach()
    return torch.stack(rows)


def enlargement(model: nn.Module, x: Float[Tensor, "n *d"], rule: Rule) -> float:
    """The largest |R| of any input over the largest |output|: what a rule makes of relevance where sums cross zero.

    rule: of all layers but the last of several, which has rule 0.  Where it would warn (`lrp.AssumptionWarning`) it is
    asked all the same.

    >>> layer = nn.Linear(2, 1, bias=False)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -2.0]]))
    >>> round(enlargement(nn.Sequential(layer).eval(), torch.ones(1, 2), gamma(0.1)), 3)  # 3.3 / (3.3 - 2)
    2.538
    """
    with warnings.catch_warnings(action="ignore", category=AssumptionWarning):
        R = lrp(model, x, rules=composite(model, first=rule, inner=rule, last=zero()))
    with torch.no_grad():
        return float(R.abs().max() / model(x.clone()).abs().max())


def upper_bounds(R: Float[Tensor, "n k d"], mask: Bool[Tensor, "n k"]) -> dict[str, Float[Tensor, " n"]]:
    """sigma_1 of each matrix, first, and three bounds on it, which need the sums and squares of its entries only.

    mask: the columns that count, (n, k), as in `quality.Redistribution`; K is their number.  ||R||_1 is the largest
    column sum of absolute values, ||R||_inf the largest row sum.

    >>> bounds = upper_bounds(torch.eye(2, 3).unsqueeze(0), torch.ones(1, 2, dtype=torch.bool))
    >>> {name: round(value.item(), 3) for name, value in bounds.items()}
    {'σ₁': 1.0, 'Frobenius norm': 1.414, '√(‖R‖₁ ‖R‖∞)': 1.0, '√K ‖R‖₁': 1.414}
    """
    one, infinite, columns = R.abs().sum(2).amax(1), R.abs().sum(1).amax(1), mask.sum(1).to(R.dtype)
    return {
        "σ₁": sigma(R)[:, 0],
        "Frobenius norm": sensitivity(R),
        "√(‖R‖₁ ‖R‖∞)": (one * infinite).sqrt(),
        "√K ‖R‖₁": columns.sqrt() * one,
    }
