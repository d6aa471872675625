"""Convolutional networks: the small one of maess, and a residual one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["MAESS", "Blocks", "Residual", "cnn", "features", "residual"]

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


class Residual(nn.Module):
    """relu(x + F(x)): a branch of two convolutions that ends without a rectifier, and the way around it.  [he2016]

    >>> import torch
    >>> Residual(4)(torch.zeros(2, 4, 5, 6)).shape
    torch.Size([2, 4, 5, 6])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        first, last = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
        self.branch = nn.Sequential(first, nn.ReLU(), last)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return torch.relu(x + self.branch(x))


def residual(shape: Sequence[int], classes: int, *, channels: int = 4) -> nn.Sequential:
    """A convolution and two residual blocks without biases, with pooling between and a linear layer; shape: (c, h, w).

    >>> import torch
    >>> residual((1, 8, 8), 10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    first = nn.Conv2d(shape[0], channels, 3, padding=1, bias=False)
    last = nn.Linear(16 * channels, classes, bias=False)
    return nn.Sequential(
        first, nn.ReLU(), Residual(channels), nn.MaxPool2d(2), Residual(channels), nn.AdaptiveAvgPool2d(4),
        nn.Flatten(), last,
    )  # fmt: skip


def features(model: nn.Sequential) -> nn.Sequential:
    """The model without its last layer: its outputs are the penultimate features.

    >>> import torch
    >>> features(cnn((1, 28, 28), 10))(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 256])
    """
    return nn.Sequential(*list(model)[:-1]).train(model.training)
