"""Scores of a data set's inputs by the eigenvalues of networks that are trained on it for the purpose."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from spectral_lens.datasets import DataSet
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.scores import normalised, of_inputs
from spectral_lens.training import fit

__all__ = ["by_eigenvalues", "fixed_steps"]

_RATIO = 20  # of the eigenvalues' penalty to the eigenvectors': that of SpectralSelector


def by_eigenvalues(
    data: DataSet,
    *,
    penalty: float,
    psi_penalty: float | None = None,
    norm: str = "l1",
    hidden: Sequence[int],
    seeds: Sequence[int],
    architecture: Mapping[str, Any] | None = None,
    **options: Any,
) -> Float[Tensor, "r d"]:
    """The relevance of the inputs over its largest, of one network for each seed.  [chicchi, 2]

    The first layer is spectral.  penalty, psi_penalty: of its eigenvalues and its eigenvectors, the latter by default
    a twentieth of the former; norm: "l1" or "l2".  hidden: nodes of the hidden layers.  architecture: options of
    `mlp`, such as {"dropout": 0.2}.  options: of `fit`, such as epochs, batch_size, lr.
    Raises ValueError for another norm.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(100, seeds=(0, 1), inputs=7, relevant=3)
    >>> by_eigenvalues(data, penalty=0.01, hidden=[5], seeds=(0, 1), epochs=1, batch_size=50, device="cpu").shape
    torch.Size([2, 7])
    """
    if norm not in ("l1", "l2"):
        raise ValueError(f"norm={norm!r} is unknown: use 'l1' or 'l2'.")
    psi_penalty = penalty / _RATIO if psi_penalty is None else psi_penalty
    penalties: dict[str, Any] = {norm: {"layer1.lam_in": penalty, "layer1.psi": psi_penalty}}
    net = mlp([data.dim, *hidden, max(1, data.classes)], **(architecture or {}))
    return normalised(of_inputs(fit(net, data, seeds=seeds, **penalties, **options))).cpu()


def fixed_steps(data: DataSet, *, steps: int, batch_size: int) -> dict[str, int]:
    """The `epochs` and the `batch_size` of `fit` for about that number of steps, however many samples there are.

    A batch holds at most all samples; at least one pass is made.  Raises ValueError where a number is not positive.

    >>> from spectral_lens.datasets import synthetic
    >>> fixed_steps(synthetic.independent(1000), steps=60, batch_size=100)
    {'epochs': 6, 'batch_size': 100}
    """
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps={steps} and batch_size={batch_size} must be at least 1.")
    batch_size = min(batch_size, data.samples)
    return {"epochs": max(1, round(steps * batch_size / data.samples)), "batch_size": batch_size}
