"""The spectrum that Lanczos' method reads off products, against matrices of known eigenvalues."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.operators.lanczos import eigenvalues, extreme_eigenvalues, spectral_density
from spectral_lens.operators.linear import LinearOperator

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


def operator_of(H):
    return LinearOperator(tuple(H.shape), lambda v: H @ v, dtype=H.dtype)


def given_matrix(values, seed=0):
    """A symmetric matrix of these eigenvalues in a random basis."""
    draw = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(len(values), len(values), generator=draw)).Q
    H = (Q * torch.as_tensor(values)) @ Q.mT
    return H, operator_of(H)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("values", [[-3.0, 0.5, 1.0, 2.0, 2.5], [-1.0, -1.0, 0.0, 4.0, 4.0], [-5.0, -4.0, -2.0]])
def test_ends_of_a_known_spectrum(values):
    H, operator = given_matrix(values)
    found = extreme_eigenvalues(operator, tolerance=1e-10, generator=draw())
    assert found.lowest.value == pytest.approx(min(values))
    assert found.highest.value == pytest.approx(max(values))
    assert abs(found.magnitude.value) == pytest.approx(max(map(abs, values)))
    for end in found[:2]:
        assert_close(H @ end.vector, end.value * end.vector, 1e-8)
        assert float(end.vector.norm()) == pytest.approx(1)
    assert found.products <= len(set(values)) + 1


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**30), st.floats(1e-3, 0.5))
def test_the_residual_bounds_the_distance_to_an_eigenvalue(size, steps, seed, tolerance):
    values = torch.randn(size, generator=draw(seed), dtype=torch.float64)
    H, operator = given_matrix(values.tolist(), seed)
    H = H.double()
    operator = operator_of(H)
    exact = torch.linalg.eigvalsh(H)
    found = extreme_eigenvalues(operator, tolerance=tolerance, steps=steps, generator=draw(seed))
    slack = 1e-9 * float(exact.abs().max())
    assert found.products <= min(size, steps)
    for end in found[:2]:
        assert float((exact - end.value).abs().min()) <= end.error + slack
        assert float((H @ end.vector - end.value * end.vector).norm()) == pytest.approx(end.error, abs=10 * slack)
    assert exact[0] - slack <= found.lowest.value <= found.highest.value <= exact[-1] + slack  # from inside
    if found.products < min(size, steps):
        assert max(found.lowest.error, found.highest.error) <= tolerance * abs(found.magnitude.value) + slack


@pytest.mark.parametrize("values", [[-3.0, 0.5, 1.0, 2.0, 2.5], [-1.0, 0.1, 0.2, 0.3, 4.0], [-5.0, -4.0, -2.0]])
def test_the_end_farther_from_zero(values):
    _, operator = given_matrix(values + [0.0] * 20)
    found = extreme_eigenvalues(operator, which="magnitude", tolerance=1e-3, generator=draw())
    assert abs(found.magnitude.value) == pytest.approx(max(map(abs, values)), rel=1e-5)
    assert found.magnitude.error <= 1e-3 * abs(found.magnitude.value)
    assert found.products <= extreme_eigenvalues(operator, tolerance=1e-3, generator=draw()).products


def test_the_farther_end_of_many():
    values = torch.randn(300, generator=draw(1), dtype=torch.float64)
    _, operator = given_matrix([*values.tolist(), 9.0])
    one, both = (extreme_eigenvalues(operator, which=which, generator=draw()) for which in ("magnitude", "both"))
    assert one.products < both.products
    assert one.magnitude.value == pytest.approx(9, rel=1e-4)


def settled(found, which, tolerance):
    """The rule by which the estimates are near enough, written out."""
    (near, far) = sorted(found[:2], key=lambda each: abs(each.value))
    if which == "magnitude" and abs(near.value) + near.error <= abs(far.value):
        return far.error <= tolerance * abs(far.value)
    return max(near.error, far.error) <= tolerance * abs(far.value)


@pytest.mark.parametrize("seed", range(6))
def test_it_stops_at_the_first_step_that_is_near_enough(seed):
    """Each step's estimates are those of a run with so many steps: the same start, and nothing near enough."""
    values = [*torch.randn(9, generator=draw(seed)).tolist(), 3.0, [-2.9, -1.0][seed % 2]]
    _, operator = given_matrix(values, seed)
    steps = [extreme_eigenvalues(operator, tolerance=0.0, steps=k, generator=draw(seed)) for k in range(1, 12)]
    for which in ("both", "magnitude"):
        for tolerance in (0.3, 0.1, 1e-2):
            found = extreme_eigenvalues(operator, which=which, tolerance=tolerance, generator=draw(seed))
            assert found.products == next(each.products for each in steps if settled(each, which, tolerance))


def test_small_eigenvalues_beside_a_large_one():
    """What is left of a product is far below the largest eigenvalue long before the space is used up."""
    small = torch.linspace(1e-7, 2e-7, 7).tolist()
    _, operator = given_matrix([1.0, *small])
    found = extreme_eigenvalues(operator, tolerance=1e-10, generator=draw())
    assert found.lowest.value == pytest.approx(1e-7, rel=1e-3)
    assert max(found.lowest.error, found.highest.error) <= 1e-10
    assert found.products == 8


