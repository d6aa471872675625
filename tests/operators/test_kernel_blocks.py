"""Blocks of a kernel from Kronecker factors, against the gradients written out."""

import pytest
import torch

from spectral_lens.operators._kernel_blocks import add, own, shorter
from spectral_lens.operators._per_sample import KroneckerFactors

pytestmark = pytest.mark.usefixtures("double")


def factors(n, k, o, i, t, *, written_out=False):
    """The factors of n samples with k outputs, and their gradients, (n, k, o i)."""
    delta, a = torch.randn(n, k, o, t), torch.randn(n, t, i)
    gradients = torch.einsum("nkot,nti->nkoi", delta, a).flatten(2)
    return (KroneckerFactors(gradients.unsqueeze(3)) if written_out else KroneckerFactors(delta, a)), gradients


@pytest.mark.parametrize("positions", [1, 2, 3, 7])
@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("written_out", [False, True])
def test_blocks_are_the_gradients_inner_products(positions, trace, written_out):
    one, G = factors(5, 3, 4, 6, positions, written_out=written_out)
    two, H = factors(2, 3, 4, 6, positions, written_out=written_out)
    expected = torch.einsum("nkp,mkp->nm", G, H) if trace else G.flatten(0, 1) @ H.flatten(0, 1).mT
    block = torch.ones_like(expected)
    add(block, one, two, trace)
    torch.testing.assert_close(block, expected + 1)  # added to what is there


@pytest.mark.parametrize("positions", [1, 5])
@pytest.mark.parametrize("written_out", [False, True])
def test_a_sample_with_itself(positions, written_out):
    one, G = factors(4, 3, 2, 6, positions, written_out=written_out)
    torch.testing.assert_close(own(one), G @ G.mT)


@pytest.mark.parametrize("trace", [False, True])
@pytest.mark.parametrize("shape", [(3, 2, 2, 50), (3, 40, 40, 3), (3, 4, 6, 1)])
def test_the_shorter_form_has_the_same_products(shape, trace):
    k, o, i, t = shape
    each, G = factors(4, k, o, i, t)
    chosen = shorter(each, 100, trace)
    torch.testing.assert_close(own(chosen), G @ G.mT)
    assert (chosen is each) == (t < 50), "few long gradients over many positions are written out"
