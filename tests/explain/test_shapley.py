"""Shapley values where they are known."""

import torch
from torch import nn

from spectral_lens.explain.shapley import deep_shap
from spectral_lens.nn.mlp import mlp


def test_deep_shap_of_a_linear_network_is_known():
    torch.manual_seed(0)
    net = mlp([5, 3], init="giambagli")
    x, background = torch.randn(4, 5), torch.randn(7, 5)
    found = deep_shap(net, x, background=background)
    expected = net.layer1.weight * (x - background.mean(0)).unsqueeze(1)
    torch.testing.assert_close(found.float(), expected.detach(), rtol=1e-4, atol=1e-5)


def test_deep_shap_adds_up_to_the_outputs():
    torch.manual_seed(0)
    net = nn.Sequential(*mlp([6, 5, 4, 2], spectral=1)).double()
    x, background = torch.randn(3, 6, dtype=torch.float64), torch.randn(8, 6, dtype=torch.float64)
    found = deep_shap(net, x, background=background)
    torch.testing.assert_close(
        found.sum(-1).double(), (net(x) - net(background).mean(0)).detach(), rtol=1e-4, atol=1e-4
    )
    assert isinstance(net[1], type(mlp([6, 5, 2]).layer1))  # the network given is left as it was
