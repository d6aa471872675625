"""The two products of a derivative against torch's Jacobian, and batches against the whole."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.utils.data import DataLoader, TensorDataset

from spectral_lens.operators._linearize import Batches, flat, linearize, named, trainable

pytestmark = pytest.mark.usefixtures("double")


def network():
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).eval()


def test_products_are_those_of_the_jacobian():
    model, x = network(), torch.randn(5)
    J = jacrev(model)(x)
    out, push, pull = linearize(model, x)
    torch.testing.assert_close(out, model(x).detach())
    u, z = torch.randn(5), torch.randn(3)
    torch.testing.assert_close(push(u).detach(), J @ u)
    torch.testing.assert_close(pull(z).detach(), J.mT @ z)


def test_products_by_the_parameters():
    model, x = network(), torch.randn(6, 5)
    parameters = trainable(model)
    by_name = jacrev(lambda own: functional_call(model, own, (x,)))(parameters)
    J = torch.cat([each.flatten(2) for each in by_name.values()], 2).flatten(0, 1)
    _, push, pull = linearize(lambda own: functional_call(model, own, (x,)), parameters)
    v, z = torch.randn(J.shape[1]), torch.randn(6, 3)
    torch.testing.assert_close(push(named(v, parameters)).flatten(), J @ v)
    torch.testing.assert_close(flat(pull(z)), J.mT @ z.flatten())


def test_a_vector_of_all_parameters_and_back():
    model = network()
    model[0].bias.requires_grad_(False)
    parameters = trainable(model)
    assert list(parameters) == ["0.weight", "2.weight", "2.bias"]
    again = named(flat(parameters), parameters)
    assert all(torch.equal(again[name], each) for name, each in parameters.items())
    with pytest.raises(ValueError, match="no parameter is trainable"):
        trainable(model.requires_grad_(False))


@pytest.mark.parametrize("chunk", [None, 1, 4, 11, 50])
def test_batches_are_all_samples_in_their_order(chunk):
    x, y = torch.randn(11, 5), torch.arange(11)
    loader = DataLoader(TensorDataset(x, y), batch_size=4)
    for data in ((x, y), loader, [(x[:7], y[:7]), (x[7:], y[7:])]):
        batches = Batches(network(), data, lambda a, b: (a, b), chunk)
        for _ in range(2):  # read again for every product
            sizes, made = zip(*batches, strict=True)
            assert sum(sizes) == 11
            assert chunk is None or max(sizes) <= chunk
            assert torch.equal(torch.cat([a for a, _ in made]), x)
            assert torch.equal(torch.cat([b for _, b in made]), y)


def test_what_fits_is_made_once():
    calls = []
    x, y = torch.randn(6, 5), torch.arange(6)
    batches = Batches(network(), (x, y), lambda a, b: calls.append(len(a)), 6)
    made = len(calls)
    list(batches)
    list(batches)
    assert len(calls) == made


def test_data_that_cannot_serve_are_refused():
    x, y, model = torch.randn(6, 5), torch.arange(6), network()
    for data, said in (
        (iter([(x, y)]), "only once"),
        ([], "no batch"),
        ((x, y[:5]), "5 targets for 6 samples"),
        ([x], "two tensors"),
        ((x / 0, y), "NaN"),
    ):
        with pytest.raises(ValueError, match=said):
            Batches(model, data, lambda a, b: None, None)
