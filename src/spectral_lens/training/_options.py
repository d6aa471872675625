"""What a training is asked for, and whether it can be done."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.training._parameters import PerRun
from spectral_lens.training.losses import LOSSES
from spectral_lens.training.optimizers import OPTIMIZERS
from spectral_lens.training.penalties import Penalty

__all__ = ["Options", "check"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """The options of `fit`, which says what they mean, with the seeds as whole numbers and the device found."""

    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    optimizer: str
    lr: PerRun
    decay: float
    loss: str
    l1: Mapping[str, PerRun] | None
    l2: Mapping[str, PerRun] | None
    penalty: Penalty | None
    masks: Mapping[str, Tensor] | None
    reinitialize: bool
    init_state: Mapping[str, Tensor] | None
    dtype: torch.dtype
    device: torch.device
    checkpoint: Path | None
    checkpoint_every: int


def check(model: nn.Module, data: DataSet, validation: DataSet | None, options: Options) -> None:
    """Raise ValueError for what cannot be trained, before any computing."""
    _check_options(options)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("nothing to train: every parameter of the model is frozen.")
    normalised = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    if normalised and data.samples % options.batch_size == 1:
        raise ValueError(
            f"batch_size={options.batch_size} leaves a last batch of one sample, which batch normalisation cannot take."
        )
    if options.checkpoint is not None and options.dtype is torch.bfloat16:
        raise ValueError("a checkpoint cannot hold torch.bfloat16: train in torch.float32, or without a checkpoint.")
    for part in (data,) if validation is None else (data, validation):
        _check_data(model, part, options)


def _check_options(options: Options) -> None:
    seeds, epochs, batch_size, every = options.seeds, options.epochs, options.batch_size, options.checkpoint_every
    if not seeds:
        raise ValueError("no seeds, no runs: give at least one seed.")
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={seeds} repeat themselves: equal seeds are equal runs.")
    if min(epochs, batch_size, every) < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size} and checkpoint_every={every} must be at least 1.")
    if not 0 <= options.decay <= 1:
        raise ValueError(f"decay={options.decay} must be a share of the epochs, between 0 and 1.")
    if options.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer={options.optimizer!r} is unknown: use one of {', '.join(OPTIMIZERS)}.")
    if options.loss not in LOSSES:
        raise ValueError(f"loss={options.loss!r} is unknown: use one of {', '.join(LOSSES)}.")


def _check_data(model: nn.Module, data: DataSet, options: Options) -> None:
    """One sample goes through the model, so that what does not fit is said before the training starts."""
    runs = len(options.seeds)
    if data.runs not in (None, runs):
        raise ValueError(f"{data.name} holds one set for each of {data.runs} runs, but there are {runs} seeds.")
    if (options.loss == "cross_entropy") == data.y.is_floating_point():
        raise ValueError(f"loss={options.loss!r} does not fit targets of {data.y.dtype} in {data.name}.")
    one = (data.x if data.runs is None else data.x[0])[:1]
    try:
        with torch.no_grad():
            out = copy.deepcopy(model).eval()(one.to("cpu", next(model.parameters()).dtype))
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"a sample of {data.name}, {tuple(one.shape[1:])}, does not fit the model: {error}") from error
    if options.loss == "cross_entropy" and (out.ndim != 2 or out.shape[1] < data.classes):
        raise ValueError(f"{data.name} has {data.classes} classes, but the model's outputs are {tuple(out.shape[1:])}.")
