"""Spectral layers against plain algebra, numpy's eigenvalues and torch's own layers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import oracles
from spectral_lens.nn.layers import Dense, SpectralConv2d, SpectralLinear, eigen


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


exact = settings(deadline=None, derandomize=True, max_examples=15)


sizes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31))


def assert_close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def randomised(layer, seed=0):
    """The layer with all four parameters drawn, none at a special value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return layer


def linear(inputs, outputs, seed=0, **options):
    return randomised(SpectralLinear(inputs, outputs, dtype=torch.float64, **options), seed)


def conv(*arguments, seed=0, **options):
    return randomised(SpectralConv2d(*arguments, dtype=torch.float64, **options), seed)


@exact
@given(sizes)
def test_the_transfer_has_exactly_these_eigenvalues_and_eigenvectors(size):
    inputs, outputs, seed = size
    layer = linear(inputs, outputs, seed)
    Phi, lam, A = (each.detach() for each in layer.eigen_decomposition())
    nodes = inputs + outputs
    assert Phi.shape == A.shape == (nodes, nodes)
    assert torch.equal(lam, torch.cat([layer.lam_in, layer.lam_out]))  # departure nodes first
    assert_close(A @ Phi, Phi @ torch.diag(lam))
    assert_close(Phi @ (2 * torch.eye(nodes, dtype=Phi.dtype) - Phi), torch.eye(nodes, dtype=Phi.dtype))
    assert torch.equal(A.triu(), torch.diag(lam))  # lower triangular: the diagonal is the spectrum
    assert_close(A[inputs:, :inputs], layer.weight.detach())
    assert_close(A, Phi @ torch.diag(lam) @ torch.linalg.inv(Phi), 1e-10)


def test_numpy_finds_the_eigenvalues():
    layer = linear(5, 3)
    _, lam, A = layer.eigen_decomposition()
    mixing = np.random.default_rng(0).normal(size=(8, 8))  # so that no algorithm can read them off a diagonal
    found = np.linalg.eigvals(mixing @ A.detach().numpy() @ np.linalg.inv(mixing))
    assert np.allclose(np.sort(found.real), np.sort(lam.detach().numpy()), atol=1e-9)
    assert np.abs(found.imag).max() < 1e-9


@exact
@given(sizes)
def test_a_dense_layer_is_its_weight_applied(size):
    inputs, outputs, seed = size
    layer = linear(inputs, outputs, seed)
    w = oracles.weight(layer.lam_in, layer.lam_out, layer.psi)
    assert_close(layer.weight, w)
    x = torch.randn(2, 3, inputs, dtype=torch.float64)
    assert_close(layer(x), F.linear(x, w, layer.bias))
    assert_close(layer(x[0, 0]), w @ x[0, 0] + layer.bias)


def test_without_bias():
    layer = linear(4, 3, bias=False)
    assert layer.bias is None
    x = torch.randn(2, 4, dtype=torch.float64)
    assert_close(layer(x), x @ layer.weight.T)


GEOMETRY = [
    {},
    {"stride": (2, 3)},
    {"padding": (2, 1)},
    {"padding": "same", "dilation": (3, 2)},
    {"padding": "valid"},
    {"dilation": (1, 2), "stride": 2},
    {"groups": 2},
    {"groups": 2, "padding": 1, "padding_mode": "reflect", "stride": (1, 2)},
    {"padding": (1, 2), "padding_mode": "circular"},
    {"padding": "same", "padding_mode": "replicate"},
    {"bias": False},
]


@pytest.mark.parametrize("options", GEOMETRY, ids=str)
def test_a_convolution_equals_torchs_on_its_weight(options):
    layer = conv(4, 6, (3, 2), **options)
    groups = options.get("groups", 1)
    w = oracles.grouped_weight(layer.lam_in, layer.lam_out, layer.psi, groups)
    assert_close(layer.weight, w)
    plain = nn.Conv2d(4, 6, (3, 2), **options).double()
    plain.weight.data.copy_(w)
    if layer.bias is not None:
        plain.bias.data.copy_(layer.bias)
    x = torch.randn(5, 4, 9, 8, dtype=torch.float64)
    assert_close(layer(x), plain(x))
    assert_close(layer(x[0]), plain(x[0]))


