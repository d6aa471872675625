"""Redistribution matrices that are never formed: their products, and what is read off them sample by sample.

A matrix of a thousand outputs and 1e5 inputs costs a thousand backward passes; its stability, sensitivity and SSM, and
the explanation of one output, take a few dozen products with it.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from spectral_lens._runtime.memory import check_chunk
from spectral_lens.explain._baseline import Baseline, baseline_for
from spectral_lens.explain.lrp import Rules, redistributing
from spectral_lens.explain.quality import redistribution_operator
from spectral_lens.nn._checks import Outputs, checked, readout
from spectral_lens.operators.golub_kahan import spectral_norm
from spectral_lens.operators.hutchinson import frobenius_norm
from spectral_lens.operators.linear import LinearOperator

__all__ = ["measured", "noisy", "of_lrp", "of_mean_gradient", "straight"]


def of_lrp(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    rules: Rules,
    outputs: Outputs = None,
    threshold: float = 0.0,
) -> LinearOperator:
    """LRP's redistribution matrix at x, (n, k, inputs), of some outputs or of all; `R.mT @ z` redistributes z.

    rules, threshold: as in `lrp.lrp` and `quality.redistribution`.

    >>> from spectral_lens.explain.lrp import gamma
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    >>> R = of_lrp(model, torch.ones(4, 3), rules=gamma(0.1))
    >>> R.shape, (R.mT @ torch.ones(4, 2)).shape
    (torch.Size([4, 2, 3]), torch.Size([4, 3]))
    """
    forward = redistributing(model, x, rules=rules)

    def chosen(factor: Tensor) -> Tensor:
        out = forward(factor)
        return out if outputs is None else out @ readout(out, outputs).mT

    return redistribution_operator(chosen, torch.ones_like(x), threshold=threshold)


def of_mean_gradient(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    points: Float[Tensor, "s m *d"],
    *,
    baseline: Baseline = 0.0,
    threshold: float = 0.0,
) -> LinearOperator:
    """R, (n, k, inputs), for (x - baseline) times the mean gradient at the points.

    With `noisy` points it is SmoothGrad times the input, with those of `straight` integrated gradients.

    >>> model, x = nn.Linear(3, 2, bias=False).eval(), torch.ones(4, 3)
    >>> R = of_mean_gradient(model, x, straight(x, steps=5))
    >>> (R @ torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """
    if points.shape[1:] != x.shape:
        raise ValueError(f"points are {tuple(points.shape)} for inputs {tuple(x.shape)}: they must be (s, n, *d).")

    checked(model, x)
    difference = x.detach() - baseline_for(x, baseline)

    def mean(factor: Tensor) -> Tensor:
        out = model((points + difference * (factor - 1)).flatten(0, 1))
        return out.unflatten(0, points.shape[:2]).mean(0)

    return redistribution_operator(mean, torch.ones_like(x), threshold=threshold)


def noisy(
    x: Float[Tensor, "n *d"], sigma: float, *, samples: int = 10, generator: torch.Generator | None = None
) -> Float[Tensor, "s n *d"]:
    """x with Gaussian noise of standard deviation `sigma`, `samples` times.  generator: on the CPU.

    >>> tuple(noisy(torch.zeros(2, 3), 0.1, samples=4).shape)
    (4, 2, 3)
    """
    return x + sigma * torch.randn(samples, *x.shape, generator=generator).to(x)


def straight(x: Float[Tensor, "n *d"], *, baseline: Baseline = 0.0, steps: int = 10) -> Float[Tensor, "s n *d"]:
    """Equidistant points on the way from the baseline to x, which is the last; the baseline is none of them.

    >>> straight(torch.ones(1, 1), steps=4).flatten().tolist()
    [0.25, 0.5, 0.75, 1.0]
    """
    start = baseline_for(x, baseline)
    return start + torch.arange(1, steps + 1).view(-1, *[1] * x.ndim).to(x) / steps * (x - start)


def measured(
    methods: Sequence[Callable[[Tensor, torch.Generator], LinearOperator]],
    x: Float[Tensor, "n *d"],
    target: Int[Tensor, " m"],
    *,
    chunk: int,
    draws: int,
    seed: int,
) -> tuple[dict[str, Float[Tensor, "n points"]], Float[Tensor, "points n inputs"]]:
    """Stability, sensitivity and SSM at each setting of a method, and the explanation of one output of each sample.

    methods: for each setting a function of some samples and a generator to R.  target: the outputs that
    are explained.  chunk: samples at a time.  draws: of the Frobenius norm's estimate, see `hutchinson.frobenius_norm`.
    seed: every setting starts with it, so all see the same draws.  Under "error" stands the relative error of SSM that
    the two estimates claim.

    >>> model, x = nn.Linear(3, 2, bias=False).eval(), torch.ones(4, 3)
    >>> method = lambda part, generator: of_mean_gradient(model, part, straight(part))
    >>> numbers, maps = measured([method], x, torch.zeros(4, dtype=torch.int64), chunk=3, draws=2, seed=0)
    >>> sorted(numbers), tuple(numbers["SSM"].shape), tuple(maps.shape)
    (['SSM', 'error', 'sensitivity', 'stability'], (4, 1), (1, 4, 3))
    """
    check_chunk(chunk)
    if target.shape != x.shape[:1]:
        raise ValueError(f"target is {tuple(target.shape)}: one output for each of {len(x)} samples is needed.")
    numbers, maps = [], []
    for method in methods:
        generator = torch.Generator().manual_seed(seed)
        parts = [
            _estimated(method(some, generator), its, draws, generator)
            for some, its in zip(x.split(chunk), target.split(chunk), strict=True)
        ]
        numbers.append(torch.cat([part for part, _ in parts], 1))
        maps.append(torch.cat([part for _, part in parts]))
    names = ("stability", "sensitivity", "SSM", "error")
    return dict(zip(names, torch.stack(numbers, 2), strict=True)), torch.stack(maps)


def _estimated(
    R: LinearOperator, target: Tensor, draws: int, generator: torch.Generator
) -> tuple[Float[Tensor, "4 n"], Float[Tensor, "n inputs"]]:
    """The four numbers of `measured` and the target's column, for the samples of one matrix."""
    first = spectral_norm(R, generator=generator)
    norm = frobenius_norm(R, draws=draws, generator=generator)
    error = first.error / first.value + norm.error / norm.value
    column = R.mT @ one_hot(target, R.shape[1]).to(R.dtype)
    return torch.stack([1 / first.value, norm.value, norm.value / first.value, error]), column
