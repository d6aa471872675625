"""Linear layers multiplied into one: the same outputs, and what is left of the rest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oracles
from spectral_lens.nn.layers import Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import fold, retract, spectralize
from toy_networks import CHAINS, ROWS, Skip, Squared, assert_close, in_a_row, inputs, randomised


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


def direct(layer):
    """The layer's weight in direct space."""
    if isinstance(layer, SpectralLinear):
        return oracles.weight(layer.lam_in, layer.lam_out, layer.psi)
    return layer.weight


@pytest.mark.parametrize("name", CHAINS)
def test_a_retracted_network_has_the_same_outputs(name):
    make, together = CHAINS[name]
    model = randomised(make())
    before = copy.deepcopy(model)
    one, x = retract(model), inputs(11, 6)
    assert_close(one(x), model(x), 1e-10)
    merged = [layer for layer in one.modules() if type(layer) is nn.Linear]
    if name == "nested":  # a Sequential in between keeps its own layer
        assert [(layer.in_features, layer.out_features) for layer in merged] == [(17, 13), (13, 4), (4, 3)]
    else:
        assert len(merged) == together
        assert not any(type(layer) in (Dense, SpectralLinear) for layer in one.modules())
    assert not any(type(layer) is nn.Identity for layer in one.modules())
    assert str(model) == str(before)  # the model itself is left alone
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]


@settings(deadline=None, derandomize=True, max_examples=25)
@given(ROWS, st.integers(1, 30), st.integers(0, 2**31))
def test_any_layers_in_a_row_are_the_product_of_their_weights(row, samples, seed):
    model = in_a_row(row, seed)
    x = inputs(samples, model[0].in_features)
    (one,) = retract(model)
    assert_close(one(x), model(x), 1e-10)
    if len(model) > 1:
        assert type(one) is nn.Linear
        assert_close(one.weight, torch.linalg.multi_dot([direct(layer) for layer in reversed(model)]), 1e-10)
        assert (one.bias is not None) == any(layer.bias is not None for layer in model)
        if one.bias is not None:
            assert_close(one.bias, model(torch.zeros(model[0].in_features, dtype=torch.float64)), 1e-10)


def test_a_layer_alone_stays_as_it_is():
    class Squares(nn.Sequential):
        pass

    model = nn.Sequential(
        SpectralLinear(6, 5, train=("lam_out",)),
        nn.Tanh(),
        Skip(),  # its layers stand in no Sequential
        nn.LayerNorm(3),
        Dense(3, 4),
        Squared(4, 3),  # a class of its own, nothing is known about it
        nn.Linear(3, 3),
        nn.GELU(),
        Squares(nn.Linear(3, 4), nn.Identity(), nn.Linear(4, 2)),
    )
    model = randomised(model)
    one = retract(model)
    assert str(one) == str(model)
    assert {key: p.requires_grad for key, p in one.named_parameters()} == {
        key: p.requires_grad for key, p in model.named_parameters()
    }
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in one.state_dict().items())
    assert not {p.data_ptr() for p in one.parameters()} & {p.data_ptr() for p in model.parameters()}
    for layer in (nn.Linear(3, 2), SpectralLinear(3, 2), Skip()):  # no Sequential at all
        assert str(retract(layer)) == str(layer)


def test_the_layer_for_many_has_the_last_ones_name():
    one = retract(mlp([6, 5, 4, 3, 2], activation=["linear", "relu", "linear"]))
    assert [name for name, _ in one.named_children()] == ["flatten", "layer2", "relu2", "layer4"]
    assert list(retract(mlp([3, 4, 2], activation="linear")).state_dict()) == ["layer2.weight", "layer2.bias"]


