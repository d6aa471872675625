"""Convolutional networks: the small one of maess."""

from collections.abc import Sequence

from torch import nn

__all__ = ["MAESS", "Blocks", "cnn", "features"]

# of convolutions (channels, kernel, padding); pooling by two follows each block  [maess, appendix D]
Blocks = Sequence[Sequence[tuple[int, int, int]]]
MAESS: Blocks = (((8, 3, 1), (8, 3, 1), (8, 5, 0)), ((16, 5, 0), (16, 3, 1), (16, 3, 1)))


def cnn(shape: Sequence[int], classes: int, *, blocks: Blocks = MAESS, bias: bool = True) -> nn.Sequential:
    """Blocks of convolutions with ReLU, each followed by max pooling, then one linear layer; shape: (c, h, w).

    Raises ValueError for images that are too small for the blocks.

    >>> import torch
    >>> cnn((1, 28, 28), 10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    layers: list[nn.Module] = []
    channels, height, width = shape
    for block in blocks:
        for out, kernel, padding in block:
            layers += [nn.Conv2d(channels, out, kernel, padding=padding, bias=bias), nn.ReLU()]
            channels, height, width = out, height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1
        layers.append(nn.MaxPool2d(2))
        height, width = height // 2, width // 2
        if min(height, width) < 1:
            raise ValueError(f"images of {tuple(shape)} are too small for {len(blocks)} blocks of convolutions.")
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * width, classes, bias=bias))


def features(model: nn.Sequential) -> nn.Sequential:
    """The model without its last layer: its outputs are the penultimate features.

    >>> import torch
    >>> features(cnn((1, 28, 28), 10))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 256])
    """
    return nn.Sequential(*list(model)[:-1]).train(model.training)
