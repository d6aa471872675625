"""The laws of random spectra against their moments, against each other and against samples."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from spectral_lens.operators.random_matrices import ProductLaw, spectra
from spectral_lens.operators.spectra import spectral_entropy

pytestmark = pytest.mark.usefixtures("double")

SIZES = [(70, 30), (40, 40, 40), (20, 90, 35, 60), (60, 35, 20, 20)]


@dataclass(frozen=True)
class MarchenkoPastur:
    """The law of the min(m, n) singular values of an m x n matrix of independent entries.   [marchenko1967]

    The closed form of the law with one factor.  variance: of an entry.  With r <= q the two sizes, y = r / q and
    x = s^2 / (variance q), x has the density

        sqrt((x_+ - x)(x - x_-)) / (2 pi y x)   between   x_- = (1 - sqrt y)^2   and   x_+ = (1 + sqrt y)^2.
    """

    rows: int
    columns: int
    variance: float = 1.0

    @property
    def edges(self):
        """The smallest and the largest singular value: sqrt(variance) |sqrt m -+ sqrt n|."""
        m, n = math.sqrt(self.rows), math.sqrt(self.columns)
        return math.sqrt(self.variance) * abs(m - n), math.sqrt(self.variance) * (m + n)

    def density(self, s):
        """Of the singular values; it integrates to one.  Taken as 0 at s = 0."""
        s = s.double()
        _, y, root = self._inside(s)
        return torch.where(root > 0, root / (math.pi * y * s), 0)

    def cdf(self, s):
        """The share of the singular values below s.  With  w = sqrt((x_+ - x)(x - x_-))

        2 pi y F = w + (1 + y) (pi / 2 + atan2(x - 1 - y, w))
                     - (1 - y) (pi / 2 + atan2((1 + y) x - (1 - y)^2, (1 - y) w)).
        """
        x, y, w = self._inside(s.double())
        x = x.clamp((1 - math.sqrt(y)) ** 2, (1 + math.sqrt(y)) ** 2)
        first, second = torch.atan2(x - 1 - y, w), torch.atan2((1 + y) * x - (1 - y) ** 2, (1 - y) * w)
        return (w + (1 + y) * (math.pi / 2 + first) - (1 - y) * (math.pi / 2 + second)) / (2 * math.pi * y)

    def entropy(self):
        """log r - r / (2 q), the `spectra.spectral_entropy` of a large matrix.   [page1993]"""
        small, large = sorted((self.rows, self.columns))
        return math.log(small) - small / (2 * large)

    def _inside(self, s):
        """x, y and sqrt((x_+ - x)(x - x_-)), zero outside."""
        small, large = sorted((self.rows, self.columns))
        x, y = s.square() / (self.variance * large), small / large
        above, below = (1 + math.sqrt(y)) ** 2 - x, x - (1 - math.sqrt(y)) ** 2
        return x, y, above.clamp(min=0).sqrt() * below.clamp(min=0).sqrt()


def quadrature(law, function, *, end=math.inf):
    """The integral of the density times a function, up to a value, by Gauss and Legendre.

    s = low + (high - low) sin(t)^6 takes the edges' singularities away.
    """
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(120))
    low, high = law.edges
    t, weights = (nodes + 1) * math.pi / 4, weights * math.pi / 4
    s = low + (min(high, end) - low) * t.sin() ** 6
    slope = (min(high, end) - low) * 6 * t.sin() ** 5 * t.cos()
    return float((weights * law.density(s) * function(s) * slope).sum())


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---- one matrix


@pytest.mark.parametrize(("rows", "columns"), [(30, 70), (70, 30), (50, 50), (1, 900)])
def test_marchenko_pastur(rows, columns):
    law = MarchenkoPastur(rows, columns, 0.3)
    assert quadrature(law, torch.ones_like) == pytest.approx(1, abs=1e-6)
    assert quadrature(law, lambda s: s**2) == pytest.approx(0.3 * max(rows, columns), rel=1e-6)
    y = min(rows, columns) / max(rows, columns)
    assert quadrature(law, lambda s: s**4) == pytest.approx((0.3 * max(rows, columns)) ** 2 * (1 + y), rel=1e-6)
    low, high = law.edges
    assert high == pytest.approx(math.sqrt(0.3) * (math.sqrt(rows) + math.sqrt(columns)))
    assert low == pytest.approx(math.sqrt(0.3) * abs(math.sqrt(rows) - math.sqrt(columns)))
    s = torch.linspace(low, high, 12)
    expected = [quadrature(law, torch.ones_like, end=float(end)) for end in s]
    torch.testing.assert_close(law.cdf(s), torch.tensor(expected), atol=1e-6, rtol=0)
    beyond = torch.tensor([0.0, low / 2, 1.01 * high, 10 * high])
    assert law.density(beyond).tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(law.cdf(beyond), torch.tensor([0.0, 0, 1, 1]))


@pytest.mark.parametrize(("rows", "columns"), [(130, 301), (220, 100), (150, 150)])
def test_marchenko_pasturs_samples(rows, columns):
    found = spectra([columns, rows], generator=generator(), draws=6, variance=0.4)
    law = MarchenkoPastur(rows, columns, 0.4)
    assert kolmogorov(found, law) < 0.015
    assert kolmogorov(found, MarchenkoPastur(rows, 2 * columns, 0.4)) > 0.1
    assert kolmogorov(found, MarchenkoPastur(rows, columns, 0.5)) > 0.05
    assert float(spectral_entropy(found).mean()) == pytest.approx(law.entropy(), abs=0.01)


def kolmogorov(found, law):
    s = found.flatten().sort().values
    steps = torch.arange(len(s) + 1) / len(s)
    F = law.cdf(s)
    return float(torch.maximum((F - steps[:-1]).abs(), (F - steps[1:]).abs()).max())


# ---- products


@pytest.mark.parametrize(("rows", "columns"), [(30, 70), (70, 30), (50, 50)])
def test_one_factor_is_marchenko_pasturs(rows, columns):
    one, other = ProductLaw((columns, rows), 0.3), MarchenkoPastur(rows, columns, 0.3)
    assert one.edges == pytest.approx(other.edges)
    s = torch.linspace(0, 1.1 * one.edges[1], 31)
    torch.testing.assert_close(one.density(s), other.density(s), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(one.cdf(s), other.cdf(s), rtol=0, atol=1e-7)
    assert one.entropy() == pytest.approx(other.entropy(), abs=1e-8)


def fuss_catalan(factors, order):
    return math.comb((factors + 1) * order, order) / (factors * order + 1)


@pytest.mark.parametrize("factors", [1, 2, 3, 4])
def test_equal_sizes_have_the_moments_of_fuss_and_catalan(factors):
    law = ProductLaw([20] * (factors + 1), 0.5)
    for order in (1, 2, 3, 4):
        expected = (0.5 * 20) ** (factors * order) * fuss_catalan(factors, order)
        assert law.moment(order) == pytest.approx(expected)
        assert law.mean(lambda s, order=order: s ** (2 * order)) == pytest.approx(expected)
    assert law.entropy() == pytest.approx(math.log(20) - sum(1 / j for j in range(2, factors + 2)), abs=1e-7)


@pytest.mark.parametrize("factors", [2, 3, 5])
def test_equal_sizes_have_the_known_density(factors):
    """Its parametrisation by an angle.  [haagerup2013]"""
    L, law = factors, ProductLaw([1] * (factors + 1))
    t = torch.linspace(0.02, 0.98, 25) * math.pi / (L + 1)
    x = ((L + 1) * t).sin() ** (L + 1) / (t.sin() * (L * t).sin() ** L)
    rho = t.sin() ** 2 * (L * t).sin() ** (L - 1) / (math.pi * ((L + 1) * t).sin() ** L)
    torch.testing.assert_close(law.density(x.sqrt()), 2 * x.sqrt() * rho, rtol=1e-6, atol=1e-9)
    assert law.edges[0] == 0
    assert law.edges[1] == pytest.approx(math.sqrt((L + 1) ** (L + 1) / L**L))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_density_distribution_and_moments_belong_together(sizes):
    law = ProductLaw(sizes, 0.02)
    assert quadrature(law, torch.ones_like) == pytest.approx(1, abs=1e-5)
    assert law.mean(torch.ones_like) == pytest.approx(1, abs=1e-6)
    assert law.mean(lambda s: s.square()) == pytest.approx(law.scale)
    for order in (1, 2, 3):
        assert law.mean(lambda s, order=order: s ** (2 * order)) == pytest.approx(law.moment(order))
    s, density, cdf = law.curve(301)
    assert (s.diff() > 0).all()
    assert (cdf.diff() > 0).all()
    torch.testing.assert_close(law.density(s[::30]), density[::30], rtol=1e-6, atol=0)
    torch.testing.assert_close(law.cdf(s[::30]), cdf[::30], rtol=0, atol=1e-7)
    around = s[100:200:9] * torch.tensor([[1 - 1e-4], [1.0], [1 + 1e-4]])
    below, _, above = law.cdf(around)
    torch.testing.assert_close((above - below) / (2e-4 * around[1]), law.density(around[1]), rtol=1e-4, atol=0)
    assert law.edges[0] <= s[0]
    assert s[-1] <= law.edges[1] < 1.001 * s[-1]


def test_the_order_of_the_sizes_does_not_matter_and_each_factor_has_its_variance():
    one, other = ProductLaw((20, 90, 35, 60), (0.1, 0.2, 0.3)), ProductLaw((60, 20, 35, 90), (0.6, 0.1, 0.1))
    s = torch.linspace(*one.edges, 9)
    torch.testing.assert_close(one.density(s), other.density(s))
    assert one.moment(3) == pytest.approx(other.moment(3))


@pytest.mark.parametrize("sizes", [(120, 200, 90), (100, 100, 100), (70, 300, 150, 90)], ids=str)
def test_the_samples_of_products(sizes):
    found = spectra(sizes, generator=generator(), draws=8, variance=1 / 100)[:, : min(sizes)]
    law = ProductLaw(sizes, 1 / 100)
    assert kolmogorov(found, law) < 0.02
    assert kolmogorov(found, ProductLaw(sizes, 1 / 80)) > 0.05
    assert float(spectral_entropy(found).mean()) == pytest.approx(law.entropy(), abs=0.05)
    low, high = law.edges
    assert 0.85 * low < found.min()
    assert found.max() < 1.1 * high


def test_the_samples_of_products_with_idle_nodes():
    found = spectra((60, 300, 400, 50), generator=generator(), draws=10, variance=1 / 100, active=0.5)
    assert kolmogorov(found, ProductLaw((60, 150, 200, 50), 1 / 100)) < 0.025
    assert kolmogorov(found, ProductLaw((60, 300, 400, 50), 1 / 100)) > 0.2


# ---- samples


def test_samples_of_every_shape():
    found = spectra((5, 3, 4), generator=generator(), draws=7)
    assert found.shape == (7, 4)
    assert (found.diff(dim=1) <= 0).all()
    assert found[:, 3].abs().max() < 1e-12 * found.max()
    assert spectra((4, 1), generator=generator(), draws=1).shape == (1, 1)
    again = spectra((5, 3, 4), generator=generator(), draws=7)
    assert torch.equal(found, again)
    one = spectra((6, 4, 3), generator=generator(), draws=2000, variance=(0.5, 2.0)).square().sum(1)
    expected = 0.5 * 2 * 6 * 4 * 3
    assert abs(float(one.mean()) - expected) < 4 * float(one.std()) / math.sqrt(2000)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": (4,)}, "no matrix"),
        ({"sizes": (4, 0, 3)}, r"sizes\[1\]=0 must be positive"),
        ({"variance": -1.0}, r"variance\[0\]=-1"),
        ({"variance": (1.0, math.nan)}, r"variance\[1\]=nan"),
        ({"variance": (1.0,)}, "1 values for 2 factors"),
        ({"draws": 0}, "draws=0"),
        ({"active": 0.0}, "active=0.0"),
        ({"active": 1.5}, "active=1.5"),
    ],
)
def test_what_has_no_spectrum(change, said):
    given = {"sizes": (4, 5, 3), "draws": 2, "generator": generator()} | change
    with pytest.raises(ValueError, match=said):
        spectra(**given)
    if not {"draws", "active"} & set(change):
        with pytest.raises(ValueError, match=said):
            ProductLaw(given["sizes"], given.get("variance", 1.0))


def test_moments_that_are_none():
    with pytest.raises(ValueError, match="order=0"):
        ProductLaw((3, 4)).moment(0)