@pytest.mark.parametrize("trained", ["0.lam_in", "0.lam_out", "0.psi", "0.bias", "1.weight", "1.bias", None])
def test_the_layer_for_many_is_trained_where_any_was(trained):
    model = nn.Sequential(SpectralLinear(5, 7), nn.Linear(7, 3))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == trained)
    (one,) = retract(model)
    assert [p.requires_grad for p in one.parameters()] == 2 * [trained is not None]
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in one.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_layer_for_many_keeps_mode_and_dtype(training, dtype):
    one = retract(mlp([5, 4, 3], activation="linear", dropout=0.0).to(dtype).train(training))
    assert {layer.training for layer in one.modules()} == {training}
    assert {p.dtype for p in one.parameters()} == {dtype}


@pytest.mark.parametrize("kind", [nn.Linear, SpectralLinear])
def test_a_layer_twice_in_a_row_is_its_square(kind):
    layer = kind(4, 4)
    model = randomised(nn.Sequential(layer, layer, nn.Tanh(), layer))
    one, x = retract(model), inputs(5, 4)
    assert [name for name, _ in one.named_children()] == ["1", "2", "3"]
    assert_close(one[0].weight, direct(layer) @ direct(layer), 1e-10)
    assert_close(one[0].bias, direct(layer) @ layer.bias + layer.bias, 1e-10)
    assert type(one[2]) is kind
    assert_close(one(x), model(x), 1e-10)


