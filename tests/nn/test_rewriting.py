"""Linear layers multiplied into one: the same outputs, and what is left of the rest."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oracles
from spectral_lens.nn.layers import Dense, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import retract
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
