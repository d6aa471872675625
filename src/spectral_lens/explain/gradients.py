"""Explanations by gradients, for all outputs at once.

A method maps (model, x) to the relevance (n, k, *d) of each input for each output.  One forward pass, then all outputs
are pulled back through it together; what is averaged over several points is averaged before the pull-back, so
integrated gradients and SmoothGrad cost no more memory than their points.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens.explain._baseline import Baseline, baseline_for
from spectral_lens.nn._checks import Outputs, Target, checked
from spectral_lens.operators._pullback import batch_size, pullback

__all__ = ["gradient", "gradient_x_input", "integrated_gradients", "of_class", "saliency", "smoothgrad"]


def gradient(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The derivative of each output by each input.

    outputs: the indices of some, or a mask of all; or a read-out, a floating (k, m) matrix whose rows are linear maps
    of the m outputs; by default all.  target: in place of outputs one for each sample, (n,), so that k = 1.  chunk:
    outputs pulled back at a time, by default as many as the memory takes.
    Raises ValueError for a model in training mode or whose samples depend on one another, inputs that it does not take
    or that are not finite, and outputs that do not exist.

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> torch.equal(gradient(model, x), model.weight.expand(2, 3, 5))
    True
    >>> gradient(model, x, outputs=[2, 0]).shape, gradient(model, x, target=torch.tensor([2, 0])).shape
    (torch.Size([2, 2, 5]), torch.Size([2, 1, 5]))
    """
    checked(model, x)
    return pullback(model, x, outputs=outputs, target=target, chunk=chunk)


def of_class(model: nn.Module, x: Float[Tensor, "n *d"], label: Int[Tensor, " m"]) -> Float[Tensor, "n *d"]:
    """The derivative of a single output of each sample, `label`, by its inputs: `gradient` with a target, (n, *d).

    Raises ValueError for labels that are not as many as the samples, or no outputs of the model.

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> torch.equal(of_class(model, x, torch.tensor([2, 0])), model.weight[[2, 0]])
    True
    """
    return gradient(model, x, target=label).squeeze(1)


def saliency(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """|gradient|.  [simonyan2014]

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> torch.equal(saliency(model, x)[0], model.weight.abs())
    True
    """
    return gradient(model, x, outputs=outputs, target=target, chunk=chunk).abs_()


def gradient_x_input(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The gradient times the input: for linear models, each input's contribution to the output.

    >>> model, x = nn.Linear(5, 3, bias=False).eval(), torch.rand(2, 5)
    >>> torch.allclose(gradient_x_input(model, x).sum(2), model(x))
    True
    """
    return gradient(model, x, outputs=outputs, target=target, chunk=chunk).mul_(x.detach().unsqueeze(1))


def integrated_gradients(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    baseline: Baseline = 0.0,
    steps: int = 10,
    rule: str = "right",
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """(x - baseline) times the mean gradient on the straight way from the baseline to x.  [sundararajan2017]

    rule: "right" takes `steps` equidistant points, the input among them, the baseline not, as maess does with ten;
    "gauss-legendre" takes that many points of the quadrature, which is far more precise for smooth models.
    Adds up to f(x) - f(baseline) up to the error of the quadrature.
    Raises ValueError for another rule, no steps, and a baseline that does not fit.

    >>> model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval(), torch.rand(2, 5).double()
    >>> found = integrated_gradients(model, x, rule="gauss-legendre", steps=20)
    >>> torch.allclose(found.sum(2), model(x) - model(0 * x))
    True
    """
    checked(model, x)
    nodes, weights = _quadrature(steps, rule, x)
    x = x.detach()
    start = baseline_for(x, baseline)
    difference = x - start
    points = start + nodes.view(-1, *[1] * x.ndim) * difference
    mean = _mean_at(model, points, weights)
    found = pullback(mean, torch.zeros_like(x), outputs=outputs, target=target, chunk=chunk)
    return found.mul_(difference.unsqueeze(1))


def smoothgrad(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    sigma: float,
    samples: int = 10,
    generator: torch.Generator | None = None,
    times_input: bool = False,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The mean gradient of `samples` inputs with Gaussian noise of standard deviation `sigma`, in the units of x.

    [smilkov2017; ten samples in maess, 4.1]  times_input: multiplied by the input without noise.
    generator: of the noise, on the CPU, so that it is the same everywhere.
    Raises ValueError for no samples, and for a negative sigma.

    >>> model, x = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).eval(), torch.rand(2, 5)
    >>> smoothgrad(model, x, sigma=0.1, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 3, 5])
    """
    checked(model, x)
    x = x.detach()
    if samples < 1 or not sigma >= 0:
        raise ValueError(f"samples={samples} and sigma={sigma}: at least one sample, and no negative noise.")
    noise = torch.randn(samples, *x.shape, dtype=x.dtype, generator=generator).to(x.device)
    weights = x.new_full((samples,), 1 / samples)
    mean = _mean_at(model, x + sigma * noise, weights)
    found = pullback(mean, torch.zeros_like(x), outputs=outputs, target=target, chunk=chunk)
    return found.mul_(x.unsqueeze(1)) if times_input else found


def _mean_at(
    model: nn.Module, points: Float[Tensor, "s n *d"], weights: Float[Tensor, " s"]
) -> Callable[[Tensor], Tensor]:
    """The weighted mean of the outputs at all points, as a function of one shift of them all: its derivative is the
    weighted mean of the gradients, and only one of them is ever held."""
    size = max(1, batch_size(points[0]) // points.shape[1])

    def mean(shift: Tensor) -> Tensor:
        parts = []
        for batch, share in zip(points.split(size), weights.split(size), strict=True):
            out = model((batch + shift).flatten(0, 1)).unflatten(0, batch.shape[:2])
            parts.append(torch.einsum("s,snm->nm", share, out))
        return torch.stack(parts).sum(0)

    return mean


def _quadrature(steps: int, rule: str, template: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes in (0, 1] and their weights, which sum to one."""
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    if rule == "right":
        nodes, weights = np.arange(1, steps + 1) / steps, np.full(steps, 1 / steps)
    elif rule == "gauss-legendre":
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    else:
        raise ValueError(f"rule={rule!r} is unknown: use 'right' or 'gauss-legendre'.")
    return torch.as_tensor(nodes).to(template), torch.as_tensor(weights).to(template)
