"""The papers' dense networks: their layers, what is trained, and [giambagli, eq. 2]."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oracles
from spectral_lens.nn.layers import Dense, SpectralLinear
from spectral_lens.nn.mlp import mlp, reference
from toy_networks import assert_close, inputs, widths


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


exact = settings(deadline=None, derandomize=True, max_examples=25)


def test_an_mlp_is_what_its_arguments_say():
    model = mlp([6, 5, 4, 3], activation=["tanh", "linear"], spectral=2, init="giambagli", batch_norm=True, dropout=0.2)
    kinds = [(name, type(layer)) for name, layer in model.named_children()]
    assert kinds == [
        ("flatten", nn.Flatten),
        ("layer1", SpectralLinear),
        ("tanh1", nn.Tanh),
        ("norm1", nn.BatchNorm1d),
        ("dropout1", nn.Dropout),
        ("layer2", SpectralLinear),
        ("linear2", nn.Identity),
        ("layer3", nn.Linear),
    ]
    assert model.layer1.psi.shape == (5, 6)
    assert (model.layer1.init, model.layer2.init) == ("giambagli", "giambagli-inner")
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == {"layer2.lam_in"}
    assert model.dropout1.p == 0.2
    assert model(torch.randn(7, 2, 3)).shape == (7, 3)
    assert [type(layer) for layer in mlp([3, 2], spectral=0)] == [nn.Flatten, nn.Linear]
    assert isinstance(mlp([3, 4, 2]).layer1, SpectralLinear)
    assert isinstance(mlp([3, 4, 2]).layer2, nn.Linear)
    assert isinstance(mlp([3, 4, 2]).relu1, nn.ReLU)
    assert type(mlp([3, 4, 2]).layer2) is nn.Linear


def test_an_mlp_takes_what_is_trained_and_how_plain_layers_are():
    for init in ("chicchi", "giambagli"):
        model = mlp([6, 5, 4, 3], spectral=2, init=init, train=("lam_out", "bias"), glorot=True)
        trained = {name for name, p in model.named_parameters() if p.requires_grad}
        eigenvalues = {"layer1.lam_out", "layer2.lam_out"}
        assert trained == eigenvalues | {"layer1.bias", "layer2.bias", "layer3.weight", "layer3.bias"}
        assert [type(model.get_submodule(f"layer{k}")) for k in (1, 2, 3)] == [SpectralLinear, SpectralLinear, Dense]
        assert not any(name.endswith("bias") for name, _ in mlp([6, 5, 4, 3], init=init, bias=False).named_parameters())
    assert [type(layer) for layer in mlp([5, 4, 3], spectral=0, glorot=True)] == [nn.Flatten, Dense, nn.ReLU, Dense]
    assert not any(p.requires_grad for p in mlp([5, 4, 3], spectral=2, train=()).parameters())


def test_the_outputs_may_be_bounded():
    assert list(dict(mlp([5, 4, 2], output="tanh").named_children())) == [
        "flatten",
        "layer1",
        "relu1",
        "layer2",
        "tanh2",
    ]
    assert mlp([5, 4, 2], output="tanh")(100 * torch.randn(9, 5)).abs().max() <= 1


def test_an_mlp_computes_what_its_weights_say():
    model = mlp([5, 4, 3], activation="tanh").double()
    first, second = model.layer1, model.layer2
    with torch.no_grad():
        first.lam_out.copy_(inputs(4))
    x = inputs(2, 5)
    w = oracles.weight(first.lam_in, first.lam_out, first.psi)
    assert_close(model(x), torch.tanh(x @ w.T + first.bias) @ second.weight.T + second.bias)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ([5], {}, "inputs and the outputs"),
        ([], {}, "inputs and the outputs"),
        ([5, 4, 3], {"activation": "sine"}, "sine"),
        ([5, 4, 3], {"output": "sine"}, "sine"),
        ([5, 4, 3], {"activation": ["relu", "tanh"]}, "1 of"),
        ([5, 4, 4, 3], {"activation": ["relu"]}, "2 of"),
        ([5, 4, 3], {"spectral": 3}, "between 0 and the 2"),
        ([5, 4, 3], {"spectral": -1}, "between 0 and the 2"),
        ([5, 4, 3], {"init": "he"}, "he"),
        ([5, 4, 3], {"train": ["lam"]}, r"\['lam'\]"),
        ([5, 0, 3], {}, "at least one"),
        ([5, 4, 3], {"dropout": 1.0}, "dropout=1.0 must lie between 0 and 1"),
        ([5, 4, 3], {"dropout": -0.1}, "dropout=-0.1 must lie between 0 and 1"),
    ],
)
def test_wrong_networks(sizes, options, message):
    with pytest.raises(ValueError, match=message):
        mlp(sizes, **options)


@exact
@given(widths, st.integers(1, 5), st.integers(0, 2**31))
def test_giambaglis_augmented_matrices_are_the_network(sizes, samples, seed):
    model = mlp(sizes, activation="linear", spectral=len(sizes) - 1, init="giambagli", bias=False).double()
    layers = [layer for layer in model if isinstance(layer, SpectralLinear)]
    with torch.no_grad():
        for k, layer in enumerate(layers):
            layer.psi += inputs(*layer.psi.shape, seed=seed + k)
            layer.lam_out += inputs(*layer.lam_out.shape, seed=seed - k)
    x = inputs(samples, sizes[0], seed=seed)
    first, *hidden, last = oracles.augmented(x, [(layer.lam_in, layer.lam_out, layer.psi) for layer in layers])
    assert_close(first, x * layers[0].lam_in, 1e-10)
    for layer, activities in zip(layers, [*hidden, last], strict=True):
        x = layer(x)
        assert_close(activities, x, 1e-10)
    assert_close(last, model(inputs(samples, sizes[0], seed=seed)), 1e-10)


def test_the_reference_is_of_the_models_precision():
    otherwise = torch.ones(1, dtype=torch.float16)
    counted = nn.BatchNorm1d(3, affine=False).double()  # buffers alone, one of them whole numbers
    assert reference(counted, otherwise).dtype == torch.float64
    assert reference(nn.Linear(3, 2), otherwise).dtype == torch.float32
    assert reference(nn.ReLU(), otherwise) is otherwise
