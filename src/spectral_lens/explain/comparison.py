"""Methods of explanation compared: each at all of its settings, by the five measures of maess.  [maess, 4]

A method's relevance is given setting after setting, (n, k, *d) each.  A measure of it is (n, points): a row for each
sample, a column for each setting.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens.explain.pixel_flipping import Imputer, area, curves, ranking
from spectral_lens.explain.quality import entropy, redistribution, spectral_measures

__all__ = ["BETTER", "by_measure", "joined", "of_maps", "spectral", "target_maps"]

Measures = dict[str, Float[Tensor, "n _"]]  # a column for each setting

# the five measures, and whether more of one is better (1) or less (-1)
BETTER: Mapping[str, int] = {"stability": 1, "sensitivity": 1, "SSM": 1, "pixel flipping": -1, "entropy": -1}


def spectral(relevance: Iterable[Float[Tensor, "n k *d"]], *, threshold: float = 0.0) -> Measures:
    """Stability, sensitivity and SSM at each setting; threshold: as in `quality.redistribution`.

    >>> measures = spectral([torch.rand(5, 2, 7), torch.rand(5, 2, 7)])
    >>> {name: tuple(values.shape) for name, values in measures.items()}
    {'stability': (5, 2), 'sensitivity': (5, 2), 'SSM': (5, 2)}
    """
    each = [spectral_measures(redistribution(E, threshold=threshold).R) for E in relevance]
    return {name: torch.stack([values[name] for values in each], 1) for name in each[0]}


def target_maps(
    relevance: Sequence[Float[Tensor, "..."]], target: Int[Tensor, "..."]
) -> Float[Tensor, "points n inputs"]:
    """The explanation of one output of each sample, at each setting.

    Raises ValueError for maps and targets that do not fit together.

    >>> target_maps([torch.arange(4.0).view(1, 2, 2)], torch.tensor([1])).tolist()
    [[[2.0, 3.0]]]
    """
    for E in relevance:
        if E.ndim < 3 or target.shape != E.shape[:1] or not ((target >= 0) & (target < E.shape[1])).all():
            raise ValueError(
                f"target {tuple(target.shape)} must name one of the outputs of each sample, from 0, of the relevance "
                f"(n, k, *d), which is {tuple(E.shape)}."
            )
    rows = torch.arange(len(target), device=target.device)
    return torch.stack([E.flatten(2)[rows, target] for E in relevance])


def of_maps(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    target: Int[Tensor, " n"],
    maps: Mapping[str, Float[Tensor, "..."]],
    *,
    imputer: Imputer | None = None,
    fraction: float = 0.05,
    steps: int | None = None,
    chunk: int = 500,
    generator: torch.Generator | None = None,
) -> dict[str, Measures]:
    """Pixel flipping and entropy of the target's maps, (points, n, inputs), by method and measure.

    Flipping is the area under the target's relative output while the pixels go, the most relevant first; see
    `pixel_flipping.curves` for what takes a pixel's place, the fraction that goes, steps and chunk.  The channels of
    an image are added first.  With a generator, on the CPU, there is one more method, "random order", with the flipping
    of one order for each sample.
    Raises ValueError for maps of other shapes, and as `pixel_flipping.area` for an output that starts at zero.

    >>> model, x = nn.Linear(4, 2).eval(), torch.ones(3, 4)
    >>> found = of_maps(model, x, torch.tensor([0, 1, 0]), {"a": torch.rand(2, 3, 4)}, fraction=0.5)
    >>> {name: tuple(values.shape) for name, values in found["a"].items()}
    {'pixel flipping': (3, 2), 'entropy': (3, 2)}
    """
    for name, each in maps.items():
        if each.ndim != 3 or each.shape[1:] != (len(x), x[0].numel()):
            raise ValueError(
                f"the maps of {name!r} are {tuple(each.shape)}: (points, n, inputs) are needed, which is "
                f"(points, {len(x)}, {x[0].numel()}), as target_maps gives them."
            )
    channels = x.shape[1] if x.ndim > 2 else 1
    pixels = {name: each.unflatten(-1, (channels, -1)).sum(-2) for name, each in maps.items()}
    orders, sizes = [ranking(torch.cat(list(pixels.values())))], [len(each) for each in pixels.values()]
    if generator is not None:
        orders.append(torch.rand(1, *orders[0].shape[1:], generator=generator).argsort(2).to(x.device))
        sizes.append(1)
    curve = curves(model, x, torch.cat(orders), target, imputer=imputer, fraction=fraction, steps=steps, chunk=chunk)
    areas = [part.T for part in area(curve).split(sizes)]
    found = {
        name: {"pixel flipping": flips, "entropy": entropy(each).T}
        for (name, each), flips in zip(pixels.items(), areas, strict=False)
    }
    return found if generator is None else found | {"random order": {"pixel flipping": areas[-1]}}


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The same measures of several networks or samples, one below the other, in mappings however deep.

    >>> joined([{"a": {"SSM": torch.ones(2, 3)}}, {"a": {"SSM": torch.ones(5, 3)}}])["a"]["SSM"].shape
    torch.Size([7, 3])
    """
    return {
        name: joined([part[name] for part in parts])
        if isinstance(first, Mapping)
        else torch.cat([part[name] for part in parts])
        for name, first in parts[0].items()
    }


def by_measure(found: Mapping[str, Measures], names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """These methods' measures, sorted by measure and then by method: a panel for each, a line for each method.

    >>> list(by_measure({"a": dict.fromkeys(BETTER, torch.ones(2, 3))}, ["a"])["SSM"])
    ['a']
    """
    return {measure: {name: found[name][measure] for name in names} for measure in BETTER}
