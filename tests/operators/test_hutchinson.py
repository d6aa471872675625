"""Traces and Frobenius norms from products, against the matrices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.operators.hutchinson import frobenius_norm, trace
from spectral_lens.operators.linear import LinearOperator

pytestmark = pytest.mark.usefixtures("double")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def operator_of(A, *, symmetric=False):
    def times(matrix):
        return lambda v: (matrix @ v.unsqueeze(-1)).squeeze(-1)

    return LinearOperator(tuple(A.shape), times(A), None if symmetric else times(A.mT), dtype=A.dtype)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**30))
def test_they_are_exact_with_as_many_draws_as_the_shorter_side(n, rows, columns, seed):
    A = torch.randn(n, rows, columns, generator=draw(seed), dtype=torch.float64)
    draws = max(2, min(rows, columns))
    found = frobenius_norm(operator_of(A), draws=draws, generator=draw(seed))
    torch.testing.assert_close(found.value, torch.linalg.matrix_norm(A), rtol=1e-9, atol=0)
    assert (found.error <= 1e-9 * found.value).all()
    square = A @ A.mT
    found = trace(operator_of(square, symmetric=True), draws=max(2, rows), generator=draw(seed))
    torch.testing.assert_close(found.value, square.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-9, atol=0)


def test_the_error_is_a_standard_error():
    """Student's t with five degrees of freedom: 95% lie within 2.57."""
    decay = torch.linspace(1, 40, 40) ** -0.7
    far = {"trace": [], "norm": []}
    for seed in range(60):
        Q = torch.linalg.qr(torch.randn(3, 40, 40, generator=draw(seed), dtype=torch.float64)).Q
        A = (Q * decay) @ Q.mT
        for name, estimate, exact in (
            ("trace", trace, decay.sum().expand(3)), ("norm", frobenius_norm, torch.linalg.matrix_norm(A))
        ):  # fmt: skip
            found = estimate(operator_of(A), draws=6, generator=draw(seed))
            far[name].append((found.value - exact) / found.error)
    for each in map(torch.cat, far.values()):
        assert 0.88 < float((each.abs() < 2.57).double().mean()) < 0.99
        assert abs(float(each.mean())) < 5 * float(each.std()) / 180**0.5


def watched(A):
    """The operator of a matrix, and the list of what goes into its product."""
    given = []

    def product(v):
        given.append(v)
        return (A @ v.unsqueeze(-1)).squeeze(-1)

    return LinearOperator(tuple(A.shape), product, lambda u: (A.mT @ u.unsqueeze(-1)).squeeze(-1), dtype=A.dtype), given


@pytest.mark.parametrize("draws", [2, 5])
def test_the_estimates_are_written_out(draws):
    """Signs, whose images span a basis; what other signs say of the rest, with its scatter; and the trace on it."""
    for A, estimate in ((torch.randn(2, 9, 9, generator=draw()), trace), (torch.randn(2, 13, 9), frobenius_norm)):
        operator, given = watched(A)
        found = estimate(operator, draws=draws, generator=draw(3))
        signs, rest, basis = (torch.stack(given[k * draws : (k + 1) * draws], -1) for k in range(3))
        assert len(given) == 3 * draws
        assert set(signs.flatten().tolist()) == {-1, 1}
        form = A if estimate is trace else A.mT @ A
        image = form @ signs
        torch.testing.assert_close(basis.mT @ basis, torch.eye(draws).expand(2, -1, -1))
        torch.testing.assert_close(basis @ (basis.mT @ image), image)
        torch.testing.assert_close(basis.mT @ rest, torch.zeros(2, draws, draws))
        samples = (rest * (form @ rest)).sum(1)
        value = (basis * (form @ basis)).sum((1, 2)) + samples.mean(1)
        error = ((samples - samples.mean(1, keepdim=True)).square().sum(1) / (draws - 1) / draws).sqrt()
        if estimate is frobenius_norm:
            value, error = value.sqrt(), error / (2 * value.sqrt())
        torch.testing.assert_close(found.value, value)
        torch.testing.assert_close(found.error, error)
        assert not torch.allclose(signs, rest)


def test_a_trace_may_be_of_any_square_matrix():
    A = torch.tensor([[1.0, 5.0, 0.0], [-5.0, 2.0, 7.0], [0.0, 0.0, -4.0]])
    found = trace(operator_of(A), draws=3, generator=draw())
    assert float(found.value) == pytest.approx(-1)


def test_the_same_generator_gives_the_same_estimate():
    A = operator_of(torch.randn(2, 9, 7, generator=draw()))
    one, two, three = (frobenius_norm(A, draws=3, generator=draw(seed)).value for seed in (4, 4, 5))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_in_a_precision_that_is_not_the_default():
    A = torch.randn(5, 3, generator=draw())
    torch.set_default_dtype(torch.float32)
    found = frobenius_norm(operator_of(A), draws=3, generator=draw())
    assert found.value.dtype == found.error.dtype == torch.float64
    assert float(found.value) == pytest.approx(float(A.norm()))


def test_nothing_has_no_error():
    found = frobenius_norm(operator_of(torch.zeros(2, 3, 4)), generator=draw())
    assert found.value.tolist() == found.error.tolist() == [0, 0]


def test_what_cannot_be_estimated_is_named():
    A = operator_of(torch.ones(3, 4))
    with pytest.raises(ValueError, match="draws=1"):
        frobenius_norm(A, draws=1)
    with pytest.raises(ValueError, match="only square matrices"):
        trace(A)
