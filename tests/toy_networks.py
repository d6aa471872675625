"""Small networks of every kind, which tests of several modules look at."""

import itertools

import torch
from hypothesis import strategies as st
from torch import nn

from spectral_lens.nn.layers import Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp

SEEDS = (4, 1, 9)


def assert_close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Skip(nn.Module):
    """No Sequential, so it goes through vmap."""

    def __init__(self):
        super().__init__()
        self.a, self.b = SpectralLinear(5, 5), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.tensor([1.5]))

    def forward(self, x):
        return self.scale * self.b(x + self.a(x).tanh())


class ConvSkip(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = SpectralConv2d(2, 2, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        return x + self.norm(self.a(x)).relu()


class Squared(nn.Linear):
    def forward(self, x):
        return super().forward(x) ** 2


# consecutive dense layers, wide in the middle, and how many times some of them stand together
CHAINS = {
    "plain": (lambda: nn.Sequential(nn.Linear(6, 17), nn.Linear(17, 13), nn.Linear(13, 3)), 1),
    "plain, no bias": (lambda: nn.Sequential(nn.Linear(6, 17, bias=False), Dense(17, 4, bias=False)), 1),
    "spectral": (lambda: mlp([6, 17, 13, 3], activation="linear", spectral=3, init="giambagli"), 1),
    "mixed": (
        lambda: nn.Sequential(
            SpectralLinear(6, 17, bias=False), nn.Linear(17, 13), Dense(13, 11, bias=False), SpectralLinear(11, 3)
        ),
        1,
    ),
    "bias in the first": (
        lambda: nn.Sequential(Dense(6, 17), nn.Identity(), SpectralLinear(17, 3, bias=False), nn.Identity()),
        1,
    ),
    "bias in the last": (
        lambda: nn.Sequential(nn.Linear(6, 17, bias=False), SpectralLinear(17, 13, bias=False), nn.Linear(13, 2)),
        1,
    ),
    "activations between": (
        lambda: mlp([6, 17, 4, 15, 3], activation=["linear", "tanh", "linear"], spectral=3, init="giambagli"),
        2,
    ),
    "an activation behind": (lambda: nn.Sequential(SpectralLinear(6, 17), nn.Linear(17, 4), nn.ReLU()), 1),
    "nested": (
        lambda: nn.Sequential(
            nn.Identity(),
            nn.Sequential(SpectralLinear(6, 17), nn.Sequential(nn.Linear(17, 13), nn.Identity()), nn.Linear(13, 4)),
            nn.Sequential(nn.Sigmoid(), nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 3))),
        ),
        1,
    ),
}


MODELS = {
    "dense": (lambda: mlp([5, 7, 4, 3], activation=["tanh", "relu"], spectral=2), (5,)),
    "dense, bounded": (lambda: mlp([5, 4, 2], output="tanh"), (5,)),
    "dense, images": (lambda: mlp([6, 4, 3], batch_norm=True), (1, 2, 3)),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.GELU(), SpectralLinear(4, 3, bias=False)), (5,)),
    "sequences": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ELU(), nn.Flatten(), SpectralLinear(8, 3)), (2, 5)),
    "custom": (Skip, (5,)),
    "custom inside": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), Skip()), nn.PReLU()), (4,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Softmax(-1)), (4,)),
    "flatten in part": (
        lambda: nn.Sequential(nn.Flatten(1, 2), nn.Linear(3, 4), nn.Flatten(), nn.Linear(24, 2)),
        (2, 3, 3),
    ),
    "subclass": (lambda: nn.Sequential(Squared(5, 4), nn.ReLU(), nn.Linear(4, 3)), (5,)),
    "conv": (
        lambda: nn.Sequential(
            SpectralConv2d(2, 4, 3, stride=2, groups=2),
            nn.ReLU(),
            nn.Conv2d(4, 3, (1, 2), padding="same", dilation=2, padding_mode="circular"),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6, 2),
        ),
        (2, 9, 5),
    ),
    "conv, custom": (
        lambda: nn.Sequential(ConvSkip(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)),
        (2, 4, 5),
    ),
} | {f"products, {name}": (make, (6,)) for name, (make, _) in CHAINS.items()}


widths = st.lists(st.integers(1, 8), min_size=2, max_size=6)


def randomised(model, seed=0):
    """The model in float64, no parameter at a special value."""
    with torch.no_grad():
        for k, parameter in enumerate(model.double().parameters()):
            parameter.copy_(inputs(*parameter.shape, seed=seed + k) / 2)
    return model


KINDS = {"plain": nn.Linear, "as in Keras": Dense, "spectral": SpectralLinear}
ROWS = st.tuples(widths, st.lists(st.tuples(st.sampled_from([*KINDS]), st.booleans()), min_size=5, max_size=5))


def in_a_row(row, seed):
    """Dense layers of any kinds one after the other: widths, then for each layer its kind and whether it has a bias."""
    sizes, kinds = row
    ends = zip(itertools.pairwise(sizes), kinds, strict=False)
    layers = [KINDS[kind](before, after, bias=bias) for (before, after), (kind, bias) in ends]
    return randomised(nn.Sequential(*layers), seed)
