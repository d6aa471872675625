"""Gradients in Kronecker factors against the gradients of all outputs by all parameters."""

import pytest
import torch
from torch import nn

from layered_models import MODELS, Residual, gradients, spectral
from oracles import drawn
from spectral_lens.nn._checks import checked
from spectral_lens.nn.graphs import trace
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.operators import _kernel_blocks
from spectral_lens.operators._per_sample import KroneckerFactors, PerSampleGradients

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


@pytest.fixture(params=MODELS)
def given_model(request):
    make, shape = MODELS[request.param]
    return drawn(make()), shape


def formed(factors):
    """The gradients that they stand for, (n, k, p), parameter after parameter as the factors come."""
    parts = []
    for output_gradients, activations in factors:
        if activations is None:
            assert output_gradients.shape[3] == 1
            parts.append(output_gradients.flatten(2))
        else:
            parts.append(torch.einsum("nkot,nti->nkoi", output_gradients, activations).flatten(2))
    return torch.cat(parts, 2)


def test_the_factors_stand_for_all_gradients(given_model):
    """Entry by entry, but in another order: so sorted, for each sample and output."""
    model, shape = given_model
    x = torch.randn(3, *shape)
    found, expected = formed(PerSampleGradients(model, checked(model, x)).factors(x)), gradients(model, x)
    assert found.shape == expected.shape
    assert_close(found.sort(2).values, expected.sort(2).values)


def test_outputs_are_read_out():
    model, x = drawn(MODELS["dense"][0]()), torch.randn(4, 5)
    rows = torch.randn(2, 3)
    found = formed(PerSampleGradients(model, checked(model, x), rows).factors(x))
    assert_close(found.sort(2).values, torch.einsum("ra,nap->nrp", rows, gradients(model, x)).sort(2).values)


def test_eigenvectors_have_two_factors_where_eigenvalues_differ():
    model, x = drawn(spectral(SpectralLinear, 5, 3, bias=False)), torch.randn(4, 5)
    (psi, _) = PerSampleGradients(model, checked(model, x)).factors(x)
    assert psi.activations.shape == (4, 2, 5)
    with torch.no_grad():
        model.lam_out.fill_(0.5)
    (psi, _) = PerSampleGradients(model, checked(model, x)).factors(x)
    assert psi.activations.shape == (4, 1, 5)


def test_samples_are_split_together():
    factors = KroneckerFactors(torch.randn(5, 2, 3, 4), torch.randn(5, 4, 6))
    parts = factors.split(2)
    assert [len(each.output_gradients) for each in parts] == [2, 2, 1]
    assert torch.equal(formed([factors]), torch.cat([formed([each]) for each in parts]))
    assert [each.activations for each in KroneckerFactors(torch.randn(3, 2, 4, 1)).split(2)] == [None, None]


def test_layers_see_what_was_there_before_it_is_changed_in_place():
    """Autograd refuses this one; only the output gradients are pulled back here, and the activations are kept."""
    model, x = drawn(Residual(in_place=True)), torch.randn(3, 5)
    other = Residual()
    other.load_state_dict(model.state_dict())
    found, expected = (formed(PerSampleGradients(each, checked(each, x)).factors(x)) for each in (model, other.eval()))
    assert_close(found, expected)


def test_a_graph_is_as_good_as_its_model(given_model):
    model, shape = given_model
    x = torch.randn(3, *shape)
    graph = trace(model)
    of_graph = PerSampleGradients(graph, checked(graph, x))
    assert of_graph.graph is graph
    assert torch.equal(formed(of_graph.factors(x)), formed(PerSampleGradients(model, checked(model, x)).factors(x)))


def test_held_bytes_are_not_underestimated(given_model):
    """What decides the chunk is at least what one sample's gradients take, in the form in which they are held."""
    model, shape = given_model
    x = torch.randn(1, *shape)
    found = PerSampleGradients(model, checked(model, x))
    held = [_kernel_blocks.shorter(each, 100, False) for each in found.factors(x)]
    tensors = [tensor for each in held for tensor in each if tensor is not None]
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) <= 1.5 * found.bytes


def test_what_is_not_trained_has_no_factors():
    model, x = drawn(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))), torch.randn(2, 4)
    model[0].requires_grad_(False)
    (only,) = PerSampleGradients(model, checked(model, x)).factors(x)
    assert only.activations.shape == (2, 1, 4)  # a one for the bias