@pytest.mark.parametrize("scale", [2.0**-90, 2.0**40])
def test_the_unit_of_the_matrix_does_not_matter(scale):
    H, operator = given_matrix([*torch.linspace(-1, 1, 31).tolist(), 5.0, -4.0])
    scaled = operator_of(scale * H)
    one, other = (extreme_eigenvalues(each, generator=draw()) for each in (operator, scaled))
    assert (other.products, other.highest.value) == (one.products, scale * one.highest.value)
    assert other.lowest.error == scale * one.lowest.error
    one, other = (eigenvalues(each, 3, which="magnitude", generator=draw()) for each in (operator, scaled))
    assert other.products == one.products
    assert torch.equal(other.errors, scale * one.errors)
    one, other = (spectral_density(each, generator=draw()) for each in (operator, scaled))
    torch.testing.assert_close(other.density * scale, one.density, rtol=1e-9, atol=0)


def test_the_default_width_is_what_the_steps_resolve():
    _, operator = given_matrix([-1.0, 0.5, 3.0])
    found, expected = (
        spectral_density(operator, steps=7, width=width, points=50, generator=draw()) for width in (None, 4 / 7)
    )
    torch.testing.assert_close(found.density, expected.density)
    torch.testing.assert_close(found.at, torch.linspace(-1 - 12 / 7, 3 + 12 / 7, 50))
    for value, width in ((-2.0, 2 / 7), (0.0, 1 / 7)):  # without a range: of the value, or of one
        flat = spectral_density(operator_of(torch.tensor([[value]])), steps=7, generator=draw())
        assert float(flat.density.max()) == pytest.approx(1 / (width * math.sqrt(2 * math.pi)), rel=1e-3)
        assert float(flat.at[-1] - flat.at[0]) == pytest.approx(6 * width)


def test_nothing_and_one():
    nothing = operator_of(torch.zeros(5, 5))
    found = extreme_eigenvalues(nothing, generator=draw())
    assert (found.magnitude.value, found.magnitude.error, found.products) == (0, 0, 1)
    assert float(spectral_density(nothing).density.max()) > 0
    one = extreme_eigenvalues(operator_of(torch.tensor([[-2.0]])))
    assert (one.lowest.value, one.highest.value) == (-2, -2)


def test_density_of_a_known_spectrum():
    values = [-1.0] * 20 + [0.0] * 50 + [3.0] * 30
    _, operator = given_matrix(values)
    found = spectral_density(operator, draws=60, steps=10, width=0.1, points=2000, generator=draw())
    for level, share in ((-1, 0.2), (0, 0.5), (3, 0.3)):
        near = (found.at - level).abs() < 0.4
        assert float(torch.trapezoid(found.density[near], found.at[near])) == pytest.approx(share, abs=0.02)
    assert float(torch.trapezoid(found.density, found.at)) == pytest.approx(1, abs=5e-3)
    peak = float(found.at[found.density.argmax()])
    assert peak == pytest.approx(0, abs=0.01)
    assert float(found.density.max()) == pytest.approx(0.5 / (0.1 * math.sqrt(2 * math.pi)), rel=0.05)


# ---- the first eigenvalues


ORDERS = {
    "largest": lambda values: sorted(values, reverse=True),
    "smallest": sorted,
    "magnitude": lambda values: sorted(values, key=abs, reverse=True),
}


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 23), st.integers(1, 23), st.sampled_from(sorted(ORDERS)), st.integers(0, 2**30))
def test_the_first_eigenvalues_are_numpys(size, k, which, seed):
    """With as many steps as there are dimensions the Krylov space is the whole one."""
    k = min(k, size)
    H, operator = given_matrix(torch.randn(size, generator=draw(seed), dtype=torch.float64).tolist(), seed)
    found = eigenvalues(operator, k, which=which, tolerance=1e-12, generator=draw(seed))
    assert found.values.tolist() == pytest.approx(ORDERS[which](torch.linalg.eigvalsh(H).tolist())[:k], abs=1e-9)
    assert_close(H @ found.vectors, found.values * found.vectors, 1e-8)
    assert_close(found.vectors.mT @ found.vectors, torch.eye(k), 1e-9)
    residuals = (H @ found.vectors - found.values * found.vectors).norm(dim=0)
    assert_close(residuals, found.errors, 1e-8 / max(1e-300, float(found.errors.max())))


def test_few_of_many_take_few_products():
    _, operator = given_matrix([*torch.linspace(-1, 1, 200).tolist(), 5.0, 7.0, -8.0])
    found = eigenvalues(operator, 3, which="magnitude", tolerance=1e-6, generator=draw())
    assert found.values.tolist() == pytest.approx([-8, 7, 5])
    assert found.products < 30
    assert float(found.errors.max()) <= 1e-6 * 8


