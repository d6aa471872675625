"""The tensors of many runs: what is trained in one matrix, what a user names at its place in it."""

import copy
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from spectral_lens.nn.mlp import tensors
from spectral_lens.nn.plain import check_plain
from spectral_lens.training._numbers import PerRun

__all__ = ["StackedParameters", "own_copy", "stack", "streams"]

_TOGETHER = 2**20  # parameters: with gradient, signs and what an optimiser remembers they stay in a CPU's cache


class StackedParameters:
    """The runs' tensors on the device: what is trained in one matrix `theta`, the rest by name in `fixed`.

    `blocks`: the rows of theta that are best updated together, one block after the other.

    >>> model, cpu = nn.Linear(3, 2), torch.device("cpu")
    >>> parameters = StackedParameters(model, [5, 6, 7], reinitialize=True, init_state=None, device=cpu)
    >>> parameters.theta.shape, parameters.state()["weight"].shape
    (torch.Size([3, 8]), torch.Size([3, 2, 3]))
    """

    def __init__(
        self,
        model: nn.Module,
        seeds: Sequence[int],
        *,
        reinitialize: bool,
        init_state: Mapping[str, Tensor] | None,
        device: torch.device,
    ) -> None:
        drawn = stack(model, seeds, reinitialize=reinitialize)
        state = {name: value.to(device) for name, value in (drawn | _given(init_state or {}, drawn)).items()}
        self.order = list(state)
        self.names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        self.shapes = [state[name].shape[1:] for name in self.names]
        self.sizes = [shape.numel() for shape in self.shapes]
        self.theta = torch.cat([state[name].reshape(len(seeds), -1) for name in self.names], 1)
        self.fixed = {name: state[name] for name in self.order if name not in self.names}
        self.runs = len(seeds)
        parts = zip(self.names, self.theta.split(self.sizes, 1), self.shapes, strict=True)
        self._leaves = {name: part.view(self.runs, *shape).detach().requires_grad_() for name, part, shape in parts}
        rows = max(1, _TOGETHER // self.theta.shape[1]) if device.type == "cpu" else self.runs
        self.blocks = [slice(k, min(k + rows, self.runs)) for k in range(0, self.runs, rows)]
        self._gradient = torch.empty_like(self.theta[self.blocks[0]])

    def state(self) -> dict[str, Tensor]:
        """Every tensor by name, (r, ...); what is trained looks into theta and asks for gradients."""
        return self._leaves | self.fixed

    def gradients(self, of: Tensor) -> tuple[Tensor, ...]:
        """The gradients of a number with respect to what is trained, in the order of `names`."""
        return torch.autograd.grad(of, list(self._leaves.values()), materialize_grads=True)

    def joined(self, gradients: Sequence[Tensor], block: slice, factor: float) -> Float[Tensor, "rows p"]:
        """The gradients times a factor, as one block's rows of theta, in memory that the next call writes again."""
        rows = self._gradient[: block.stop - block.start]
        for part, into in zip(gradients, rows.split(self.sizes, 1), strict=True):
            torch.mul(part[block].reshape(into.shape), factor, out=into)
        return rows

    def column(self, value: PerRun, what: str) -> Float[Tensor, "r 1"]:
        """One number for all runs, or one for each, as a column."""
        column = torch.as_tensor(value, dtype=self.theta.dtype, device=self.theta.device)
        if column.ndim > 1 or column.numel() not in (1, self.runs):
            raise ValueError(f"{what} has {column.numel()} values for {self.runs} runs: give one, or one per run.")
        return column.reshape(-1, 1).expand(self.runs, 1)

    def coefficients(self, by_name: Mapping[str, PerRun] | None, what: str) -> list[tuple[slice, Float[Tensor, "r 1"]]]:
        """For each named parameter its columns of theta and its coefficient in each run."""
        self._known(by_name or {}, what)
        ends = itertools.accumulate(self.sizes)
        places = {name: slice(end - size, end) for name, size, end in zip(self.names, self.sizes, ends, strict=True)}
        return [(places[name], self.column(value, f"{what}[{name!r}]")) for name, value in (by_name or {}).items()]

    def frozen(self, masks: Mapping[str, Tensor] | None) -> Bool[Tensor, "r p"] | None:
        """True where a mask holds a parameter at its initial value; None where there are no masks."""
        if not masks:
            return None
        self._known(masks, "masks")
        frozen = torch.zeros_like(self.theta, dtype=torch.bool)
        for name, part, shape in zip(self.names, frozen.split(self.sizes, 1), self.shapes, strict=True):
            if name in masks:
                given = masks[name]
                if given.dtype != torch.bool or given.shape not in (shape, (self.runs, *shape)):
                    raise ValueError(
                        f"masks[{name!r}] is {given.dtype} {tuple(given.shape)}: it must be torch.bool of shape "
                        f"{tuple(shape)}, or {(self.runs, *shape)} for a mask of each run's own."
                    )
                part.copy_(~given.to(part.device).expand(self.runs, *shape).reshape(self.runs, -1))
        return frozen

    def _known(self, by_name: Mapping[str, object], what: str) -> None:
        if unknown := [name for name in by_name if name not in self.names]:
            raise ValueError(f"{what} names {unknown}, but what is trained is {self.names}.")


def _given(init_state: Mapping[str, Tensor], drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the given tensors, in the type of those whose place they take."""
    for name, given in init_state.items():
        if name not in drawn:
            raise ValueError(f"init_state names {name!r}, but the model has {list(drawn)}.")
        if given.shape != drawn[name].shape:
            raise ValueError(
                f"init_state[{name!r}] is {tuple(given.shape)}: it must be {tuple(drawn[name].shape)}, a row per run."
            )
    return {name: given.detach().to(drawn[name], copy=True) for name, given in init_state.items()}


def own_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy of the model on the CPU in that precision, without gradients, whose parameters can be replaced.

    Raises ValueError, naming the layer, where that would be another network: for hooks, a forward pass that is an
    object's own, parameters that no input has shaped yet, and parameters that stand in two places.

    >>> own_copy(nn.Linear(3, 2), torch.float64).weight.dtype
    torch.float64
    """
    for name, layer in model.named_modules():
        named = f"{name or 'the model'} ({type(layer).__name__})"
        if any(nn.parameter.is_lazy(parameter) for parameter in layer.parameters(recurse=False)):
            raise ValueError(f"{named} does not know its shape yet: call the model with one batch first.")
        check_plain(name or "the model", layer, reparametrised=True)  # copies could keep no hooks
    _refuse_shared(model)
    own = copy.deepcopy(model).to("cpu", dtype)
    own.zero_grad()
    return own


def _refuse_shared(model: nn.Module) -> None:
    """Raise ValueError where one parameter, or the memory of one, stands in two places."""
    places: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if (other := places.setdefault(parameter.data_ptr() or id(parameter), name)) != name:
            raise ValueError(
                f"{name} and {other} are one parameter: give each place a layer of its own, the runs' copies could not "
                "share it."
            )


def stack(model: nn.Module, seeds: Sequence[int], *, reinitialize: bool = True) -> dict[str, Tensor]:
    """Parameters and buffers of one copy of the model per seed, stacked along a leading run axis.

    With `reinitialize` each copy starts from its seed's own initial values (`reset_parameters` of every layer, as
    torch's layers define it; a layer without keeps its values), otherwise from the model's present ones.  The model, on
    the CPU, is left with the last copy's values, torch's global random state as it was.
    Raises ValueError for a model in which one layer or one parameter stands in two places, and with `reinitialize` for
    a reparametrised layer, whose parameters `reset_parameters` does not reach.

    >>> {name: tuple(tensor.shape) for name, tensor in stack(nn.Linear(3, 2), [7, 8]).items()}
    {'weight': (2, 2, 3), 'bias': (2, 2)}
    """
    _refuse_shared(model)
    drawn = {n: layer for n, layer in model.named_modules() if callable(getattr(layer, "reset_parameters", None))}
    if reinitialize and (wrong := [name or "the model" for name, layer in drawn.items() if is_parametrized(layer)]):
        raise ValueError(
            f"{', '.join(wrong)}: a reparametrised layer cannot draw initial values; pass reinitialize=False."
        )
    copies = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which reseeds the GPUs too
            if reinitialize:
                for layer in drawn.values():
                    layer.reset_parameters()
            copies.append({name: value.detach().clone() for name, value in tensors(model).items()})
    return {name: torch.stack([each[name] for each in copies]) for name in copies[0]}


def streams(seed: int) -> tuple[int, int]:
    """Two independent seeds from one: initial values; order of samples and dropout.

    >>> streams(3) == streams(3), streams(3)[0] == streams(3)[1], streams(3)[0] == streams(4)[0]
    (True, False, False)
    """
    first, second = np.random.SeedSequence(seed).generate_state(2, np.uint64) >> np.uint64(1)
    return int(first), int(second)
