"""A network and its two parts: together they are the network."""

import pytest
import torch
from torch import nn

from spectral_lens.explain._parted import parted
from spectral_lens.nn.mlp import mlp


def test_the_parts_are_the_network():
    net, x = mlp([7, 6, 5, 3], batch_norm=True).double().eval(), torch.randn(4, 7, dtype=torch.float64)
    first, z, behind = parted(net, x)
    assert first is net.layer1
    torch.testing.assert_close(z, x @ net.layer1.weight.mT + net.layer1.bias)
    torch.testing.assert_close(behind(z), net(x))


def test_the_modes_stay():
    net = mlp([7, 6, 3]).eval()
    assert not parted(net, torch.rand(4, 7)).behind.training
    assert not any(part.training for part in net.modules())


def test_hooks_are_noticed():
    net = mlp([7, 6, 3]).eval()
    net.register_forward_hook(lambda module, given, out: 2 * out)
    with pytest.raises(ValueError, match="are there hooks"):
        parted(net, torch.rand(4, 7))


@pytest.mark.parametrize("model", [mlp([7, 5, 3], spectral=0), nn.Linear(7, 3), nn.Sequential(nn.Flatten())])
def test_other_networks_are_refused(model):
    with pytest.raises(ValueError, match="must begin with Flatten and a SpectralLinear"):
        parted(model, torch.rand(4, 7))
