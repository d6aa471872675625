"""Small trainings of every kind, which tests of several modules look at."""

import torch
from torch import nn

import oracles
from oracles import measured, toy
from spectral_lens.nn.layers import SpectralConv2d
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import Trained
from spectral_lens.training._parameters import stack

SEEDS = (7, 2, 11)
TIGHT = {"rtol": 1e-12, "atol": 1e-12}
DOUBLE = {"dtype": torch.float64, "device": "cpu"}


def own(options, r):
    """The options of run r alone."""

    def number(value):
        return value[r] if isinstance(value, list | tuple) else value

    mine = dict(options)
    if "lr" in mine:
        mine["lr"] = number(mine["lr"])
    for name in ("l1", "l2"):
        if name in mine:
            mine[name] = {key: number(value) for key, value in mine[name].items()}
    if "masks" in mine:
        mine["masks"] = {key: value[r] if len(value) == len(SEEDS) else value for key, value in mine["masks"].items()}
    for name in ("data", "validation"):
        if name in mine:
            mine[name] = mine[name].run(r)
    return mine


def doubles(*values):
    return torch.tensor(values, dtype=torch.float64)


def untrained(model, seeds=(3, 8)):
    """All runs at their initial values."""
    state = stack(model.double(), seeds)
    return Trained(model.eval(), state, tuple(seeds), {}, {}, 0, 0.0)


def starts(model, *, reinitialize=True, seeds=SEEDS):
    """Each run's initial state."""
    return [oracles.initial(model, seed, reinitialize=reinitialize).state_dict() for seed in seeds]


class Skip(nn.Module):
    """No Sequential, with batch norm: through vmap."""

    def __init__(self):
        super().__init__()
        # no bias before a batch norm: its gradient is rounding only, which Adam would turn into steps of any sign
        self.first = SpectralConv2d(2, 3, (3, 2), padding=1, init="giambagli", bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 1, groups=3)

    def forward(self, x):
        x = self.norm(self.first(x)).tanh()
        return x + self.second(x)


def convolutional():
    return nn.Sequential(
        Skip(), nn.Dropout(0.2), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(6, 3)
    )


def frozen():
    model = mlp([5, 6, 3], spectral=2)
    model.layer1.psi.requires_grad_(False)
    model.layer2.bias.requires_grad_(False)
    return model


def dropping():
    return mlp([5, 6, 3], spectral=2, batch_norm=True, dropout=0.3)


def some(shape, seed=0):
    """A mask."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


EXPERIMENTS = {
    "plain": (lambda: mlp([5, 7, 4, 2]), {"data": toy(23, (5,)), "batch_size": 6}),
    "penalties": (
        lambda: mlp([5, 6, 3], activation="tanh"),
        {
            "data": toy(20, (5,), 3),
            "batch_size": 7,
            "lr": 5e-3,
            "l1": {"layer1.lam_in": [0.0, 0.02, 0.5], "layer2.weight": 1e-3},
            "l2": {"layer1.psi": 0.03, "layer1.lam_in": [0.1, 0.0, 0.3], "layer2.bias": 0.2},
        },
    ),
    "everything": (
        lambda: mlp([5, 6, 4, 3], activation=["relu", "tanh"], spectral=2, batch_norm=True, dropout=0.3),
        {
            "data": toy(22, (5,), 3, runs=3),
            "validation": toy(9, (5,), 3, runs=3, seed=4),
            "batch_size": 8,
            "optimizer": "adamax",
            "lr": [0.01, 0.003, 0.1],
            "l1": {"layer1.psi": [1e-3, 0.0, 0.1]},
            "l2": {"layer3.weight": [0.3, 0.2, 0.1], "norm1.weight": 0.01},
            "masks": {"layer1.psi": some((3, 6, 5)), "layer2.psi": some((4, 6)), "layer3.bias": some((3, 3), 1)},
        },
    ),
    "products": (  # a matrix for each two layers in the full batch; layer by layer in the last one, of a single sample
        lambda: mlp([5, 9, 3, 8, 3], activation=["linear", "tanh", "linear"], spectral=3, init="giambagli"),
        {"data": toy(21, (5,), 3), "batch_size": 20, "optimizer": "sgd", "lr": [0.3, 0.1, 0.7]},
    ),
    "sgd": (
        lambda: mlp([5, 6, 3], init="giambagli"),
        {"data": toy(20, (5,), 3, runs=3), "batch_size": 20, "optimizer": "sgd", "lr": [0.3, 0.1, 0.7]},
    ),
    "batch larger than the set": (lambda: mlp([5, 4, 2]), {"data": toy(13, (5,)), "batch_size": 1000}),
    "frozen": (frozen, {"data": toy(20, (5,), 3), "batch_size": 9, "lr": 0.01, "l2": {"layer1.lam_in": 0.1}}),
    "present values": (lambda: mlp([5, 4, 2]), {"data": toy(21, (5,)), "batch_size": 4, "reinitialize": False}),
    "a quantity, the rate falling": (
        lambda: mlp([5, 6, 4, 1], activation="tanh", batch_norm=True),
        {
            "data": measured(23, (5,)),
            "validation": measured(9, (5,), seed=4),
            "batch_size": 8,
            "lr": [0.01, 0.03, 0.1],
            "decay": 0.6,
            "loss": "mae",
            "l1": {"layer1.lam_in": 0.01},
        },
    ),
    "squares, the rate falling all the time": (
        lambda: mlp([5, 4, 1]),
        {
            "data": measured(13, (5,), runs=3),
            "batch_size": 20,
            "optimizer": "sgd",
            "decay": 1.0,
            "loss": "mse",
            "lr": 0.1,
        },
    ),
    "convolution": (
        convolutional,
        {
            "data": toy(14, (2, 5, 4), 3),
            "validation": toy(5, (2, 5, 4), 3, seed=3),
            "batch_size": 5,
            "lr": [0.01, 0.02, 0.03],
            "l2": {"0.first.psi": [0.0, 0.1, 0.2]},
            "masks": {"0.second.weight": some((3, 3, 1, 1, 1))},
        },
    ),
}


class Steep:
    """The mean squared gradient of the outputs' squares by the inputs, and a parameter's fourth powers."""

    strengths = torch.tensor([0.3, 0.0, 0.01], dtype=torch.float64)

    def __call__(self, step):
        (slope,) = torch.autograd.grad(step.out.square().sum(), step.x, create_graph=True)
        return self.strengths * (slope.square().sum(2).mean(1) + step.state["layer1.psi"].pow(4).sum((1, 2)))

    def __repr__(self):
        return "Steep()"
