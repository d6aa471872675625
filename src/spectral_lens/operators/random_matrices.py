"""The spectra that chance alone gives: singular values of products of Gaussian matrices.

The laws hold for large matrices whose sizes keep their proportions, the longer the product the larger; `spectra` draws
what holds for small ones.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

__all__ = ["ProductLaw", "spectra"]

Values = Float[Tensor, "*n"]
Number = int | float
PerFactor = Number | Sequence[Number]

_POINTS = 4096  # of a mean over the law
_HALVINGS = 46  # of an interval of about pi: down to 1e-13


@dataclass(frozen=True)
class ProductLaw:
    """The law of the singular values of X_L ... X_1, independent matrices of independent entries.

    sizes: N_0, ..., N_L, inputs first, so X_l is N_l x N_(l-1); they need not be integers.  variance: of an entry, one
    for all factors, or one of each.  There are r = min N_l singular values that are not zero.  With a_l = r / N_l,
    one of them 1, and  x = s^2 r / (all variances * all sizes),  whose mean is 1, the sum M(z) = sum_k E x^k / z^k of
    the moments solves

        z = prod_l (1 + a_l M) / M                                                  [mueller2002; burda2010]

    On the cut M has every phase t between 0 and pi once, and its modulus makes z real: sum_l arg(1 + a_l M) = t.
    Density and distribution of x are Im M / (pi x) and 1 + Im(F) / pi with
    F = L M + sum_l (1 - 1 / a_l) log(1 + a_l M) - log M.  Equal sizes give the law of Fuss and Catalan, one factor
    that of Marchenko and Pastur [marchenko1967], with the entropy log r - r / (2 q), r <= q the two sizes [page1993].
    Raises ValueError for fewer than two sizes, and for sizes or variances that are not positive.

    >>> law = ProductLaw((400, 100), variance=0.01)
    >>> [round(edge, 4) for edge in law.edges], round(law.entropy(), 4)  # sqrt(0.01) (20 -+ 10), log 100 - 1/8
    ([1.0, 3.0], 4.4802)
    """

    sizes: Sequence[Number]
    variance: PerFactor = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", tuple(self.sizes))
        object.__setattr__(self, "variance", tuple(_variances(self.sizes, self.variance)))

    @property
    def rank(self) -> Number:
        return min(self.sizes)

    @property
    def scale(self) -> float:
        """The mean of s^2 over the nonzero singular values."""
        return math.prod(_variances(self.sizes, self.variance)) * math.prod(self.sizes) / self.rank

    @property
    def edges(self) -> tuple[float, float]:
        """The smallest and the largest singular value, where z, real, has no slope."""
        ends = torch.tensor([math.pi, 0.0], dtype=torch.float64)
        low, high = self._singular(ends, self._modulus(ends)).tolist()
        return (0.0 if self._ratios[1] == 1 else low), high

    def density(self, s: Values) -> Values:
        """Of the singular values; it integrates to one.  Taken as 0 at s = 0."""
        s = s.double()
        M = self._at(s)
        return torch.where(M.imag > 0, 2 * M.imag / (math.pi * s), 0)

    def cdf(self, s: Values) -> Values:
        """The share of the r singular values below s."""
        return self._below(self._at(s.double()))

    def curve(self, points: int = 400) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Singular values from the smallest to the largest, density and distribution there: for drawing."""
        phase = self._phases(points).flip(0)
        M = torch.polar(self._modulus(phase), phase)
        s = self._singular(phase, M.abs())
        return s, 2 * M.imag / (math.pi * s), self._below(M)

    def mean(self, function: Callable[[Tensor], Tensor]) -> float:
        """The mean of function(s) over the law, by a quadrature along the phase of M."""
        phase = self._phases(_POINTS)
        M = torch.polar(self._modulus(phase), phase)
        outer = self._ratios * M.unsqueeze(1)
        slope = (outer / (1 + outer)).sum(1) - 1  # of log z by log M
        weight = M.imag * slope.abs().square() / slope.imag / len(phase)
        return float((weight * function(self._singular(phase, M.abs()))).sum())

    def moment(self, order: int) -> float:
        """The mean of s^(2 order), exact: scale^k / k [u^(k-1)] prod_l (1 + a_l u)^k.

        For equal sizes scale^k times the number of Fuss and Catalan, binomial((L + 1) k, k) / (L k + 1).
        Raises ValueError for an order below 1.
        """
        if order < 1:
            raise ValueError(f"order={order} must be at least 1.")
        roots = np.polynomial.Polynomial.fromroots(-1 / self._ratios.numpy())
        power = (roots / roots(0)) ** order
        return self.scale**order * float(power.coef[order - 1]) / order

    def entropy(self) -> float:
        """log r - E x log x, the `spectra.spectral_entropy` of a large product.

        For L square factors log r - (1/2 + 1/3 + ... + 1/(L + 1)).   [collins2010]
        """
        return math.log(self.rank) - self.mean(lambda s: -torch.special.entr(s.square() / self.scale))

    @property
    def _ratios(self) -> Float[Tensor, " sizes"]:
        """a_l: the smallest size over each, largest ratios first."""
        ordered = torch.tensor(sorted(self.sizes), dtype=torch.float64)
        return ordered[0] / ordered

    def _phases(self, points: int) -> Tensor:
        return (torch.arange(points, dtype=torch.float64) + 0.5) * (math.pi / points)

    def _modulus(self, phase: Values) -> Values:
        """|M| at its phase; at the phases 0 and pi the limit, where z has no slope."""
        ratios, inner = self._ratios, phase.clamp(1e-7, math.pi - 1e-7)

        def above(size: Tensor) -> Tensor:
            M = torch.polar(size.exp(), inner)
            return (1 + ratios * M.unsqueeze(-1)).angle().sum(-1) > inner

        low, high = math.log(0.5 / (len(ratios) - 1)), math.log(2 / float(ratios[-1]))
        return _boundary(above, torch.full_like(phase, low), torch.full_like(phase, high)).exp()

    def _singular(self, phase: Values, modulus: Values) -> Values:
        M = torch.polar(modulus, phase)
        return (self.scale * (1 + self._ratios * M.unsqueeze(-1)).abs().prod(-1) / modulus).sqrt()

    def _at(self, s: Values) -> Complex[Tensor, "*n"]:
        """M at the singular values: real beyond the edges."""
        phase = _boundary(
            lambda t: self._singular(t, self._modulus(t)) < s, torch.zeros_like(s), torch.full_like(s, math.pi)
        )
        low, high = self.edges
        phase = torch.where(s >= high, 0.0, torch.where(s <= low, math.pi, phase))
        M = torch.polar(self._modulus(phase), phase)
        return torch.complex(M.real, torch.where((s > low) & (s < high), M.imag, 0))

    def _below(self, M: Complex[Tensor, "*n"]) -> Values:
        logs = ((1 - 1 / self._ratios) * (1 + self._ratios * M.unsqueeze(-1)).angle()).sum(-1)
        return 1 + ((len(self.sizes) - 1) * M.imag + logs - M.angle()) / math.pi


