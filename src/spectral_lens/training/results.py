"""What a training leaves: the networks of all runs, what they answer, and how well."""

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime import memory
from spectral_lens.datasets import DataSet
from spectral_lens.nn.mlp import tensors
from spectral_lens.training import _batched
from spectral_lens.training.losses import LOSSES, num_correct

__all__ = ["Trained", "accuracy", "error", "evaluate", "predict", "recalibrated"]

_AT_ONCE = 2**31  # bytes that a pass through a network may make


@dataclass(frozen=True)
class Trained:
    """All runs of one experiment.

    model: the network that they share; state: its parameters and buffers by name, (r, ...) each; history: "loss" and
    "accuracy" as met while training, with a penalty "penalty", and with validation data "validation_loss" and
    "validation_accuracy", (epochs, r) each (accuracy is nan for a regression); failed: by run, the first step, counted
    from 0, whose loss with its penalty was infinite or NaN, or `steps` where only a trained parameter is, at the end;
    steps: of each run; seconds: wall time.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2]), data, seeds=range(3), epochs=2)
    >>> trained.runs, trained.steps, trained.history["accuracy"].shape
    (3, 2, torch.Size([2, 3]))
    """

    model: nn.Module
    state: dict[str, Tensor]
    seeds: tuple[int, ...]
    history: dict[str, Tensor]
    failed: dict[int, int]
    steps: int
    seconds: float

    @property
    def runs(self) -> int:
        """r, how many there are."""
        return len(self.seeds)

    def run(self, r: int) -> nn.Module:
        """The network of run r, an ordinary module of its own."""
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, tensor in tensors(model).items():
                tensor.copy_(self.state[name][r])
        return model


@torch.no_grad()
def predict(
    trained: Trained, x: Float[Tensor, "*shape"], *, per_run: bool = False, chunk: int = 4096
) -> Float[Tensor, "r n *k"]:
    """The outputs of every run for the inputs x, (n, *d), or (r, n, *d) with `per_run`; `chunk` samples at a time.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2]), data, seeds=range(3), epochs=2)
    >>> predict(trained, torch.zeros(5, 20)).shape
    torch.Size([3, 5, 2])
    """
    reference = next(iter(trained.state.values()))
    rows = x if per_run else x.unsqueeze(0).expand(trained.runs, *x.shape)
    parts = (part.to(reference, copy=_batched.may_write(trained.model)) for part in rows.split(chunk, 1))
    return torch.cat([_batched.forward(trained.model, trained.state, part) for part in parts], 1)


def accuracy(trained: Trained, data: DataSet) -> Float[Tensor, " r"]:
    """The share of samples that each run classifies correctly.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2]), data, seeds=range(3), epochs=2)
    >>> accuracy(trained, data).shape
    torch.Size([3])
    """
    x, y = data.per_run(trained.runs)
    out = predict(trained, x, per_run=True)
    return num_correct(out, y.to(out.device)) / data.samples


def error(trained: Trained, data: DataSet) -> Float[Tensor, " r"]:
    """The mean absolute error of each run, in the unit of the quantity that y measures.

    Raises ValueError for data with classes.

    >>> from dataclasses import replace
    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> mean = replace(data, y=data.x.mean(2), labels=(), quantity="mean of the inputs")
    >>> error(fit(mlp([20, 8, 1]), mean, seeds=range(3), epochs=2, loss="mae"), mean).shape
    torch.Size([3])
    """
    if not data.quantity:
        raise ValueError(f"{data.name} has classes: ask for the accuracy.")
    x, y = data.per_run(trained.runs)
    out = predict(trained, x, per_run=True)
    return LOSSES["mae"](out, y.to(out))


@torch.no_grad()
def recalibrated(trained: Trained, data: DataSet) -> Trained:
    """The runs with the mean and variance of all the data in their batch normalisation, layer after layer.

    Running averages lag behind layers that shrink until the end of a training.  Dropout is off.  Data that take more
    than 2 GB on their way through the network go in several parts, over which the statistics are averaged.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2], batch_norm=True), data, seeds=range(3), epochs=2)
    >>> torch.equal(recalibrated(trained, data).state["norm1.running_mean"], trained.state["norm1.running_mean"])
    False
    """
    if not _with_statistics(trained.model):
        return trained
    runs = []
    for r in range(trained.runs):
        model = trained.run(r)
        x = data.run(r).x.to(next(model.parameters()))
        each = memory.bytes_per_sample(lambda n, model=model, x=x: model(x[:n].clone()))  # type: ignore[misc]
        parts = math.ceil(len(x) / max(3, _AT_ONCE // each))
        for layer in _with_statistics(model):
            layer.reset_running_stats()
            layer.momentum = None  # the mean over all that it sees
            layer.train()
        for k in range(parts):
            model(x[k::parts].clone())  # every so many, as data may be sorted
        runs.append(tensors(model))
    state = {name: torch.stack([each[name].detach() for each in runs]) for name in trained.state}
    return replace(trained, state=state)


def _with_statistics(model: nn.Module) -> list[Any]:
    """The layers that keep running averages of what they see in training."""
    norms = (layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._NormBase))
    return [layer for layer in norms if layer.running_mean is not None]


@torch.no_grad()
def evaluate(model: nn.Module, state: dict[str, Tensor], data: DataSet, loss: str) -> tuple[Tensor, Tensor]:
    """Mean loss and accuracy of each run, in evaluation mode; a training's own look at its validation data.

    >>> from spectral_lens import fit, mlp
    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(50, seeds=0)
    >>> trained = fit(mlp([20, 2]), data, seeds=(1, 2, 3), epochs=1, progress=False)
    >>> loss, accuracy = evaluate(trained.model, dict(trained.state), data, "cross_entropy")
    >>> loss.shape, accuracy.shape
    (torch.Size([3]), torch.Size([3]))
    """
    runs = next(iter(state.values())).shape[0]
    trained = Trained(model.eval(), state, tuple(range(runs)), {}, {}, 0, 0.0)
    x, target = data.per_run(runs)
    out = predict(trained, x, per_run=True)
    _batched.set_training(model, True)
    return LOSSES[loss](out, target), num_correct(out, target) / data.samples
