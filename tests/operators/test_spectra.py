"""What one spectrum says, against decompositions and closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.operators.spectra import (
    attribution_condition,
    effective_rank,
    sensitivity,
    sigma,
    spectral_entropy,
)

pytestmark = pytest.mark.usefixtures("double")


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**30))
def test_they_are_torchs(n, rows, columns, seed):
    R = torch.randn(n, rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    s = torch.linalg.svdvals(R)
    torch.testing.assert_close(sigma(R), s, rtol=0, atol=1e-7 * float(s.max()))
    torch.testing.assert_close(sensitivity(R), torch.linalg.matrix_norm(R))
    p = s.square() / s.square().sum(1, keepdim=True)
    torch.testing.assert_close(spectral_entropy(s), torch.distributions.Categorical(probs=p).entropy())
    typical = torch.linalg.matrix_norm(R) / min(rows, columns) ** 0.5
    torch.testing.assert_close(attribution_condition(s), s[:, 0] / typical)


@pytest.mark.parametrize(
    ("s", "rank", "condition"),
    [([3.0] * 7, 7, 1), ([5.0, 0, 0, 0], 1, 2), ([1e-200, 1e-200], 2, 1), ([1e200, 1e200, 0], 2, math.sqrt(3 / 2))],
)
def test_known_spectra_at_every_scale(s, rank, condition):
    s = torch.tensor(s)
    assert float(effective_rank(s)) == pytest.approx(rank)
    assert float(spectral_entropy(s)) == pytest.approx(math.log(rank))
    assert float(attribution_condition(s)) == pytest.approx(condition)


def test_single_precision_keeps_the_large_values():
    R = torch.randn(4, 5, 7)
    found = sigma(R.float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), torch.linalg.svdvals(R), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 8), (8, 3)])
def test_single_precision_keeps_small_values_too(shape):
    """A thousandth of the largest is a millionth in the square, where single precision has lost all but a digit."""
    Q, P = (torch.linalg.qr(torch.randn(20, size, 3)).Q for size in shape)
    s = torch.tensor([1.0, 1e-2, 1e-3])
    found = sigma(((Q * s) @ P.mT).float())
    torch.testing.assert_close(found, s.float().expand(20, -1), rtol=1e-3, atol=0)


def test_directions_that_are_not_there_have_no_negative_squares():
    R = torch.randn(50, 6, 1) @ torch.randn(50, 1, 9)
    found = sigma(R)
    assert (found[:, 1:] <= 1e-7 * found[:, :1]).all()


def test_zero_has_no_shape():
    for metric in (spectral_entropy, effective_rank, attribution_condition):
        found = metric(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("metric", [spectral_entropy, effective_rank, attribution_condition])
def test_what_is_no_spectrum_is_named(metric):
    with pytest.raises(ValueError, match="at least one singular value"):
        metric(torch.zeros(3, 0))
    with pytest.raises(ValueError, match="NaN or infinite"):
        metric(torch.tensor([1.0, float("inf")]))
