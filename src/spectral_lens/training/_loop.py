"""Training many runs of one experiment side by side.

The trained parameters of all runs lie in one matrix, a row for each run.  A step is one forward and one backward pass
for all of them and the optimisers are elementwise, so each run is the run that it would be alone.
"""

import copy
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from spectral_lens._runtime.devices import captured, resolve
from spectral_lens.datasets import DataSet, fingerprint
from spectral_lens.nn.gates import Gates
from spectral_lens.training import _batched, _parameters, checkpoints
from spectral_lens.training._fused import Workspace
from spectral_lens.training._parameters import PerRun, Stack
from spectral_lens.training.losses import LOSSES, num_correct
from spectral_lens.training.optimizers import OPTIMIZERS
from spectral_lens.training.results import Trained, accuracy, error, evaluate, predict, recalibrated

__all__ = ["Step", "Trained", "accuracy", "error", "fit", "initial", "predict", "recalibrated"]

# The gradient of a sample that is classified well is tiny.  Where it falls below 1e-38 a CPU computes a hundred times
# slower; multiplied by a power of two, and divided by it in the end, it stays above, and no digit changes.
_SCALE = 2.0**64


@dataclass(frozen=True)
class Step:
    """What a penalty sees of a step of all runs, with which it can take further derivatives.

    state: every tensor by name, (r, ...); x: the inputs, (r, b, *d); out: the outputs, (r, b, *k); draw: uniform
    numbers of a given shape, a row of each run's own.
    """

    state: dict[str, Tensor]
    x: Tensor
    out: Tensor
    draw: _batched.Draw


Penalty = Callable[[Step], Tensor]