class Residual(nn.Module):
    """A small residual network: grouped convolutions, batch norm, a shared layer, a frozen one, pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, (3, 1), padding="same", bias=False), nn.BatchNorm2d(4))
        self.block = nn.ModuleDict(
            {"a": nn.Conv2d(4, 4, 3, padding=1, groups=2, padding_mode="circular"), "b": nn.BatchNorm2d(4)}
        )
        self.skip = nn.Conv2d(4, 4, 1)
        self.again = self.block["a"]
        self.pool = nn.AdaptiveAvgPool2d((1, 2))
        self.head = nn.Sequential(nn.Linear(8, 5), nn.Tanh(), Dense(5, 3, bias=False))
        self.head[0].weight.requires_grad_(False)

    def forward(self, x):
        x = self.stem(x).relu()
        x = (self.skip(x) + self.block["b"](self.block["a"](x))).relu()
        return self.head(self.pool(self.again(x)).flatten(1))


@pytest.mark.parametrize("init", ["chicchi", "giambagli", "giambagli-inner"])
def test_a_model_in_spectral_form_and_back_has_the_same_outputs(init):
    torch.manual_seed(1)
    model = Residual().double()
    model.train()(torch.randn(6, 3, 5, 7, dtype=torch.float64))  # buffers that are no longer 0 and 1
    model.eval()
    x = torch.randn(4, 3, 5, 7, dtype=torch.float64)
    expected = model(x)
    spectral = spectralize(model, init=init)
    assert_close(spectral(x), expected)
    assert not any(type(layer) in (nn.Linear, Dense, nn.Conv2d) for layer in spectral.modules())
    assert isinstance(spectral.block["a"], SpectralConv2d)
    assert spectral.again is spectral.block["a"]
    assert not any(layer.training for layer in spectral.modules())
    assert isinstance(model.skip, nn.Conv2d)  # the model itself is left alone
    for layer in (each for each in spectral.modules() if isinstance(each, SpectralLinear | SpectralConv2d)):
        randomised(layer, seed=2)
    back = fold(spectral)
    assert_close(back(x), spectral(x))
    assert not any(isinstance(layer, SpectralLinear | SpectralConv2d) for layer in back.modules())
    assert not any(layer.training for layer in back.modules())
    assert back.again is back.block["a"]
    assert back.block["a"].groups == 2
    assert back.stem[0].padding == "same"
    assert list(back.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize("init", ["chicchi", "giambagli", "giambagli-inner"])
def test_what_was_frozen_stays_frozen(init):
    model = nn.Sequential(nn.Linear(3, 4), Dense(4, 4), nn.Conv2d(2, 3, 1), nn.Linear(4, 2), nn.Conv2d(2, 1, 1))
    model[0].weight.requires_grad_(False)
    model[1].bias.requires_grad_(False)
    model[2].requires_grad_(False)
    spectral = spectralize(model, init=init)
    trained = {name for name, p in spectral.named_parameters() if p.requires_grad}
    expected = {"0.bias", "3.bias", "4.bias"} | {f"{k}.{part}" for k in (1, 3, 4) for part in ("lam_in", "psi")}
    if init != "chicchi":  # which fixes the destination eigenvalues
        expected |= {f"{k}.lam_out" for k in (1, 3, 4)}
    assert trained == expected
    assert {layer.init for layer in spectral} == {init}
    back = fold(spectral)
    assert [p.requires_grad for p in back.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("trained", ["lam_in", "lam_out", "psi", "bias", None])
@pytest.mark.parametrize("make", [lambda: SpectralLinear(5, 3), lambda: SpectralConv2d(4, 6, (3, 1), groups=2)])
def test_a_folded_weight_is_trained_where_any_of_its_parts_was(make, trained):
    layer = make()
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name == trained)
    plain = fold(layer)
    assert plain.weight.requires_grad == (trained in ("lam_in", "lam_out", "psi"))
    assert plain.bias.requires_grad == (trained == "bias")
    assert all(isinstance(p, nn.Parameter) and p.is_leaf for p in plain.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_each_layer_keeps_its_own_mode(training):
    """Layers in evaluation mode inside a network that trains, and the other way round."""

    def network(kind):
        chain = nn.Sequential(kind(5, 4), kind(4, 3))
        model = nn.Sequential(kind(6, 5), nn.ReLU(), chain, nn.Dropout(0.5), kind(3, 2), kind(2, 2)).train(training)
        for part in (model[0], model[3], chain):
            part.train(not training)
        return model

    plain, spectral = network(nn.Linear), network(SpectralLinear)
    modes = [layer.training for layer in plain.modules()]
    assert set(modes) == {True, False}
    assert [layer.training for layer in spectralize(plain).modules()] == modes
    assert [layer.training for layer in fold(spectral).modules()] == modes
    one = retract(spectral)
    found = {name: layer.training for name, layer in one.named_modules()}
    assert found == {"": training, "0": not training, "1": training, "2": not training, "2.1": not training,
                     "3": not training, "5": training}  # fmt: skip


def test_a_layer_in_two_places_of_one_parent_stays_one_layer():
    layer = nn.Linear(3, 3)
    model = nn.Sequential(layer, nn.Tanh(), layer)
    x = torch.randn(2, 3)
    spectral = spectralize(model)
    assert isinstance(spectral[2], SpectralLinear)
    assert spectral[0] is spectral[2]
    assert_close(spectral(x), model(x), 1e-6)
    back = fold(spectral)
    assert type(back[2]) is nn.Linear
    assert back[0] is back[2]


@pytest.mark.parametrize("plain", [nn.Linear, Dense])
def test_a_single_layer_is_a_model_too(plain):
    layer = plain(3, 2, bias=False)
    assert type(fold(layer)) is plain  # nothing to fold
    x = torch.randn(2, 3)
    spectral = spectralize(layer)
    assert isinstance(spectral, SpectralLinear)
    assert torch.equal(spectral(x), layer(x))
    assert type(fold(spectral)) is nn.Linear


def test_a_subclass_with_a_forward_of_its_own_is_left_alone():
    class Squared(nn.Linear):
        def forward(self, x):
            return super().forward(x) ** 2

    model = nn.Sequential(Squared(3, 2))
    with pytest.warns(UserWarning, match=r"no spectral form of 0 \(Squared\)"):
        assert type(spectralize(model)[0]) is Squared


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_spectral_form_keeps_the_dtype(dtype):
    spectral = spectralize(nn.Sequential(nn.Conv2d(2, 3, 1), nn.Linear(4, 2)).to(dtype))
    assert {p.dtype for p in spectral.parameters()} == {dtype}
    assert {p.dtype for p in fold(spectral).parameters()} == {dtype}
