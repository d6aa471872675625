"""The spectrum of a symmetric matrix of which only products are known: its ends, its trace and norm, its density."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Symmetric:
    """A matrix by what it does.  apply: v to the product with it, (p,) both; size: p; like: of its type and device."""

    apply: Callable[[Tensor], Tensor]
    size: int
    like: Tensor

    def draw(self, generator: torch.Generator | None) -> Float[Tensor, " p"]:
        """A random direction of length one; drawn on the CPU in double precision, so that it is the same everywhere."""
        v = torch.randn(self.size, generator=generator, dtype=torch.float64)
        return (v / v.norm()).to(self.like)


class Eigenvalue(NamedTuple):
    """An eigenvalue, its vector, and the residual ||H v - value v||: so near to `value` lies one for certain."""

    value: float
    error: float
    vector: Float[Tensor, " p"]


class Extremes(NamedTuple):
    """Both ends of a spectrum, and how many products they took."""

    lowest: Eigenvalue
    highest: Eigenvalue
    products: int

    @property
    def magnitude(self) -> Eigenvalue:
        """The one that is farther from zero: its absolute value is lambda_max(|H|)."""
        return max(self.highest, self.lowest, key=lambda each: abs(each.value))


class Moments(NamedTuple):
    """The trace and ||H||_F, each with its standard error, itself rough for few draws."""

    trace: float
    trace_error: float
    frobenius: float
    frobenius_error: float


class Density(NamedTuple):
    """The share of the eigenvalues per unit, at each of these points."""

    at: Float[Tensor, " points"]
    density: Float[Tensor, " points"]


def extremes(
    matrix: Symmetric,
    *,
    which: str = "both",
    tolerance: float = 0.01,
    steps: int = 100,
    generator: torch.Generator | None = None,
) -> Extremes:
    """The lowest and the highest eigenvalue by Lanczos' method with full orthogonalisation.  [Lanczos 1950]

    Until both residuals are below `tolerance` of the larger magnitude, or after `steps` products; `steps` vectors are
    held.  A residual bounds the distance to an eigenvalue, and the estimates come from inside the spectrum, their own
    error being about the residual's square over the gap to the next.  generator: of the start, on the CPU.
    which: "magnitude" waits only for the end that is farther from zero, and until the other cannot pass it.
    Raises ValueError for another name.
    """
    if which not in ("both", "magnitude"):
        raise ValueError(f"which={which!r} is unknown: use 'both' or 'magnitude'.")
    for step in _lanczos(matrix, steps, generator):
        residuals = step.next * step.vectors[-1].abs()
        ends, errors = step.values[[0, -1]].abs(), residuals[[0, -1]]
        near, far = ends.argsort().tolist() if len(step.values) > 1 else (0, 0)
        settled = errors[far] if which == "magnitude" and ends[near] + errors[near] <= ends[far] else errors.max()
        if settled <= tolerance * ends[far]:
            break
    lowest, highest = (
        Eigenvalue(float(step.values[k]), float(residuals[k]), step.vectors[:, k].to(step.basis) @ step.basis)
        for k in (0, -1)
    )
    return Extremes(lowest, highest, len(step.values))


def moments(matrix: Symmetric, *, draws: int = 20, generator: torch.Generator | None = None) -> Moments:
    """tr H = E z.Hz and ||H||_F^2 = E ||Hz||^2 for random signs z.  [Hutchinson 1990]

    Raises ValueError for fewer than two draws, which have no error estimate.
    """
    if draws < 2:
        raise ValueError(f"draws={draws}: the error estimate needs at least two.")
    found = []
    for _ in range(draws):
        z = (torch.randint(0, 2, (matrix.size,), generator=generator) * 2 - 1).to(matrix.like)
        product = matrix.apply(z)
        found.append(torch.stack([z @ product, product @ product]).double())
    trace, square = torch.stack(found).mean(0).tolist()
    errors = (torch.stack(found).std(0) / math.sqrt(draws)).tolist()
    norm = math.sqrt(square)
    return Moments(trace, errors[0], norm, errors[1] / (2 * norm) if norm else 0.0)


def density(
    matrix: Symmetric,
    *,
    draws: int = 3,
    steps: int = 40,
    width: float | None = None,
    points: int = 400,
    generator: torch.Generator | None = None,
) -> Density:
    """The spectral density by Lanczos quadrature, each eigenvalue drawn as a Gaussian.  [Lin, Saad and Yang 2016]

    A draw's `steps` Ritz values share the weight 1 as the squared first entries of their vectors say.  width: of the
    Gaussians; by default the range of the values over `steps`.
    Raises ValueError for less than one draw or point, or for a width that is not positive.
    """
    if draws < 1 or points < 1 or (width is not None and not width > 0):
        raise ValueError(f"draws={draws}, points={points} and width={width} must be positive.")
    nodes, weights = [], []
    for _ in range(draws):
        *_, last = _lanczos(matrix, steps, generator)
        nodes.append(last.values)
        weights.append(last.vectors[0].square() / draws)
    value, weight = torch.cat(nodes), torch.cat(weights)
    low, high = float(value.min()), float(value.max())
    width = width or (high - low or abs(high) or 1.0) / steps
    at = torch.linspace(low - 3 * width, high + 3 * width, points, dtype=value.dtype)
    bells = torch.exp(-((at - value[:, None]) / width).square() / 2) / (width * math.sqrt(2 * math.pi))
    return Density(at, weight @ bells)


class _Step(NamedTuple):
    """H on the Krylov space so far: Ritz values and vectors, (steps, steps); how long what leaves it is; its basis."""

    values: Tensor
    vectors: Tensor
    next: float
    basis: Tensor


def _lanczos(matrix: Symmetric, steps: int, generator: torch.Generator | None) -> Iterator[_Step]:
    """Each step of Lanczos' method, until the space is used up; the basis is orthogonalised twice."""
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    steps = min(steps, matrix.size)
    v = matrix.draw(generator)
    basis = v.new_empty(steps, matrix.size)
    diagonal: list[float] = []
    beside: list[float] = []
    for k in range(steps):
        basis[k] = v
        held = basis[: k + 1]
        v = matrix.apply(v)
        if not v.isfinite().all():
            raise ValueError("the product is not finite: neither are the parameters, the outputs or the loss.")
        diagonal.append(float(v @ held[-1]))
        for _ in range(2):
            v = v - held.mT @ (held @ v)
        length = float(v.norm())
        T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        T += torch.diag(torch.tensor(beside, dtype=torch.float64), -1)
        values, vectors = torch.linalg.eigh(T)  # of the lower triangle
        yield _Step(values, vectors, length, held)
        if length <= torch.finfo(v.dtype).eps * float(values.abs().max()):
            return
        beside.append(length)
        v = v / length
