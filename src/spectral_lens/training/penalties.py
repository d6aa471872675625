"""Penalties on the spectrum of the input Jacobian J (k x d), for `training.fit(penalty=...)` or a loop of one's own.

Each is a function of J at every sample of the batch, averaged over the batch, times the strength of the run.  A product
with J is one backward pass for all runs and samples together: the outputs of a sample depend on that sample's inputs
only.  (Under batch normalisation in training they do not; then J^T v is the derivative of the batch's sum of v f.)

In a loop of one's own a penalty is a number to add to the loss:

>>> model = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 3))
>>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
>>> x, y = torch.randn(20, 4), torch.arange(20) % 3
>>> penalty = JacobianNorm(0.01)
>>> for step in range(5):
...     loss = nn.functional.cross_entropy(model(x), y) + penalty(model, x)
...     optimizer.zero_grad()
...     loss.backward()
...     optimizer.step()
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import SupportsIndex, overload

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from spectral_lens.nn.gates import Gates, inside
from spectral_lens.nn.mlp import tensors
from spectral_lens.training._batched import Draw
from spectral_lens.training._numbers import PerRun, numbers, whole

__all__ = ["JacobianNorm", "LargestSingularValue", "OpenGates", "Penalty", "SpectralEntropy", "Step"]


@dataclass(frozen=True)
class Step:
    """What a penalty sees of a step of all runs, with which it can take further derivatives.

    state: every tensor by name, (r, ...); x: the inputs, (r, b, *d); out: the outputs, (r, b, *k); draw: uniform
    numbers of a given shape, a row of each run's own.
    """

    state: dict[str, Tensor]
    x: Tensor
    out: Tensor
    draw: Draw


Penalty = Callable[[Step], Tensor]  # (r,), what each run's loss rises by


class _Penalty(ABC):
    """Called by `fit` with a step of all runs; in a loop of one's own with a model and a batch.

    penalty(model, x) is a number, with derivatives by the parameters and, where x hangs on a graph, by what x was
    computed from.  It takes a forward pass of its own, in the model's mode; nothing is written to the model or to x.
    generator: of the random directions, torch's own by default.
    Raises ValueError for inputs that are not floating (n, *d), and for outputs that are not one tensor (n, *k).
    """

    @abstractmethod
    def of_runs(self, step: Step) -> Float[Tensor, " r"]:
        """What the loss of each run rises by."""

    @overload
    def __call__(self, network: Step) -> Tensor: ...
    @overload
    def __call__(self, network: nn.Module, x: Tensor, *, generator: torch.Generator | None = None) -> Tensor: ...
    def __call__(
        self, network: Step | nn.Module, x: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Tensor:
        if isinstance(network, Step):
            return self.of_runs(network)
        with torch.enable_grad():
            value = self.of_runs(_step(network, x, generator)).squeeze(0)
        return value if torch.is_grad_enabled() else value.detach()


@dataclass(frozen=True)
class _JacobianPenalty(_Penalty):
    """strength: one number for all runs, or one for each; not negative.  Raises ValueError for others."""

    strength: PerRun

    def __post_init__(self) -> None:
        strength = numbers(self.strength, "strength")
        if (min(strength) if isinstance(strength, tuple) else strength) < 0:
            raise ValueError(f"strength={self.strength} must not be negative.")
        object.__setattr__(self, "strength", strength)

    @abstractmethod
    def of(self, step: Step) -> Float[Tensor, "r b"]:
        """What is penalised, of each sample."""

    def of_runs(self, step: Step) -> Float[Tensor, " r"]:
        strength = torch.as_tensor(self.strength, dtype=step.out.dtype, device=step.out.device)
        if strength.numel() not in (1, len(step.out)):
            raise ValueError(
                f"strength has {strength.numel()} values for {len(step.out)} runs: give one, or one per run."
            )
        return strength * self.of(step).mean(1).to(step.out.dtype)


@dataclass(frozen=True)
class JacobianNorm(_JacobianPenalty):
    """strength * ||J||_F^2, estimated without bias by random projections.   [hoffman2019]

    ||J||_F^2 = k / m E sum_i ||J^T v_i||^2 for m orthonormal random directions v_i of the k outputs: m backward passes.
    projections: m; as many as there are outputs give the norm itself, and nothing is drawn.
    Raises ValueError for fewer than one, and at the first step for more than there are outputs.

    >>> x = torch.zeros(1, 5, 2, requires_grad=True)
    >>> step = Step({}, x, x @ torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.rand)  # singular values 3 and 4
    >>> round(JacobianNorm(0.1, projections=2)(step).item(), 4)
    2.5
    """

    projections: SupportsIndex = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if (projections := whole(self.projections, "projections")) < 1:
            raise ValueError(f"projections={projections} must be at least 1.")
        object.__setattr__(self, "projections", projections)

    def of(self, step: Step) -> Float[Tensor, "r b"]:
        out = _outputs(step)
        outputs, projections = out.shape[2], whole(self.projections, "projections")
        if projections > outputs:
            raise ValueError(f"projections={projections}, but there are only {outputs} outputs.")
        if projections == outputs:
            return _jacobian(step, out, graph=True).square().sum((2, 3))
        normal = _normal(step.draw(torch.Size((*out.shape, projections))))
        frames = _unit(normal, 2) if projections == 1 else torch.linalg.qr(normal).Q
        pulled = [_pull(step, out, v, graph=True) for v in frames.unbind(3)]
        return outputs / projections * torch.stack([each.square().sum(2) for each in pulled]).sum(0)


@dataclass(frozen=True)
class LargestSingularValue(_JacobianPenalty):
    """strength * sigma_1(J)^2.   [yoshida2017, there of the weights]

    The direction comes from `steps` steps of the power iteration from a random start, of which all vectors are used:
    v maximises ||J^T v|| over their span (Rayleigh and Ritz), so the estimate ||J^T v||^2 comes from below, and is
    exact with one step less than there are outputs.  No derivative is taken of the direction, as sigma_1 needs none.
    Costs 2 steps + 2 backward passes.
    Raises ValueError for negative steps.

    >>> x = torch.zeros(1, 5, 2, requires_grad=True)
    >>> step = Step({}, x, x @ torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.rand)  # singular values 3 and 4
    >>> round(LargestSingularValue(0.1)(step).item(), 4)
    1.6
    """

    steps: SupportsIndex = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if (steps := whole(self.steps, "steps")) < 0:
            raise ValueError(f"steps={steps} must not be negative.")
        object.__setattr__(self, "steps", steps)

    def of(self, step: Step) -> Float[Tensor, "r b"]:
        out = _outputs(step)
        v = self._direction(step, out) if out.shape[2] > 1 else torch.ones_like(out)
        return _pull(step, out, v, graph=True).square().sum(2)

    def _direction(self, step: Step, out: Tensor) -> Float[Tensor, "r b k"]:
        start = _unit(_normal(step.draw(out.shape)), 2).to(out.dtype).requires_grad_()
        # linear in the start, so its own pull-back is the product with J
        first = torch.autograd.grad(out, step.x, start, create_graph=True)[0]
        directions, images = [_wide(start.detach())], [_wide(first.detach().flatten(2))]
        for _ in range(min(whole(self.steps, "steps"), out.shape[2] - 1)):
            along = images[-1].view(step.x.shape).to(step.x.dtype)
            pushed = _unit(_wide(torch.autograd.grad(first, start, along, retain_graph=True)[0]), 2)
            span = torch.stack(directions, 3)
            for _ in range(2):  # twice, so that rounding does not bring them back
                pushed = pushed - (span @ (span.mT @ pushed.unsqueeze(3))).squeeze(3)
            directions.append(_unit(pushed, 2))
            images.append(_wide(_pull(step, out, directions[-1], graph=False)))
        span = torch.stack(images, 2)
        best = torch.linalg.eigh(span @ span.mT).eigenvectors[..., -1:]
        return (torch.stack(directions, 3) @ best).squeeze(3)


@dataclass(frozen=True)
class SpectralEntropy(_JacobianPenalty):
    """-strength * H(J): minus the entropy of the Jacobian's spectrum (`operators.spectra.spectral_entropy`).

    With J J^T = U diag(lambda) U^T, k x k, t its trace and p = lambda / t

        H = -sum p log p   and   dH / d(J J^T) = C = -U diag(log p + H) U^T / t,

    which holds where eigenvalues coincide, too.  Those below rounding count as zero, with no gradient; a Jacobian that
    is zero has neither penalty nor gradient.
    sampled: False takes k backward passes that can be differentiated again, for <C, J J^T>.  True takes k plain ones
    and a single one of that kind, for its mean over random signs e, (J^T e) (J^T C e): the value is the same, the
    gradient is right on average.

    >>> x = torch.zeros(1, 5, 2, requires_grad=True)
    >>> step = Step({}, x, x @ torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.rand)  # singular values 3 and 4
    >>> round(SpectralEntropy(0.1)(step).item(), 4)  # of 9/25 and 16/25
    -0.0653
    """

    sampled: bool = False

    def of(self, step: Step) -> Float[Tensor, "r b"]:
        out = _outputs(step)
        J = _wide(_jacobian(step, out, graph=not self.sampled))
        with torch.no_grad():
            tiny = torch.finfo(J.dtype).eps
            gram = J @ J.mT
            inverse = gram.diagonal(dim1=2, dim2=3).sum(2).sqrt().clamp(min=tiny**2).reciprocal()[..., None, None]
            p, U = torch.linalg.eigh(gram * inverse.square())
            H = torch.where(p > tiny, torch.special.entr(p), 0).sum(2)
            slopes = torch.where(p > tiny, -(p.log() + H.unsqueeze(2)), 0)
            C = (U * slopes.unsqueeze(2)) @ U.mT * inverse  # the other root of 1 / t goes to the other factor
        if self.sampled:
            signs = (step.draw(out.shape) < 0.5).to(J.dtype).unsqueeze(3) * 2 - 1
            pulled = _pull(step, out, signs.squeeze(3), graph=True).unsqueeze(3) * inverse
            change = 2 * (pulled * (J.mT @ (C @ signs))).sum((2, 3))
        else:
            change = 2 * (J * inverse * (C @ J.detach())).sum((2, 3))
        return -(H + change - change.detach())


@dataclass(frozen=True)
class OpenGates(_Penalty):
    """penalty * sum_i P(z_i > 0): what the gates that are expected to be open cost.   [yamada2020, louizos2018]

    gates: the layer of that name in the model.

    >>> from spectral_lens.nn.gates import StochasticGates
    >>> step = Step({"gates.location": torch.zeros(2, 5)}, torch.zeros(2, 3, 5), torch.zeros(2, 3, 1), torch.rand)
    >>> OpenGates(StochasticGates(5), 0.1)(step).tolist()  # each is open with probability 1/2
    [0.25, 0.25]
    """

    gates: Gates
    penalty: float

    def of_runs(self, step: Step) -> Float[Tensor, " r"]:
        if "gates.location" not in step.state:
            raise ValueError("the model has no layer named gates, whose open gates could be penalised.")
        return self.penalty * self.gates.probability(step.state["gates.location"]).sum(-1)


def _step(model: nn.Module, x: Tensor | None, generator: torch.Generator | None) -> Step:
    """A step of one run: a forward pass through copies of the buffers, which a norm in training mode would move."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2 or not x.numel():
        found = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x is {found}: penalty(model, x) needs floating inputs (n, *d), at least one.")
    inputs = x.unsqueeze(0) if x.requires_grad else x.detach().unsqueeze(0).requires_grad_()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    out = functional_call(model, buffers, (inputs.squeeze(0).clone(),))
    if not isinstance(out, Tensor) or out.ndim < 1 or len(out) != len(x) or not out.requires_grad:
        raise ValueError("the model must return one tensor, the outputs (n, *k) of its inputs (n, *d).")

    def draw(shape: torch.Size) -> Tensor:
        own = torch.default_generator if generator is None else generator
        return torch.rand(shape, dtype=x.dtype, device=own.device, generator=own).to(x.device)

    return Step({name: value.unsqueeze(0) for name, value in tensors(model).items()}, inputs, out.unsqueeze(0), draw)


