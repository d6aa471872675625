"""All runs of one training on their device: one step, the learning rate's schedule, one epoch."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.nn.gates import Gates
from spectral_lens.training import _batched
from spectral_lens.training._fused import Buffers
from spectral_lens.training._options import Options
from spectral_lens.training._parameters import StackedParameters, streams
from spectral_lens.training.losses import LOSSES, num_correct
from spectral_lens.training.optimizers import OPTIMIZERS
from spectral_lens.training.penalties import Step
from spectral_lens.training.results import evaluate

__all__ = ["Run"]

# The gradient of a sample that is classified well is tiny.  Where it falls below 1e-38 a CPU computes a hundred times
# slower; multiplied by a power of two, and divided by it in the end, it stays above, and no digit changes.
_SCALE = 2.0**64


class Run:
    """Parameters, optimisers, random numbers and running metrics of all runs, and what a step does with them.

    Whatever changes from step to step stays in its place, so that a step can be captured and replayed.
    """

    def __init__(self, model: nn.Module, data: DataSet, validation: DataSet | None, options: Options) -> None:
        device, dtype, seeds = options.device, options.dtype, options.seeds
        self.options, self.model = options, model
        self.data = data.to(device, dtype)
        self.validation = None if validation is None else validation.to(device, dtype)
        self.parameters = StackedParameters(
            model,
            [streams(seed)[0] for seed in seeds],
            reinitialize=options.reinitialize,
            init_state=options.init_state,
            device=device,
        )
        model.to(device)
        theta, blocks = self.parameters.theta, self.parameters.blocks
        self.base_lr = self.parameters.column(options.lr, "lr")
        self.lr = self.base_lr.clone()
        self.optimizers = [OPTIMIZERS[options.optimizer](theta[block], self.lr[block]) for block in blocks]
        self.l1 = self.parameters.coefficients(options.l1, "l1")
        self.l2 = self.parameters.coefficients(options.l2, "l2")
        self.signs = torch.empty_like(theta[blocks[0]] if self.l1 else self.base_lr)
        self.frozen = self.parameters.frozen(options.masks)
        self.generators = [torch.Generator().manual_seed(streams(seed)[1]) for seed in seeds]
        # each run's rows of x and y, all runs' data in one axis
        own = self.data.runs is not None
        self.x, self.y = (part.flatten(0, 1) if own else part for part in (self.data.x, self.data.y))
        self.offset = torch.arange(len(seeds), device=device).unsqueeze(1) * (self.data.samples if own else 0)
        self.buffers: Buffers = {}
        self.writes = _batched.may_write(model)
        self.scale = _SCALE if dtype in (torch.float32, torch.bfloat16) else 1.0
        names = ("loss", "accuracy") if options.penalty is None else ("loss", "accuracy", "penalty")
        self.metrics = {name: torch.zeros(len(seeds), dtype=dtype, device=device) for name in names}
        self.history: dict[str, list[Tensor]] = {}
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.failed = torch.full((len(seeds),), -1, device=device)

    def repeats(self) -> bool:
        """Whether every step does the same with other rows: no random numbers, no penalty that might draw some."""
        return self.options.penalty is None and not any(
            isinstance(layer, Gates) or (isinstance(layer, nn.Dropout) and layer.p > 0)
            for layer in self.model.modules()
        )

    def tensors(self) -> dict[str, Tensor]:
        """What steps change in place, by name: with the generators and the history all that a checkpoint needs."""
        states = {
            f"{name}:{k}" if k else name: value
            for k, optimizer in enumerate(self.optimizers)
            for name, value in optimizer.state.items()
        }
        fixed = {f"fixed:{name}": value for name, value in self.parameters.fixed.items()}
        return {"theta": self.parameters.theta, **states, "count": self.count, "failed": self.failed, **fixed}

    def draw(self, shape: torch.Size) -> Float[Tensor, "r *s"]:
        """Uniform random numbers, a row from each run's own generator: drawn on the CPU, the same on every device."""
        uniform = torch.empty(shape, dtype=self.options.dtype)
        for row, generator in zip(uniform, self.generators, strict=True):
            row.uniform_(generator=generator)
        return uniform.to(self.options.device)

    def step(self, rows: Int[Tensor, "r b"]) -> None:
        """One update of all runs from their samples' rows; leaves every result in place."""
        penalty, parameters = self.options.penalty, self.parameters
        x = _gather(self.x, rows, self.buffers)
        if penalty is not None:
            x = x.detach().requires_grad_()
        target = self.y.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        state = parameters.state()
        buffers = self.buffers if penalty is None else None
        inputs = x.clone() if penalty is not None and self.writes else x
        out = _batched.forward(self.model, state, inputs, draw=self.draw, buffers=buffers)
        losses = LOSSES[self.options.loss](out, target)
        self.metrics["loss"].add_(losses.detach(), alpha=rows.shape[1])
        if penalty is not None:
            extra = penalty(Step(state, x, out, self.draw))
            if extra.shape != losses.shape:
                raise ValueError(
                    f"the penalty gives {tuple(extra.shape)}: it must be one number per run, {tuple(losses.shape)}."
                )
            self.metrics["penalty"].add_(extra.detach(), alpha=rows.shape[1])
            losses = losses + extra
        gradients = parameters.gradients(losses.sum() * self.scale)
        with torch.no_grad():
            self.update(gradients)
            self.metrics["accuracy"].add_(num_correct(out.detach(), target))
            self.failed.copy_(torch.where((self.failed < 0) & ~losses.isfinite(), self.count, self.failed))
            self.count.add_(1)

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters, one block of runs after the other, by the scaled gradients of the losses."""
        for block, optimizer in zip(self.parameters.blocks, self.optimizers, strict=True):
            gradient = self.parameters.joined(gradients, block, 1 / self.scale)
            theta = self.parameters.theta[block]
            # the gradient of l1 * sum |p| + l2 * sum p^2 in closed form
            for part, coefficient in self.l1:
                sign = torch.sign(theta[:, part], out=self.signs[: len(gradient), part])
                gradient[:, part].addcmul_(coefficient[block], sign)
            for part, coefficient in self.l2:
                gradient[:, part].addcmul_(coefficient[block], theta[:, part], value=2)
            optimizer.update(gradient if self.frozen is None else gradient.masked_fill_(self.frozen[block], 0))

    def schedule(self, epoch: int, share: float) -> None:
        """Set the learning rate for the step that follows after this share of the epoch."""
        if self.options.decay:
            left = (self.options.epochs - epoch - share) / (self.options.decay * self.options.epochs)
            torch.mul(self.base_lr, min(1.0, left), out=self.lr)

    def epoch(self, epoch: int, advance: Callable[[Tensor], None]) -> None:
        """All samples once, in each run's own random order, then validation; the metrics go to the history.

        advance: the step for whole batches, as it is or captured.
        """
        samples, batch_size = self.data.samples, self.options.batch_size
        orders = torch.stack([torch.randperm(samples, generator=each) for each in self.generators])
        for k, rows in enumerate(orders.to(self.options.device).add_(self.offset).split(batch_size, 1)):
            self.schedule(epoch, k * batch_size / samples)
            (advance if rows.shape[1] == batch_size else self.step)(rows)
        for name, total in self.metrics.items():
            self.history.setdefault(name, []).append((total / samples).cpu())
            total.zero_()
        if self.validation is not None:
            values = evaluate(self.model, self.parameters.state(), self.validation, self.options.loss)
            for name, value in zip(("validation_loss", "validation_accuracy"), values, strict=True):
                self.history.setdefault(name, []).append(value.cpu())
        self.flush_denormals()

    def flush_denormals(self) -> None:
        """Parameters whose products would be denormal become zero, and what an optimiser remembers below that range.

        A parameter that only its penalty moves shrinks for ever, and a CPU is a hundred times slower with denormal
        numbers.  torch.set_flush_denormal does not serve: it sets a mode of the calling thread, which threads take
        over that start later, but not the workers of OpenMP that are there already.  With two threads half of a
        product would be flushed, so the numbers would depend on how many there are; and the mode would outlast `fit`.
        """
        theta = self.parameters.theta
        tiny = torch.finfo(theta.dtype).tiny
        for block, optimizer in zip(self.parameters.blocks, self.optimizers, strict=True):
            theta[block].masked_fill_(theta[block].abs() < tiny**0.5, 0)
            for value in optimizer.state.values():
                value.masked_fill_(value.abs() < tiny, 0)


def _gather(x: Float[Tensor, "n *d"], rows: Int[Tensor, "r b"], buffers: Buffers) -> Float[Tensor, "r b *d"]:
    """x[rows], in memory that the next step uses again."""
    key = ("gather", rows.shape)
    if key not in buffers:
        buffers[key] = x.new_empty(rows.numel(), *x.shape[1:])
    return torch.index_select(x, 0, rows.flatten(), out=buffers[key]).unflatten(0, rows.shape)