def test_a_convolution_equals_the_function():
    layer = conv(2, 3, (3, 2), stride=(1, 2), padding=1, dilation=2)
    x = torch.randn(2, 2, 11, 9, dtype=torch.float64)
    assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, (1, 2), 1, 2))


@pytest.mark.parametrize("groups", [1, 3])
def test_a_convolution_has_these_eigenvalues_at_every_offset(groups):
    layer = conv(3, 6, (2, 5), groups=groups)
    Phi, lam, A = (each.detach() for each in layer.eigen_decomposition())
    assert Phi.shape == A.shape == (2, 5, 9, 9)
    assert torch.equal(lam, torch.cat([layer.lam_in, layer.lam_out]))
    kernel = oracles.dense(layer.weight.detach(), groups)
    for u in range(2):
        for v in range(5):
            assert torch.equal(A[u, v].triu(), torch.diag(lam))
            assert_close(A[u, v] @ Phi[u, v], Phi[u, v] @ torch.diag(lam))
            assert_close(A[u, v, 3:, :3], kernel[:, :, u, v])


def test_a_convolution_over_the_whole_image_is_a_dense_layer():
    layer = conv(1, 4, (3, 2))
    dense = SpectralLinear(6, 4, dtype=torch.float64)
    with torch.no_grad():
        dense.lam_in.fill_(layer.lam_in.item())
        dense.lam_out.copy_(layer.lam_out)
        dense.psi.copy_(layer.psi.flatten(1))
        dense.bias.copy_(layer.bias)
    x = torch.randn(5, 1, 3, 2, dtype=torch.float64)
    assert_close(layer(x).flatten(1), dense(x.flatten(1)))


def gradients_agree(layer, x):
    names = [name for name, _ in layer.named_parameters()]
    values = [parameter.detach().clone().requires_grad_() for parameter in layer.parameters()]

    def call(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    return torch.autograd.gradcheck(call, (x.requires_grad_(), *values))


def test_gradients_by_finite_differences():
    assert gradients_agree(linear(3, 2), torch.randn(4, 3, dtype=torch.float64))
    assert gradients_agree(conv(2, 4, (2, 1), groups=2), torch.randn(2, 2, 3, 2, dtype=torch.float64))


def test_gradients_of_the_eigenvalues_in_closed_form():
    frozen, layer = linear(4, 3), linear(4, 3, init="giambagli")
    for each in (frozen, layer):
        each.weight.sum().backward()
    assert frozen.lam_out.grad is None  # chicchi fixes the destination eigenvalues
    assert_close(layer.lam_in.grad, layer.psi.detach().sum(0))
    assert_close(layer.lam_out.grad, -layer.psi.detach().sum(1))
    assert_close(layer.psi.grad, (layer.lam_in - layer.lam_out[:, None]).detach())


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, (3, 5))])
def test_chicchis_initial_values(shape):
    make = SpectralLinear if len(shape) == 2 else SpectralConv2d
    torch.manual_seed(0)
    layer = make(*shape)
    assert torch.equal(layer.lam_in, torch.ones(40))
    assert torch.equal(layer.lam_out, torch.zeros(30))
    assert torch.equal(layer.bias, torch.zeros(30))
    offsets = math.prod(shape[2]) if len(shape) == 3 else 1
    bound = math.sqrt(6 / (40 * offsets + 30 * offsets))  # Glorot: 6 / (fan in + fan out)
    assert 0.95 * bound < layer.psi.detach().abs().max() <= bound
    assert abs(layer.psi.detach().mean()) < 5 * bound / math.sqrt(3 * layer.psi.numel())
    assert abs(layer.psi.detach().std() - bound / math.sqrt(3)) < 0.05 * bound
    assert [name for name, p in layer.named_parameters() if p.requires_grad] == ["lam_in", "psi", "bias"]


