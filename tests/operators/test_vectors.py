"""What the Krylov methods do with vectors, against projections written as matrices."""

import pytest
import torch

from spectral_lens.operators._vectors import orthogonalized, unit

pytestmark = pytest.mark.usefixtures("double")


def test_the_rest_is_the_projection_on_the_complement():
    basis = torch.linalg.qr(torch.randn(2, 7, 3)).Q.mT
    v = torch.randn(2, 7)
    complement = torch.eye(7) - basis.mT @ basis
    torch.testing.assert_close(orthogonalized(v, basis), (complement @ v.unsqueeze(-1)).squeeze(-1))


def test_rounding_does_not_bring_the_basis_back():
    basis = torch.linalg.qr(torch.randn(9, 4)).Q.mT
    v = 1e8 * basis[0] + torch.randn(9)  # once would leave some 1e-8 of it
    rest = orthogonalized(v, basis)
    assert (basis @ rest).abs().max() < 1e-15 * rest.norm()


def test_a_unit_vector_and_its_length():
    v = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    found, length = unit(v)
    assert found.tolist() == [[0.6, 0.8], [0.0, 0.0]], "a vector that is zero stays it"
    assert length.tolist() == [5, 0]
