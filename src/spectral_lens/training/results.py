"""What a training leaves: the networks of all runs, what they answer, and how well."""

import copy
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from spectral_lens._runtime import memory
from spectral_lens.datasets import DataSet
from spectral_lens.nn._checks import check_apart
from spectral_lens.nn.gates import Gates
from spectral_lens.nn.mlp import reference, tensors
from spectral_lens.training import _batched
from spectral_lens.training.losses import LOSSES, num_correct

__all__ = ["Network", "Trained", "accuracy", "check_evaluated", "error", "evaluate", "predict", "recalibrated"]

_AT_ONCE = 2**31  # bytes that a pass through a network may make


@dataclass(frozen=True, repr=False)
class Trained:
    """All runs of one experiment; shown in one line.

    model: the network that they share; state: its parameters and buffers by name, (r, ...) each; history: "loss" and
    "accuracy" as met while training, with a penalty "penalty", and with validation data "validation_loss" and
    "validation_accuracy", (epochs, r) each (accuracy is nan for a regression); failed: by run, the first step, counted
    from 0, whose loss with its penalty was infinite or NaN, or `steps` where only a trained parameter is, at the end;
    steps: of each run; seconds: wall time; data: the name of what they were trained with.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2]), data, seeds=range(3), epochs=2)
    >>> trained.runs, trained.steps, trained.history["accuracy"].shape
    (3, 2, torch.Size([2, 3]))
    >>> trained  # doctest: +ELLIPSIS
    Sequential: 3 runs (seed 0, 1, 2), 2 steps with independent, loss ... ± ..., accuracy ... ± ...
    """

    model: nn.Module
    state: dict[str, Tensor]
    seeds: tuple[int, ...]
    history: dict[str, Tensor]
    failed: dict[int, int]
    steps: int
    seconds: float
    data: str = ""

    def __repr__(self) -> str:
        seeds = [str(seed) for seed in self.seeds]
        shown = ", ".join(seeds if len(seeds) < 6 else [*seeds[:2], "...", seeds[-1]])
        last = {name: values[-1] for name, values in self.history.items() if not values[-1].isnan().all()}
        parts = [
            f"{self.runs} run{'s' * (self.runs != 1)} (seed {shown})",
            f"{self.steps} steps" + (f" with {self.data}" if self.data else ""),
            *(f"{name} {_spread(values)}" for name, values in last.items()),
            *(f"run {r} failed at step {step}" for r, step in self.failed.items()),
        ]
        return f"{type(self.model).__name__}: {', '.join(parts)}"

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


Network = Trained | nn.Module


def _spread(values: Tensor) -> str:
    """Mean and standard deviation over the runs."""
    values = values[~values.isnan()]
    return f"{float(values.mean()):.3g}" + (f" ± {float(values.std()):.2g}" if len(values) > 1 else "")


@torch.no_grad()
def predict(
    network: Network, x: Num[Tensor, "*shape"], *, per_run: bool = False, chunk: int = 4096
) -> Float[Tensor, "r n *k"] | Float[Tensor, "n *k"]:
    """The outputs of every run for the inputs x, (n, *d), or (r, n, *d) with `per_run`; `chunk` samples at a time.

    A module gives (n, *k), for inputs (n, *d).
    Raises ValueError where the outputs of a sample would depend on the others: for layers in training mode, for batch
    normalisation without running statistics, and for a module that mixes its samples in any other way.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2]), data, seeds=range(3), epochs=2)
    >>> predict(trained, torch.zeros(5, 20)).shape, predict(trained.run(1), torch.zeros(5, 20)).shape
    (torch.Size([3, 5, 2]), torch.Size([5, 2]))
    """
    model = network.model if isinstance(network, Trained) else network
    check_evaluated(model)
    if not isinstance(network, Trained):
        if per_run:
            raise ValueError("per_run: a module is one run, its inputs are (n, *d).")
        if len(x) > 1:
            check_apart(lambda some: _called(model, some), x)
        return torch.cat([_called(model, part) for part in x.split(chunk)])
    own = next(iter(network.state.values()))
    rows = x if per_run else x.unsqueeze(0).expand(network.runs, *x.shape)
    parts = (part.to(own, copy=_batched.may_write(model)) for part in rows.split(chunk, 1))
    return torch.cat([_batched.forward(model, network.state, part) for part in parts], 1)


def _called(model: nn.Module, x: Tensor) -> Tensor:
    """The outputs of a module for inputs in its precision and on its device, which it may write to."""
    out = model(x.to(reference(model, x), copy=True))
    if not isinstance(out, Tensor) or len(out) != len(x):
        raise ValueError(
            f"the model returns {type(out).__name__}: it must be one tensor with the outputs of each sample."
        )
    return out


def check_evaluated(model: nn.Module) -> None:
    """Raise ValueError, naming the layer, where outputs depend on other samples or on chance.

    >>> check_evaluated(nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)))
    Traceback (most recent call last):
    ValueError: 1 (Dropout) is in training mode: call model.eval() first.
    """
    norms, random = nn.modules.batchnorm._NormBase, (nn.modules.dropout._DropoutNd, nn.RReLU, Gates)
    for name, layer in model.named_modules():
        named = f"{name or 'the model'} ({type(layer).__name__})"
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None:
            raise ValueError(f"{named} has no running statistics: its outputs depend on the other samples.")
        if layer.training and isinstance(layer, (norms, *random)):
            raise ValueError(f"{named} is in training mode: call model.eval() first.")


def _outputs(network: Network, data: DataSet) -> tuple[Float[Tensor, "r n *k"], Num[Tensor, "r n"]]:
    """What every run says of the data, and what is right; a module is one run."""
    x, y = data.per_run(network.runs if isinstance(network, Trained) else 1)
    out = predict(network, x, per_run=True) if isinstance(network, Trained) else predict(network, x[0])[None]
    return out, y.to(out.device)


def accuracy(network: Network, data: DataSet) -> Float[Tensor, "*r"]:
    """The share of samples that each run classifies correctly; of a module one number.

    Raises ValueError for a quantity, for less outputs than classes, and as `predict` does.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(200, seeds=range(3))
    >>> trained = fit(mlp([20, 8, 2]), data, seeds=range(3), epochs=2)
    >>> accuracy(trained, data).shape, accuracy(trained.run(0), data.run(0)).shape
    (torch.Size([3]), torch.Size([]))
    """
    if data.quantity:
        raise ValueError(f"{data.name} has no classes but a quantity, {data.quantity}: ask for the error.")
    out, y = _outputs(network, data)
    if out.ndim != 3 or out.shape[2] < data.classes:
        raise ValueError(f"{data.name} has {data.classes} classes, but the outputs are {tuple(out.shape[2:])}.")
    right = num_correct(out, y) / data.samples
    return right if isinstance(network, Trained) else right[0]


def error(network: Network, data: DataSet) -> Float[Tensor, "*r"]:
    """The mean absolute error of each run, in the unit of the quantity that y measures; of a module one number.

    Raises ValueError for data with classes, for more than one output, and as `predict` does.

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
    out, y = _outputs(network, data)
    if out.numel() != y.numel():
        raise ValueError(f"{data.name} has one value a sample, but the outputs are {tuple(out.shape[2:])}.")
    away = LOSSES["mae"](out, y.to(out))
    return away if isinstance(network, Trained) else away[0]


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
