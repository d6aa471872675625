"""Small networks at random: layers shared, residual, normalised, pooled, reparametrised, in place, in every order."""

import random

import torch
from torch import nn
from torch.nn import functional as F

from layered_models import REPARAMETRISED
from spectral_lens.nn.layers import PARAMETERS, Dense, SpectralConv2d, SpectralLinear

# what may be done to a layer, and how often
CHANGES = [None] * 9 + list(REPARAMETRISED) + ["hook that looks", "hook that changes"]
ACTIVATIONS = {
    "relu": lambda: nn.ReLU(),
    "in place": lambda: nn.ReLU(inplace=True),
    "leaky": lambda: nn.LeakyReLU(0.2),
    "relu6": lambda: nn.ReLU6(),
    "tanh": lambda: nn.Tanh(),
    "none": lambda: nn.Identity(),
}
FUNCTIONS = {
    "F.relu": F.relu,
    "x.relu_": lambda x: x.relu_(),
    "x + 1": lambda x: x + 1,
    "halved": lambda x: x / 2,
    "dropout": lambda x: F.dropout(x, 0.5, training=False),
    "softplus": F.softplus,
}


class RandomNetwork(nn.Module):
    """Steps one after the other, each a layer, a function, or a sum with what was there some steps before.

    inputs: the shape of a sample, (channels, length), (channels, height, width) or (features,).
    """

    def __init__(self, seed):
        super().__init__()
        draw = random.Random(seed)
        self.inputs = draw.choice([(5,), (2, 7), (2, 5, 6)])
        self.layers, self.steps = nn.ModuleList(), []
        shape = self.inputs
        for _ in range(draw.randint(2, 6)):
            shape = self._step(draw, shape)
        self.last = nn.Linear(int(torch.Size(shape).numel()), 3)
        self._start(seed)

    def _step(self, draw, shape):
        kind = draw.choice(["layer", "layer", "layer", "again", "activation", "function", "pool", "norm", "branch"])
        if kind == "layer":
            return self._layer(draw, shape)
        if kind == "again":  # a layer that keeps the shape, in a second place
            same = [k for k, layer in enumerate(self.layers) if getattr(layer, "keeps", None) == shape]
            self.steps += [(draw.choice(same),)] if same else []
        elif kind == "activation":
            self._add(ACTIVATIONS[draw.choice(list(ACTIVATIONS))]())
        elif kind == "function":
            self.steps.append(FUNCTIONS[draw.choice(list(FUNCTIONS))])
        elif kind == "norm":
            norm = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d)[len(shape) - 1]
            self._add(norm(shape[0], affine=draw.random() < 0.7))
        elif kind == "branch":
            inner = nn.Linear(shape[-1], shape[-1])
            self._add(nn.Sequential(inner, ACTIVATIONS[draw.choice(["relu", "none", "in place"])]()))
            self.steps[-1] = (*self.steps[-1], "add")
        elif len(shape) > 1 and shape[-1] > 3:
            return self._pool(draw, shape)
        return shape

    def _layer(self, draw, shape):
        bias, out = draw.random() < 0.7, draw.choice([2, 3, shape[0]])
        if len(shape) == 1:
            layer = draw.choice([nn.Linear, Dense, SpectralLinear])(shape[0], out + 2, bias=bias)
            after = (out + 2,)
        elif len(shape) == 2:
            make, change = draw.choice([(nn.Conv1d, -1), (nn.ConvTranspose1d, 1)])
            layer, after = make(shape[0], out, 2, bias=bias), (out, shape[1] + change)
        else:
            groups = shape[0] if draw.random() < 0.3 and out % shape[0] == 0 else 1
            given = {"groups": groups, "bias": bias, "padding": 1, "dilation": draw.choice([1, 2])}
            layer = draw.choice([nn.Conv2d, SpectralConv2d])(shape[0], out, 3, **given)
            after = (out, *(side + 4 - 2 * given["dilation"] - 2 for side in shape[1:]))
            if min(after[1:]) < 1:
                return shape
        if after[-1] < 1:
            return shape
        if isinstance(layer, SpectralLinear | SpectralConv2d):
            for name in draw.sample(PARAMETERS, 2):
                if getattr(layer, name) is not None:
                    getattr(layer, name).requires_grad_(True)
        else:
            layer = _changed(layer, draw.choice(CHANGES))
        self._add(layer)
        layer.keeps = after if after == shape else None
        return after

    def _pool(self, draw, shape):
        if len(shape) == 2:
            pool = draw.choice([nn.MaxPool1d, nn.AvgPool1d])(2)
        else:
            pool = draw.choice([nn.MaxPool2d(2), nn.AvgPool2d(2), nn.MaxPool2d(3, stride=2, padding=1, dilation=1)])
        self._add(pool)
        with torch.no_grad():
            return tuple(pool(torch.zeros(1, *shape)).shape[1:])

    def _add(self, layer):
        self.steps.append((len(self.layers),))
        self.layers.append(layer)

    @torch.no_grad()
    def _start(self, seed):
        generator = torch.Generator().manual_seed(seed)
        for name, buffer in self.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2, generator=generator)
        for parameter in self.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))

    def forward(self, x):
        for step in self.steps:
            if not isinstance(step, tuple):
                x = step(x)
            elif len(step) == 1:
                x = self.layers[step[0]](x)
            else:
                x = x + self.layers[step[0]](x)
        return self.last(x.flatten(1))


def _changed(layer, change):
    if change in REPARAMETRISED:
        return REPARAMETRISED[change](layer)
    if change == "hook that looks":
        layer.register_forward_hook(lambda module, args, out: None)
    elif change == "hook that changes":
        layer.register_forward_hook(lambda module, args, out: 1.5 * out)
    return layer
