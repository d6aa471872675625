"""The two products of a derivative, by inputs or by parameters, and how batches of data go through them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vjp

from spectral_lens._runtime import memory
from spectral_lens._runtime.conv_backward import FastConvBackward
from spectral_lens.nn._checks import check_inputs, check_samples, checked, differentiating
from spectral_lens.operators._pullback import batch_size

Parameters = dict[str, Tensor]
Batch = tuple[Tensor, Tensor]
Data = Sequence[Tensor] | Iterable[Sequence[Tensor]]  # a DataLoader gives its batches as lists
Product = Callable[[Any], Any]
Made = TypeVar("Made")


def linearize(function: Callable[[Any], Tensor], at: Any) -> tuple[Tensor, Product, Product]:
    """function(at), u -> J u and z -> J^T z of its derivative J there; `at` is a tensor, or several by their names.

    One forward pass, whose activations are held as long as the products are.
    """
    with torch.no_grad(), differentiating():
        with FastConvBackward():
            out, pull = vjp(function, at)  # type: ignore[misc]  # two, as there is no auxiliary output
        # the pull-back is linear, so its own pull-back is the push-forward
        _, push = vjp(lambda z: pull(z)[0], torch.zeros_like(out))  # type: ignore[misc]
    return out, lambda u: push(u)[0], lambda z: pull(z)[0]


# ---- parameters


def trainable(model: nn.Module) -> Parameters:
    """The parameters by which one derives, in the model's order; raises ValueError where there is none."""
    found = {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}
    if not found:
        raise ValueError(
            "no parameter is trainable: call model.requires_grad_(), the derivative is by what is trained."
        )
    return found


def called(model: nn.Module, parameters: Parameters, x: Tensor) -> Tensor:
    """The model's outputs with these parameters, at a copy of x, which the model may write to.

    Hooks that compute a weight, such as weight_norm's, leave it in their layer: it goes again.
    """
    before = [(vars(part), dict(vars(part))) for part in model.modules() if part._forward_pre_hooks]
    try:
        out = functional_call(model, parameters, (x.clone(),))
        check_samples(out, x)
        return out
    finally:
        for own, kept in before:
            own.update(kept)


def flat(parameters: Parameters) -> Float[Tensor, " p"]:
    return torch.cat([each.flatten() for each in parameters.values()])


def named(v: Float[Tensor, " p"], parameters: Parameters) -> Parameters:
    """The entries of one vector, each in the place of its parameter."""
    parts = v.split([each.numel() for each in parameters.values()])
    return {name: part.view_as(each) for (name, each), part in zip(parameters.items(), parts, strict=True)}


# ---- data


class Batches(Generic[Made]):
    """What `linear` makes of each batch (x, y): kept for all products where it fits into the memory, else made anew.

    data: (x, y), all samples in two tensors, or batches that can be read again and again, such as a DataLoader.
    chunk: how many samples to keep, by default as many as the free memory takes.
    Raises ValueError for an iterator, which can be read only once, for no batch at all, for samples that are none, not
    finite, or not as many as the targets, and, at the first batch, for what `checked` refuses.
    """

    def __init__(
        self, model: nn.Module, data: Data, linear: Callable[[Tensor, Tensor], Made], chunk: int | None
    ) -> None:
        memory.check_chunk(chunk)
        self.model, self.linear = model, linear
        self.whole = _in_two_tensors(data)
        self.data: Iterable[Sequence[Tensor]] = [data] if self.whole else data  # type: ignore[list-item,assignment]
        if iter(self.data) is self.data:
            raise ValueError("data can be read only once, but every product reads it: give a list or a DataLoader.")
        self.device = next(model.parameters()).device
        first = next(self._checked(), None)
        if first is None:
            raise ValueError("data has no batch: at least one sample is needed.")
        x, y = first
        checked(model, x)
        self.few = x[:2], y[:2]
        self.size = batch_size(x)
        self.chunk = chunk or memory.budget(x.device) // memory.bytes_per_sample(lambda n: linear(x[:n], y[:n]))
        fits = self.whole and self.chunk >= len(x)
        self.kept = [(len(x), linear(x, y)) for x, y in self._split([first])] if fits else None

    def __iter__(self) -> Iterator[tuple[int, Made]]:
        """The number of samples of each piece, and what `linear` makes of it."""
        if self.kept is not None:
            yield from self.kept
            return
        for x, y in self._split(self._checked()):
            yield len(x), self.linear(x, y)

    def _checked(self) -> Iterator[Batch]:
        for batch in self.data:
            x, y = _pair(batch)
            check_inputs(x)
            if len(y) != len(x):
                raise ValueError(f"there are {len(y)} targets for {len(x)} samples.")
            yield x.to(self.device), y.to(self.device)

    def _split(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for x, y in batches:
            size = max(1, min(self.chunk, self.size))
            yield from zip(x.split(size), y.split(size), strict=True)


def _in_two_tensors(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(each, Tensor) for each in data)


def _pair(batch: Any) -> Batch:
    if not _in_two_tensors(batch):
        raise ValueError("data must be samples and targets, two tensors (x, y), or batches of such pairs.")
    return batch[0], batch[1]
