"""Hessian and Gauss-Newton products against matrices written out by autograd, and what is read off the products."""

import math
import warnings

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from spectral_lens._runtime import memory
from spectral_lens.nn.layers import PARAMETERS, SpectralConv2d
from spectral_lens.nn.mlp import mlp
from spectral_lens.operators import _linearize
from spectral_lens.operators.hessian import ggn, hessian, parameter_gram
from spectral_lens.operators.lanczos import eigenvalues, extreme_eigenvalues
from spectral_lens.operators.tangent_kernel import tangent_kernel

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def formed(operator):
    return torch.stack([operator @ row for row in torch.eye(operator.shape[1], dtype=operator.dtype)], 1)


OPERATORS = {"hessian": hessian, "ggn": ggn}


def trained(model):
    return {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}


def flat_loss(model, x, y, loss):
    """The loss as a function of one vector of all trainable parameters, and that vector."""
    own = trained(model)

    def of(theta):
        parts = theta.split([each.numel() for each in own.values()])
        named = {name: part.view_as(each) for (name, each), part in zip(own.items(), parts, strict=True)}
        return loss(functional_call(model, named, (x,)), y)

    return of, torch.cat([each.flatten() for each in own.values()])


def written_out(model, x, y, loss):
    of, theta = flat_loss(model, x, y, loss)
    return jacrev(jacrev(of))(theta)


def gauss_newton(model, x, y, loss):
    """mean_i J_i^T (d^2 l / d f^2) J_i, sample by sample."""
    found = 0
    for i in range(len(x)):
        outputs, theta = flat_loss(model, x[i : i + 1], None, lambda out, _: out[0])
        J = jacrev(outputs)(theta)
        inner = jacrev(jacrev(lambda f, i=i: loss(f.unsqueeze(0), y[i : i + 1])))(outputs(theta))
        found = found + J.mT @ inner @ J / len(x)
    return found


def drawn(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)  # no output so far ahead that the softmax is flat
    return model.eval()


def dense():
    model = drawn(mlp([5, 4, 3], activation="tanh", spectral=1))
    return model, torch.randn(7, 5), torch.randint(0, 3, (7,))


def convolutional():
    layers = [nn.Conv2d(1, 2, 3), nn.Tanh(), SpectralConv2d(2, 3, 2, train=PARAMETERS), nn.BatchNorm2d(3), nn.ReLU()]
    model = drawn(nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 4)))
    return model, torch.randn(6, 1, 5, 6), torch.randint(0, 4, (6,))


# ---- products


@pytest.mark.parametrize("make", [dense, convolutional])
def test_products_are_those_of_the_matrices(make):
    model, x, y = make()
    H, G = written_out(model, x, y, F.cross_entropy), gauss_newton(model, x, y, F.cross_entropy)
    assert hessian(model, (x, y)).shape[0] == len(H)
    assert_close(formed(hessian(model, (x, y))), H, 1e-11)
    assert_close(formed(ggn(model, (x, y))), G, 1e-11)
    assert not torch.allclose(H, G, atol=1e-3 * float(H.abs().max()))
    v = torch.randn(len(H))
    for chunk in (2, 5, 100):
        assert_close(hessian(model, (x, y), chunk=chunk) @ v, H @ v, 1e-11)
        assert_close(ggn(model, (x, y), chunk=chunk) @ v, G @ v, 1e-11)


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_any_loss_will_do(kind):
    model, x, _ = dense()
    y = torch.randn(7, 3)

    def loss(out, y):
        return (out - y).pow(4).sum(1).mean()

    expected = written_out(model, x, y, loss) if kind == "hessian" else gauss_newton(model, x, y, loss)
    assert_close(formed(OPERATORS[kind](model, (x, y), loss=loss, chunk=3)), expected, 1e-11)


def test_linear_net_has_the_covariance():
    """f = w x + b with the mean squared error: H = GGN = 2 / n (X 1)^T (X 1)."""
    model, x, y = drawn(nn.Linear(5, 1)), torch.randn(7, 5), torch.randn(7)
    wide = torch.cat([x, torch.ones(7, 1)], 1)
    for kind in ("hessian", "ggn"):
        assert_close(formed(OPERATORS[kind](model, (x, y), loss="mse")), 2 / 7 * wide.mT @ wide)


