"""Models of every kind of layer with its own form of gradients, small and of all-different sizes."""

import warnings

import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from spectral_lens.nn.gates import StochasticGates
from spectral_lens.nn.layers import PARAMETERS, Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp


def gradients(model, x):
    """J_theta, (n, k, p), of the trainable parameters."""
    trained = {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}
    found = jacrev(lambda own: functional_call(model, own, (x,)))(trained)
    return torch.cat([each.flatten(2) for each in found.values()], 2)


class Residual(nn.Module):
    """Branches, and a parameter outside of any layer, which may be trained; work may be done in place."""

    def __init__(self, *, in_place=False, scaled=False):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(5, 5), nn.Linear(5, 4), SpectralLinear(5, 4, train=PARAMETERS)
        self.scale = nn.Parameter(torch.randn(4), requires_grad=scaled)
        self.in_place = in_place

    def forward(self, x):
        y = torch.tanh(self.one(x)) + x
        z = self.two(y)
        y = y.mul_(2) if self.in_place else y * 2
        return (z + self.three(y)) * self.scale


def convolutions(make, *, kernel=3, **options):
    return nn.Sequential(
        make(2, 4, kernel, **options), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )


def spectral(make, *sizes, **options):
    return make(*sizes, train=PARAMETERS, **options)


IMAGES, VECTORS, ROWS = (2, 7, 6), (5,), (3, 4)
MODELS = {
    "dense": (lambda: nn.Sequential(nn.Linear(5, 7), nn.Tanh(), Dense(7, 3)), VECTORS),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 7, bias=False), nn.Tanh(), nn.Linear(7, 3, bias=False)), VECTORS),
    "one layer, one output": (lambda: nn.Linear(5, 1), VECTORS),
    "one input": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 3)), (1,)),
    "dense at places": (
        lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), SpectralLinear(6, 5, train=PARAMETERS), nn.Flatten(),
                              nn.Linear(15, 3)), ROWS),
    "spectral": (
        lambda: nn.Sequential(spectral(SpectralLinear, 5, 7), nn.Tanh(), spectral(SpectralLinear, 7, 3, bias=False)),
        VECTORS),
    "chicchi": (lambda: mlp([5, 7, 4, 3], activation="tanh", spectral=2, batch_norm=True, dropout=0.3), VECTORS),
    "giambagli": (lambda: mlp([5, 7, 4, 3], spectral=3, init="giambagli"), VECTORS),
    "only eigenvalues": (lambda: mlp([5, 7, 3], activation="tanh", spectral=2, train=["lam_in", "lam_out"]), VECTORS),
    "convolution": (lambda: convolutions(nn.Conv2d), IMAGES),
    "padded": (lambda: convolutions(nn.Conv2d, padding=(2, 1), stride=(1, 2), padding_mode="circular"), IMAGES),
    "same": (lambda: convolutions(nn.Conv2d, padding="same", dilation=(1, 3), bias=False), IMAGES),
    "same, even kernel": (
        lambda: convolutions(nn.Conv2d, kernel=(2, 4), padding="same", padding_mode="circular"), IMAGES),
    "groups": (lambda: convolutions(nn.Conv2d, groups=2, padding=1, padding_mode="reflect"), IMAGES),
    "whole image": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, (7, 6)), nn.Tanh(), nn.Flatten(), nn.Linear(4, 3)), IMAGES),
    "spectral convolution": (lambda: convolutions(SpectralConv2d, train=PARAMETERS, padding=1, stride=2), IMAGES),
    "spectral groups": (lambda: convolutions(SpectralConv2d, train=PARAMETERS, groups=2), IMAGES),
    "spectral whole image": (
        lambda: nn.Sequential(SpectralConv2d(2, 4, (7, 6), groups=2, train=PARAMETERS), nn.Flatten(), nn.Linear(4, 3)),
        IMAGES),
    "batch normalisation": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, eps=0.3), nn.ReLU(), nn.Flatten(1, 2),
                              nn.BatchNorm1d(20, eps=0.02),
                              nn.Flatten(), nn.Linear(80, 3), nn.BatchNorm1d(3)), IMAGES),
    "others": (
        lambda: nn.Sequential(StochasticGates(5), nn.Unflatten(1, (1, 5)), nn.Conv1d(1, 2, 2), nn.Flatten(),
                              nn.LayerNorm(8), nn.PReLU(8), nn.Linear(8, 3)), VECTORS),
    "branches": (Residual, VECTORS),
    "a parameter beside layers": (lambda: Residual(scaled=True), VECTORS),
}  # fmt: skip


class Branches(nn.Module):
    """Two ways that meet again, by functions and methods as well as layers."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        self.beside = SpectralConv2d(2, 3, 1, train=PARAMETERS)
        self.last = nn.Linear(3 * 5 * 4, 7)

    def forward(self, x):
        y = self.body(x) + F.relu(self.beside(x))
        return self.last(y.flatten(1))


def normed():
    return nn.Sequential(
        nn.Flatten(), SpectralLinear(6, 5, train=PARAMETERS), nn.BatchNorm1d(5), nn.ReLU(),
        nn.Sequential(Dense(5, 4), nn.Identity(), nn.ReLU(), nn.Linear(4, 3)),
    )  # fmt: skip


def old(function):
    """torch's former way, with hooks, which it has deprecated."""

    def change(layer):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return function(layer)

    return change


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrized(layer):
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


REPARAMETRISED = {
    "parametrized": parametrized,
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old weight_norm": old(nn.utils.weight_norm),
    "old spectral_norm": old(nn.utils.spectral_norm),
    "pruned": lambda layer: prune.random_unstructured(layer, "weight", 0.5),
}
