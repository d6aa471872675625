"""Slow and obvious second implementations: what the fast ones must equal."""

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.datasets import DataSet


def weight(lam_in, lam_out, psi):
    """w_ji = (lam_in_i - lam_out_j) psi_ji, entry by entry; trailing axes of psi are offsets of a kernel."""
    w = torch.zeros_like(psi)
    for j in range(psi.shape[0]):
        for i in range(psi.shape[1]):
            w[j, i] = (lam_in[i] - lam_out[j]) * psi[j, i]
    return w


def grouped_weight(lam_in, lam_out, psi, groups):
    """The same for a grouped kernel: output channel j sees the channels of its own group only."""
    w = torch.zeros_like(psi)
    for j in range(psi.shape[0]):
        first = (j // (psi.shape[0] // groups)) * psi.shape[1]
        for i in range(psi.shape[1]):
            w[j, i] = (lam_in[first + i] - lam_out[j]) * psi[j, i]
    return w


def dense(kernel, groups):
    """A grouped kernel written out as an ordinary one, with zeros between the groups."""
    out, per_group = kernel.shape[:2]
    full = torch.zeros(out, per_group * groups, *kernel.shape[2:], dtype=kernel.dtype)
    for j in range(out):
        first = (j // (out // groups)) * per_group
        full[j, first : first + per_group] = kernel[j]
    return full


def augmented(x, layers):
    """Every layer's activities by [giambagli, eq. 2]: all nodes in one vector, one square matrix for each transfer.

    layers: (lam_in, lam_out, psi) of each transfer; lam_in counts in the first only, it is 1 in all others.
    """
    sizes = [x.shape[1], *(psi.shape[0] for _, _, psi in layers)]
    nodes = sum(sizes)
    identity = torch.eye(nodes, dtype=x.dtype)
    n = torch.zeros(len(x), nodes, dtype=x.dtype)
    n[:, : sizes[0]] = x
    for k, (lam_in, lam_out, psi) in enumerate(layers):
        before = slice(sum(sizes[:k]), sum(sizes[: k + 1]))
        after = slice(before.stop, before.stop + sizes[k + 1])
        Phi, Lambda = identity.clone(), identity.clone()
        Phi[after, before] = psi
        if k == 0:
            Lambda[before, before] = torch.diag(lam_in)
        Lambda[after, after] = torch.diag(lam_out)
        A = Phi @ Lambda @ (2 * identity - Phi)
        n = torch.stack([A @ sample for sample in n])
    return n.split(sizes, 1)


def data_set(x, y, *, runs=None, labels=(), name="toy", sha256="0" * 64):
    """A data set of these arrays, with plain names."""
    dim = int(np.prod(x.shape[1 if runs is None else 2 :]))
    names = tuple(f"x{i}" for i in range(dim))
    more = {"runs": runs, "labels": labels, "quantity": "a quantity, m" if y.is_floating_point() else ""}
    return DataSet(name, x, y, names, "1", "generated", sha256, "made in a test", **more)


def toy(samples, shape, classes=2, *, seed=0, runs=None, dtype=torch.float64):
    """Gaussian inputs whose class can be learned; every class is there."""
    generator = torch.Generator().manual_seed(seed)
    lead = (samples,) if runs is None else (runs, samples)
    y = torch.arange(samples).expand(lead).contiguous() % classes
    x = torch.randn(*lead, *shape, generator=generator, dtype=dtype)
    return data_set(x + 0.5 * y.view(*lead, *[1] * len(shape)), y, runs=runs)


def measured(samples, shape, *, seed=0, runs=None, dtype=torch.float64):
    """Gaussian inputs and a quantity that can be learned from them."""
    data = toy(samples, shape, seed=seed, runs=runs, dtype=dtype)
    return data_set(data.x, data.x.flatten(data.y.ndim).mean(-1).sin() + 0.3 * data.y, runs=runs)


def streams(seed):
    """The seeds of a run's initial values, and of its order of samples and its dropout."""
    words = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    return int(words[0] >> np.uint64(1)), int(words[1] >> np.uint64(1))


class Dropout(nn.Module):
    """Dropout with a generator of its own: keep where uniform >= p, divide by 1 - p."""

    def __init__(self, p, generator):
        super().__init__()
        self.p, self.generator = p, generator

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        uniform = torch.empty(x.shape, dtype=x.dtype).uniform_(generator=self.generator)
        return torch.where(uniform >= self.p, x / (1 - self.p), torch.zeros_like(x))


OPTIMIZERS = {"adam": torch.optim.Adam, "adamax": torch.optim.Adamax, "sgd": torch.optim.SGD}


def initial(model, seed, *, reinitialize=True, dtype=torch.float64):
    """The network with which a run of that seed starts."""
    model = copy.deepcopy(model).to(dtype)
    if reinitialize:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(streams(seed)[0])
            for layer in model.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
    return model


LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss}


def train_alone(
    model,
    data,
    seed,
    *,
    epochs,
    batch_size,
    optimizer="adam",
    lr=1e-3,
    l1=None,
    l2=None,
    masks=None,
    reinitialize=True,
    validation=None,
    loss="cross_entropy",
    decay=0.0,
    penalty=None,
    dtype=torch.float64,
):
    """One run as anybody would write it: torch.optim, the penalties by autograd, masked entries put back."""

    def mean_loss(out, y):
        return F.cross_entropy(out, y) if loss == "cross_entropy" else LOSSES[loss](out[:, 0], y)

    def right(out, y):
        return int((out.argmax(1) == y).sum()) if loss == "cross_entropy" else float("nan")

    model = initial(model, seed, reinitialize=reinitialize, dtype=dtype)
    generator = torch.Generator().manual_seed(streams(seed)[1])
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout):
                setattr(parent, name, Dropout(child.p, generator))
    parameters = dict(model.named_parameters())
    start = {name: value.detach().clone() for name, value in parameters.items()}
    step = OPTIMIZERS[optimizer]([p for p in parameters.values() if p.requires_grad], lr=lr)
    x, y, n = data.x.to(dtype), data.y, data.samples
    history = {"loss": [], "accuracy": []} | ({"penalty": []} if penalty else {})
    if validation is not None:
        history |= {"validation_loss": [], "validation_accuracy": []}
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(n, generator=generator)
        total, hits, extra = 0.0, 0, 0.0
        for first in range(0, n, batch_size):
            rows = order[first : first + batch_size]
            if decay:
                passed = epoch + first / n
                step.param_groups[0]["lr"] = lr * min(1, (1 - passed / epochs) / decay)
            inputs = x[rows].requires_grad_()
            out = model(inputs)
            value = mean_loss(out, y[rows])
            cost = sum(factor * parameters[name].abs().sum() for name, factor in (l1 or {}).items())
            cost = cost + sum(factor * (parameters[name] ** 2).sum() for name, factor in (l2 or {}).items())
            if penalty:
                more = penalty(parameters, inputs, out)
                cost, extra = cost + more, extra + float(more.detach()) * len(rows)
            step.zero_grad()
            (value + cost).backward()
            step.step()
            with torch.no_grad():
                for name, mask in (masks or {}).items():
                    parameters[name][~mask] = start[name][~mask]
            total += float(value.detach()) * len(rows)
            hits += right(out, y[rows])
        history["loss"].append(total / n)
        history["accuracy"].append(hits / n)
        if penalty:
            history["penalty"].append(extra / n)
        if validation is not None:
            model.eval()
            with torch.no_grad():
                out = model(validation.x.to(dtype))
            history["validation_loss"].append(float(mean_loss(out, validation.y)))
            history["validation_accuracy"].append(right(out, validation.y) / validation.samples)
    return model.eval(), {name: torch.tensor(values, dtype=dtype) for name, values in history.items()}


def accuracy_by_count(models, x, y, orders, counts, fill):
    """Each run's accuracy with the first k inputs of its order, sample by sample."""
    found = torch.zeros(len(models), len(counts), dtype=x.dtype)
    for r, (model, order) in enumerate(zip(models, orders, strict=True)):
        for c, count in enumerate(counts):
            kept = set(order[:count].tolist())
            hits = 0
            for sample, label in zip(x.flatten(1), y, strict=True):
                given = sample.clone()
                for i in range(len(given)):
                    if i not in kept:
                        given[i] = fill[i]
                hits += int(model(given.view(1, *x.shape[1:])).argmax() == label)
            found[r, c] = hits / len(y)
    return found


def drawn(model):
    """All parameters and running statistics random, so that nothing is one or zero by chance."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if name.endswith("var") else tensor.normal_()
    return model.eval()


def even(values, low, high):
    """Kolmogorov and Smirnov at 0.1%: whether values are uniform between two ends."""
    steps = np.arange(1, len(values) + 1) / len(values)
    return bool(np.abs((np.sort(values) - low) / (high - low) - steps).max() < 1.95 / len(values) ** 0.5)