def test_frozen_parameters_are_left_out():
    model, x, y = dense()
    model.layer1.psi.requires_grad_(False)
    found = hessian(model, (x, y))
    assert found.shape[0] == sum(each.numel() for each in trained(model).values()) == 5 + 4 + 4 * 3 + 3
    assert_close(formed(found), written_out(model, x, y, F.cross_entropy))


def test_parameters_that_do_nothing_have_no_curvature():
    model, x, y = dense()
    model.unused = nn.Linear(2, 1)

    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.model, self.unused = model, nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.model[:4](x)

    around = Around().eval()
    for kind in ("hessian", "ggn"):
        product = formed(OPERATORS[kind](around, (x, y)))
        assert not product[:2].any()  # a module's own parameters come first
        assert not product[-3:].any()
        assert product[2:-3].any()


def test_single_precision():
    model, x, y = convolutional()
    expected = formed(hessian(model, (x, y)))
    found = hessian(model.float(), (x.float(), y))
    assert found.dtype == torch.float32
    assert_close(formed(found).double(), expected, 1e-4)
    assert math.isclose(
        extreme_eigenvalues(found, tolerance=1e-4, generator=torch.Generator().manual_seed(0)).highest.value,
        float(torch.linalg.eigvalsh(expected)[-1]),
        rel_tol=1e-4,
    )


def test_little_memory_takes_few_samples_at_a_time(monkeypatch):
    model, x, y = dense()
    v, w = torch.randn(2, 4 * 5 + 5 + 4 + 4 * 3 + 3)
    expected = hessian(model, (x, y)) @ v
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    monkeypatch.setattr(memory, "available", lambda device: 1)
    assert_close(hessian(model, (x, y)) @ v, expected)
    assert seen == [2, 2, 1, 2, 2] + 7 * [1]  # two samples are tried; what one sample takes; symmetry; the product
    seen.clear()
    monkeypatch.setattr(memory, "available", lambda device: 10**9)
    operator = hessian(model, (x, y))
    assert_close(operator @ v, expected)
    operator @ w
    assert seen == [2, 2, 1, 2, 7, 2]  # once, for all products
    seen.clear()
    monkeypatch.setattr(_linearize, "batch_size", lambda x: 3)  # what a cache holds
    operator = hessian(model, (x, y))
    assert_close(operator @ v, expected)
    operator @ w
    assert seen == [2, 2, 1, 2, 3, 3, 1, 2]


# ---- the tangent kernel's own


def test_tangent_has_the_kernels_eigenvalues():
    model, x, _ = convolutional()
    K = torch.linalg.eigvalsh(tangent_kernel(model, x).to_dense()) / len(x)
    small = formed(parameter_gram(model, x))
    J = jacrev(lambda own: functional_call(model, own, (x,)))(trained(model))
    J = torch.cat([each.flatten(2) for each in J.values()], 2).flatten(0, 1)
    assert_close(small, J.mT @ J / len(x))
    assert_close(torch.linalg.eigvalsh(small)[-len(K) :], K, 1e-10)
    found = extreme_eigenvalues(
        parameter_gram(model, x, chunk=4), tolerance=1e-6, generator=torch.Generator().manual_seed(0)
    )
    assert math.isclose(found.magnitude.value, float(K[-1]), rel_tol=1e-9)


# ---- spectra


def test_ends_of_a_network():
    model, x, y = convolutional()
    exact = torch.linalg.eigvalsh(written_out(model, x, y, F.cross_entropy))
    found = extreme_eigenvalues(hessian(model, (x, y)), tolerance=1e-3, generator=draw())
    assert found.highest.value == pytest.approx(float(exact[-1]), rel=1e-4)
    assert found.lowest.value == pytest.approx(float(exact[0]), abs=1e-3 * float(exact[-1]))
    assert found.products < len(exact) / 2
    again = extreme_eigenvalues(hessian(model, (x, y)), tolerance=1e-3, generator=draw())
    assert again.highest.value == found.highest.value


