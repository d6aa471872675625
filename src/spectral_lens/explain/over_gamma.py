"""LRP over gamma for a network that nobody has prepared for it: the rule of the paper where its assumption holds."""

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens.explain.comparison import spectral, target_maps
from spectral_lens.explain.lrp import AssumptionWarning, Rule, composite, gamma, generalised_gamma, lrp, zero
from spectral_lens.nn._checks import Outputs

__all__ = ["OverGamma", "over_gamma"]


class OverGamma(NamedTuple):
    """What LRP says at each gamma.

    rule: "gamma", or "generalised gamma" where the former's assumption fails; advice: the sentence of the warning that
    says in which layers it does, else ""; measures: stability, sensitivity and SSM by name, (n, points); maps: of the
    target, (points, n, inputs).
    """

    rule: str
    advice: str
    measures: dict[str, Float[Tensor, "n points"]]
    maps: Float[Tensor, "points n inputs"]


def over_gamma(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    gammas: Sequence[float],
    target: Int[Tensor, " n"],
    *,
    outputs: Outputs = None,
    threshold: float = 0.1,
) -> OverGamma:
    """LRP with each gamma in all layers but the last, which has rule 0.  [maess, 4.1]

    Where `gamma` enlarges relevance or turns its sign at one of them (see `lrp.AssumptionWarning`), all have
    `generalised_gamma` instead, which is the same where the assumption holds.
    target: the output of each sample whose maps are kept, by its place among `outputs`.
    outputs: see `gradients.gradient`.  threshold: see `quality.redistribution`.
    Raises ValueError for no gamma, and as `lrp`, `redistribution` and `target_maps` do.

    >>> model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    >>> found = over_gamma(model, torch.rand(2, 5), [0.0, 0.25], torch.tensor([2, 0]))
    >>> found.rule, found.measures["SSM"].shape, found.maps.shape
    ('gamma', torch.Size([2, 2]), torch.Size([2, 2, 5]))
    """
    if not len(gammas):
        raise ValueError("gammas is empty: give at least one number.")

    def swept(rule: Callable[[float], Rule]) -> tuple[dict[str, Tensor], Tensor]:
        parts, maps = [], []
        for amount in gammas:
            raised = rule(amount)
            rules = composite(model, first=raised, inner=raised, last=zero())
            relevance = lrp(model, x, rules=rules, outputs=outputs)
            parts.append(spectral([relevance], threshold=threshold))
            maps.append(target_maps([relevance], target))
        return {name: torch.cat([part[name] for part in parts], 1) for name in parts[0]}, torch.cat(maps)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AssumptionWarning)
            return OverGamma("gamma", "", *swept(gamma))
    except AssumptionWarning as warning:
        return OverGamma("generalised gamma", " ".join(str(warning).split()), *swept(generalised_gamma))
