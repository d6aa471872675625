"""The network that reads spectra: written out, and its batch normalisation after the training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracles
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.relevance.metallicity import network, read
from spectral_lens.training import fit, recalibrated

OPTIONS = {"seeds": (3, 4), "epochs": 2, "batch_size": 10, "lr": 0.01, "dtype": torch.float64, "device": "cpu"}


@pytest.mark.parametrize("spectral", [0, 1])
def test_the_network_written_out(spectral):
    net = network(9, [5, 4, 3], spectral=spectral, dropout=0.3).double().eval()
    x = torch.randn(7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first = net.layer1
    weight = first.lam_in * first.psi if spectral else first.weight
    a = F.relu(x @ weight.T + first.bias) / (1 + 1e-5) ** 0.5  # fresh statistics: mean 0, variance 1
    for layer in (net.layer2, net.layer3, net.layer4):
        a = torch.tanh(a @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), a)


def quantity():
    data = oracles.measured(30, (9,))
    return oracles.data_set(data.x, data.y / data.y.abs().max())


def test_batch_normalisation_knows_all_the_data_at_the_end():
    data = quantity()
    trained = read(data, hidden=[5, 4], dropout=0.2, **OPTIONS)
    for r in range(2):
        net = trained.run(r)
        a = F.relu(net.layer1(data.x))
        torch.testing.assert_close(net.norm1.running_mean, a.mean(0))
        torch.testing.assert_close(net.norm1.running_var, a.var(0))


def test_dropout_stands_behind_the_spectral_layer():
    layers = dict(network(9, [5, 4, 3], dropout=0.3).named_children())
    assert list(layers)[:5] == ["flatten", "layer1", "relu1", "norm1", "dropout1"]
    assert [layer.p for layer in layers.values() if isinstance(layer, nn.Dropout)] == [0.3]
    assert isinstance(layers["layer1"], SpectralLinear)


def test_reading_is_a_training_by_the_mean_absolute_error():
    data = quantity()
    own = {"dropout": 0.2, "spectral": 2}
    alone = fit(network(9, [5, 4], **own), data, loss="mae", **OPTIONS)
    found, expected = read(data, hidden=[5, 4], **own, **OPTIONS).state, recalibrated(alone, data).state
    assert found.keys() == expected.keys()
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=0)
    other = fit(network(9, [5, 4], **own), data, loss="mse", **OPTIONS).state
    assert (other["layer1.psi"] - found["layer1.psi"]).abs().max() > 1e-4


def test_what_a_tanh_cannot_reach_is_refused():
    data = quantity()
    for beyond in (1.5, -1.5):
        y = torch.cat([data.y[1:], torch.tensor([beyond], dtype=torch.float64)])
        with pytest.raises(ValueError, match="divide it by its largest size"):
            read(oracles.data_set(data.x, y), hidden=[5], **OPTIONS)
    with pytest.raises(ValueError, match="must be a quantity"):
        read(oracles.toy(30, (9,)), hidden=[5], **OPTIONS)
    with pytest.raises(ValueError, match="one hidden layer at least"):
        read(data, hidden=[], **OPTIONS)
