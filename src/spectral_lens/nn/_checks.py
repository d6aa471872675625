"""What is asked of a model, its inputs and the outputs that are chosen, before any computing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from spectral_lens._runtime.errors import first_line

Outputs = Sequence[Any] | np.ndarray | Tensor | None  # whole numbers of any kind, a mask or a read-out
Target = Sequence[Any] | np.ndarray | Tensor | None


class Tried(NamedTuple):
    """The model at two samples: inputs (2, *d), the first of them a sample of x, and outputs (2, m)."""

    x: Num[Tensor, "2 *d"]
    out: Float[Tensor, "2 *m"]


def checked(model: nn.Module, x: Tensor, *, rows: bool = True) -> Tried:
    """The model tried at two samples, once for all that is derived from it.  rows: whether outputs are to be (n, m).

    Raises ValueError for inputs that are empty, not floating or not finite; for a model that does not take them, or
    whose outputs are not one finite tensor (samples, outputs); and for one whose outputs for a sample depend on the
    other samples, as in training mode, or on chance.
    """
    for name, part in model.named_modules():
        if part.training:
            raise ValueError(
                "the model is in training mode, where outputs depend on the other samples: call model.eval()."
            )
        if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is None:
            raise ValueError(f"{name} has no running statistics: its outputs depend on the other samples.")
    check_inputs(x)
    return tried(model, x, rows=rows)


def tried(model: nn.Module, x: Float[Tensor, "n *d"], *, rows: bool = True) -> Tried:
    """The second half of `checked`, in whatever mode the model is.

    >>> tried(nn.Linear(3, 2), torch.zeros(5, 3)).out.shape
    torch.Size([2, 2])
    """
    with torch.no_grad():
        found = check_apart(lambda some: _outputs(model, some, rows), x)
    if not found.out[0].isfinite().all():
        raise ValueError("the model's outputs are not finite: look for NaN or infinite values in its parameters.")
    return found


def check_apart(call: Callable[[Tensor], Tensor], x: Num[Tensor, "n *d"]) -> Tried:
    """Calls it with the first sample and another, and with the first one twice: never with one, which it may squeeze.

    Raises ValueError where the first sample's outputs are not the same.

    >>> check_apart(lambda x: x - x.mean(0), torch.eye(3))
    Traceback (most recent call last):
    ValueError: the model's outputs for a sample change with the other samples, or from call to call: ...
    """
    first = x[:1].detach()
    two = torch.cat([first, _another(x.detach())])
    out, alike = call(two.clone()), call(torch.cat([first, first]))  # which may work in place
    if not same(out[0].nan_to_num(), alike[0].nan_to_num()):
        raise ValueError(
            "the model's outputs for a sample change with the other samples, or from call to call: normalisation over "
            "the batch or chance must be switched off."
        )
    return Tried(two, out)


def check_inputs(x: Any) -> None:
    """Raises TypeError for what is no tensor, ValueError for inputs that are empty, not floating or not finite."""
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}: a tensor is needed, torch.as_tensor(x) makes one.")
    if x.ndim < 2 or 0 in x.shape or not x.is_floating_point():
        raise ValueError(f"x is {x.dtype} {tuple(x.shape)}: floating inputs (n, *d) are needed, at least one.")
    if not torch.stack(torch.aminmax(x.detach())).isfinite().all():
        raise ValueError("x holds NaN or infinite values: remove or replace them first.")


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two computations of the same numbers agree to half of the digits that their type has."""
    apart = torch.finfo(one.dtype).eps ** 0.5
    return bool((one - other).abs().max() <= apart * torch.maximum(one.abs().max(), other.abs().max()))


def _another(x: Num[Tensor, "n *d"]) -> Num[Tensor, "1 *d"]:
    """A sample that is not the first: the second where it is another one, else one made up."""
    if len(x) > 1 and not torch.equal(x[0], x[1]):
        return x[1:2]
    return (x[:1] / 2 + 1).to(x.dtype)


