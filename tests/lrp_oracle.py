"""LRP written out: a layer as a dense matrix, entry by entry, and a rule as its formula."""

import itertools

import numpy as np
import torch
from torch import nn

import oracles
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear


def kernel_of(layer):
    """The weights, from the spectral parameters where the layer has them."""
    if isinstance(layer, SpectralConv2d):
        return oracles.grouped_weight(layer.lam_in, layer.lam_out, layer.psi, layer.geometry["groups"])
    if isinstance(layer, SpectralLinear):
        return oracles.weight(layer.lam_in, layer.lam_out, layer.psi)
    return layer.weight


def matrix(layer, shape, kernel=None):
    """The layer's weights for inputs of that shape, (out, in)."""
    kernel = (kernel_of(layer) if kernel is None else kernel).detach().numpy()
    if kernel.ndim == 2:
        return kernel
    geometry = layer.geometry if isinstance(layer, SpectralConv2d) else vars(layer)
    stride, padding, dilation, groups = (geometry[name] for name in ("stride", "padding", "dilation", "groups"))
    out, per_group, *size = kernel.shape
    steps = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(shape[1:], padding, dilation, size, stride, strict=True)
    ]
    w = np.zeros((out, *steps, *shape))
    for o, y, x, i, u, v in itertools.product(*map(range, (out, *steps, per_group, *size))):
        row, column = y * stride[0] - padding[0] + u * dilation[0], x * stride[1] - padding[1] + v * dilation[1]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            w[o, y, x, o // (out // groups) * per_group + i, row, column] += kernel[o, i, u, v]
    return w.reshape(out * steps[0] * steps[1], -1)


def bias(layer, outputs):
    """The bias of each output, zero where there is none."""
    if layer.bias is None:
        return np.zeros(outputs)
    return np.repeat(layer.bias.detach().numpy(), outputs // len(layer.bias))


def over(parts, total, stabiliser):
    """The parts of each output over its total, which is moved away from zero; nothing where it is zero."""
    total = total + stabiliser * np.where(total < 0, -1.0, 1.0)
    return np.where(total[:, None] == 0, 0, parts / np.where(total == 0, 1, total)[:, None])


def shares(rule, layer, a):
    """What share of each output's relevance each input gets, (out, in), for one input `a` of the layer."""
    w, x, s = matrix(layer, tuple(a.shape)), a.detach().numpy().ravel(), rule.stabiliser
    own = bias(layer, len(w))
    b = own if rule.bias else 0 * own
    c = w * x
    match rule.name:
        case "zero":
            return over(c, c.sum(1) + b, s)
        case "epsilon":
            total = c.sum(1) + b
            return over(c, total + rule.amount * np.where(total < 0, -1.0, 1.0), s)
        case "gamma":
            up = (w + rule.amount * w.clip(0)) * x
            return over(up, up.sum(1) + b + rule.amount * b.clip(0), s)
        case "generalised_gamma":
            high = c.sum(1) + own > 0
            favoured = c + rule.amount * np.where(high[:, None], c.clip(0), c.clip(max=0))
            return over(favoured, favoured.sum(1) + b + rule.amount * np.where(high, b.clip(0), b.clip(max=0)), s)
        case "alpha_beta":
            up, down = c.clip(0), c.clip(max=0)
            positive, negative = up.sum(1) + b.clip(0), down.sum(1) + b.clip(max=0)
            return rule.alpha * over(up, positive, s) - rule.beta * over(down, negative, s)
        case "w_square":
            return over(w**2, (w**2).sum(1) + b**2, s)
        case "flat":
            seen = matrix(layer, tuple(a.shape), torch.ones_like(kernel_of(layer)))
            return over(seen, seen.sum(1), s)
        case "box":
            low, high = (np.resize(np.repeat(bound, len(x) // len(bound)), len(x)) for bound in (rule.low, rule.high))
            inside = c - low * w.clip(0) - high * w.clip(max=0)
            return over(inside, inside.sum(1), s)
    raise ValueError(f"no formula for {rule.name}.")


def pooled(layer, a, relevance, pooling):
    """Relevance of one image through a pooling layer: to the winner, or in proportion to the inputs."""
    out = torch.zeros_like(a)
    size = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
    for c, i, j in torch.cartesian_prod(*(torch.arange(k) for k in relevance.shape)).tolist():
        rows, columns = slice(i * size[0], (i + 1) * size[0]), slice(j * size[1], (j + 1) * size[1])
        window = a[c, rows, columns]
        if isinstance(layer, nn.MaxPool2d) and pooling == "winner":
            share = (window == window.max()).double() if window.max() != 0 else 0 * window
        else:
            share = window / window.sum() if window.sum() != 0 else 0 * window
        out[c, rows, columns] += share * relevance[c, i, j]
    return out


def lrp(model, x, rules, *, pooling="winner"):
    """Relevance of a Sequential's inputs, (n, k, *d), one image, one output and one layer at a time, from the end."""
    found = []
    for image in x:
        met = [image]
        for layer in model:
            met.append(layer(met[-1][None])[0].detach())
        weighted = [k for k, layer in enumerate(model) if hasattr(layer, "bias")]
        share = {k: torch.from_numpy(shares(r, model[k], met[k])) for k, r in zip(weighted, rules, strict=True)}
        rows = []
        for k in range(met[-1].numel()):
            relevance = torch.zeros_like(met[-1])
            relevance[k] = met[-1][k]
            for i, (layer, a) in reversed(list(enumerate(zip(model, met[:-1], strict=True)))):
                if i in share:
                    relevance = (relevance.flatten() @ share[i]).view_as(a)
                elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
                    relevance = pooled(layer, a, relevance, pooling)
                else:
                    relevance = relevance.reshape(a.shape)
            rows.append(relevance)
        found.append(torch.stack(rows))
    return torch.stack(found)
