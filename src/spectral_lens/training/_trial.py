"""Whether a model can be trained for many runs at once: tried with two runs and two samples before any training.

What is trained is a copy of the model of which each run replaces the tensors.  That this computes what the model itself
does is not taken for granted: outputs and buffers of the two runs are compared with those of two networks.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from spectral_lens._runtime.errors import first_line
from spectral_lens.datasets import DataSet
from spectral_lens.nn.mlp import tensors
from spectral_lens.training._batched import forward, set_training
from spectral_lens.training._options import Options
from spectral_lens.training.results import check_evaluated

__all__ = ["try_out"]

_ADVICE = (
    "cannot be trained side by side: all runs are called at once by torch.func.vmap, which takes no random numbers but "
    "those of nn.Dropout in a Sequential, no branches on values and no recurrent layers. Train it in a loop of your own"
)
Made = TypeVar("Made")


def try_out(model: nn.Module, data: DataSet, validation: DataSet | None, options: Options) -> None:
    """Raise ValueError that names data or layer where the model does not fit them, or cannot be trained side by side.

    model: a copy of its own on the CPU; its tensors stay as they are.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.training import fit
    >>> recurrent = nn.Sequential(nn.Unflatten(1, (4, 5)), nn.RNN(5, 2))
    >>> fit(recurrent, synthetic.independent(9, seeds=[0]), seeds=[0], epochs=1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: the model returns a tuple for a sample of ..., not one tensor: let it return its outputs alone.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("nothing to train: every parameter of the model is frozen.")
    if validation is not None:
        check_evaluated(copy.deepcopy(model).eval())
    with torch.random.fork_rng(devices=[]):
        for part in (data,) if validation is None else (data, validation):
            _check_outputs(copy.deepcopy(model).eval(), part, options)
        last = data.samples % options.batch_size or min(options.batch_size, data.samples)
        few = _samples(data, options.dtype)[:last]
        try:
            _compare(model, few)
        except _NotNormalised as error:
            raise ValueError(
                f"batch_size={options.batch_size} leaves a last batch of one sample, which {error} cannot normalise: "
                "take another batch_size."
            ) from error


def _samples(data: DataSet, dtype: torch.dtype) -> Tensor:
    return (data.x if data.runs is None else data.x[0])[:2].to("cpu", dtype)


def _check_outputs(model: nn.Module, data: DataSet, options: Options) -> None:
    """What the model makes of two samples must be what the loss compares with their targets."""
    x = _samples(data, options.dtype)
    try:
        with torch.no_grad():
            out = model(x.clone())
    except Exception as error:
        raise ValueError(f"a sample of {data.name}, {tuple(x.shape[1:])}, does not fit the model: {error}") from error
    if not isinstance(out, Tensor):
        raise ValueError(
            f"the model returns a {type(out).__name__} for a sample of {data.name}, not one tensor: let it return its "
            "outputs alone."
        )
    if not out.ndim or len(out) != len(x) or not out.is_floating_point():
        raise ValueError(
            f"the model makes {out.dtype} {tuple(out.shape)} of {len(x)} samples: outputs of each, floating."
        )
    if options.loss != "cross_entropy" and out.numel() != len(x):
        raise ValueError(f"{data.name} has one value a sample, but the model's outputs are {tuple(out.shape[1:])}.")
    if options.loss == "cross_entropy" and (out.ndim != 2 or out.shape[1] < data.classes):
        raise ValueError(f"{data.name} has {data.classes} classes, but the model's outputs are {tuple(out.shape[1:])}.")


def _compare(model: nn.Module, x: Tensor) -> None:
    """Two runs with different parameters against two networks, evaluated and trained; then the random numbers."""
    networks = [copy.deepcopy(model) for _ in range(2)]
    with torch.no_grad():
        for parameter in networks[1].parameters():
            parameter.mul_(1.25)
    both = x.expand(2, *x.shape)
    with _named(networks[0]) as inside:
        for training in (False, True):
            state = {n: torch.stack([tensors(net)[n].detach() for net in networks]) for n in tensors(model)}
            for net in networks:
                set_training(net, training, random=False)
            expected = _tried(lambda: torch.stack([net(x.clone()) for net in networks]), inside)
            found = _tried(partial(forward, networks[0], state, both.clone()), inside)
            _equal(found, expected, f"outputs of {type(model).__name__}")
            for name, _ in model.named_buffers():
                _equal(state[name], torch.stack([tensors(net)[name] for net in networks]), f"the buffer {name}")
        set_training(networks[0], True)
        trained = {n: state[n].requires_grad_() for n, own in model.named_parameters() if own.requires_grad}
        draw = torch.Generator().manual_seed(0)
        out = _tried(
            lambda: forward(
                networks[0], state, both.clone(), draw=lambda shape: torch.rand(shape, dtype=x.dtype, generator=draw)
            ),
            inside,
        )
        if not out.requires_grad:
            raise ValueError("nothing to train: no output depends on a parameter that is trained.")
        _tried(lambda: torch.autograd.grad(out.sum(), list(trained.values()), allow_unused=True), inside)


class _NotNormalised(ValueError):
    """A batch that is too small for batch normalisation; says the layer's name."""


def _tried(work: Callable[[], Made], inside: list[str]) -> Made:
    """What the work gives; its error with the name of the layer in which it happened."""
    try:
        return work()
    except Exception as error:
        where = inside[-1] if inside else "the model"
        if "more than 1 value per channel" in str(error):
            raise _NotNormalised(where) from error
        if isinstance(error, Warning) or (isinstance(error, ValueError) and not inside):
            raise  # a warning that is an error here; our own words
        raise ValueError(f"{where} {_ADVICE}. torch says: {first_line(error)}") from error


@contextmanager
def _named(model: nn.Module) -> Iterator[list[str]]:
    """The layers that are being called, the innermost last."""
    inside: list[str] = []

    def leave(*_: object) -> None:
        inside.pop()

    for name, layer in model.named_modules():
        label = f"{name or 'the model'} ({type(layer).__name__})"
        layer.register_forward_pre_hook(lambda *_, label=label: inside.append(label))
        layer.register_forward_hook(leave)
    yield inside


def _equal(found: Tensor, expected: Tensor, what: str) -> None:
    """Equal but for rounding, however much of it a deep network makes."""
    if not expected.is_floating_point():
        same = torch.equal(found, expected)
    else:
        share = torch.finfo(expected.dtype).eps ** 0.25
        size = float(expected.detach().nan_to_num(0.0, 0.0, 0.0).abs().max()) if expected.numel() else 0.0
        same = torch.allclose(found, expected, rtol=share, atol=share * size, equal_nan=True)
    if not same:
        raise ValueError(
            f"{what}: not the same for many runs at once as for one alone. What a layer learns or keeps must be in its "
            "parameters and buffers, and a buffer must be changed in its place."
        )