def _outputs(step: Step) -> Float[Tensor, "r b k"]:
    """The outputs; one for each sample where there is no axis of outputs."""
    return step.out.reshape(*step.out.shape[:2], -1)


def _jacobian(step: Step, out: Float[Tensor, "r b k"], *, graph: bool) -> Float[Tensor, "r b k d"]:
    rows = torch.eye(out.shape[2], dtype=out.dtype, device=out.device)
    return torch.stack([_pull(step, out, row.expand_as(out), graph=graph) for row in rows], 2)


def _pull(step: Step, out: Tensor, v: Float[Tensor, "r b k"], *, graph: bool) -> Float[Tensor, "r b d"]:
    """J^T v of every sample; graph: whether it can be differentiated again."""
    (pulled,) = torch.autograd.grad(out, step.x, v.to(out.dtype), create_graph=graph, retain_graph=True)
    return pulled.flatten(2)


def _normal(uniform: Tensor) -> Tensor:
    """Normal random numbers from uniform ones, which stay off 0 and 1, where they would be infinite."""
    return torch.special.ndtri(_wide(inside(uniform)))


def _unit(vectors: Tensor, dim: int) -> Tensor:
    """At length one, or zero."""
    length = torch.linalg.vector_norm(vectors, dim=dim, keepdim=True)
    return vectors / length.clamp(min=torch.finfo(vectors.dtype).tiny)


def _wide(values: Tensor) -> Tensor:
    """In single precision at least, which the decompositions need."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
