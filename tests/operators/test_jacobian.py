"""The Jacobian of a network by its inputs, against autograd's written out, and against the product that it is."""

import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import jacrev, vmap

from oracles import drawn
from spectral_lens.nn.layers import PARAMETERS, Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.operators.golub_kahan import spectral_norm
from spectral_lens.operators.hutchinson import frobenius_norm
from spectral_lens.operators.jacobian import jacobian, jacobian_at, jacobian_norms, partial_products, product_form

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


def written_out(model, x):
    """Sample by sample; (n, k, d)."""
    return vmap(jacrev(lambda sample: model(sample.unsqueeze(0)).squeeze(0)))(x).flatten(2)


def convolutional():
    return drawn(
        nn.Sequential(
            nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            SpectralConv2d(5, 4, 2, train=PARAMETERS), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3),
        )
    )  # fmt: skip


# ---- the Jacobian and its norms


def test_jacobian_is_autograds():
    model, x = convolutional(), torch.randn(4, 2, 6, 7)
    expected = written_out(model, x)
    assert expected.shape == (4, 3, 84)
    assert_close(jacobian(model, x).to_dense(), expected)
    assert_close(jacobian(model, x).mT.to_dense(), expected.mT)
    assert_close(jacobian(model, x, chunk=2).to_dense(), expected)
    assert_close(jacobian(model, x, outputs=[2, 0]).to_dense(), expected[:, [2, 0]])


@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_norms_are_those_of_the_jacobian(chunk):
    model, x = convolutional(), torch.randn(5, 2, 6, 7)
    J = written_out(model, x)
    found = jacobian_norms(model, x, chunk=chunk)
    assert_close(found.spectral, torch.linalg.matrix_norm(J, 2))
    assert_close(found.frobenius, torch.linalg.matrix_norm(J))
    assert_close(found.rows, J.norm(dim=2))


def test_norms_of_more_outputs_than_inputs_and_of_one():
    x = torch.randn(3, 4)
    for outputs in (11, 1):
        model = drawn(nn.Linear(4, outputs))
        found = jacobian_norms(model, x)
        assert_close(found.spectral, torch.linalg.matrix_norm(model.weight, 2).expand(3))
        assert_close(found.rows, model.weight.norm(dim=1).expand(3, -1))
    assert_close(found.spectral, found.frobenius)


def test_single_precision():
    model, x = convolutional(), torch.randn(5, 2, 6, 7)
    expected = jacobian_norms(model, x)
    found = jacobian_norms(model.float(), x.float())
    assert found.spectral.dtype == torch.float32
    for one, other in zip(found, expected, strict=True):
        assert_close(one.double(), other, 1e-5)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(1, 8), st.integers(0, 2**30))
def test_bounds(inputs, hidden, outputs, seed):
    torch.manual_seed(seed)
    model, x = mlp([inputs, hidden, outputs], activation="tanh").eval().double(), torch.randn(3, inputs).double()
    found = jacobian_norms(model, x)
    slack = 1 + 1e-9
    assert (found.spectral <= found.frobenius * slack).all()
    assert (found.frobenius <= min(inputs, outputs) ** 0.5 * found.spectral * slack).all()
    assert (found.rows.amax(1) <= found.spectral * slack).all()
    far = torch.linalg.matrix_norm(model.layer1.weight, 2) * torch.linalg.matrix_norm(model.layer2.weight, 2)
    assert (found.spectral <= far * slack).all()


# ---- without forming it


def test_products_are_those_of_the_jacobian():
    model, x = convolutional(), torch.randn(4, 2, 6, 7)
    J, operator = written_out(model, x), jacobian(model, x)
    z, u = torch.randn(4, 3), torch.randn(4, 84)
    assert operator.shape == (4, 3, 84)
    assert not operator.symmetric
    assert_close(operator.mT @ z, torch.einsum("nkd,nk->nd", J, z))
    assert_close(operator @ u, torch.einsum("nkd,nd->nk", J, u))
    assert_close(operator @ torch.stack([u, -2 * u], 2), J @ torch.stack([u, -2 * u], 2))
    rows = torch.randn(5, 3)
    assert_close(jacobian(model, x, outputs=[2, 1]) @ u, torch.einsum("nkd,nd->nk", J[:, [2, 1]], u))
    assert_close(jacobian(model, x, outputs=rows) @ u, torch.einsum("lk,nkd,nd->nl", rows, J, u))
    assert_close(jacobian_at(model, x).to_dense(), J)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7), st.integers(1, 4), st.integers(0, 2**30))
def test_products_of_every_size(samples, inputs, outputs, b, seed):
    torch.manual_seed(seed)
    model = mlp([inputs, 3, outputs], activation="tanh", spectral=1).eval().double()
    x, u, z = (torch.randn(samples, *shape).double() for shape in ((inputs,), (inputs, b), (outputs, b)))
    J, operator = written_out(model, x), jacobian(model, x)
    assert_close(operator @ u, J @ u, 1e-11)
    assert_close(operator.mT @ z, J.mT @ z, 1e-11)
    assert_close(operator.mT @ z[..., 0], (J.mT @ z)[..., 0], 1e-11)


def test_the_network_runs_once_for_all_products():
    model, x = convolutional(), torch.randn(4, 2, 6, 7)
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    operator = jacobian(model, x)
    for _ in range(3):
        operator.mT @ (operator @ torch.randn(4, 84))
    assert seen == [2, 2, 4]  # two samples are tried, twice


def test_peers_take_it():
    model, x = convolutional(), torch.randn(1, 2, 6, 7)
    first = scipy.sparse.linalg.svds(jacobian(model, x).to_scipy(), k=1, return_singular_vectors=False)
    assert_close(torch.tensor(first.copy()), jacobian_norms(model, x).spectral, 1e-8)


