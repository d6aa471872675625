"""Masks of parameters: which entries a training may move."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn


def subset(model: nn.Module, count: int, seeds: Sequence[int]) -> dict[str, Bool[Tensor, "r *shape"]]:
    """For each seed its own `count` of the model's trainable entries, all equally likely: masks for `training.fit`.

    The network in direct space restricted to as many weights as there are eigenvalues [giambagli, III].
    Raises ValueError where the model has fewer entries.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters() if parameter.requires_grad}
    sizes = [shape.numel() for shape in shapes.values()]
    if not 1 <= count <= sum(sizes):
        raise ValueError(f"count={count} is not between 1 and the {sum(sizes)} trainable entries of the model.")
    chosen = torch.zeros(len(seeds), sum(sizes), dtype=torch.bool)
    for row, seed in zip(chosen, seeds, strict=True):
        row[torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))[:count]] = True
    parts = zip(shapes.items(), chosen.split(sizes, 1), strict=True)
    return {name: part.reshape(len(seeds), *shape) for (name, shape), part in parts}
