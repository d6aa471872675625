"""Convolutional networks: their shapes, and their features."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.nn.convnets import cnn, features, residual


def test_the_network_of_the_paper():
    model = cnn((1, 28, 28), 10)
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.padding[0]) for c in convolutions] == [
        (1, 8, 3, 1), (8, 8, 3, 1), (8, 8, 5, 0), (8, 16, 5, 0), (16, 16, 3, 1), (16, 16, 3, 1)
    ]  # fmt: skip
    block = ["Conv2d", "ReLU"] * 3 + ["MaxPool2d"]
    assert [type(layer).__name__ for layer in model] == [*block, *block, "Flatten", "Linear"]
    x = torch.rand(3, 1, 28, 28)
    assert model(x).shape == (3, 10)
    assert features(model)(x).shape == (3, 256)


def test_other_images_and_blocks():
    blocks = (((5, 3, 0), (7, 2, 1)), ((4, 3, 1),))
    model = cnn((3, 13, 18), 6, blocks=blocks, bias=False)
    assert model(torch.rand(2, 3, 13, 18)).shape == (2, 6)
    assert features(model)(torch.rand(2, 3, 13, 18)).shape == (2, 4 * 3 * 4)
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())


@pytest.mark.parametrize("shape", [(1, 15, 28), (1, 28, 15), (3, 2, 2)])
def test_images_that_are_too_small_are_refused(shape):
    with pytest.raises(ValueError, match=r"images of .* are too small for 2 blocks"):
        cnn(shape, 10)


def test_the_smallest_images():
    assert cnn((2, 16, 16), 5)(torch.rand(3, 2, 16, 16)).shape == (3, 5)


@pytest.mark.parametrize("training", [True, False])
def test_features_are_what_the_last_layer_sees(training):
    model, x = cnn((1, 16, 17), 5).train(training), torch.rand(3, 1, 16, 17)
    assert features(model).training is training
    assert torch.equal(model[-1](features(model)(x)), model(x))
    assert features(model)[0] is model[0]


def test_a_residual_network_is_its_layers():
    model, x = residual((2, 9, 7), 5, channels=3).double(), torch.randn(4, 2, 9, 7, dtype=torch.float64)
    first, last = model[0].weight, model[-1].weight
    blocks = [[layer.weight for layer in part.branch if isinstance(layer, nn.Conv2d)] for part in (model[2], model[4])]
    z = F.conv2d(x, first, padding=1).clamp(min=0)
    for number, (one, other) in enumerate(blocks):
        z = (z + F.conv2d(F.conv2d(z, one, padding=1).clamp(min=0), other, padding=1)).clamp(min=0)
        z = F.max_pool2d(z, 2) if number == 0 else F.adaptive_avg_pool2d(z, 4)
    torch.testing.assert_close(model(x), z.flatten(1) @ last.mT)
    assert last.shape == (5, 48)
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())
