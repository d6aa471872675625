"""The spectrum of a symmetric operator from its products: both ends, the first eigenvalues, the density of all."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.operators._vectors import orthogonalized
from spectral_lens.operators.linear import LinearOperator

__all__ = ["Density", "Eigenpairs", "Eigenvalue", "Extremes", "eigenvalues", "extreme_eigenvalues", "spectral_density"]


_ORDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "largest": lambda values: -values,
    "smallest": lambda values: values,
    "magnitude": lambda values: -values.abs(),
}


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


class Eigenpairs(NamedTuple):
    """Eigenvalues, their vectors as columns, the residual of each pair, and how many products they took."""

    values: Float[Tensor, " k"]
    errors: Float[Tensor, " k"]
    vectors: Float[Tensor, "p k"]
    products: int


class Density(NamedTuple):
    """The share of the eigenvalues per unit, at each of these points."""

    at: Float[Tensor, " points"]
    density: Float[Tensor, " points"]


def extreme_eigenvalues(
    operator: LinearOperator,
    *,
    which: str = "both",
    tolerance: float = 0.01,
    steps: int = 100,
    generator: torch.Generator | None = None,
) -> Extremes:
    """The lowest and the highest eigenvalue by Lanczos' method with full orthogonalisation.  [lanczos1950]

    Until both residuals are below `tolerance` of the larger magnitude, or after `steps` products; `steps` vectors are
    held.  A residual bounds the distance to an eigenvalue, and the estimates come from inside the spectrum, their own
    error being about the residual's square over the gap to the next.  generator: of the start, on the CPU.
    which: "magnitude" waits only for the end that is farther from zero, and until the other cannot pass it.
    Raises ValueError for another name, for less than one step, for products that are not finite, and for an operator
    that is not symmetric or a batch of several.

    >>> M = torch.diag(torch.tensor([-3.0, 1.0, 2.0]))
    >>> start = torch.Generator().manual_seed(0)
    >>> ends = extreme_eigenvalues(LinearOperator((3, 3), lambda v: M @ v), generator=start)
    >>> round(ends.lowest.value, 2), round(ends.highest.value, 2), ends.magnitude is ends.lowest
    (-3.0, 2.0, True)
    """
    if which not in ("both", "magnitude"):
        raise ValueError(f"which={which!r} is unknown: use 'both' or 'magnitude'.")
    for step in _lanczos(operator, steps, generator):
        ends, errors = step.values[[0, -1]].abs(), step.residuals[[0, -1]]
        near, far = ends.argsort().tolist() if len(step.values) > 1 else (0, 0)
        settled = errors[far] if which == "magnitude" and ends[near] + errors[near] <= ends[far] else errors.max()
        if settled <= tolerance * ends[far]:
            break
    return Extremes(step.pair(0), step.pair(-1), len(step.values))


def eigenvalues(
    operator: LinearOperator,
    k: int,
    *,
    which: str = "largest",
    tolerance: float = 0.01,
    steps: int = 200,
    generator: torch.Generator | None = None,
) -> Eigenpairs:
    """The first k eigenvalues, those that `which` names, in the order that it names, by the block method of Lanczos.

    From k starts, so that an eigenvalue that occurs several times is found as often.  [golub1977]
    Until all k residuals are below `tolerance` of the largest magnitude, or after `steps` products; twice as many
    vectors are held.  Estimates and residuals are to be read as those of `extreme_eigenvalues`.
    which: "largest", "smallest", or "magnitude" for those farthest from zero.
    Raises ValueError for a k below one, above the operator's size or above `steps`, and as `extreme_eigenvalues` does.

    >>> M = torch.diag(torch.tensor([-3.0, 1.0, 2.0]))
    >>> H, start = LinearOperator((3, 3), lambda v: M @ v), torch.Generator().manual_seed(0)
    >>> found = eigenvalues(H, 2, which="magnitude", generator=start)
    >>> [round(value, 2) for value in found.values.tolist()]
    [-3.0, 2.0]
    """
    if which not in _ORDERS:
        raise ValueError(f"which={which!r} is unknown: use one of {', '.join(map(repr, _ORDERS))}.")
    if not 1 <= k <= min(steps, operator.shape[-1]):
        raise ValueError(f"k={k} must be at least 1, and at most steps={steps} and the {operator.shape[-1]} there are.")
    product, most = _product(operator), min(steps, operator.shape[-1])
    block = torch.stack([_start(operator, generator) for _ in range(k)])
    both = block.new_empty(2, most, block.shape[1])
    held = 0
    while True:
        before, held = held, min(held + k, most)
        for at, v in zip(range(before, held), block, strict=False):
            both[0, at] = _new_direction(v, both[0, :at], lambda: _start(operator, generator))
            both[1, at] = product(both[0, at])
        block = both[1, before:held].clone()
        basis, images = both[:, :held]
        values, vectors = torch.linalg.eigh((basis @ images.mT).double().cpu())
        first = _ORDERS[which](values).argsort()[:k]
        values, vectors, scale = values[first], vectors[:, first].to(basis), float(values.abs().max())
        found = basis.mT @ vectors
        errors = (images.mT @ vectors - found * values.to(basis)).norm(dim=0).double().cpu()
        if errors.max() <= tolerance * scale or held == most:
            return Eigenpairs(values, errors, found, held)


def spectral_density(
    operator: LinearOperator,
    *,
    draws: int = 3,
    steps: int = 40,
    width: float | None = None,
    points: int = 400,
    generator: torch.Generator | None = None,
) -> Density:
    """The spectral density by Lanczos quadrature, each eigenvalue drawn as a Gaussian.  [lin2016]

    A draw's `steps` Ritz values share the weight 1 as the squared first entries of their vectors say.
    width: standard deviation of the Gaussians; by default h, the range of the values over `steps`, which is what so
    many steps resolve: halfway between neighbours h apart each has fallen to exp(-1/8) of its height.  In the usual
    form h / sqrt(8 log kappa) that is kappa = 1.13; EVSL, by one of the method's authors, takes 1.25, and
    [papyan2020] 3, which draws more of the single Ritz values.
    draws: starts to average over.  Their scatter falls with the square root of draws times eigenvalues: for the
    thousands of a network [papyan2020] takes one, three are for smaller ones.
    points: of the grid, which reaches three widths beyond the values: nearly nine to a width at 40 steps.
    Raises ValueError for less than one draw or point, for a width that is not positive, and as `extreme_eigenvalues`.

    >>> M = torch.diag(torch.tensor([1.0, 1.0, 1.0, 3.0]))
    >>> start = torch.Generator().manual_seed(0)
    >>> found = spectral_density(LinearOperator((4, 4), lambda v: M @ v), width=0.1, generator=start)
    >>> round(float(torch.trapezoid(found.density, found.at)), 2)
    1.0
    """
    if draws < 1 or points < 1 or (width is not None and not width > 0):
        raise ValueError(f"draws={draws}, points={points} and width={width} must be positive.")
    nodes, weights = [], []
    for _ in range(draws):
        *_, last = _lanczos(operator, steps, generator)
        nodes.append(last.values)
        weights.append(last.vectors[0].square() / draws)
    value, weight = torch.cat(nodes), torch.cat(weights)
    low, high = float(value.min()), float(value.max())
    rounding = 100 * torch.finfo(operator.dtype).eps * max(abs(low), abs(high))  # of what is a multiple of the identity
    width = width or ((high - low if high - low > rounding else abs(high)) or 1.0) / steps
    at = torch.linspace(low - 3 * width, high + 3 * width, points, dtype=value.dtype)
    bells = torch.exp(-((at - value[:, None]) / width).square() / 2) / (width * math.sqrt(2 * math.pi))
    return Density(at, weight @ bells)


class _Step(NamedTuple):
    """H on the Krylov space so far: Ritz values and vectors, (steps, steps), their residuals, and the basis."""

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    basis: Tensor

    def pair(self, k: int) -> Eigenvalue:
        """The k-th Ritz value and its vector."""
        return Eigenvalue(
            float(self.values[k]), float(self.residuals[k]), self.vectors[:, k].to(self.basis) @ self.basis
        )


def _lanczos(operator: LinearOperator, steps: int, generator: torch.Generator | None) -> Iterator[_Step]:
    """Each step of Lanczos' method, until the space is used up; the basis is orthogonalised twice."""
    product, size = _product(operator), operator.shape[-1]
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    steps = min(steps, size)
    v = _start(operator, generator)
    basis = v.new_empty(steps, size)
    diagonal: list[float] = []
    beside: list[float] = []
    for k in range(steps):
        basis[k] = v
        held = basis[: k + 1]
        v = product(v)
        diagonal.append(float(v @ held[-1]))
        v = orthogonalized(v, held)
        length = float(v.norm())
        T = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        T += torch.diag(torch.tensor(beside, dtype=torch.float64), -1)
        values, vectors = torch.linalg.eigh(T)  # of the lower triangle
        yield _Step(values, vectors, length * vectors[-1].abs(), held)
        if length <= torch.finfo(v.dtype).eps * float(values.abs().max()):
            return
        beside.append(length)
        v = v / length


