"""Training many runs of one experiment side by side.

The trained parameters of all runs lie in one matrix, a row for each run.  A step is one forward and one backward pass
for all of them and the optimisers are elementwise, so each run is the run that it would be alone.
"""

import time
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import SupportsFloat, SupportsIndex

import torch
from torch import Tensor, nn
from tqdm import tqdm

from spectral_lens._runtime.devices import cuda_graph, resolve
from spectral_lens.datasets import DataSet, fingerprint
from spectral_lens.training import _batched, _parameters, checkpoints
from spectral_lens.training._numbers import PerRun, numbers, whole
from spectral_lens.training._options import Options, check
from spectral_lens.training._run import Run
from spectral_lens.training._trial import try_out
from spectral_lens.training.penalties import Penalty
from spectral_lens.training.results import Trained, recalibrated

__all__ = ["fit", "initial"]


def fit(
    model: nn.Module,
    data: DataSet,
    *,
    seeds: Iterable[SupportsIndex] = range(10),
    epochs: SupportsIndex,
    batch_size: SupportsIndex = 500,
    optimizer: str = "adam",
    lr: PerRun = 1e-3,
    decay: SupportsFloat = 0.0,
    loss: str = "cross_entropy",
    l1: Mapping[str, PerRun] | None = None,
    l2: Mapping[str, PerRun] | None = None,
    penalty: Penalty | None = None,
    masks: Mapping[str, Tensor] | None = None,
    validation: DataSet | None = None,
    recalibrate: bool | None = None,
    reinitialize: bool = True,
    init_state: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_every: SupportsIndex = 10,
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
    or with a run axis in front) an entry keeps its initial value.  recalibrate: whether the running averages of batch
    normalisation are taken anew at the end (see `recalibrated`): layers that shrink until then leave them behind, so
    None does it where anything is penalised.  checkpoint: an .npz file, written every `checkpoint_every` epochs, from
    which the same call goes on to the same numbers.  progress: None shows a bar in a terminal only.

    A run fails at the first step, counted from 0, whose loss with its penalty is infinite or NaN, or with the last
    update (see `Trained`).  It is named in a RuntimeWarning and in `Trained.failed`; the others finish.
    Raises ValueError, before any computing, for unknown names, sizes that do not fit, a checkpoint that could not be
    written or read again, and a model that cannot be trained side by side: the layer is named (see `_trial`).

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.nn.mlp import mlp
    >>> trained = fit(mlp([20, 8, 2]), synthetic.independent(200, seeds=range(3)), seeds=range(3), epochs=2)
    >>> trained.history["loss"].shape, trained.state["layer1.psi"].shape
    (torch.Size([2, 3]), torch.Size([3, 8, 20]))
    """
    options = Options(
        seeds=tuple(whole(seed, "seeds") for seed in seeds), epochs=whole(epochs, "epochs"),
        batch_size=whole(batch_size, "batch_size"), optimizer=optimizer, lr=numbers(lr, "lr"), decay=float(decay),
        loss=loss, l1=_by_name(l1, "l1"), l2=_by_name(l2, "l2"), penalty=penalty, masks=masks,
        recalibrate=recalibrate, reinitialize=reinitialize, init_state=init_state, dtype=dtype, device=resolve(device),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=whole(checkpoint_every, "checkpoint_every"),
    )  # fmt: skip
    return _train(model, data, validation, options, progress)


def _by_name(given: Mapping[str, PerRun] | None, what: str) -> dict[str, float | tuple[float, ...]] | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ValueError(f"{what}={given!r} must name the parameters: {{'layer1.psi': 0.1}}.")
    return {name: numbers(value, f"{what}[{name!r}]") for name, value in given.items()}


def _train(
    model: nn.Module, data: DataSet, validation: DataSet | None, options: Options, progress: bool | None
) -> Trained:
    """The loop: check, build, resume, epoch after epoch, and what it leaves."""
    check(data, validation, options)
    own = _parameters.own_copy(model, options.dtype)  # on the CPU: initial values are drawn there, the same everywhere
    try_out(own, data, validation, options)
    _batched.set_training(own, True)

    run = Run(own, data, validation, options)
    advance = cuda_graph(run.step) if options.device.type == "cuda" and run.repeats() else run.step
    settings = _settings(run)
    done = _resume(run, settings)

    began, epochs = time.perf_counter(), options.epochs
    with tqdm(total=epochs, initial=done, unit="epoch", disable=None if progress is None else not progress) as bar:
        for epoch in range(done, epochs):
            run.epoch(epoch, advance)
            bar.update()
            if (epoch + 1) % options.checkpoint_every == 0 or epoch + 1 == epochs:
                _save(run, settings)

    return _result(run, time.perf_counter() - began)


def _settings(run: Run) -> dict[str, object]:
    """What decides a training's numbers: a checkpoint of others is another experiment's."""
    asked, data, validation, parameters = run.options, run.data, run.validation, run.parameters
    settings: dict[str, object] = {
        "seeds": asked.seeds, "batch_size": asked.batch_size, "optimizer": asked.optimizer, "lr": asked.lr,
        "loss": asked.loss, "l1": asked.l1, "l2": asked.l2, "masks": asked.masks,
        "data": [data.name, data.sha256, data.provenance], "samples": data.samples,
        "reinitialize": asked.reinitialize, "dtype": str(asked.dtype),
        "trained": parameters.names, "shapes": parameters.shapes, "model": repr(run.model),
        "validation": None if validation is None else [validation.name, validation.sha256, validation.provenance],
        "init_state": None,
    }  # fmt: skip
    if not asked.reinitialize or asked.init_state is not None:
        settings["init_state"] = fingerprint(parameters.theta, *parameters.fixed.values())
    if asked.decay:
        settings |= {"decay": asked.decay, "epochs": asked.epochs}
    if asked.penalty is not None:
        settings["penalty"] = repr(asked.penalty)
    if len(parameters.blocks) > 1:
        settings["blocks"] = len(parameters.blocks)
    if asked.checkpoint is not None:
        checkpoints.text(settings)  # what cannot be saved is said now
    return settings


def _resume(run: Run, settings: Mapping[str, object]) -> int:
    """Go on from the checkpoint where there is one; the number of epochs already done."""
    path, epochs = run.options.checkpoint, run.options.epochs
    if path is None or not path.exists():
        return 0
    saved = checkpoints.load(path, settings)
    if lacking := {*run.tensors(), "generators", "history:loss"} - saved.keys():
        raise ValueError(f"{path} lacks {', '.join(sorted(lacking))}: remove it to start from the beginning.")
    done = checkpoints.restore(saved, run.tensors(), run.generators, run.history)
    if done > epochs:
        raise ValueError(f"{path} is already {done} epochs old: ask for at least as many, or remove it.")
    return done


def _save(run: Run, settings: Mapping[str, object]) -> None:
    """Write the checkpoint; where it cannot be written any more, as on a full disk, the training goes on."""
    if run.options.checkpoint is not None:
        tensors = run.tensors() | checkpoints.progress(run.generators, run.history)
        try:
            checkpoints.save(run.options.checkpoint, settings, tensors)
        except OSError as error:
            words = f"the checkpoint could not be written ({error}); the training goes on without."
            warnings.warn(words, RuntimeWarning, stacklevel=4)  # at the call of `fit`


def _result(run: Run, seconds: float) -> Trained:
    """The trained runs; those that failed are named in a warning."""
    seeds, parameters = run.options.seeds, run.parameters
    broken = ~parameters.theta.isfinite().all(1)  # whose next loss nobody has seen
    ends = torch.where((run.failed < 0) & broken, run.count, run.failed).tolist()
    failed = {r: at for r, at in enumerate(ends) if at >= 0}
    if failed:
        named = ", ".join(f"run {r} (seed {seeds[r]}) at step {at}" for r, at in failed.items())
        words = f"loss or parameters turned non-finite in {named}; the other runs finished."
        warnings.warn(words, RuntimeWarning, stacklevel=4)  # at the call of `fit`
    state = {name: value.detach().clone() for name, value in parameters.state().items()}
    trained = Trained(
        model=run.model.eval(),
        state={name: state[name] for name in parameters.order},
        seeds=seeds,
        history={name: torch.stack(values) for name, values in run.history.items()},
        failed=failed,
        steps=int(run.count),
        seconds=seconds,
        data=run.data.name,
    )
    anew = run.options.penalised if run.options.recalibrate is None else run.options.recalibrate
    return recalibrated(trained, run.data) if anew else trained


def initial(
    model: nn.Module, seeds: Iterable[SupportsIndex], *, dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """The tensors by name, (r, ...) each, from which `fit` starts the runs of these seeds, on the CPU.

    >>> from spectral_lens.nn.mlp import mlp
    >>> initial(mlp([20, 8, 2]), range(3))["layer1.psi"].shape
    torch.Size([3, 8, 20])
    """
    own = _parameters.own_copy(model, dtype)
    return _parameters.stack(own, [_parameters.streams(whole(seed, "seeds"))[0] for seed in seeds])
