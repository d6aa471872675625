"""A linear operator against the matrix that it stands for."""

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.operators.linear import LinearOperator

pytestmark = pytest.mark.usefixtures("double")

SIZES = st.integers(1, 7)
BATCHES = st.sampled_from([(), (1,), (3,), (2, 5)])


def operator_of(A, *, symmetric=False, **options):
    return LinearOperator(
        tuple(A.shape),
        lambda v: torch.einsum("...rc,...c->...r", A, v),
        None if symmetric else lambda u: torch.einsum("...rc,...r->...c", A, u),
        dtype=A.dtype,
        **options,
    )


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(BATCHES, SIZES, SIZES, st.integers(0, 4), st.integers(0, 2**30))
def test_products_transposes_and_blocks_are_the_matrixs(batch, rows, columns, b, seed):
    A, block = drawn(*batch, rows, columns, seed=seed), drawn(*batch, columns, b, seed=seed + 1)
    v, u = drawn(*batch, columns, seed=seed + 2), drawn(*batch, rows, seed=seed + 3)
    operator = operator_of(A)
    assert operator.shape == A.shape
    assert operator.mT.shape == A.mT.shape
    torch.testing.assert_close(operator @ v, (A @ v.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(operator @ block, A @ block)
    torch.testing.assert_close(operator.mT @ u, (A.mT @ u.unsqueeze(-1)).squeeze(-1))
    torch.testing.assert_close(operator.mT.mT @ v, operator @ v)
    torch.testing.assert_close(operator.to_dense(), A)
    torch.testing.assert_close(operator.mT.to_dense(), A.mT)


def test_the_fewer_products_make_the_matrix():
    taken = {"A": 0, "A^T": 0}
    A = drawn(2, 5)

    def counted(name, matrix):
        def product(v):
            taken[name] += 1
            return matrix @ v

        return product

    operator = LinearOperator((2, 5), counted("A", A), counted("A^T", A.mT), dtype=A.dtype)
    torch.testing.assert_close(operator.to_dense(), A)
    torch.testing.assert_close(operator.mT.to_dense(), A.mT)
    assert taken == {"A": 0, "A^T": 4}


def test_a_faster_way_to_the_matrix_is_taken():
    A = drawn(3, 4, 5)
    operator = operator_of(A, dense=lambda: A + 1)
    assert torch.equal(operator.to_dense(), A + 1)
    assert torch.equal(operator.mT.to_dense(), (A + 1).mT)


def test_a_symmetric_operator_is_its_own_transpose():
    A = drawn(4, 4)
    A = A + A.mT
    operator, general = operator_of(A, symmetric=True), operator_of(A)
    assert operator.symmetric
    assert operator.mT is operator
    assert not general.symmetric
    torch.testing.assert_close(operator.to_dense(), A)
    assert repr(operator).startswith("<symmetric LinearOperator (4, 4)")


def test_products_carry_no_gradient():
    A = drawn(3, 4).requires_grad_()
    operator = operator_of(A)
    assert not (operator @ drawn(4).requires_grad_()).requires_grad
    assert not operator.to_dense().requires_grad


# ---- SciPy


@pytest.mark.parametrize("batch", [(), (1,), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scipy_sees_the_matrix(batch, dtype):
    A = drawn(5, 3).to(dtype)
    there = operator_of(A.expand(*batch, -1, -1)).to_scipy()
    v, u, block = drawn(3).numpy(), drawn(5).numpy(), drawn(3, 4).numpy()
    M, tolerance = A.double().numpy(), 1e-12 if dtype is torch.float64 else 1e-5
    assert there.shape == (5, 3)
    assert there.dtype == A.numpy().dtype
    for found, expected in (
        (there.matvec(v), M @ v),
        (there.matvec(v[:, None]), (M @ v)[:, None]),
        (there.rmatvec(u), M.T @ u),
        (there.matmat(block), M @ block),
        (there.rmatmat(u[:, None]), (M.T @ u)[:, None]),
        (there @ block[::-1], M @ block[::-1]),
        (there.T @ u, M.T @ u),
    ):
        assert isinstance(found, np.ndarray)
        assert found.dtype == there.dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_scipys_methods_take_it():
    A = drawn(23, 23)
    A = A @ A.mT
    found = scipy.sparse.linalg.eigsh(operator_of(A, symmetric=True).to_scipy(), k=5, return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(found), np.linalg.eigh(A.numpy()).eigenvalues[-5:], rtol=1e-9)
    B = drawn(9, 14)
    values = scipy.sparse.linalg.svds(operator_of(B).to_scipy(), k=3, return_singular_vectors=False)
    np.testing.assert_allclose(np.sort(values), np.sort(np.linalg.svd(B.numpy()).S[:3]), rtol=1e-9)


def test_what_scipy_does_not_know_is_named():
    with pytest.raises(ValueError, match=r"batch of \(2,\)"):
        operator_of(drawn(2, 3, 4)).to_scipy()
    with pytest.raises(ValueError, match="single or double precision"):
        operator_of(drawn(3, 4).to(torch.bfloat16)).to_scipy()


# ---- errors


@pytest.mark.parametrize("shape", [(3,), (3, 5), (2, 4), (2, 5, 1, 1), (5, 2), ()])
def test_vectors_of_another_shape_are_named(shape):
    with pytest.raises(ValueError, match="the vectors are"):
        operator_of(drawn(2, 3, 5)) @ drawn(*shape)


def test_vectors_of_another_precision_are_named():
    with pytest.raises(ValueError, match=r"torch.float32 on cpu: convert them by .to\(torch.float64\)"):
        operator_of(drawn(3, 4)) @ torch.ones(4, dtype=torch.float32)


def test_no_matrices_are_named():
    for shape in ((3,), (), (0, 3), (3, 0)):
        with pytest.raises(ValueError, match="rows, columns"):
            LinearOperator(shape, lambda v: v, lambda v: v)
    with pytest.raises(ValueError, match="a 3 x 4 matrix is not symmetric"):
        LinearOperator((3, 4), lambda v: v)
