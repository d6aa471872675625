"""Whether networks that were trained to choose inputs did choose: what is left of the relevance, what they predict."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.relevance.scores import relevance
from spectral_lens.training import Trained, fit, initial, predict

__all__ = ["above_constant", "fallen", "gains", "held_out"]


def fallen(trained: Trained, layer: str, *, lr: float) -> Bool[Tensor, " r"]:
    """The runs whose relevance has fallen to nothing: neither eigenvalue nor relevance is above `lr` of its start.

    Adam moves a parameter by about lr a step, so an eigenvalue that only its penalty moves swings around zero within
    lr, and the order of such inputs is an accident.
    layer: the spectral one that is penalised, by its name.  lr: the learning rate that it was trained with.
    Raises ValueError for a layer that is not spectral and dense.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> data = synthetic.independent(60, seeds=0, inputs=7, relevant=3)
    >>> options = {"seeds": (0, 1), "epochs": 40, "batch_size": 10, "lr": 0.01, "device": "cpu"}
    >>> lost = fit(mlp([7, 5, 2]), data, l1={"layer1.lam_in": 50.0, "layer1.psi": 1.0}, **options)
    >>> fallen(lost, "layer1", lr=0.01), fallen(fit(mlp([7, 5, 2]), data, **options), "layer1", lr=0.01)
    (tensor([True, True]), tensor([False, False]))
    """
    if not isinstance(dict(trained.model.named_modules()).get(layer), SpectralLinear):
        raise ValueError(f"layer={layer!r} is no SpectralLinear of the model.")
    names = [f"{layer}.{part}" for part in ("lam_in", "psi")]
    start = initial(trained.model, trained.seeds)
    (lam, psi), (lam_0, psi_0) = ([state[name].cpu() for name in names] for state in (trained.state, start))
    shrunk = relevance(lam, psi).amax(1) <= lr * relevance(lam_0, psi_0).amax(1)
    return shrunk & (lam.abs().amax(1) <= lr * lam_0.abs().amax(1))


def held_out(
    model: nn.Module, data: DataSet, *, folds: int, seeds: Sequence[int], **options: Any
) -> tuple[Float[Tensor, "n k"], Trained]:
    """The outputs for each sample of the network that was trained on the other folds, and these networks, one a fold.

    The folds are even in the classes, or in a quantity's range, and equal up to one sample; the networks learn as
    many samples each.  seeds: one for each fold; the first one shuffles.  options: of `fit`.
    Raises ValueError for fewer than two folds, and for more than there are samples.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> data = synthetic.independent(20, inputs=7, relevant=3).run(0)
    >>> out, trained = held_out(mlp([7, 5, 2]), data, folds=3, seeds=range(3), epochs=1, device="cpu")
    >>> out.shape, trained.runs
    (torch.Size([20, 2]), 3)
    """
    if not 2 <= folds <= data.samples:
        raise ValueError(f"folds={folds} must lie between 2 and the {data.samples} samples.")
    fold = _dealt(data.y.cpu(), folds, seed=int(seeds[0]))
    least = data.samples - -(-data.samples // folds)
    rows = torch.stack([(fold != k).nonzero().flatten()[:least] for k in range(folds)]).to(data.y.device)
    learn = replace(data, x=data.x[rows], y=data.y[rows], runs=folds)
    trained = fit(model, learn, seeds=seeds, **options)
    return predict(trained, data.x).cpu()[fold, torch.arange(data.samples)], trained


def _dealt(y: Tensor, folds: int, *, seed: int) -> Int[Tensor, " n"]:
    """The fold of each sample: shuffled, sorted by y, and dealt in turn."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    order = order[y[order].argsort(stable=True)]
    return torch.empty_like(order).index_copy_(0, order, torch.arange(len(y)) % folds)


def gains(out: Float[Tensor, "n k"], y: Tensor) -> Float[Tensor, " n"]:
    """What each prediction gains over a constant one; the mean is 0 for a constant, 1 where all are right.

    Of a quantity, out (n, 1), the mean is R^2.  Of classes, out (n, k) logits, it is the balanced accuracy adjusted
    for chance, (b - 1/k) / (1 - 1/k), where the class decides whose probability rises most above its frequency: so a
    rare class counts as much as a frequent one.
    Raises ValueError where y never changes.

    >>> y = torch.tensor([0, 1, 1, 1])
    >>> logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [0.0, 3.0], [0.0, 3.0]])
    >>> [round(gains(each, y).mean().item(), 6) for each in (logits, 0 * logits)]
    [1.0, 0.0]
    >>> gains(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1.0, 2.0, 3.0])).mean().item()  # 1 - 1 / 2
    0.5
    """
    if bool((y == y[0]).all()):
        raise ValueError("y never changes: there is nothing to predict.")
    out, n = out.double(), len(y)
    if y.is_floating_point():
        y = y.double()
        squares = (y - y.mean()).square()
        return (squares - (y - out.squeeze(1)).square()) / squares.mean()
    counts = y.bincount(minlength=out.shape[1])
    there = counts > 0
    k = int(there.sum())
    decided = (out.log_softmax(1) - (counts / n).log()).masked_fill(~there, -torch.inf).argmax(1)
    return ((decided == y).double() - 1 / k) * n / (counts[y] * (k - 1))


def above_constant(gains: Float[Tensor, " n"]) -> bool:
    """Whether the mean gain is more than two standard errors above zero.

    >>> above_constant(torch.tensor([1.0, 1.0, -1.0, 1.0])), above_constant(torch.tensor([1.0, 1.0, 0.9, 1.0]))
    (False, True)
    """
    return bool(gains.mean() > 2 * gains.std(correction=0) / len(gains) ** 0.5)
