"""One training looked at after several numbers of epochs."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from spectral_lens.datasets import DataSet
from spectral_lens.training._loop import fit
from spectral_lens.training.results import Trained

__all__ = ["snapshots"]


def snapshots(model: nn.Module, data: DataSet, *, epochs: Sequence[int], **options: Any) -> list[Trained]:
    """What `fit` with these options leaves after each of the rising numbers of `epochs`: one training, not several.

    Each training goes on from the checkpoint of the one before and equals the one that `fit` starts anew.
    Raises ValueError for epochs that do not rise, and for the options `decay` and `checkpoint`: a falling learning rate
    depends on the last epoch, and the checkpoint is this function's own.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> data = synthetic.independent(40, inputs=5, relevant=2)
    >>> [each.steps for each in snapshots(mlp([5, 3, 2]), data, epochs=[1, 3], seeds=[0], batch_size=10)]
    [4, 12]
    """
    if not epochs or epochs[0] < 1 or any(later <= earlier for earlier, later in pairwise(epochs)):
        raise ValueError(f"epochs={list(epochs)} must be positive and rise: one training is looked at in this order.")
    if wrong := {"decay", "checkpoint"} & options.keys():
        raise ValueError(f"{', '.join(sorted(wrong))}: not with snapshots; call fit for each number of epochs.")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "training.npz"
        return [fit(model, data, epochs=until, checkpoint=file, **options) for until in epochs]
