"""The largest singular value from products, against singular value decompositions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.operators.golub_kahan import spectral_norm
from spectral_lens.operators.linear import LinearOperator

pytestmark = pytest.mark.usefixtures("double")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def operator_of(A):
    return LinearOperator(
        tuple(A.shape),
        lambda v: torch.einsum("...rc,...c->...r", A, v),
        lambda u: torch.einsum("...rc,...r->...c", A, u),
        dtype=A.dtype,
    )


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 11), st.integers(1, 11), st.integers(1, 12), st.integers(0, 2**30))
def test_the_residual_bounds_the_distance_to_a_singular_value(n, rows, columns, steps, seed):
    A = torch.randn(n, rows, columns, generator=draw(seed), dtype=torch.float64)
    values = torch.linalg.svdvals(A)
    for operator in (operator_of(A), operator_of(A).mT):
        found = spectral_norm(operator, tolerance=1e-9, steps=steps, generator=draw(seed))
        slack = 1e-9 * values[:, 0]
        assert (found.value <= values[:, 0] + slack).all()
        assert ((values - found.value[:, None]).abs().amin(1) <= found.error + slack).all()
        if steps >= min(rows, columns):
            torch.testing.assert_close(found.value, values[:, 0], rtol=1e-9, atol=0)


def test_it_stops_where_it_is_near_enough():
    A = torch.diag(torch.tensor([9.0, *torch.linspace(0, 2, 150).tolist()]))
    taken = []
    operator = LinearOperator(tuple(A.shape), lambda v: taken.append(1) or A @ v, lambda u: A @ u, dtype=A.dtype)
    found = spectral_norm(operator, tolerance=0.01, generator=draw())
    assert float(found.value) == pytest.approx(9, rel=1e-3)
    assert float(found.error) <= 0.09
    assert len(taken) < 12


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_error_is_the_residual_of_the_singular_vectors(steps):
    A = torch.randn(3, 11, 7, generator=draw(5))
    found = spectral_norm(operator_of(A), tolerance=0.0, steps=steps, generator=draw())
    starts = torch.randn(3, 7, generator=draw())
    for k in range(3):
        krylov = [starts[k]]
        for _ in range(steps - 1):
            krylov.append(A[k].mT @ (A[k] @ krylov[-1]))
        Q = torch.linalg.qr(torch.stack(krylov, 1)).Q
        values, vectors = torch.linalg.svd(A[k] @ Q, full_matrices=False)[1:]
        v, largest = Q @ vectors[0], float(values[0])
        residual = float((A[k].mT @ (A[k] @ v) / largest - largest * v).norm())
        assert float(found.value[k]) == pytest.approx(largest, rel=1e-9)
        assert float(found.error[k]) == pytest.approx(residual, rel=1e-7)


@pytest.mark.parametrize("tolerance", [0.3, 0.05, 1e-3])
def test_it_stops_as_soon_as_all_of_a_batch_are_near_enough(tolerance):
    A = 1e-4 * torch.randn(4, 23, 17, generator=draw(3))
    taken = {"A": 0, "A^T": 0}

    def counted(name, matrix):
        def product(v):
            taken[name] += 1
            return (matrix @ v.unsqueeze(-1)).squeeze(-1)

        return product

    counting = LinearOperator((4, 23, 17), counted("A", A), counted("A^T", A.mT), dtype=A.dtype)
    found = spectral_norm(counting, tolerance=tolerance, generator=draw())
    runs = [spectral_norm(operator_of(A), tolerance=0.0, steps=k, generator=draw()) for k in range(1, 18)]
    steps = next(k for k, run in enumerate(runs, 1) if (run.error <= tolerance * run.value).all())
    assert taken == {"A": steps, "A^T": steps}
    torch.testing.assert_close(found.value, runs[steps - 1].value)


def test_close_values_are_told_apart_when_the_space_is_used_up():
    """Where the basis loses its right angles, the small values come back, and the largest are found too late."""
    values = torch.cat([1 - 1e-4 * torch.arange(20), torch.linspace(0, 0.5, 20)])
    draws = torch.linalg.qr(torch.randn(2, 40, 40, generator=draw(1))).Q
    A = draws[0] @ torch.diag(values) @ draws[1]
    taken = []
    operator = LinearOperator((40, 40), lambda v: taken.append(1) or A @ v, lambda u: A.mT @ u, dtype=A.dtype)
    found = spectral_norm(operator, tolerance=0.0, steps=50, generator=draw())
    assert float(found.value) == pytest.approx(1, rel=1e-13)
    assert float(found.error) < 1e-15
    assert len(taken) == 40


def test_singular_vectors_may_have_either_sign(monkeypatch):
    A, svd = torch.randn(2, 9, 6, generator=draw(2)), torch.linalg.svd
    expected = spectral_norm(operator_of(A), steps=3, generator=draw())

    def turned(B):
        u, values, v = svd(B)
        return -u, values, -v

    monkeypatch.setattr(torch.linalg, "svd", turned)
    found = spectral_norm(operator_of(A), steps=3, generator=draw())
    assert torch.equal(found.error, expected.error)
    assert (found.error > 0).all()


def test_without_batch_axes_and_with_several():
    A = torch.randn(2, 3, 5, 4, generator=draw())
    exact = torch.linalg.matrix_norm(A, 2)
    assert spectral_norm(operator_of(A), tolerance=1e-9, generator=draw()).value.shape == (2, 3)
    torch.testing.assert_close(spectral_norm(operator_of(A), tolerance=1e-9, generator=draw()).value, exact)
    torch.testing.assert_close(spectral_norm(operator_of(A[1, 2]), tolerance=1e-9, generator=draw()).value, exact[1, 2])


def test_rank_one_nothing_and_one_entry():
    rank_one = torch.outer(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.0, 2.0]))
    assert float(spectral_norm(operator_of(rank_one), generator=draw()).value) == pytest.approx(10)
    nothing = spectral_norm(operator_of(torch.zeros(2, 3, 4)), generator=draw())
    assert nothing.value.tolist() == nothing.error.tolist() == [0, 0]
    assert float(spectral_norm(operator_of(torch.tensor([[-7.0]])), generator=draw()).value) == pytest.approx(7)
    with pytest.raises(ValueError, match="steps=0"):
        spectral_norm(operator_of(rank_one), steps=0)