@contextmanager
def differentiating() -> Iterator[None]:
    """What torch cannot differentiate becomes a ValueError with its reason.

    Attention is computed by plain products: its faster ways have no second derivative, and no batch of first ones.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(f"torch finds no derivative of the model: {first_line(error)}") from error


def _outputs(model: nn.Module, x: Float[Tensor, "n *d"], rows: bool) -> Float[Tensor, "n *m"]:
    try:
        out: Any = model(x)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever a model of one's own may raise
        shape = ", ".join(map(str, ["n", *x.shape[1:]]))
        raise ValueError(
            f"the model does not take x, {x.dtype} ({shape}) on {x.device}: {first_line(error)}"
        ) from error
    check_outputs(out, rows)
    check_samples(out, x)
    return out


def check_outputs(out: Any, rows: bool = True) -> None:
    """Raises ValueError for outputs that are not one floating tensor, (samples, outputs) where they are to be rows."""
    if not isinstance(out, Tensor):
        raise ValueError(
            f"the model gives more than one tensor, a {type(out).__name__}: wrap it in a module that returns one."
        )
    if rows and (out.ndim != 2 or not out.shape[1]):
        raise ValueError(f"the model's outputs are {tuple(out.shape)}: they must be (samples, outputs).")
    if not out.is_floating_point():
        raise ValueError(f"the model's outputs are {out.dtype}: they must be floating, as scores are before argmax.")


def check_samples(out: Tensor, x: Tensor) -> None:
    """Raises ValueError for outputs that are not one row for each sample, as `squeeze()` makes them of one sample."""
    if out.shape[:1] != x.shape[:1]:
        raise ValueError(f"the model gives outputs {tuple(out.shape)} for {len(x)} samples: one row each is needed.")


def readout(out: Any, outputs: Outputs) -> Float[Tensor, "k m"]:
    """The rows that select `outputs` (see `pullback`) from `out`."""
    check_outputs(out)
    width = out.shape[1]
    if outputs is None:
        return torch.eye(width, dtype=out.dtype, device=out.device)
    try:
        chosen = torch.as_tensor(outputs, device=out.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"outputs={outputs!r} are neither indices, a mask nor a read-out.") from error
    if chosen.is_floating_point() and chosen.numel():
        if chosen.ndim != 2 or chosen.shape[1] != width or not chosen.isfinite().all():
            raise ValueError(
                f"the read-out is {tuple(chosen.shape)}: for {width} outputs it must be (k, {width}) finite numbers."
            )
        return chosen.to(out)
    if chosen.dtype == torch.bool:
        if chosen.shape != (width,):
            raise ValueError(f"the mask of outputs is {tuple(chosen.shape)}: the model has {width} outputs.")
        chosen = chosen.nonzero().flatten()
    if chosen.ndim != 1 or not len(chosen) or chosen.is_complex():
        raise ValueError(f"outputs={outputs!r} must name at least one output, as [3] does.")
    chosen = chosen.to(torch.int64)
    _check_existing(chosen, width)
    if len(chosen.unique()) < len(chosen):
        raise ValueError(
            f"outputs={chosen.tolist()} names an output twice: all of them are explained for every sample; target= "
            "takes one output for each sample."
        )
    return nn.functional.one_hot(chosen, width).to(out)


def check_one_of(outputs: Outputs, target: Target) -> None:
    """Raises ValueError for outputs and a target."""
    if outputs is not None and target is not None:
        raise ValueError("outputs are explained for every sample, a target for its own: give one of the two.")


def targeted(out: Any, target: Target) -> Float[Tensor, "n m"]:
    """A row for each sample that selects its own output, `target`, (n,)."""
    check_outputs(out)
    labels = torch.as_tensor(target, device=out.device)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"target is {labels.dtype}: whole numbers are needed, one output for each sample.")
    if labels.shape != out.shape[:1]:
        raise ValueError(f"target is {tuple(labels.shape)} for {len(out)} samples: one output for each is needed.")
    labels, width = labels.to(torch.int64), out.shape[1]
    _check_existing(labels, width)
    return nn.functional.one_hot(labels, width).to(out)


def _check_existing(chosen: Tensor, width: int) -> None:
    if (wrong := chosen[(chosen < 0) | (chosen >= width)]).numel():
        raise ValueError(f"outputs {wrong.tolist()} do not exist: the model has {width}, from 0 to {width - 1}.")