@pytest.mark.parametrize("init", ["giambagli", "giambagli-inner"])
@pytest.mark.parametrize("shape", [(400, 30), (400, 30, (1, 2))])
def test_giambaglis_initial_values(shape, init):
    make = SpectralLinear if len(shape) == 2 else SpectralConv2d
    torch.manual_seed(0)
    layer = make(*shape, init=init)
    drawn = [(layer.lam_in, 0.01, 0.98), (layer.lam_out, 0.01, 0.8), (layer.psi, 0.5, 0.99)]
    if init == "giambagli-inner":  # a layer behind another: its departure nodes' eigenvalues are 1 and stay
        assert torch.equal(layer.lam_in, torch.ones(400))
        assert not layer.lam_in.requires_grad
        drawn = drawn[1:]
    for value, bound, near in drawn:
        assert near * bound < value.detach().abs().max() <= bound
        assert (value < 0).any()
        assert (value > 0).any()
        error = bound / math.sqrt(3 * value.numel())
        assert abs(value.detach().mean()) < 5 * error
        assert value.requires_grad
    assert torch.equal(layer.bias, torch.zeros(30))
    assert layer.bias.requires_grad


def test_keras_initial_values():
    torch.manual_seed(0)
    layer = Dense(40, 30)
    bound = math.sqrt(6 / (40 + 30))
    weight = layer.weight.detach()
    assert 0.95 * bound < weight.abs().max() <= bound
    assert abs(weight.mean()) < 5 * bound / math.sqrt(3 * weight.numel())
    assert abs(weight.std() - bound / math.sqrt(3)) < 0.05 * bound
    assert torch.equal(layer.bias, torch.zeros(30))
    assert all(p.requires_grad for p in layer.parameters())
    assert Dense(4, 3, bias=False).bias is None
    x = torch.randn(2, 40)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))


def test_initial_values_follow_torchs_seed():
    first, second, other = (torch.manual_seed(s) and SpectralLinear(5, 3) for s in (1, 1, 2))
    assert torch.equal(first.psi, second.psi)
    assert not torch.equal(first.psi, other.psi)


@pytest.mark.parametrize("train", [(), ("lam_in",), ("lam_out", "psi"), ("lam_in", "lam_out", "psi", "bias")])
def test_train_names_what_is_trained(train):
    for layer in (SpectralLinear(3, 2, train=train), SpectralConv2d(3, 2, 1, train=train)):
        assert {name for name, p in layer.named_parameters() if p.requires_grad} == set(train)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    eps = torch.finfo(dtype).eps
    for layer, x in [(linear(5, 3), torch.randn(7, 5)), (conv(4, 2, 3), torch.randn(2, 4, 5, 6))]:
        low = layer.to(dtype)
        out = low(x.to(dtype))
        assert out.dtype == dtype
        expected = low.double()(x.to(dtype).double())
        # every product and sum is rounded: at most about 40 roundings of numbers as large as the largest partial sum
        assert (out.double() - expected).abs().max() < 40 * eps * max(1, float(expected.detach().abs().max()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpectralLinear(0, 3), "at least one"),
        (lambda: SpectralLinear(3, 0), "at least one"),
        (lambda: SpectralLinear(3, 2, init="glorot"), "glorot.*chicchi.*giambagli|glorot.*giambagli.*chicchi"),
        (lambda: SpectralLinear(3, 2, train=("lam", "psi")), r"\['lam'\].*lam_in"),
        (lambda: SpectralConv2d(3, 2, 3, init="he"), "he"),
        (lambda: SpectralConv2d(3, 2, 3, groups=2), "groups"),
        (lambda: SpectralConv2d(3, 2, 3, padding="full"), "full"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_shapes_are_checked():
    with pytest.raises(Exception, match="psi"):
        eigen(torch.ones(3), torch.ones(2), torch.ones(3, 2))


def test_a_layer_tells_what_it_is():
    assert "5, 3, bias=False, init='giambagli'" in repr(SpectralLinear(5, 3, bias=False, init="giambagli"))
    text = repr(SpectralConv2d(4, 6, (3, 2), stride=2, groups=2))
    assert "kernel_size=(3, 2)" in text
    assert "groups=2" in text


def test_state_dict_carries_the_four_parameters_only():
    assert list(SpectralConv2d(4, 6, 3).state_dict()) == ["lam_in", "lam_out", "psi", "bias"]
    assert list(SpectralLinear(4, 6, bias=False).state_dict()) == ["lam_in", "lam_out", "psi"]
