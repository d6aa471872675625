"""Networks that read a quantity, such as a star's metallicity, in its spectrum.  [chicchi, 2.4]"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from spectral_lens.datasets import DataSet
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import Trained, fit

__all__ = ["network", "read"]


def network(inputs: int, hidden: Sequence[int], *, spectral: int = 1, dropout: float = 0.0) -> nn.Sequential:
    """The paper's network: a ReLU, then tanh, also at the one output, so it reads quantities between -1 and 1.

    Batch normalisation and dropout stand behind the first layer; spectral=0 makes the first layer a plain one.

    >>> network(9, [5, 4, 3])[-1]
    Tanh()
    """
    if not hidden:
        raise ValueError("hidden=[] leaves a linear network: give one hidden layer at least.")
    inner = ["relu", *["tanh"] * (len(hidden) - 1)]
    return mlp([inputs, *hidden, 1], activation=inner, output="tanh", spectral=spectral, batch_norm=True,
               dropout=dropout)  # fmt: skip


def read(data: DataSet, *, hidden: Sequence[int], spectral: int = 1, dropout: float = 0.0, **options: Any) -> Trained:
    """`network` trained by the mean absolute error, with the statistics of batch normalisation taken anew at the end.

    options: of `fit`.  Raises ValueError where y are classes, or where the output's tanh cannot reach them.

    >>> from dataclasses import replace
    >>> from spectral_lens.datasets import stars
    >>> data = stars.generated(40, pixels=9)
    >>> data = replace(data, y=data.y / data.y.abs().max(), quantity="[Fe/H] / largest")
    >>> read(data, hidden=[5, 4], seeds=(0, 1), epochs=1, batch_size=20, device="cpu").runs
    2
    """
    if not data.quantity or data.y.abs().max() > 1:
        raise ValueError(f"{data.name}: y must be a quantity between -1 and 1: divide it by its largest size.")
    net = network(data.dim, hidden, spectral=spectral, dropout=dropout)
    return fit(net, data, loss="mae", recalibrate=True, **options)
