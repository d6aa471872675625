"""Gradients and their means for all outputs, against captum and closed forms."""

import pytest
import torch
from torch import nn

from spectral_lens.explain import gradients
from spectral_lens.explain.gradients import (
    gradient,
    gradient_x_input,
    integrated_gradients,
    of_class,
    saliency,
    smoothgrad,
)
from spectral_lens.operators._pullback import pullback

pytestmark = pytest.mark.usefixtures("double")


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 5)
    ).eval()


def images(n=3):
    return torch.randn(n, 2, 6, 7)


def looped(method, x, outputs=5):
    """captum's way: one output after the other."""
    return torch.stack([method(x.clone().requires_grad_(), k).detach() for k in range(outputs)], 1)


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def test_the_gradient_of_a_class_is_one_of_all():
    model, x, label = cnn(), images(4), torch.tensor([4, 0, 2, 2])
    assert_close(of_class(model, x, label), gradient(model, x)[torch.arange(4), label])
    with torch.no_grad():
        assert_close(of_class(model, x, label), gradient(model, x)[torch.arange(4), label])
    for wrong in (label + 1, label - 1):
        with pytest.raises(ValueError, match="from 0 to 4"):
            of_class(model, x, wrong)
    with pytest.raises(ValueError, match="for 4 samples"):
        of_class(model, x, label[:3])


def test_gradients_are_captums():
    from captum.attr import InputXGradient, Saliency

    model, x = cnn(), images()
    signed = looped(lambda u, k: Saliency(model).attribute(u, target=k, abs=False), x)
    assert_close(gradient(model, x), signed)
    assert_close(saliency(model, x), signed.abs())
    assert_close(gradient_x_input(model, x), looped(lambda u, k: InputXGradient(model).attribute(u, target=k), x))


def test_integrated_gradients_are_captums():
    from captum.attr import IntegratedGradients

    model, x, baseline = cnn(), images(), images(1)
    for ours, theirs, steps in (("gauss-legendre", "gausslegendre", 9), ("right", "riemann_right", 10)):
        peer = IntegratedGradients(model)
        expected = looped(
            lambda u, k, peer=peer, theirs=theirs, steps=steps: peer.attribute(
                u, baselines=baseline, target=k, n_steps=steps, method=theirs
            ),
            x,
        )
        assert_close(
            integrated_gradients(model, x, baseline=baseline, rule=ours, steps=steps), expected, 1e-6
        )  # captum's steps are single


def test_integrated_gradients_add_up():
    smooth = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
    x, baseline = torch.randn(5, 4), torch.randn(4)
    found = integrated_gradients(smooth, x, baseline=baseline, rule="gauss-legendre", steps=30)
    assert_close(found.sum(2), (smooth(x) - smooth(baseline)).detach(), 1e-9)


def test_a_quadratic_in_closed_form():
    """f = x^T Q x has the gradient 2 t Q x at t x: x * Q x on the whole path from zero, 1.1 times it in ten points."""
    Q = torch.randn(4, 4)
    Q = Q + Q.T

    class Quadratic(nn.Module):
        def forward(self, x):
            return torch.einsum("ni,ij,nj->n", x, Q, x)[:, None]

    x = torch.randn(3, 4)
    exact = (x * (x @ Q))[:, None]
    model = Quadratic().eval()
    assert_close(integrated_gradients(model, x, rule="gauss-legendre", steps=1), exact)
    assert_close(integrated_gradients(model, x, steps=10), 1.1 * exact)
    noise = smoothgrad(model, x, sigma=0.5, samples=7, generator=torch.Generator().manual_seed(3))
    drawn = torch.empty(7, 3, 4).normal_(generator=torch.Generator().manual_seed(3))
    assert_close(noise, (2 * (x + 0.5 * drawn.mean(0)) @ Q)[:, None])
    assert_close(smoothgrad(model, x, sigma=0.0, samples=2, times_input=True), 2 * exact)
    again = torch.Generator().manual_seed(3)
    assert_close(smoothgrad(model, x, sigma=0.5, samples=7, generator=again, times_input=True), noise * x[:, None])


@pytest.mark.parametrize("size", [1, 7, 9])
def test_points_in_batches_are_the_points_together(monkeypatch, size):
    """Two or three points of three samples at a time, or one that is larger than the batch; all weights differ."""
    model, x = cnn(), images()
    whole = integrated_gradients(model, x, rule="gauss-legendre", steps=5)
    monkeypatch.setattr(gradients, "batch_size", lambda x: size)
    seen = []
    model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    assert_close(integrated_gradients(model, x, rule="gauss-legendre", steps=5), whole)
    assert max(seen) == max(3, size // 3 * 3)


@pytest.mark.parametrize("chunk", [1, 3, 5, 8])
def test_chunks_selections_and_readouts(chunk):
    model, x = cnn(), images()
    whole, maps = gradient(model, x), torch.randn(2, 5)
    assert_close(gradient(model, x, chunk=chunk), whole)
    assert_close(gradient(model, x, outputs=[4, 1], chunk=chunk), whole[:, [4, 1]])
    assert_close(gradient(model, x, outputs=torch.tensor([2]), chunk=chunk), whole[:, [2]])
    assert_close(gradient(model, x, outputs=maps, chunk=chunk), torch.einsum("ko,no...->nk...", maps, whole))


def test_nothing_is_left_behind():
    model, x = cnn(), images()
    found = gradient(model, x)
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": cnn().train()}, r"training mode.*model\.eval"),
        ({"x": torch.randn(0, 2, 6, 7)}, "at least one"),
        ({"x": torch.full((1, 2, 6, 7), float("nan"))}, "NaN"),
        ({"outputs": [5]}, r"outputs \[5\] do not exist: the model has 5, from 0 to 4"),
        ({"outputs": [-1]}, r"outputs \[-1\]"),
        ({"outputs": []}, "at least one output"),
        ({"outputs": torch.randn(2, 6)}, r"read-out is \(2, 6\): for 5 outputs it must be \(k, 5\)"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_wrong_input_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        gradient(**({"model": cnn(), "x": images()} | change))


def test_wrong_options_are_named():
    model, x = cnn(), images()
    with pytest.raises(ValueError, match="steps=0"):
        integrated_gradients(model, x, steps=0)
    with pytest.raises(ValueError, match="rule='left' is unknown"):
        integrated_gradients(model, x, rule="left")
    with pytest.raises(ValueError, match="no negative noise"):
        smoothgrad(model, x, sigma=-1.0)
    with pytest.raises(ValueError, match="must be \\(samples, outputs\\)"):
        pullback(lambda u: u, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_precision_is_kept(dtype):
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).to(dtype).eval()
    x = torch.rand(2, 5, dtype=dtype)
    for method in (gradient, gradient_x_input, integrated_gradients, saliency, lambda *a: smoothgrad(*a, sigma=0.1)):
        assert method(model, x).dtype == dtype
