"""The layer that sees the inputs, in networks whose layers are called in another order than they are named in."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from experiments import untrained
from spectral_lens.nn.gates import HardConcreteGates
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import spectralize
from spectral_lens.relevance.first_layer import first_layer
from spectral_lens.relevance.scores import of_inputs, relevance


class Model(nn.Module):
    """Layers registered by name, called as the function says."""

    def __init__(self, call, **layers):
        super().__init__()
        self.call = call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.call(self, x)


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(5))

    def forward(self, x):
        return (x - self.mean) / 3


class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))
        self.inner = nn.Identity()

    def forward(self, x):
        return self.inner(x * self.scale)


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_the_first_that_is_called(order):
    """Whatever the order of registration; sizes differ, so that another layer's relevance has another shape."""
    layers = {"a": SpectralLinear(5, 4), "b": SpectralLinear(4, 3), "c": nn.Linear(3, 2)}
    model = Model(lambda m, x: m.c(m.b(torch.tanh(m.a(x)))), **{name: layers[name] for name in order})
    assert first_layer(model) == "a"
    model.a.lam_in.data.uniform_()
    torch.testing.assert_close(of_inputs(model), relevance(model.a.lam_in, model.a.psi).detach())
    trained = untrained(model)
    torch.testing.assert_close(of_inputs(trained), relevance(trained.state["a.lam_in"], trained.state["a.psi"]))


L = SpectralLinear


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (L(5, 2), ""),
        (nn.Sequential(nn.Sequential(nn.Identity(), nn.Flatten()), nn.Dropout(0.5), L(5, 2)), "2"),
        (nn.Sequential(nn.ReLU(), nn.BatchNorm1d(5, affine=False), L(5, 2)), "2"),
        (nn.Sequential(Scaled(), L(5, 2)), "1"),
        (nn.Sequential(Model(lambda m, x: m.b(m.a(x)), b=L(5, 2), a=L(5, 5)), L(2, 2)), "0.a"),
        (Model(lambda m, x: m.a(x.view(x.size(0), -1)), a=L(5, 2)), "a"),
        (Model(lambda m, x: m.a(x.reshape(x.shape[0], -1).float()), a=L(5, 2)), "a"),
        (Model(lambda m, x: m.a(torch.flatten(F.relu(x), 1).mul(2)), a=L(5, 2)), "a"),
        (Model(lambda m, x: m.a(x) + m.a(-x), a=L(5, 2)), "a"),
        (Model(lambda m, x: m.b(m.a(m.a(x))), b=L(5, 2), a=L(5, 5)), "a"),
        (Model(lambda m, x: m.c(x).mean((2, 3)), d=L(5, 2), c=SpectralConv2d(3, 2, 3)), "c"),
        (Model(lambda m, x: m.blocks[1](m.blocks[0](x)), blocks=nn.ModuleList([L(5, 4), L(4, 2)])), "blocks.0"),
    ],
)
def test_what_may_stand_before_it(model, name):
    assert first_layer(model) == name


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), L(6, 2)), "0, is not spectral: Conv1d has no such form"),
        (nn.Sequential(nn.ConvTranspose2d(1, 2, 3), nn.Flatten(), L(6, 2)), "0, is not spectral: ConvTranspose2d has"),
        (nn.Sequential(nn.Linear(5, 5), L(5, 2)), r"0, is not spectral: see spectralize\(\)"),
        (nn.Sequential(HardConcreteGates(5), L(5, 2)), "0, is not spectral: HardConcreteGates has no such form"),
        (nn.Sequential(nn.AvgPool1d(2), L(5, 2)), "0, a AvgPool1d, stands between"),
        (nn.Sequential(nn.Softmax(1), L(5, 2)), "0, a Softmax, stands between"),
        (nn.Sequential(nn.LayerNorm(5, elementwise_affine=False), L(5, 2)), "0, a LayerNorm, stands between"),
        (nn.Sequential(Trained(), L(5, 2)), "reach mul before or beside"),
        (Model(lambda m, x: m.b(m.a(x)), b=L(5, 2), a=nn.Conv1d(1, 1, 1)), "layer, a, is not spectral: Conv1d has"),
        (Model(lambda m, x: m.a(x) + m.b(x), a=L(5, 2), b=L(5, 2)), "reach 2 layers, a, b: none alone"),
        (Model(lambda m, x: m.a(x) + m.b(x), a=L(5, 2), b=nn.Linear(5, 2)), "layer, b, is not spectral"),
        (Model(lambda m, x: x + m.a(x), a=L(5, 5)), "reach add before or beside"),
        (Model(lambda m, x: m.a(x[:, 2:]), a=L(3, 5)), "reach getitem before"),
        (Model(lambda m, x: m.a(x.flip(1)), a=L(5, 5)), "reach flip before"),
        (Model(lambda m, x: m.a(x.T), a=L(5, 5)), "reach getattr before"),
        (Model(lambda m, x: m.a(x - x.mean(1, keepdim=True)), a=L(5, 5)), "reach mean before"),
        (Model(lambda m, x: m.a(F.linear(x, m.b.weight)), b=nn.Linear(5, 5), a=L(5, 5)), "reach linear before"),
        (Model(lambda m, x: (m.a(x), x), a=L(5, 5)), "reach the output before or beside"),
        (Model(lambda m, x: m.a(x) if x.sum() > 0 else m.b(x), a=L(5, 2), b=L(5, 2)), "Model cannot be followed"),
        (Model(lambda m, x: x.tanh(), a=L(5, 2)), "reach the output|no layer with weights"),
        (Model(lambda m, x: m.a(m.z), a=L(5, 2), z=nn.Parameter(torch.ones(1, 5))), "no layer with weights"),
        (nn.Sequential(nn.ReLU(), nn.Flatten()), "no layer with weights"),
    ],
)
def test_what_cannot_be_said(model, message):
    with pytest.raises(ValueError, match=message):
        of_inputs(model)


def test_a_reparametrised_layer():
    model = nn.Sequential(parametrizations.weight_norm(L(5, 2), "psi"))
    with pytest.raises(ValueError, match=r"0 \(SpectralLinear\) is reparametrised"):
        of_inputs(model)


def test_a_converted_network_with_an_unconverted_first_layer():
    with pytest.warns(UserWarning, match="no spectral form of 0"):
        model = spectralize(nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(6, 2)))
    with pytest.raises(ValueError, match="the first layer, 0, is not spectral: Conv1d has no such form, Linear and"):
        of_inputs(model)


def test_looking_changes_nothing():
    model = Model(lambda m, x: m.b(m.a(x)), b=L(5, 2), a=nn.Sequential(L(5, 5), nn.Dropout(0.3)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert first_layer(model) == "a.0"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert first_layer(mlp([4, 3, 2])) == "layer1"


def test_a_layer_that_is_not_what_its_eigenvalues_say_is_refused():
    model = mlp([4, 3, 2])
    model.layer1.register_forward_hook(lambda module, args, out: 2 * out)
    with pytest.raises(ValueError, match=r"layer1 \(SpectralLinear\) has hooks"):
        of_inputs(model)
    model = mlp([4, 3, 2])
    prune.random_unstructured(model.layer1, "psi", 0.5)
    with pytest.raises(ValueError, match=r"layer1 \(SpectralLinear\) has a weight that a hook computes"):
        of_inputs(model)
