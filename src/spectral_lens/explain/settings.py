"""What a measure says over the settings of a method: where it is best, whether it rises, whether it peaks in between.

Measures have their settings in the last axis, in the order of the settings.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.explain.comparison import BETTER
from spectral_lens.relevance.agreement import rank_correlation

__all__ = ["agreement", "best", "sweet_spot", "trade_off"]


def best(values: Float[Tensor, "n points"], *, sign: int = 1) -> tuple[float, int]:
    """The best median over the samples, and which setting has it; sign: 1 where more is better, -1 where less is.

    >>> best(torch.tensor([[1.0, 3.0, 2.0], [1.0, 5.0, 2.0], [0.0, 4.0, 9.0]]))
    (4.0, 1)
    """
    middle = values.median(0).values
    k = int((sign * middle).argmax())
    return middle[k].item(), k


def sweet_spot(values: Float[Tensor, "*m points"]) -> Float[Tensor, "*m"]:
    """The best value between the ends over the better of the two ends; more is better.

    Above one only where there is a peak.  A number that chooses: among values that differ by chance alone it tends to
    lie above one the more, the more settings there are.
    Raises ValueError for less than three settings.

    >>> sweet_spot(torch.tensor([[1.0, 3.0, 2.0], [4.0, 3.0, 2.0]])).tolist()
    [1.5, 0.75]
    """
    if values.shape[-1] < 3:
        raise ValueError(f"{values.shape[-1]} settings have nothing between their ends: at least 3 are needed.")
    return values[..., 1:-1].amax(-1) / torch.maximum(values[..., 0], values[..., -1])


def trade_off(
    settings: Sequence[float], rising: Float[Tensor, "*m points"], falling: Float[Tensor, "*m points"]
) -> Float[Tensor, "*m"]:
    """How strictly one measure rises with the setting while the other falls: the smaller of the two rank correlations.

    One where both do so at every step; below zero where one of them goes the other way.

    >>> trade_off([0.0, 0.1, 1.0], torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 8.0, 7.0])).item()
    1.0
    """
    if len(settings) != rising.shape[-1]:
        raise ValueError(f"{len(settings)} settings for {rising.shape[-1]} points: one for each is needed.")
    grid = torch.as_tensor(settings, dtype=torch.float64)
    return torch.minimum(
        rank_correlation(grid.expand(rising.shape), rising), -rank_correlation(grid.expand(falling.shape), falling)
    )


def agreement(parts: Sequence[Mapping[str, Float[Tensor, "n _"]]]) -> Float[Tensor, "measures measures"]:
    """Rank correlations between the measures over all settings of these methods, the mean over the samples.

    Each measure is oriented so that higher is better: one means that both rank the settings alike.  The order is that
    of `comparison.BETTER`; samples at which a measure is the same everywhere are left out where it is concerned.

    >>> rising, falling = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[3.0, 2.0, 1.0]])
    >>> agreement([{name: rising if sign > 0 else falling for name, sign in BETTER.items()}]).unique().tolist()
    [1.0]
    """
    oriented = torch.stack([s * torch.cat([each[name] for each in parts], 1) for name, s in BETTER.items()], 1)
    pairs = oriented.unsqueeze(1).expand(-1, len(BETTER), -1, -1)
    return rank_correlation(pairs, pairs.transpose(1, 2)).nanmean(0)
