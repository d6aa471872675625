"""What a rule sees of a layer, against loops over its entries."""

import pytest
import torch
from torch import nn

from spectral_lens.explain._layer import layer_of, stabilised
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear
from spectral_lens.nn.plain import as_plain

pytestmark = pytest.mark.usefixtures("double")


def entries(layer, a, bias):
    """The contributions a_j w_jk, (n, k, d), and the biases, (k,), of a layer by its matrix."""
    shape = layer(a).shape[1:]
    unit = torch.eye(a[0].numel()).view(-1, *a.shape[1:])
    matrix = (layer(unit) - layer(torch.zeros_like(unit))).flatten(1).mT
    shift = layer(torch.zeros_like(a[:1])).flatten() if bias else torch.zeros(shape.numel())
    return matrix * a.flatten(1).unsqueeze(1), shift


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(5, 3), (5,)),
        (lambda: SpectralLinear(5, 3), (5,)),
        (lambda: nn.Conv2d(2, 3, 2), (2, 3, 4)),
        (lambda: SpectralConv2d(2, 3, (1, 2), stride=2), (2, 3, 4)),
        (lambda: nn.Conv1d(2, 4, 3, padding=1, groups=2), (2, 7)),
        (lambda: nn.Conv3d(2, 3, 2, stride=(1, 2, 1)), (2, 3, 4, 3)),
        (lambda: nn.ConvTranspose1d(2, 3, 4, stride=3, padding=1, output_padding=2), (2, 5)),
        (lambda: nn.ConvTranspose2d(2, 6, (2, 3), stride=2, groups=2, dilation=(1, 2)), (2, 3, 4)),
        (lambda: nn.ConvTranspose3d(2, 3, 2), (2, 2, 3, 2)),
    ],
)
@torch.no_grad()
def test_sums_of_contributions_by_their_sign(make, shape, with_bias):
    module = make()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    a = torch.randn(4, *shape)
    layer = layer_of(as_plain(module), a, with_bias=with_bias)
    parts, shift = entries(module, a, with_bias)
    positive, negative = parts.clamp(min=0).sum(2) + shift.clamp(min=0), parts.clamp(max=0).sum(2) + shift.clamp(max=0)
    torch.testing.assert_close(layer.output, module(a))
    torch.testing.assert_close(layer.z.flatten(1), parts.sum(2) + shift)
    torch.testing.assert_close(layer.positive.flatten(1), positive)
    torch.testing.assert_close(layer.negative.flatten(1), negative)
    assert (layer.b is None) == (not with_bias)


def test_ones_stand_in_for_the_models_inputs_only():
    module, a = nn.Linear(6, 2), torch.randn(3, 6)
    factor = torch.ones(3, 2, 3)
    assert torch.equal(layer_of(module, a, factor=factor).ones, torch.ones(3, 6))
    with pytest.raises(ValueError, match="first_only"):
        _ = layer_of(module, a).ones


def test_a_stabiliser_moves_away_from_zero():
    denominator = torch.tensor([-2.0, -1e-3, 0.0, 1e-3, 2.0])
    moved = stabilised(denominator, 0.25)
    torch.testing.assert_close(moved, torch.tensor([-2.25, -0.251, 0.25, 0.251, 2.25]))
