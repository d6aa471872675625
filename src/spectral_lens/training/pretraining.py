"""Eigenvalues first, all weights afterwards; eigenvalues with a part of the eigenvectors.  [giambagli, I, III, IV]"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from spectral_lens.datasets import DataSet
from spectral_lens.training._loop import fit
from spectral_lens.training.results import Trained
from spectral_lens.training.snapshots import snapshots
from spectral_lens.training.subsets import (
    EIGENVALUES,
    SPECTRAL,
    WEIGHTS,
    compare,
    direct_weights,
    random_mask,
    spectral_weights,
    trainable_network,
)

__all__ = ["pretrained", "with_fraction"]


def pretrained(
    sizes: Sequence[int],
    data: DataSet,
    *,
    first: int,
    epochs: Sequence[int],
    seeds: Sequence[int],
    activation: str | Sequence[str] = "linear",
    **training: Any,
) -> list[Trained]:
    """All weights, trained from where `first` epochs of the eigenvalues alone have brought them, in direct space.

    Looked at after each of the rising numbers of `epochs`, which count those of the eigenvalues too.  With first = 0
    direct training from the weights that the spectral network of the same seed starts with.
    training: as for `fit`, the same in both stages; the optimiser starts anew between them.
    Raises ValueError unless 0 <= first < every number of epochs.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(40, inputs=5, relevant=2)
    >>> found = pretrained([5, 4, 2], data, first=1, epochs=[2, 4], seeds=[0, 1], batch_size=10)
    >>> [each.steps for each in found], sorted(found[0].state)
    ([4, 12], ['layer1.weight', 'layer2.weight'])
    """
    if not 0 <= first < min(epochs, default=0):
        raise ValueError(f"first={first} epochs of the eigenvalues must come before {list(epochs)}.")
    if first:
        stage = compare(sizes, data, seeds=seeds, sets=[EIGENVALUES], activation=activation, epochs=first, **training)
        start = direct_weights(stage[EIGENVALUES])
    else:
        start = spectral_weights(sizes, seeds, training.get("dtype"))
    later = [each - first for each in epochs]
    model = trainable_network(sizes, WEIGHTS, activation=activation)
    return snapshots(model, data, epochs=later, seeds=seeds, init_state=start, **training)


def with_fraction(
    sizes: Sequence[int],
    data: DataSet,
    *,
    share: float,
    seeds: Sequence[int],
    activation: str | Sequence[str] = "linear",
    **training: Any,
) -> Trained:
    """All eigenvalues trained with a random share of the eigenvectors' entries, for each seed its own.

    Raises ValueError for a share outside of 0 ... 1.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.training.comparison import moved
    >>> data = synthetic.independent(40, inputs=5, relevant=2)
    >>> trained = with_fraction([5, 4, 2], data, share=0.25, seeds=[0], epochs=1, batch_size=10)
    >>> sum(int(each.sum()) for name, each in moved(trained).items() if name.endswith("psi"))
    7
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} must lie between 0 and 1.")
    model = trainable_network(sizes, SPECTRAL, activation=activation)
    masks = _share_of_eigenvectors(sizes, share, seeds)
    return fit(model, data, seeds=seeds, masks=masks, **training)


def _share_of_eigenvectors(sizes: Sequence[int], share: float, seeds: Sequence[int]) -> dict[str, Tensor]:
    model = trainable_network(sizes, SPECTRAL)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("psi"))
    every = {name: each for name, each in model.named_parameters() if each.requires_grad}
    count = round(share * sum(each.numel() for each in every.values()))
    if not count:
        return {name: torch.zeros(len(seeds), *each.shape, dtype=torch.bool) for name, each in every.items()}
    return random_mask(model, count, seeds)