def _product(operator: LinearOperator) -> Callable[[Tensor], Tensor]:
    """The product with one vector, (p,); raises ValueError for what is not one symmetric operator."""
    if not operator.symmetric or math.prod(operator.shape[:-2]) != 1:
        raise ValueError(f"Lanczos' method is for one symmetric operator, this is {operator}.")

    def product(v: Tensor) -> Tensor:
        image = (operator @ v.view(operator.shape[:-1])).view(-1)
        if not image.isfinite().all():
            raise ValueError("the product is not finite: neither are the parameters, the outputs or the loss.")
        return image

    return product


def _new_direction(v: Tensor, basis: Tensor, another: Callable[[], Tensor]) -> Float[Tensor, " p"]:
    """The part of v at right angles to the basis, or of `another` vector where nothing but rounding is left of v."""
    left = orthogonalized(v, basis)
    if left.norm() <= 10 * torch.finfo(v.dtype).eps * v.norm():
        left = orthogonalized(another(), basis)
    return left / left.norm()


def _start(operator: LinearOperator, generator: torch.Generator | None) -> Float[Tensor, " p"]:
    """A random direction of length one; drawn on the CPU in double precision, so that it is the same everywhere."""
    v = torch.randn(operator.shape[-1], generator=generator, dtype=torch.float64)
    return (v / v.norm()).to(operator.device, operator.dtype)