def test_descent_is_slowest_to_leave_along_the_vector():
    """Gradient descent on the quadratic model multiplies that direction by 1 - step lambda: 2 / lambda is critical."""
    model, x, y = dense()
    operator = ggn(model, (x, y))
    top = extreme_eigenvalues(operator, tolerance=1e-8, generator=draw()).highest
    for factor, grows in ((0.99, False), (1.01, True)):
        v = top.vector
        for _ in range(50):
            v = v - factor * 2 / top.value * (operator @ v)
        assert (float(v.norm()) > 1) == grows


# ---- data that comes in batches


def in_batches(x, y):
    return [(x[:4], y[:4]), (x[4:5], y[4:5]), (x[5:], y[5:])]


@pytest.mark.parametrize("make_operator", [hessian, ggn, parameter_gram])
@pytest.mark.parametrize("make", [dense, convolutional])
def test_batches_are_the_whole(make, make_operator):
    """The mean is over samples, however unequal the batches are."""
    model, x, y = make()
    whole = make_operator(model, (x, y))
    v = torch.randn(whole.shape[1])
    for batches in (in_batches(x, y), [(x, y)], DataLoader(TensorDataset(x, y), batch_size=3)):
        for chunk in (None, 2):
            assert_close(make_operator(model, batches, chunk=chunk) @ v, whole @ v, 1e-11)


@settings(deadline=None, derandomize=True, max_examples=15)
@given(
    st.integers(1, 7), st.integers(1, 5), st.integers(2, 4), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2**30)
)
def test_blocks_and_batches_of_every_size(samples, inputs, classes, b, batch, seed):
    torch.manual_seed(seed)
    model = drawn(mlp([inputs, 3, classes], activation="tanh", spectral=1).double())
    x, y = torch.randn(samples, inputs).double(), torch.randint(0, classes, (samples,))
    H = written_out(model, x, y, F.cross_entropy)
    v = torch.randn(len(H), b).double()
    slack = 1e-12 * float(v.abs().max())
    for data in ((x, y), DataLoader(TensorDataset(x, y), batch_size=batch)):
        found = hessian(model, data) @ v
        torch.testing.assert_close(found, H @ v, rtol=1e-9, atol=slack)


def test_the_order_of_the_samples_does_not_matter():
    model, x, y = dense()
    loader = DataLoader(TensorDataset(x, y), batch_size=2, shuffle=True, generator=draw(3))
    H = hessian(model, loader)
    expected = written_out(model, x, y, F.cross_entropy)
    assert_close(formed(H), expected, 1e-11)  # every product in another order
    assert_close(H.to_dense(), expected, 1e-11)
    found = extreme_eigenvalues(H, tolerance=1e-6, generator=draw())
    assert found.highest.value == pytest.approx(float(torch.linalg.eigvalsh(expected)[-1]), rel=1e-9)


def test_a_data_set_is_never_held_whole():
    """Each product asks for one batch after the other, and the model sees no more than one."""
    model, x, y = dense()
    asked, seen = [], []

    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            asked.append(i)
            return x[i], y[i]

    H = hessian(model, DataLoader(Data(), batch_size=3))
    model.register_forward_pre_hook(lambda _, args: seen.append((len(asked), len(args[0]))))
    asked.clear()
    H @ torch.ones(H.shape[1])
    assert seen == [(3, 3), (6, 3), (7, 1)]


@pytest.mark.parametrize("make_operator", [hessian, ggn, parameter_gram])
def test_data_that_cannot_be_read_is_named(make_operator):
    model, x, y = dense()
    for data, said in (
        (iter([(x, y)]), "only once"),
        (((some, y[:1]) for some in x.split(1)), "only once"),
        ([], "no batch"),
        ([(x, y[:6])], "6 targets for 7 samples"),
        ([(x, y, y)], "two tensors"),
        ([x, y, y], "two tensors"),
        ([(x * float("nan"), y)], "NaN"),
    ):
        with pytest.raises(ValueError, match=said):
            make_operator(model, data)
    broken = hessian(model, [(x, y), (x * float("nan"), y)])
    with pytest.raises(ValueError, match="NaN"):
        broken @ torch.ones(broken.shape[1])