def test_multiples_are_found():
    """One start sees each eigenvalue once, several starts as often as it occurs."""
    H = torch.diag(torch.tensor([4.0, 4, 4, 1, 1, -2]))
    assert extreme_eigenvalues(operator_of(H), tolerance=0.0, generator=draw()).products == 3
    found = eigenvalues(operator_of(H), 5, tolerance=1e-9, generator=draw())
    assert found.values.tolist() == pytest.approx([4, 4, 4, 1, 1])
    assert_close(H @ found.vectors, found.values * found.vectors, 1e-8)
    nothing = eigenvalues(operator_of(torch.zeros(4, 4)), 4, generator=draw())
    assert nothing.values.tolist() == [0, 0, 0, 0]
    assert_close(nothing.vectors.mT @ nothing.vectors, torch.eye(4))


def test_the_first_eigenvalues_of_the_negative_are_the_last():
    H, operator = given_matrix([*torch.linspace(0, 1, 60).tolist(), 3.0, 5.0, 9.0])
    one = eigenvalues(operator, 2, tolerance=1e-6, generator=draw())
    other = eigenvalues(operator_of(-H), 2, which="smallest", tolerance=1e-6, generator=draw())
    assert torch.equal(other.values, -one.values)
    assert other.products == one.products < 20


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_a_space_that_is_used_up_is_left_for_another_direction(scale):
    """Two starts see two dimensions of each eigenvalue: the others need directions of their own."""
    H, operator = given_matrix([scale * value for value in (4, 4, 4, 1, 1, 1, -2, -2, -2)])
    found = eigenvalues(operator, 2, tolerance=0.0, generator=draw())
    assert found.products == 9
    assert found.values.tolist() == pytest.approx([4 * scale, 4 * scale])
    assert_close(found.vectors.mT @ found.vectors, torch.eye(2))
    assert_close(H @ found.vectors, found.values * found.vectors, 1e-12)


def test_a_direction_that_is_nearly_used_up_is_still_followed():
    """Behind a large eigenvalue little is left of each product, but it is what the others are found by."""
    _, operator = given_matrix([1e6, 7.0, 6.0, *torch.linspace(0, 1, 100).tolist()])
    found = eigenvalues(operator, 3, tolerance=1e-9, generator=draw())
    assert found.values.tolist() == pytest.approx([1e6, 7, 6], rel=1e-4)
    assert found.products <= 21


def test_a_batch_of_one():
    H, operator = given_matrix([-3.0, 0.5, 2.0])
    one = LinearOperator((1, 3, 3), lambda v: v @ H, dtype=H.dtype)
    found, expected = (extreme_eigenvalues(each, tolerance=1e-9, generator=draw()) for each in (one, operator))
    assert found.lowest.value == pytest.approx(expected.lowest.value)
    assert found.highest.vector.shape == (3,)


# ---- errors


def test_spectra_that_cannot_be_estimated_are_named():
    _, operator = given_matrix([1.0, 2.0])
    several, general = LinearOperator((2, 3, 3), lambda v: v), LinearOperator((3, 3), lambda v: v, lambda v: v)
    broken = operator_of(torch.full((3, 3), float("nan")))
    for work, said in (
        (lambda: extreme_eigenvalues(broken), "not finite"),
        (lambda: extreme_eigenvalues(operator, steps=0), "steps=0"),
        (lambda: eigenvalues(operator, 0), "k=0"),
        (lambda: eigenvalues(operator, 3), "the 2 there are"),
        (lambda: eigenvalues(operator, 2, steps=1), "steps=1"),
        (lambda: eigenvalues(operator, 1, which="top"), "'largest', 'smallest', 'magnitude'"),
        (lambda: extreme_eigenvalues(several), "one symmetric operator"),
        (lambda: eigenvalues(general, 1), "one symmetric operator"),
        (lambda: spectral_density(general), "one symmetric operator"),
        (lambda: extreme_eigenvalues(operator, which="top"), "'both' or 'magnitude'"),
        (lambda: spectral_density(operator, draws=0), "draws=0"),
        (lambda: spectral_density(operator, width=0.0), "width=0.0"),
        (lambda: spectral_density(operator, points=0), "points=0"),
    ):
        with pytest.raises(ValueError, match=said):
            work()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_density_of_a_multiple_of_the_identity_has_a_width(dtype):
    """What rounding makes of one eigenvalue is no range of values."""
    M = 0.3 * torch.eye(9, dtype=dtype) + 1e-1 * torch.finfo(dtype).eps * torch.randn(9, 9, dtype=dtype)
    operator = LinearOperator((9, 9), lambda v: M @ v, dtype=dtype)
    found = spectral_density(operator, steps=5, generator=torch.Generator().manual_seed(0))
    assert float(found.at[-1] - found.at[0]) == pytest.approx(6 * 0.3 / 5, rel=1e-4)
    assert float(torch.trapezoid(found.density, found.at)) == pytest.approx(1, abs=0.01)
