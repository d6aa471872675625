"""The eigenvalue as a factor of LRP's relevance: against LRP of the whole network, and against loops."""

import pytest
import torch
from torch import nn

from spectral_lens.explain.lrp import epsilon, lrp, zero
from spectral_lens.explain.lrp_eigenvalues import relevance_by_eigenvalue
from spectral_lens.nn.mlp import mlp

TIGHT = {"rtol": 1e-9, "atol": 1e-12}


def network(sizes):
    torch.manual_seed(0)
    net = mlp(sizes).double().eval()
    with torch.no_grad():
        net.layer1.lam_in.uniform_(-1, 1)
        net.layer1.bias.uniform_(-1, 1)
        net.layer1.lam_in[2] = 0
    return net


@pytest.mark.parametrize("shift", [0.0, 0.125])  # exact in every precision
def test_it_is_lrp_of_the_whole_network(shift):
    net, x = network([7, 6, 5, 3]), torch.randn(4, 7, dtype=torch.float64)
    found = relevance_by_eigenvalue(net, x, epsilon=shift)
    torch.testing.assert_close(found, lrp(net, x, rules=epsilon(shift) if shift else zero()), **TIGHT)
    assert (found[..., 2] == 0).all()
    assert (found[..., [0, 1, 3]] != 0).any(1).all()


def test_one_layer_by_loops():
    net, x = network([7, 3]), torch.randn(4, 7, dtype=torch.float64)
    first = net.layer1
    found = relevance_by_eigenvalue(net, x, epsilon=0.2)
    for n in range(4):
        for k in range(3):
            z = sum(first.lam_in[i] * first.psi[k, i] * x[n, i] for i in range(7)) + first.bias[k]
            for i in range(7):
                share = first.lam_in[i] * first.psi[k, i] * x[n, i] / (z + 0.2 * z.sign())
                torch.testing.assert_close(found[n, k, i], share * z, **TIGHT)


def test_the_input_is_left_as_it_is():
    net, x = network([7, 6, 3]), torch.randn(4, 7, dtype=torch.float64)
    before, state = x.clone(), {name: value.clone() for name, value in net.state_dict().items()}
    relevance_by_eigenvalue(net, x)
    torch.testing.assert_close(x, before, rtol=0, atol=0)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


def test_training_mode_is_refused_and_stays():
    net = network([7, 6, 3]).train()
    with pytest.raises(ValueError, match="is in training mode"):
        relevance_by_eigenvalue(net, torch.randn(4, 7, dtype=torch.float64))
    assert all(part.training for part in net.modules())


def test_sums_that_are_zero_pass_nothing_on():
    net, x = network([7, 6, 3]), torch.randn(4, 7, dtype=torch.float64)
    with torch.no_grad():
        net.layer1.bias.zero_()
        net.layer1.psi[4] = 0
        for shift in (0.0, 0.125):
            found = relevance_by_eigenvalue(net, x, epsilon=shift)
            torch.testing.assert_close(found, lrp(net, x, rules=epsilon(shift) if shift else zero()), **TIGHT)
        net.layer1.lam_in.zero_()
    assert (relevance_by_eigenvalue(net, x) == 0).all()


def test_contributions_that_cancel_pass_nothing_on():
    net, x = network([7, 6, 3]), torch.randn(4, 7, dtype=torch.float64)
    with torch.no_grad():
        net.layer1.bias.zero_()
        net.layer1.lam_in[:2] = 0.5
        net.layer1.psi[4], net.layer1.psi[4, 0], net.layer1.psi[4, 1] = 0, 2, -2
        x[:, 1] = x[:, 0]
        assert (net.layer1(x)[:, 4] == 0).all()
    torch.testing.assert_close(relevance_by_eigenvalue(net, x), lrp(net, x, rules=zero()), **TIGHT)


@pytest.mark.parametrize(
    "model",
    [mlp([7, 5, 3], spectral=0), mlp([7, 3], init="giambagli"), nn.Linear(7, 3), nn.Sequential(nn.Flatten())],
)
def test_other_networks_are_refused(model):
    with pytest.raises(ValueError, match="must begin with Flatten and a SpectralLinear"):
        relevance_by_eigenvalue(model, torch.rand(4, 7))


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        relevance_by_eigenvalue(mlp([7, 3]), torch.rand(4, 7), epsilon=-0.1)