# ---- SciPy


def test_scipys_eigenvalues_are_numpys():
    model, x, y = convolutional()
    expected = np.linalg.eigh(written_out(model, x, y, F.cross_entropy).numpy())
    found = np.sort(scipy.sparse.linalg.eigsh(hessian(model, (x, y)).to_scipy(), k=5, return_eigenvectors=False))
    by_size = np.sort(expected.eigenvalues[np.argsort(-np.abs(expected.eigenvalues))[:5]])
    np.testing.assert_allclose(found, by_size, rtol=1e-9)
    ours = eigenvalues(hessian(model, (x, y)), 5, which="magnitude", tolerance=1e-8, generator=draw())
    np.testing.assert_allclose(ours.values.sort().values.numpy(), by_size, rtol=1e-9)


# ---- second opinion


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_the_peer_agrees(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which it and torch's jvp still use
        from curvlinops import GGNLinearOperator, HessianLinearOperator

        model, x, y = convolutional()
        peer = {"hessian": HessianLinearOperator, "ggn": GGNLinearOperator}[kind]
        theirs = peer(model, nn.CrossEntropyLoss(), list(model.parameters()), [(x, y)], check_deterministic=False)
        v = torch.randn(theirs.shape[0])
        expected = theirs @ v
    assert_close(OPERATORS[kind](model, (x, y)) @ v, expected, 1e-11)


# ---- errors


@pytest.mark.parametrize("make_operator", [hessian, ggn])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": torch.full((7, 5), float("nan"))}, "NaN"),
        ({"x": torch.zeros(0, 5), "y": torch.zeros(0, dtype=torch.int64)}, "at least one"),
        ({"y": torch.zeros(6, dtype=torch.int64)}, "6 targets for 7 samples"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"chunk": 0}, "chunk=0"),
        ({"model": nn.Linear(5, 3)}, "training mode"),
        ({"model": nn.Linear(5, 3).eval().requires_grad_(False)}, "no parameter is trainable"),
    ],
)
def test_what_has_no_curvature_is_named(change, said, make_operator):
    model, x, y = dense()
    arguments = {"model": model, "x": x, "y": y} | change
    with pytest.raises(ValueError, match=said):
        make_operator(arguments.pop("model"), (arguments.pop("x"), arguments.pop("y")), **arguments)


def test_one_sample_and_one_output():
    model = drawn(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))
    x, y = torch.randn(1, 3), torch.randn(1)
    expected = written_out(model, x, y, lambda out, y: (out[:, 0] - y).square().mean())
    assert_close(formed(hessian(model, (x, y), loss="mse")), expected)


class _Lopsided(torch.autograd.Function):
    """x^2 with a slope whose own derivative is wrong, by so much."""

    @staticmethod
    def forward(x, wrong):
        return x.square()

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.wrong = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * (2 * x + ctx.wrong * (x.roll(1, 1) - x.roll(1, 1).detach())), None


def lopsided(wrong, dtype):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            return _Lopsided.apply(self.layer(x), wrong)

    x, y = torch.randn(6, 4, dtype=dtype), torch.randint(0, 3, (6,))
    return Model().to(dtype).eval(), (x, y)


@pytest.mark.parametrize("unit", [2.0**-50, 1.0, 2.0**30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_second_derivative_that_is_not_symmetric_is_refused(dtype, unit):
    """From about half of the digits on, in any unit of the loss."""

    def loss(out, y):
        return unit * F.cross_entropy(out, y)

    digits = torch.finfo(dtype).eps ** 0.5
    for wrong in (1.0, 1000 * digits):
        model, data = lopsided(wrong, dtype)
        with pytest.raises(ValueError, match="not symmetric, so it is wrong: take ggn"):
            hessian(model, data, loss=loss)
        assert ggn(model, data, loss=loss).symmetric
    model, data = lopsided(digits / 100, dtype)
    assert hessian(model, data, loss=loss).symmetric
