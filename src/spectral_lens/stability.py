"""How stable a network is, read off the spectra of its four operators, and the bounds that join them.

The texts of katende define neither the index nor the entropy in full: the definitions here are this book's own.  Each
bound is a function that returns both of its sides.  Everything takes spectra, norms, matrices or callables.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.quality import sigma, ssm

COMPONENTS = ("s_J", "s_theta", "sqrt(s_K)", "s_H")
_HIGH = 0.95  # the quantile beside the supremum
_FAR = 2.0**30  # from the guess, where the search for a step ends


# ---- one spectrum


def spectral_entropy(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """H = -sum p log p with p_i = s_i^2 / sum s^2, in nats, from 0 (one direction) to log r (all alike).

    Zeros count as directions that nothing goes to.  A spectrum that is zero everywhere has no shape: nan.
    Raises ValueError for an empty spectrum and for values that are not finite.
    """
    return torch.special.entr(_shares(s)).sum(-1)


def effective_rank(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """exp(H), from 1 to r: how many equal singular values have that entropy.  [roy2007, there with s for s^2]

    nan and errors as for `spectral_entropy`.
    """
    return spectral_entropy(s).exp()


def attribution_condition(s: Float[Tensor, "*n r"]) -> Float[Tensor, "*n"]:
    """kappa = sqrt(r) s_1 / ||s||_2, the worst amplification over the typical one: 1 (all alike) to sqrt(r).

    r is the number of values given, zeros among them.  nan and errors as for `spectral_entropy`.
    """
    return (s.shape[-1] * _shares(s).amax(-1)).sqrt()


def _shares(s: Tensor) -> Tensor:
    """p, (*n, r); nan where all is zero."""
    if not s.shape[-1]:
        raise ValueError(f"the spectrum is {tuple(s.shape)}: it needs at least one singular value.")
    if not s.isfinite().all():
        raise ValueError("the spectrum holds NaN or infinite values.")
    square = (s / s.abs().amax(-1, keepdim=True)).square()  # no overflow, whatever the scale
    return square / square.sum(-1, keepdim=True)


# ---- the index


class Spread(NamedTuple):
    """A component over the samples: its supremum, its mean, its 95% quantile."""

    sup: float
    mean: float
    quantile: float


@dataclass(frozen=True)
class Index:
    """The Global Matrix Stability Index: the larger, the less stable.  `gmsi` makes it.

    jacobian: of ||J_f(x)||_2 over the samples; parameters: of ||grad_theta f(x)||_2; kernel: sqrt(lambda_max(K) / n);
    curvature: lambda_max(|H|).
    """

    jacobian: Spread
    parameters: Spread
    kernel: float
    curvature: float

    def components(self, over: str = "sup") -> dict[str, float]:
        """The four by name (`COMPONENTS`), the first two as "sup", "mean" or "quantile" over the samples.

        Raises ValueError for another name.
        """
        if over not in Spread._fields:
            raise ValueError(f"over={over!r} is unknown: use one of {', '.join(Spread._fields)}.")
        samples = getattr(self.jacobian, over), getattr(self.parameters, over)
        return dict(zip(COMPONENTS, (*samples, self.kernel, self.curvature), strict=True))

    def aggregate(self, how: str = "max", *, over: str = "sup") -> float:
        """One number of the four: "max", "sum" or "geometric" (mean).  Raises ValueError for another name."""
        values = list(self.components(over).values())
        if how == "max":
            return max(values)
        if how == "sum":
            return sum(values)
        if how == "geometric":
            return math.prod(value ** (1 / len(values)) for value in values)
        raise ValueError(f"how={how!r} is unknown: use 'max', 'sum' or 'geometric'.")

    @property
    def value(self) -> float:
        """GMSI = max(s_J, s_theta, sqrt(s_K), s_H), with the suprema: what each component controls is at most that."""
        return self.aggregate()

    @property
    def stability(self) -> float:
        """1 / GMSI; infinite for a network that does not react to anything."""
        return 1 / self.value if self.value else math.inf


def gmsi(
    jacobian: Float[Tensor, " n"],
    parameters: Float[Tensor, " m"],
    *,
    kernel: int | float | Tensor,
    curvature: int | float | Tensor,
) -> Index:
    """The index of a network from the norms of its operators.

    jacobian: ||J_f(x)||_2 of each sample.  parameters: ||grad_theta f(x)||_2 of each sample, of the same ones or of
    fewer.  kernel: s_K = lambda_max(K) / n of the tangent kernel of n samples, the square of what enters.
    curvature: s_H = lambda_max(|H|) of the loss.
    On the same samples sqrt(s_K) is never above s_theta (see `kernel_size`), so the maximum has three candidates.
    Raises ValueError for no samples, and for values that are negative, infinite or NaN.
    """
    for name, norms in (("jacobian", jacobian), ("parameters", parameters)):
        if not len(norms):
            raise ValueError(f"{name} is empty: the index needs at least one sample.")
        if not (norms.isfinite() & (norms >= 0)).all():
            raise ValueError(f"{name} holds values that are no norms: NaN, infinite or negative.")
    numbers = {"kernel": float(kernel), "curvature": float(curvature)}
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value} must be a number that is not negative.")
    return Index(_spread(jacobian), _spread(parameters), math.sqrt(numbers["kernel"]), numbers["curvature"])


def _spread(norms: Tensor) -> Spread:
    norms = norms.detach().double()
    return Spread(float(norms.max()), float(norms.mean()), float(norms.quantile(_HIGH)))


# ---- the bounds, both sides of each


class Sides(NamedTuple):
    """left <= right, if the bound holds."""

    left: Tensor
    right: Tensor

    @property
    def ratio(self) -> Tensor:
        """left / right, at most 1 where the bound holds; 0 where both are zero."""
        return torch.where(self.left == 0, 0, self.left / self.right)


def forward_sensitivity(
    function: Callable[[Tensor], Tensor],
    x: Float[Tensor, "n *d"],
    shift: Float[Tensor, "n *d"],
    *,
    index: int | float | Float[Tensor, " n"],
) -> Sides:
    """||f(x + d) - f(x)|| <= GMSI ||d|| for each sample, to first order in d.

    index: GMSI, s_J or ||J_f(x)||_2 of each sample.  The bound is exact where the index bounds the Jacobian on the
    whole way, as s_J of a piecewise-linear network does within a piece.
    """
    with torch.no_grad():
        return Sides(_length(function(x + shift) - function(x)), index * _length(shift))


def norm_refinement(s: Float[Tensor, "*n r"]) -> Sides:
    """||J||_F^2 <= exp(H) ||J||_2^2, from the singular values: H is a mean of -log p_i, and each is >= -log p_1."""
    return Sides(s.square().sum(-1), effective_rank(s) * s.square().amax(-1))


def typical_sensitivity(s: Float[Tensor, "*n r"], *, inputs: int) -> Sides:
    """E ||J u||^2 = ||J||_F^2 / d <= exp(H) / d ||J||_2^2 for a direction u that is uniform on the sphere.

    inputs: d.  Raises ValueError where there are fewer than singular values.
    """
    if inputs < s.shape[-1]:
        raise ValueError(f"inputs={inputs}: a matrix with {s.shape[-1]} singular values has at least as many.")
    left, right = norm_refinement(s)
    return Sides(left / inputs, right / inputs)


def condition_bound(s: Float[Tensor, "*n r"]) -> Sides:
    """sqrt(r) exp(-H / 2) <= kappa: a low entropy forces a large `attribution_condition`."""
    return Sides(math.sqrt(s.shape[-1]) * (-spectral_entropy(s) / 2).exp(), attribution_condition(s))


def quality_bound(R: Float[Tensor, "*n k d"]) -> Sides:
    """SSM^2 = ||R||_F^2 / ||R||_2^2 <= exp(H(R)): what `quality.ssm` measures is a typical over a worst case, too."""
    return Sides(ssm(R).square(), effective_rank(sigma(R)))


def kernel_perturbation(K: Float[Tensor, "*b n n"], changed: Float[Tensor, "*b n n"]) -> Sides:
    """max_i |lambda_i(K') - lambda_i(K)| <= ||K' - K||_2 for symmetric matrices.  [weyl1912]

    Raises ValueError for matrices that are empty, not symmetric, or of different sizes.
    """
    if K.shape != changed.shape or not K.numel():
        raise ValueError(
            f"the kernels are {tuple(K.shape)} and {tuple(changed.shape)}: alike, and not empty, is needed."
        )
    for name, matrix in (("K", K), ("changed", changed)):
        off = (matrix - matrix.mT).abs().amax((-2, -1))
        if not (off <= 1e-4 * matrix.abs().amax((-2, -1))).all():
            raise ValueError(f"{name} is not symmetric, or not finite.")
    before, after = torch.linalg.eigvalsh(K), torch.linalg.eigvalsh(changed)
    return Sides((after - before).abs().amax(-1), torch.linalg.eigvalsh(changed - K).abs().amax(-1))


def kernel_size(K: Float[Tensor, "m m"], norms: Float[Tensor, " n"]) -> Sides:
    """s_K = lambda_max(K) / n <= mean_i ||grad_theta f(x_i)||_2^2, which is at most s_theta^2.

    K = G G^T with the samples' gradients, each (k, p), as the block rows of G, and ||G||_2^2 <= sum_i ||G_i||_2^2.
    K: the kernel of n samples, m = n or, with all outputs, m = n k.  norms: of the same samples.
    Raises ValueError where m is no multiple of n.
    """
    if not len(norms) or len(K) % len(norms):
        raise ValueError(f"a kernel of {len(K)} rows does not belong to {len(norms)} samples.")
    return Sides(torch.linalg.eigvalsh(K)[-1] / len(norms), norms.square().mean())


# ---- descent


def critical_step(curvature: int | float) -> float:
    """2 / s_H: gradient descent on the quadratic model converges below this step and diverges above it.

    Along an eigenvector of H the distance to the minimum is multiplied by 1 - step * lambda in every step.
    Raises ValueError for a curvature that is not positive.
    """
    if not 0 < curvature < math.inf:
        raise ValueError(f"curvature={curvature} must be positive: without it no step diverges.")
    return 2 / curvature


def observed_critical_step(
    gradient: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    guess: int | float,
    steps: int = 300,
    precision: float = 1e-3,
) -> float:
    """The step from which on gradient descent diverges, found by running it: `steps` steps for each of some 15 trials.

    gradient: of what is minimised, of `start`'s shape; a quadratic model's is g + H (theta - theta_0).  It is called
    divergence when the gradient is longer after all steps than after half of them.  guess: any step to begin with; it
    is halved or doubled until the two behaviours lie on either side, then the interval is halved to `precision` of it.
    The way from the start must not be at right angles to the steepest direction; from a random one it never is.
    Raises ValueError where no step diverges, or every step, within a factor of 2^30 of the guess.
    """
    if not (guess > 0 and steps >= 2 and 0 < precision < 1):
        raise ValueError(f"guess={guess} and precision={precision} must be positive, steps={steps} at least two.")
    low = high = guess
    while _diverges(gradient, start, low, steps):
        low, high = low / 2, low
        if low < guess / _FAR:
            raise ValueError(f"descent diverges at every step down to {low:.1e}: is it a minimum that it looks for?")
    while not _diverges(gradient, start, high, steps):
        low, high = high, high * 2
        if high > guess * _FAR:
            raise ValueError(f"descent diverges at no step up to {high:.1e}: start where the gradient is not zero.")
    while high - low > precision * high:
        middle = (low + high) / 2
        low, high = (low, middle) if _diverges(gradient, start, middle, steps) else (middle, high)
    return (low + high) / 2


def _diverges(gradient: Callable[[Tensor], Tensor], start: Tensor, step: float, steps: int) -> bool:
    at, sizes = start, []
    for _ in range(steps + 1):
        slope = gradient(at).detach()
        sizes.append(float(torch.linalg.vector_norm(slope)))
        if not sizes[-1] < math.inf:
            return True
        at = at - step * slope
    noise = torch.finfo(start.dtype).eps ** 0.5 * sizes[0]  # below which it has arrived
    return sizes[-1] > max(sizes[steps // 2], noise)


def _length(vectors: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors.flatten(1), dim=1)
