"""What a training is asked for, and whether that can be done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from spectral_lens._runtime import files
from spectral_lens.datasets import DataSet
from spectral_lens.training.losses import LOSSES
from spectral_lens.training.optimizers import OPTIMIZERS
from spectral_lens.training.penalties import Penalty

__all__ = ["Options", "check"]

Numbers = float | tuple[float, ...]
_DTYPES = (torch.float32, torch.float64, torch.bfloat16)  # half precision loses gradients below 6e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """The options of `fit`, which says what they mean, with its numbers as Python's own and the device found."""

    seeds: tuple[int, ...]
    epochs: int
    batch_size: int
    optimizer: str
    lr: Numbers
    decay: float
    loss: str
    l1: Mapping[str, Numbers] | None
    l2: Mapping[str, Numbers] | None
    penalty: Penalty | None
    masks: Mapping[str, Tensor] | None
    recalibrate: bool | None
    reinitialize: bool
    init_state: Mapping[str, Tensor] | None
    dtype: torch.dtype
    device: torch.device
    checkpoint: Path | None
    checkpoint_every: int

    @property
    def penalised(self) -> bool:
        """Whether anything but the loss moves a parameter."""
        strengths = [*(self.l1 or {}).values(), *(self.l2 or {}).values()]
        return self.penalty is not None or any(any(each) if isinstance(each, tuple) else each for each in strengths)


def check(data: DataSet, validation: DataSet | None, options: Options) -> None:
    """Raise ValueError for what cannot be done with any model, before any computing."""
    _check_options(options)
    if options.dtype not in _DTYPES:
        raise ValueError(f"dtype={options.dtype}: train in one of {', '.join(map(str, _DTYPES))}.")
    if options.checkpoint is not None:
        if options.dtype is torch.bfloat16:
            raise ValueError("a checkpoint cannot hold torch.bfloat16: train in torch.float32, or without one.")
        try:
            files.check_writable(options.checkpoint)
        except OSError as error:
            raise ValueError(f"checkpoint={str(options.checkpoint)!r} cannot be written: {error}.") from error
    for part in (data,) if validation is None else (data, validation):
        _check_data(part, options)


def _check_options(options: Options) -> None:
    seeds, epochs, batch_size, every = options.seeds, options.epochs, options.batch_size, options.checkpoint_every
    if not seeds:
        raise ValueError("no seeds, no runs: give at least one seed.")
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={seeds} repeat themselves: equal seeds are equal runs.")
    if min(seeds) < 0:
        raise ValueError(f"seeds={seeds} must not be negative.")
    if min(epochs, batch_size, every) < 1:
        raise ValueError(f"epochs={epochs}, batch_size={batch_size} and checkpoint_every={every} must be at least 1.")
    if not 0 <= options.decay <= 1:
        raise ValueError(f"decay={options.decay} must be a share of the epochs, between 0 and 1.")
    if (min(options.lr) if isinstance(options.lr, tuple) else options.lr) < 0:
        raise ValueError(f"lr={options.lr} must not be negative.")
    if options.optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer={options.optimizer!r} is unknown: use one of {', '.join(OPTIMIZERS)}.")
    if options.loss not in LOSSES:
        raise ValueError(f"loss={options.loss!r} is unknown: use one of {', '.join(LOSSES)}.")


def _check_data(data: DataSet, options: Options) -> None:
    runs = len(options.seeds)
    if data.runs not in (None, runs):
        raise ValueError(f"{data.name} holds one set for each of {data.runs} runs, but there are {runs} seeds.")
    if (options.loss == "cross_entropy") == data.y.is_floating_point():
        raise ValueError(f"loss={options.loss!r} does not fit targets of {data.y.dtype} in {data.name}.")