def test_estimates_without_forming_it():
    model, x = drawn(nn.Sequential(nn.Linear(13, 17), nn.ReLU(), nn.Linear(17, 11))), torch.randn(4, 13)
    expected, draw = jacobian_norms(model, x), torch.Generator().manual_seed(0)
    J = jacobian(model, x)
    assert_close(spectral_norm(J, tolerance=1e-9, generator=draw).value, expected.spectral, 1e-8)
    assert_close(frobenius_norm(J, draws=11, generator=draw).value, expected.frobenius, 1e-9)


def test_estimates_in_a_precision_that_is_not_the_default():
    model, x = drawn(nn.Sequential(nn.Linear(13, 17), nn.ReLU(), nn.Linear(17, 11))), torch.randn(4, 13)
    torch.set_default_dtype(torch.float32)
    J, draw = jacobian(model, x), torch.Generator().manual_seed(0)
    largest = spectral_norm(J, tolerance=1e-9, generator=draw).value
    assert largest.dtype == torch.float64
    assert_close(largest, jacobian_norms(model, x).spectral, 1e-7)
    assert frobenius_norm(J, draws=3, generator=draw).value.dtype == torch.float64


# ---- the product form


def dense(*, first=True):
    layers = [
        nn.Flatten(), SpectralLinear(6, 7, train=PARAMETERS), nn.LeakyReLU(0.2), nn.BatchNorm1d(7),
        nn.Sequential(Dense(7, 5), nn.Identity(), nn.Linear(5, 4), nn.ReLU(inplace=True)), nn.Dropout(0.5),
        nn.Linear(4, 3),
    ]  # fmt: skip
    return drawn(nn.Sequential(*layers if first else [layers[0], nn.Tanh(), *layers[1:]]))


@pytest.mark.parametrize("first", [True, False], ids=["layer first", "activation first"])
def test_the_product_is_the_jacobian(first):
    model, x = dense(first=first), torch.randn(5, 2, 3)
    layers = product_form(model, x)
    assert [tuple(layer.weight.shape) for layer in layers[-4:]] == [(7, 6), (5, 7), (4, 5), (3, 4)]
    J = torch.stack(
        [
            torch.linalg.multi_dot([slopes[i].diag() @ weight for weight, slopes in reversed(layers)])
            for i in range(len(x))
        ]
    )
    assert_close(J, written_out(model, x))
    assert_close(partial_products(layers)[-1], J)


def test_partial_products_are_the_jacobians_of_the_layers():
    model, x = drawn(mlp([6, 7, 5, 3], activation=["relu", "tanh"], spectral=2)), torch.randn(4, 6)
    behind = [model[:3], model[:5], model]
    for part, partial in zip(behind, partial_products(product_form(model, x)), strict=True):
        assert_close(partial, written_out(part, x))


def test_a_piecewise_linear_net_is_its_product():
    """f(x) - f(0) = J x without biases: each piece is linear, and all meet at zero."""
    model, x = drawn(mlp([6, 7, 5, 3], bias=False)), torch.randn(4, 6)
    layers = product_form(model, x)
    assert {float(slope) for layer in layers for slope in layer.slopes.flatten()} == {0.0, 1.0}
    assert_close(torch.einsum("nkd,nd->nk", partial_products(layers)[-1], x), model(x).detach())


def test_slopes_of_a_leaky_layer():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.LeakyReLU(0.1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [3.0, -4.0]]))
    ((weight, slopes),) = product_form(model, torch.tensor([[1.0, 1.0], [-1.0, -2.0]]))
    assert weight.tolist() == [[1, 2], [3, -4]]
    assert slopes.tolist() == [[1, 0.1], [0.1, 1]]
    assert not weight.requires_grad


# ---- errors


@pytest.mark.parametrize("function", [jacobian, jacobian_norms, product_form], ids=lambda function: function.__name__)
def test_what_has_no_jacobian_is_named(function):
    model = drawn(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    for x, said in (
        (torch.full((2, 4), float("nan")), "NaN"),
        (torch.zeros(0, 4), "at least one"),
    ):
        with pytest.raises(ValueError, match=said):
            function(model, x)
    with pytest.raises(ValueError, match="training mode"):
        function(model.train(), torch.zeros(2, 4))


def test_a_network_that_diverged_is_named():
    model = drawn(nn.Linear(4, 3))
    with torch.no_grad():
        model.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match="outputs are not finite"):
        jacobian_norms(model, torch.randn(2, 4))


def test_a_derivative_that_is_not_finite_is_named():
    class Root(nn.Module):
        def forward(self, x):
            return x.clamp(min=0).sqrt()

    with pytest.raises(ValueError, match="derivative is not finite"):
        jacobian_norms(Root().eval(), torch.zeros(2, 4))


def test_what_has_no_product_is_named():
    with pytest.raises(ValueError, match="Conv2d is no layer of a dense network"):
        product_form(convolutional(), torch.randn(1, 2, 6, 7))
    with pytest.raises(ValueError, match="do not exist"):
        jacobian(drawn(nn.Linear(4, 3)), torch.zeros(2, 4), outputs=[3])
    with pytest.raises(ValueError, match=r"must be \(samples, outputs\)"):
        jacobian_at(lambda x: x.sum(1), torch.zeros(2, 4))
    with pytest.raises(ValueError, match="chunk=0"):
        jacobian(drawn(nn.Linear(4, 3)), torch.zeros(2, 4), chunk=0)
    with pytest.raises(ValueError, match="chunk=0"):
        jacobian_norms(drawn(nn.Linear(4, 3)), torch.zeros(2, 4), chunk=0)
