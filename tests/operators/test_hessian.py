"""Hessian and Gauss-Newton products against matrices written out by autograd, and what is read off the products."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional as F

from spectral_lens.nn.layers import PARAMETERS, SpectralConv2d
from spectral_lens.nn.mlp import mlp
from spectral_lens.operators import hessian as module
from spectral_lens.operators.hessian import curvature, tangent
from spectral_lens.operators.lanczos import Symmetric, density, extremes, moments
from spectral_lens.operators.tangent_kernel import matrix, tangent_kernel

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


def formed(operator):
    return torch.stack([operator.apply(row) for row in torch.eye(operator.size).to(operator.like)], 1)


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


def hessian(model, x, y, loss):
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
    H, G = hessian(model, x, y, F.cross_entropy), gauss_newton(model, x, y, F.cross_entropy)
    assert curvature(model, x, y).size == len(H)
    assert_close(formed(curvature(model, x, y)), H, 1e-11)
    assert_close(formed(curvature(model, x, y, kind="ggn")), G, 1e-11)
    assert not torch.allclose(H, G, atol=1e-3 * float(H.abs().max()))
    v = torch.randn(len(H))
    for chunk in (2, 5, 100):
        assert_close(curvature(model, x, y, chunk=chunk).apply(v), H @ v, 1e-11)
        assert_close(curvature(model, x, y, kind="ggn", chunk=chunk).apply(v), G @ v, 1e-11)


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_any_loss_will_do(kind):
    model, x, _ = dense()
    y = torch.randn(7, 3)

    def loss(out, y):
        return (out - y).pow(4).sum(1).mean()

    expected = hessian(model, x, y, loss) if kind == "hessian" else gauss_newton(model, x, y, loss)
    assert_close(formed(curvature(model, x, y, loss=loss, kind=kind, chunk=3)), expected, 1e-11)


def test_linear_net_has_the_covariance():
    """f = w x + b with the mean squared error: H = GGN = 2 / n (X 1)^T (X 1)."""
    model, x, y = drawn(nn.Linear(5, 1)), torch.randn(7, 5), torch.randn(7)
    wide = torch.cat([x, torch.ones(7, 1)], 1)
    for kind in ("hessian", "ggn"):
        assert_close(formed(curvature(model, x, y, loss="mse", kind=kind)), 2 / 7 * wide.mT @ wide)


def test_frozen_parameters_are_left_out():
    model, x, y = dense()
    model.layer1.psi.requires_grad_(False)
    found = curvature(model, x, y)
    assert found.size == sum(each.numel() for each in trained(model).values()) == 5 + 4 + 4 * 3 + 3
    assert_close(formed(found), hessian(model, x, y, F.cross_entropy))


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
        product = formed(curvature(around, x, y, kind=kind))
        assert not product[:2].any()  # a module's own parameters come first
        assert not product[-3:].any()
        assert product[2:-3].any()


def test_single_precision():
    model, x, y = convolutional()
    expected = formed(curvature(model, x, y))
    found = curvature(model.float(), x.float(), y)
    assert found.like.dtype == torch.float32
    assert_close(formed(found).double(), expected, 1e-4)
    assert math.isclose(
        extremes(found, tolerance=1e-4, generator=torch.Generator().manual_seed(0)).highest.value,
        float(torch.linalg.eigvalsh(expected)[-1]),
        rel_tol=1e-4,
    )


def test_little_memory_takes_few_samples_at_a_time(monkeypatch):
    model, x, y = dense()
    v, w = torch.randn(2, 4 * 5 + 5 + 4 + 4 * 3 + 3)
    expected = curvature(model, x, y).apply(v)
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    monkeypatch.setattr(module.memory, "free", lambda device: 1)
    assert_close(curvature(model, x, y).apply(v), expected)
    assert seen == [1, 2] + 7 * [1]  # what one sample takes, then the product
    seen.clear()
    monkeypatch.setattr(module.memory, "free", lambda device: 10**9)
    operator = curvature(model, x, y)
    assert_close(operator.apply(v), expected)
    operator.apply(w)
    assert seen == [1, 2, 7]  # once, for all products
    seen.clear()
    monkeypatch.setattr(module, "at_a_time", lambda x: 3)  # what a cache holds
    operator = curvature(model, x, y)
    assert_close(operator.apply(v), expected)
    operator.apply(w)
    assert seen == [1, 2, 3, 3, 1]


# ---- the tangent kernel's own


def test_tangent_has_the_kernels_eigenvalues():
    model, x, _ = convolutional()
    K = torch.linalg.eigvalsh(matrix(tangent_kernel(model, x))) / len(x)
    small = formed(tangent(model, x))
    J = jacrev(lambda own: functional_call(model, own, (x,)))(trained(model))
    J = torch.cat([each.flatten(2) for each in J.values()], 2).flatten(0, 1)
    assert_close(small, J.mT @ J / len(x))
    assert_close(torch.linalg.eigvalsh(small)[-len(K) :], K, 1e-10)
    found = extremes(tangent(model, x, chunk=4), tolerance=1e-6, generator=torch.Generator().manual_seed(0))
    assert math.isclose(found.magnitude.value, float(K[-1]), rel_tol=1e-9)


# ---- spectra


def given_matrix(values, seed=0):
    """A symmetric matrix of these eigenvalues in a random basis."""
    draw = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(len(values), len(values), generator=draw)).Q
    H = (Q * torch.as_tensor(values)) @ Q.mT
    return H, Symmetric(lambda v: H @ v, len(H), H)


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("values", [[-3.0, 0.5, 1.0, 2.0, 2.5], [-1.0, -1.0, 0.0, 4.0, 4.0], [-5.0, -4.0, -2.0]])
def test_ends_of_a_known_spectrum(values):
    H, operator = given_matrix(values)
    found = extremes(operator, tolerance=1e-10, generator=draw())
    assert found.lowest.value == pytest.approx(min(values))
    assert found.highest.value == pytest.approx(max(values))
    assert abs(found.magnitude.value) == pytest.approx(max(map(abs, values)))
    for end in found[:2]:
        assert_close(H @ end.vector, end.value * end.vector, 1e-8)
        assert float(end.vector.norm()) == pytest.approx(1)
    assert found.products <= len(set(values)) + 1


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**30), st.floats(1e-3, 0.5))
def test_the_residual_bounds_the_distance_to_an_eigenvalue(size, steps, seed, tolerance):
    values = torch.randn(size, generator=draw(seed), dtype=torch.float64)
    H, operator = given_matrix(values.tolist(), seed)
    H = H.double()
    operator = Symmetric(lambda v: H @ v, size, H)
    exact = torch.linalg.eigvalsh(H)
    found = extremes(operator, tolerance=tolerance, steps=steps, generator=draw(seed))
    slack = 1e-9 * float(exact.abs().max())
    assert found.products <= min(size, steps)
    for end in found[:2]:
        assert float((exact - end.value).abs().min()) <= end.error + slack
        assert float((H @ end.vector - end.value * end.vector).norm()) == pytest.approx(end.error, abs=10 * slack)
    assert exact[0] - slack <= found.lowest.value <= found.highest.value <= exact[-1] + slack  # from inside
    if found.products < min(size, steps):
        assert max(found.lowest.error, found.highest.error) <= tolerance * abs(found.magnitude.value) + slack


@pytest.mark.parametrize("values", [[-3.0, 0.5, 1.0, 2.0, 2.5], [-1.0, 0.1, 0.2, 0.3, 4.0], [-5.0, -4.0, -2.0]])
def test_the_end_farther_from_zero(values):
    _, operator = given_matrix(values + [0.0] * 20)
    found = extremes(operator, which="magnitude", tolerance=1e-3, generator=draw())
    assert abs(found.magnitude.value) == pytest.approx(max(map(abs, values)), rel=1e-5)
    assert found.magnitude.error <= 1e-3 * abs(found.magnitude.value)
    assert found.products <= extremes(operator, tolerance=1e-3, generator=draw()).products


def test_the_farther_end_of_many():
    values = torch.randn(300, generator=draw(1), dtype=torch.float64)
    _, operator = given_matrix([*values.tolist(), 9.0])
    one, both = (extremes(operator, which=which, generator=draw()) for which in ("magnitude", "both"))
    assert one.products < both.products
    assert one.magnitude.value == pytest.approx(9, rel=1e-4)


def test_ends_of_a_network():
    model, x, y = convolutional()
    exact = torch.linalg.eigvalsh(hessian(model, x, y, F.cross_entropy))
    found = extremes(curvature(model, x, y), tolerance=1e-3, generator=draw())
    assert found.highest.value == pytest.approx(float(exact[-1]), rel=1e-4)
    assert found.lowest.value == pytest.approx(float(exact[0]), abs=1e-3 * float(exact[-1]))
    assert found.products < len(exact) / 2
    again = extremes(curvature(model, x, y), tolerance=1e-3, generator=draw())
    assert again.highest.value == found.highest.value


def test_descent_is_slowest_to_leave_along_the_vector():
    """Gradient descent on the quadratic model multiplies that direction by 1 - step lambda: 2 / lambda is critical."""
    model, x, y = dense()
    operator = curvature(model, x, y, kind="ggn")
    top = extremes(operator, tolerance=1e-8, generator=draw()).highest
    for factor, grows in ((0.99, False), (1.01, True)):
        v = top.vector
        for _ in range(50):
            v = v - factor * 2 / top.value * operator.apply(v)
        assert (float(v.norm()) > 1) == grows


def test_nothing_and_one():
    nothing = Symmetric(torch.zeros_like, 5, torch.zeros(1))
    found = extremes(nothing, generator=draw())
    assert (found.magnitude.value, found.magnitude.error, found.products) == (0, 0, 1)
    assert moments(nothing)[:] == (0, 0, 0, 0)
    assert float(density(nothing).density.max()) > 0
    one = extremes(Symmetric(lambda v: -2 * v, 1, torch.zeros(1)))
    assert (one.lowest.value, one.highest.value) == (-2, -2)


def test_moments():
    values = [-3.0, 0.5, 1.0, 2.0, 2.5, 0.1, -0.2]
    H, operator = given_matrix(values)
    found = [moments(operator, draws=25, generator=draw(seed)) for seed in range(40)]
    norm = float(H.norm())
    for value, error, exact in (("trace", "trace_error", sum(values)), ("frobenius", "frobenius_error", norm)):
        off = torch.tensor([getattr(each, value) - exact for each in found])
        said = torch.tensor([getattr(each, error) for each in found])
        assert 0.7 < float(off.std() / said.mean()) < 1.3
        assert abs(float(off.mean())) < 4 * float(said.mean()) / 40**0.5
    exactly = moments(Symmetric(lambda v: 3 * v, 5, torch.zeros(1)), draws=2)
    assert exactly.trace == 15
    assert exactly.frobenius == pytest.approx(45**0.5)
    assert exactly.trace_error == exactly.frobenius_error == 0


def test_density_of_a_known_spectrum():
    values = [-1.0] * 20 + [0.0] * 50 + [3.0] * 30
    _, operator = given_matrix(values)
    found = density(operator, draws=60, steps=10, width=0.1, points=2000, generator=draw())
    for level, share in ((-1, 0.2), (0, 0.5), (3, 0.3)):
        near = (found.at - level).abs() < 0.4
        assert float(torch.trapezoid(found.density[near], found.at[near])) == pytest.approx(share, abs=0.02)
    assert float(torch.trapezoid(found.density, found.at)) == pytest.approx(1, abs=5e-3)
    peak = float(found.at[found.density.argmax()])
    assert peak == pytest.approx(0, abs=0.01)
    assert float(found.density.max()) == pytest.approx(0.5 / (0.1 * math.sqrt(2 * math.pi)), rel=0.05)


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
    assert_close(curvature(model, x, y, kind=kind).apply(v), expected, 1e-11)


# ---- errors


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": torch.full((7, 5), float("nan"))}, "NaN"),
        ({"x": torch.zeros(0, 5), "y": torch.zeros(0, dtype=torch.int64)}, "at least one"),
        ({"y": torch.zeros(6, dtype=torch.int64)}, "6 targets for 7 samples"),
        ({"kind": "fisher"}, "kind='fisher'"),
        ({"loss": "hinge"}, "loss='hinge'"),
        ({"chunk": 0}, "chunk=0"),
        ({"model": nn.Linear(5, 3)}, "training mode"),
        ({"model": nn.Linear(5, 3).eval().requires_grad_(False)}, "no parameter is trainable"),
    ],
)
def test_what_has_no_curvature_is_named(change, said):
    model, x, y = dense()
    arguments = {"model": model, "x": x, "y": y} | change
    with pytest.raises(ValueError, match=said):
        curvature(arguments.pop("model"), arguments.pop("x"), arguments.pop("y"), **arguments)


def test_one_sample_and_one_output():
    model = drawn(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))
    x, y = torch.randn(1, 3), torch.randn(1)
    expected = hessian(model, x, y, lambda out, y: (out[:, 0] - y).square().mean())
    assert_close(formed(curvature(model, x, y, loss="mse")), expected)


def test_spectra_that_cannot_be_estimated_are_named():
    _, operator = given_matrix([1.0, 2.0])
    broken = Symmetric(lambda v: v * float("nan"), 3, torch.zeros(1))
    for work, said in (
        (lambda: extremes(broken), "not finite"),
        (lambda: extremes(operator, steps=0), "steps=0"),
        (lambda: extremes(operator, which="top"), "'both' or 'magnitude'"),
        (lambda: moments(operator, draws=1), "draws=1"),
        (lambda: density(operator, draws=0), "draws=0"),
        (lambda: density(operator, width=0.0), "width=0.0"),
    ):
        with pytest.raises(ValueError, match=said):
            work()
