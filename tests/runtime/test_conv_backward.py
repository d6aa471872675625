"""The faster derivative of a convolution is the derivative of the convolution."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import vjp, vmap
from torch.nn import functional as F

from spectral_lens._runtime.conv_backward import FastConvBackward

pytestmark = pytest.mark.usefixtures("double")

KERNELS = {
    f"{c} to {m}, {k[0]}x{k[1]}, stride {s}, padding {p}": (c, m, k, s, p)
    for c, m, k, s, p in itertools.product(
        (1, 3, 4, 5), (2, 7), ((1, 1), (3, 2), (4, 5)), (1, (1, 1), 2, (3, 2)), (0, (0, 1), 1)
    )
    if (p == 0 or all(a > b for a, b in zip(k, (p, p) if isinstance(p, int) else p, strict=True)))
}


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * max(1.0, expected.abs().max().item()))


def taken(function, at):
    """Whether the function's last step at `at` is the project's own."""
    with FastConvBackward():
        return type(function(at.requires_grad_()).grad_fn).__name__ == "_ConvolutionBackward"


@pytest.mark.parametrize("form", KERNELS.values(), ids=KERNELS.keys())
def test_value_derivative_and_its_transpose(form):
    c, m, kernel, stride, padding = form
    x, w, bias = torch.randn(2, c, 9, 8), torch.randn(m, c, *kernel), torch.randn(m)

    def conv(u):
        return F.conv2d(u, w, bias, stride=stride, padding=padding)

    expected, back = vjp(conv, x)
    with FastConvBackward():
        found, ours = vjp(conv, x)
    assert torch.equal(found, expected)
    y, u = torch.randn(4, *expected.shape), torch.randn(4, *x.shape)
    assert_close(vmap(ours)(y)[0], vmap(back)(y)[0])
    # the derivative of a linear map is the map itself, here without the bias
    _, forth = vjp(lambda g: ours(g)[0], torch.zeros_like(expected))
    assert_close(vmap(forth)(u)[0], torch.stack([conv(each) - bias.view(-1, 1, 1) for each in u]))
    assert taken(conv, x) == (stride in (1, (1, 1)) or c < 4)


def test_weights_keep_their_derivatives():
    x, start, bias = (
        torch.randn(3, 4, 6, 5),
        torch.randn(2, 4, 3, 2, requires_grad=True),
        torch.randn(2, requires_grad=True),
    )

    def loss(u):
        return (F.conv2d(u, 2 * start, 3 * bias, padding=1).pow(3)).sum()

    u = x.requires_grad_()
    found = []
    for mode in (FastConvBackward(), torch.enable_grad()):
        with mode:
            first = torch.autograd.grad(loss(u), (u, start, bias), create_graph=True)
            second = torch.autograd.grad(sum(each.square().sum() for each in first), (u, start, bias))
        found.append((*first, *second))
    for ours, expected in zip(*found, strict=True):
        assert_close(ours, expected)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 8, 3, groups=2),
        nn.Conv2d(4, 8, 3, dilation=2),
        nn.Conv2d(4, 8, 3, padding=4),
        nn.Conv2d(4, 8, 3, padding="same"),
        nn.Conv2d(4, 8, 3, padding=1, padding_mode="reflect"),
    ],
    ids=["groups", "dilation", "padding", "same", "reflect"],
)
def test_other_convolutions_are_the_same_too(layer):
    layer, x = layer.double(), torch.randn(3, 4, 9, 8)
    out, back = vjp(layer, x)
    with FastConvBackward():
        found, ours = vjp(layer, x)
    assert torch.equal(found, out)
    assert_close(ours(out)[0], back(out)[0])


def test_what_is_left_to_pytorch():
    x, w = torch.randn(3, 4, 9, 8), torch.randn(8, 4, 3, 3)
    assert taken(lambda u: torch.conv2d(u, w), x)
    assert not taken(lambda u: torch.conv2d(u, w[:, :2], groups=2), x)
    assert not taken(lambda u: torch.conv2d(u, w, dilation=2), x)
    assert not taken(lambda u: torch.conv2d(u, w, padding=(1, 3)), x)
    assert not taken(lambda u: torch.conv2d(u, w, padding="same"), x)
    assert not taken(lambda u: torch.conv2d(u, w), x[0])
    with torch.enable_grad():
        assert type(torch.conv2d(x.requires_grad_(), w).grad_fn).__name__ == "ConvolutionBackward0"