def spectra(
    sizes: Sequence[int],
    *,
    generator: torch.Generator,
    draws: int,
    variance: PerFactor = 1.0,
    active: Number = 1.0,
) -> Float[Tensor, "draws r"]:
    """Singular values of `draws` products X_L ... X_1 of Gaussian matrices, largest first, r = min(N_0, N_L).

    sizes, variance: as for `ProductLaw`; where a size in between is smaller, the rest is zero.  active: the probability
    that a hidden node lets anything through, 1/2 for a ReLU at random weights: a diagonal matrix of zeros and ones,
    drawn anew for each product, stands behind each factor but the last.  For large matrices that is the law with that
    share of each hidden size, where none of these is the smallest of all.  In double precision: values below 1e-16 of
    the largest are rounding errors.
    Raises ValueError for sizes or variances that are not positive, no draws, and a share outside (0, 1].

    >>> spectra((5, 3, 4), generator=torch.Generator().manual_seed(0), draws=7).shape
    torch.Size([7, 4])
    """
    variances = _variances(sizes, variance)
    if draws < 1 or not 0 < active <= 1:
        raise ValueError(f"draws={draws} must be at least 1, and active={active} in (0, 1].")
    options: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}

    def factor(layer: int) -> Tensor:
        shape = draws, sizes[layer + 1], sizes[layer]
        return math.sqrt(variances[layer]) * torch.randn(shape, generator=generator, **options)

    product = factor(0)
    for layer in range(1, len(variances)):
        if active < 1:
            product = product * (torch.rand(draws, sizes[layer], 1, generator=generator, **options) < active)
        product = factor(layer) @ product
    return torch.linalg.svdvals(product)


def _boundary(above: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Where `above`, elementwise, turns from False to True between the two."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        there = above(middle)
        low, high = torch.where(there, low, middle), torch.where(there, middle, high)
    return (low + high) / 2


def _variances(sizes: Sequence[Number], variance: PerFactor) -> list[float]:
    """One for each factor."""
    if len(sizes) < 2:
        raise ValueError(f"sizes={sizes} is no matrix: name at least the inputs and the outputs.")
    each = [float(variance)] * (len(sizes) - 1) if isinstance(variance, int | float) else list(variance)
    if len(each) != len(sizes) - 1:
        raise ValueError(f"variance has {len(each)} values for {len(sizes) - 1} factors: give one, or one of each.")
    _positive(**{f"sizes[{k}]": size for k, size in enumerate(sizes)})
    _positive(**{f"variance[{k}]": value for k, value in enumerate(each)})
    return each


def _positive(**values: Number) -> None:
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name}={value} must be positive.")