def fit(
    model: nn.Module,
    data: DataSet,
    *,
    seeds: Sequence[int] = range(10),
    epochs: int,
    batch_size: int = 500,
    optimizer: str = "adam",
    lr: PerRun = 1e-3,
    decay: float = 0.0,
    loss: str = "cross_entropy",
    l1: Mapping[str, PerRun] | None = None,
    l2: Mapping[str, PerRun] | None = None,
    penalty: Penalty | None = None,
    masks: Mapping[str, Tensor] | None = None,
    validation: DataSet | None = None,
    reinitialize: bool = True,
    init_state: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 10,
    progress: bool | None = None,
) -> Trained:
    """Train one copy of the model per seed, all at once; each run equals the run trained alone.

    A run minimises the mean loss over its batch plus `l1[name] * sum |p|` and `l2[name] * sum p^2` over the named
    parameters (sums, as in Keras), plus `penalty(step)`, (r,), which may hold derivatives of the outputs by the inputs
    (see `Step`; its `repr` is what a checkpoint knows it by).  `lr`, `l1` and `l2` take one number, or one per run.

    data: one set for all runs, or one for each (`data.runs`).  seeds: one run each; the seed alone decides the run's
    initial values, order of samples and dropout.  decay: the share of the epochs, at the end, over which the learning
    rate falls to zero, in a straight line.  reinitialize: start from fresh initial values, otherwise from the model's
    present ones.  init_state: tensors by name, (r, ...) each, that take their place, such as another training's state.
    optimizer: "adam", "adamax" or "sgd" with torch's defaults.  loss: "cross_entropy", "mse" or "mae".
    Trained are the parameters with `requires_grad`; where `masks[name]` is False (boolean, of the parameter's shape,
    or with a run axis in front) an entry keeps its initial value.  checkpoint: an .npz file, written every
    `checkpoint_every` epochs, from which the same call goes on to the same numbers.  progress: None shows a bar in a
    terminal only.

    A run fails at the first step, counted from 0, whose loss with its penalty is infinite or NaN; or, where only the
    last update did the harm, with the end: at step `steps`, if a trained parameter is infinite or NaN then.  It is
    named with that step in a RuntimeWarning and in `Trained.failed`; the others finish.  Numbers that are large but
    finite are no failure.  On a GPU the step is captured once and replayed, unless random numbers or a penalty are
    part of it.
    Raises ValueError for unknown names and for sizes that do not fit, before any computing.
    """
    device, seeds = resolve(device), tuple(int(seed) for seed in seeds)
    model = copy.deepcopy(model).to("cpu", dtype).train()  # initial values are drawn on the CPU, the same everywhere
    _check(seeds, epochs, batch_size, checkpoint_every, decay, optimizer, loss)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("nothing to train: every parameter of the model is frozen.")
    if data.samples % batch_size == 1 and any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        raise ValueError(
            f"batch_size={batch_size} leaves a last batch of one sample, which batch normalisation cannot take."
        )
    if checkpoint is not None and dtype is torch.bfloat16:
        raise ValueError("a checkpoint cannot hold torch.bfloat16: train in torch.float32, or without a checkpoint.")
    for part in (data,) if validation is None else (data, validation):
        _check_data(model, part, seeds, loss)
    data, validation = data.to(device, dtype), None if validation is None else validation.to(device, dtype)
    stack = Stack(
        model, [_streams(seed)[0] for seed in seeds], reinitialize=reinitialize, init_state=init_state, device=device
    )
    model.to(device)
    full = stack.per_run(lr, "lr")
    present = full.clone()  # one place, so that a captured step reads what stands in it
    optimizers = [OPTIMIZERS[optimizer](stack.theta[block], present[block]) for block in stack.blocks]
    slots = {f"{name}:{k}" if k else name: slot for k, its in enumerate(optimizers) for name, slot in its.slots.items()}
    penalties = stack.coefficients(l1, "l1"), stack.coefficients(l2, "l2")
    signs = torch.empty_like(stack.theta[stack.blocks[0]] if l1 else full)
    held = stack.held(masks)
    generators = [torch.Generator(device).manual_seed(_streams(seed)[1]) for seed in seeds]

    def draw(shape: torch.Size) -> Tensor:
        uniform = torch.empty(shape, dtype=dtype, device=device)
        for row, generator in zip(uniform, generators, strict=True):
            row.uniform_(generator=generator)
        return uniform

    per_run = data.runs is not None
    x, y = (data.x.flatten(0, 1), data.y.flatten(0, 1)) if per_run else (data.x, data.y)
    offset = torch.arange(len(seeds), device=device).unsqueeze(1) * (data.samples if per_run else 0)
    workspace: Workspace = {}
    scale = _SCALE if dtype in (torch.float32, torch.bfloat16) else 1.0
    names = ("loss", "accuracy") if penalty is None else ("loss", "accuracy", "penalty")
    met = {name: torch.zeros(len(seeds), dtype=dtype, device=device) for name in names}
    count = torch.zeros((), dtype=torch.int64, device=device)
    failed = torch.full((len(seeds),), -1, device=device)

    def step(rows: Tensor) -> None:
        """One update of all runs from their samples' rows, (r, b); leaves every result in place."""
        inputs = _gather(x, rows, workspace)
        if penalty is not None:
            inputs = inputs.detach().requires_grad_()
        target = y.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        state = stack.state()
        out = _batched.forward(model, state, inputs, draw=draw, workspace=workspace if penalty is None else None)
        losses = LOSSES[loss](out, target)
        met["loss"].add_(losses.detach(), alpha=rows.shape[1])
        if penalty is not None:
            extra = penalty(Step(state, inputs, out, draw))
            met["penalty"].add_(extra.detach(), alpha=rows.shape[1])
            losses = losses + extra
        gradients = stack.gradients(losses.sum() * scale)
        with torch.no_grad():
            for block, its in zip(stack.blocks, optimizers, strict=True):
                gradient = stack.joined(gradients, block, 1 / scale)
                _penalise(gradient, stack.theta, block, *penalties, signs)
                its.update(gradient if held is None else gradient.masked_fill_(held[block], 0))
            met["accuracy"].add_(num_correct(out.detach(), target))
            failed.copy_(torch.where((failed < 0) & ~losses.isfinite(), count, failed))
            count.add_(1)

    advance = captured(step) if device.type == "cuda" and not (penalty or _draws(model)) else step
    history: dict[str, list[Tensor]] = {}
    tensors = {"theta": stack.theta, **slots, "count": count, "failed": failed}
    tensors |= {f"fixed:{name}": value for name, value in stack.fixed.items()}
    settings = {
        "seeds": seeds, "batch_size": batch_size, "optimizer": optimizer, "lr": lr, "loss": loss, "l1": l1, "l2": l2,
        "masks": masks, "data": [data.name, data.sha256, data.provenance], "samples": data.samples,
        "reinitialize": reinitialize,
        "dtype": str(dtype), "trained": stack.names, "shapes": stack.shapes, "model": repr(model),
        "validation": None if validation is None else [validation.name, validation.sha256, validation.provenance],
        "init_state": None if reinitialize and init_state is None else fingerprint(stack.theta, *stack.fixed.values()),
    }  # fmt: skip
    settings |= {"decay": decay, "epochs": epochs} if decay else {}
    settings |= {} if penalty is None else {"penalty": repr(penalty)}
    settings |= {"blocks": len(stack.blocks)} if len(stack.blocks) > 1 else {}
    path = None if checkpoint is None else Path(checkpoint)
    done = 0
    if path is not None and path.exists():
        done = checkpoints.restore(checkpoints.load(path, settings), tensors, generators, history)
        if done > epochs:
            raise ValueError(f"{path} is already {done} epochs old: ask for at least as many, or remove it.")
    began = time.perf_counter()
    with tqdm(total=epochs, initial=done, unit="epoch", disable=_silent(progress)) as bar:
        for epoch in range(done, epochs):
            order = torch.stack([torch.randperm(data.samples, generator=g, device=device) for g in generators])
            for k, rows in enumerate(order.add_(offset).split(batch_size, 1)):
                if decay:
                    left = (epochs - epoch - k * batch_size / data.samples) / (decay * epochs)
                    torch.mul(full, min(1.0, left), out=present)
                (advance if rows.shape[1] == batch_size else step)(rows)
            for name, total in met.items():
                history.setdefault(name, []).append((total / data.samples).cpu())
            if validation is not None:
                values = evaluate(model, stack.state(), validation, loss)
                for name, value in zip(("validation_loss", "validation_accuracy"), values, strict=True):
                    history.setdefault(name, []).append(value.cpu())
            for total in met.values():
                total.zero_()
            for block, its in zip(stack.blocks, optimizers, strict=True):
                _settle(stack.theta[block], its.slots)
            bar.update()
            if path is not None and ((epoch + 1) % checkpoint_every == 0 or epoch + 1 == epochs):
                checkpoints.save(path, settings, tensors | checkpoints.progress(generators, history))
    seconds = time.perf_counter() - began
    broken = ~stack.theta.isfinite().all(1)  # whose next loss nobody has seen
    ends = torch.where((failed < 0) & broken, count, failed).tolist()
    lost = {run: at for run, at in enumerate(ends) if at >= 0}
    if lost:
        named = ", ".join(f"run {run} (seed {seeds[run]}) at step {at}" for run, at in lost.items())
        words = f"loss or parameters turned non-finite in {named}; the other runs finished."
        warnings.warn(words, RuntimeWarning, stacklevel=2)
    state = {name: value.detach().clone() for name, value in stack.state().items()}
    return Trained(
        model=model.eval(),
        state={name: state[name] for name in stack.order},
        seeds=seeds,
        history={name: torch.stack(values) for name, values in history.items()},
        failed=lost,
        steps=int(count),
        seconds=seconds,
    )


