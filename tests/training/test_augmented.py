"""Transfers in the space of all nodes, against the slow form and the layers themselves."""

from itertools import pairwise

import pytest
import torch
from torch import nn

import oracles
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training.augmented import transfers

TIGHT = {"rtol": 1e-12, "atol": 1e-12}


def network(*sizes):
    """Spectral layers with all parameters drawn at random, the eigenvalues at inner departures too."""
    return nn.Sequential(*(SpectralLinear(before, after, bias=False) for before, after in pairwise(sizes))).double()


@pytest.fixture
def model():
    torch.manual_seed(3)
    built = network(5, 4, 2, 3)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.uniform_(-1, 1)
    return built


def test_eigenvectors_and_eigenvalues(model):
    for step in transfers(model):
        identity = torch.eye(14, dtype=torch.float64)
        torch.testing.assert_close(step.Phi @ (2 * identity - step.Phi), identity, **TIGHT)
        torch.testing.assert_close(step.A @ step.Phi, step.Phi * step.lam, **TIGHT)  # A phi = lam phi, by columns


def test_the_blocks_stand_where_the_layers_do(model):
    _, second, _ = transfers(model)
    weight = oracles.weight(model[1].lam_in, model[1].lam_out, model[1].psi)
    torch.testing.assert_close(second.A[9:11, 5:9], weight, **TIGHT)
    torch.testing.assert_close(second.lam[5:9], model[1].lam_in, **TIGHT)
    torch.testing.assert_close(second.lam[9:11], model[1].lam_out, **TIGHT)
    rest = second.A.detach().clone()
    rest[9:11, 5:9] = 0
    assert torch.equal(rest, torch.diag(second.lam.detach()))


def test_their_product_is_the_network(model):
    x = torch.randn(7, 5, dtype=torch.float64)
    n = torch.cat([x, torch.zeros(7, 9, dtype=torch.float64)], 1)
    for step in transfers(model):
        n = n @ step.A.T
    torch.testing.assert_close(n[:, -3:], model(x), **TIGHT)


def test_of_the_papers_network_node_by_node():
    torch.manual_seed(1)
    built = mlp([5, 4, 3], activation="linear", spectral=2, init="giambagli", bias=False).double()
    x = torch.randn(2, 5, dtype=torch.float64)
    expected = oracles.augmented(x, [(each.lam_in, each.lam_out, each.psi) for each in (built.layer1, built.layer2)])
    n = torch.cat([x, torch.zeros(2, 7, dtype=torch.float64)], 1)
    for step in transfers(built):
        n = n @ step.A.T
    torch.testing.assert_close(n, torch.cat(expected, 1), **TIGHT)


def test_gradients_reach_the_layers(model):
    sum(step.A.sum() for step in transfers(model)).backward()
    assert all(each.psi.grad.abs().sum() > 0 and each.lam_in.grad.abs().sum() > 0 for each in model)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.ReLU()), "must be spectral"),
        (nn.Sequential(SpectralLinear(3, 2, bias=False), nn.Linear(2, 2)), "must be spectral"),
        (nn.Sequential(SpectralLinear(3, 2)), "bias=False"),
        (nn.Sequential(SpectralLinear(3, 2, bias=False), SpectralLinear(4, 2, bias=False)), "as many outputs"),
    ],
)
def test_other_networks(model, message):
    with pytest.raises(ValueError, match=message):
        transfers(model)