def initial(model: nn.Module, seeds: Sequence[int], *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The tensors by name, (r, ...) each, from which `fit` starts the runs of these seeds, on the CPU."""
    return _parameters.stack(copy.deepcopy(model).to("cpu", dtype), [_streams(seed)[0] for seed in seeds])


def _gather(x: Tensor, rows: Tensor, workspace: Workspace) -> Tensor:
    """x[rows], in memory that the next step uses again."""
    key = ("gather", rows.shape)
    if key not in workspace:
        workspace[key] = x.new_empty(rows.numel(), *x.shape[1:])
    return torch.index_select(x, 0, rows.flatten(), out=workspace[key]).unflatten(0, rows.shape)


def _penalise(
    gradient: Tensor,
    theta: Tensor,
    block: slice,
    l1: Sequence[tuple[slice, Tensor]],
    l2: Sequence[tuple[slice, Tensor]],
    spare: Tensor,
) -> None:
    """Add the gradient of l1 * sum |p| + l2 * sum p^2, known in closed form, to the rows of one block."""
    for part, coefficient in l1:
        sign = torch.sign(theta[block, part], out=spare[: len(gradient), part])
        gradient[:, part].addcmul_(coefficient[block], sign)
    for part, coefficient in l2:
        gradient[:, part].addcmul_(coefficient[block], theta[block, part], value=2)


def _settle(theta: Tensor, slots: Mapping[str, Tensor]) -> None:
    """Parameters whose products would be denormal become zero, and what an optimiser remembers below that range.

    A parameter that only its penalty moves shrinks for ever, and a CPU is a hundred times slower with denormal numbers.
    """
    tiny = torch.finfo(theta.dtype).tiny
    theta.masked_fill_(theta.abs() < tiny**0.5, 0)
    for slot in slots.values():
        slot.masked_fill_(slot.abs() < tiny, 0)


def _draws(model: nn.Module) -> bool:
    return any(isinstance(layer, Gates) or (isinstance(layer, nn.Dropout) and layer.p > 0) for layer in model.modules())


def _silent(progress: bool | None) -> bool | None:
    return None if progress is None else not progress


def _streams(seed: int) -> tuple[int, int]:
    """Two independent seeds from one: initial values; order of samples and dropout."""
    first, second = np.random.SeedSequence(seed).generate_state(2, np.uint64) >> np.uint64(1)
    return int(first), int(second)


def _check(
    seeds: tuple[int, ...], epochs: int, batch_size: int, checkpoint_every: int, decay: float, optimizer: str, loss: str
) -> None:
    if not seeds:
        raise ValueError("no seeds, no runs: give at least one seed.")
    if len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={seeds} repeat themselves: equal seeds are equal runs.")
    if min(epochs, batch_size, checkpoint_every) < 1:
        raise ValueError(
            f"epochs={epochs}, batch_size={batch_size} and checkpoint_every={checkpoint_every} must be at least 1."
        )
    if not 0 <= decay <= 1:
        raise ValueError(f"decay={decay} must be a share of the epochs, between 0 and 1.")
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer={optimizer!r} is unknown: use one of {', '.join(OPTIMIZERS)}.")
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown: use one of {', '.join(LOSSES)}.")


def _check_data(model: nn.Module, data: DataSet, seeds: tuple[int, ...], loss: str) -> None:
    """One sample goes through the model, so that what does not fit is said before the training starts."""
    if data.runs not in (None, len(seeds)):
        raise ValueError(f"{data.name} holds one set for each of {data.runs} runs, but there are {len(seeds)} seeds.")
    if (loss == "cross_entropy") == data.y.is_floating_point():
        raise ValueError(f"loss={loss!r} does not fit targets of {data.y.dtype} in {data.name}.")
    one = (data.x if data.runs is None else data.x[0])[:1]
    try:
        with torch.no_grad():
            out = copy.deepcopy(model).eval()(one.to("cpu", next(model.parameters()).dtype))
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"a sample of {data.name}, {tuple(one.shape[1:])}, does not fit the model: {error}") from error
    if loss == "cross_entropy" and (out.ndim != 2 or out.shape[1] < data.classes):
        raise ValueError(f"{data.name} has {data.classes} classes, but the model's outputs are {tuple(out.shape[1:])}.")
