"""LassoNet: its proximal step against a search, its path on inputs that are known to matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from torch import nn
from torch.nn import functional as F

import oracles
from spectral_lens.datasets import synthetic
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance import lassonet as path
from spectral_lens.relevance.lassonet import hier_prox, lassonet
from spectral_lens.relevance.scores import ranking
from spectral_lens.training import fit, initial


def by_search(skip, first, strength, bound):
    """|b| of the proximal step for one input, by a search: given |b|, the best w is first clipped at bound |b|."""

    def value(radius):
        clipped = np.minimum(np.abs(first), bound * radius)
        away = (radius - np.linalg.norm(skip)) ** 2 + ((np.abs(first) - clipped) ** 2).sum()
        return away / 2 + strength * radius

    top = np.linalg.norm(skip) + bound * np.abs(first).sum() + 1
    return minimize_scalar(value, bounds=(0, top), method="bounded", options={"xatol": 1e-11}).x


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 10**6), st.floats(0.0, 3.0), st.floats(0.05, 5.0), st.integers(1, 3), st.integers(1, 5))
def test_the_proximal_step_is_the_minimum(seed, strength, bound, outputs, nodes):
    generator = torch.Generator().manual_seed(seed)
    skip = torch.randn(2, outputs, 7, dtype=torch.float64, generator=generator)
    first = torch.randn(2, nodes, 7, dtype=torch.float64, generator=generator)
    skip[0, :, 3] = 0
    b, w = hier_prox(skip, first, strength=strength, bound=bound)
    length = b.norm(dim=1)
    assert (w.abs() <= bound * length.unsqueeze(1) + 1e-12).all()
    for r in range(2):
        torch.testing.assert_close(b[r] * skip[r].norm(dim=0), skip[r] * length[r])  # where skip points to
        for i in range(7):
            radius = by_search(skip[r, :, i].numpy(), first[r, :, i].numpy(), strength, bound)
            assert length[r, i].item() == pytest.approx(radius, abs=1e-5)
            clipped = first[r, :, i].sign() * first[r, :, i].abs().clamp(max=bound * length[r, i].item())
            torch.testing.assert_close(w[r, :, i], clipped)


def test_without_a_price_a_pair_inside_the_bound_stays():
    skip, first = torch.ones(1, 2, 3, dtype=torch.float64), torch.full((1, 4, 3), 0.2, dtype=torch.float64)
    b, w = hier_prox(skip, first, strength=0.0, bound=1.0)
    torch.testing.assert_close(b, skip)
    torch.testing.assert_close(w, first)


@pytest.fixture(scope="module")
def known():
    """Three of eight inputs matter."""
    sizes = {"separated": 3, "partners": 0, "spurious": 5, "distances": (0.7, 0.9)}
    data = synthetic.linked(600, seeds=(1, 2), dtype=torch.float64, **sizes)
    return data, [0, 1, 2]


def test_lassonet_finds_what_matters(known):
    data, truth = known
    options = {"hidden": [8], "seeds": (5, 6), "start": 0.5, "growth": 1.4, "lr": 0.02, "batch_size": 100}
    scores = lassonet(data, **options, dtype=torch.float64)
    for order in ranking(scores):
        assert sorted(order[:3].tolist()) == truth
    assert (scores.amax(1) / scores.amin(1) > 2).all()  # they left one after the other
    again = lassonet(data, **options, dtype=torch.float64)
    torch.testing.assert_close(again, scores, rtol=0, atol=0)


def test_who_comes_back_to_lassonets_path_has_left(known, monkeypatch):
    gone = iter([[], [0], [], [0, 1], [1], range(8)])  # after each step; one step at each strength

    def step(skip, first, **_):
        kept = torch.ones(8, dtype=skip.dtype)
        kept[list(next(gone))] = 0
        return torch.ones_like(skip) * kept, first

    monkeypatch.setattr(path, "hier_prox", step)
    options = {"hidden": [4], "seeds": (5, 6), "start": 1.0, "growth": 2.0, "longest": 6, "epochs": 1, "warm_up": 1}
    scores = lassonet(known[0], batch_size=600, **options, dtype=torch.float64)
    torch.testing.assert_close(scores[0], torch.tensor([1.0, 4.0] + 6 * [16.0], dtype=torch.float64))


def shrunk(skip, first, strength, bound):
    """The proximal step for one input: of all numbers of weights at the bound the one with the lowest value."""
    size, best = first.abs().sort(descending=True).values, (np.inf, None)
    for s in range(len(size) + 1):
        radius = max(0.0, float(skip.norm() - strength + bound * size[:s].sum()) / (1 + s * bound**2))
        weights = first.clamp(-bound * radius, bound * radius)
        value = (radius - skip.norm()) ** 2 / 2 + (weights - first).square().sum() / 2 + strength * radius
        if value < best[0]:
            best = value, (skip * radius / skip.norm() if radius else 0 * skip, weights)
    return best[1]


def alone(data, net, seed, *, start, growth, longest, bound, epochs, batch_size, lr):
    """LassoNet of one run from a trained network on, input by input, the momentum written out.

    The scores: the strength of the last pass that each input saw the end of, more where it is there to the end.
    """
    linear = nn.Linear(data.dim, max(1, data.classes), bias=False)
    skip = initial(linear, (seed,), dtype=torch.float64)["weight"][0].clone()
    weights = [skip.requires_grad_(), *net.requires_grad_().parameters()]
    momentum = [torch.zeros_like(each) for each in weights]
    draw, left, there = torch.Generator().manual_seed(seed), torch.zeros(data.dim).double(), set(range(data.dim))
    for strength in [start * growth**k for k in range(longest)]:
        for _ in range(epochs):
            for rows in torch.randperm(data.samples, generator=draw).split(batch_size):
                out, y = net(data.x[rows]) + data.x[rows] @ skip.T, data.y[rows]
                loss = F.cross_entropy(out, y) if data.classes else (out[:, 0] - y).square().mean()
                slopes = torch.autograd.grad(loss, weights)
                with torch.no_grad():
                    for weight, slope, gone in zip(weights, slopes, momentum, strict=True):
                        gone.copy_(0.9 * gone + slope)
                        weight.sub_(lr * gone)
                    first = net.layer1.weight
                    for i in range(data.dim):
                        skip[:, i], first[:, i] = shrunk(skip[:, i], first[:, i], lr * strength, bound)
            there = {i for i in there if (skip[:, i] != 0).any()}
            left[list(there)] = strength
    for i in there:
        left[i] += skip[:, i].detach().norm()
    return left, there


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 10**6), st.floats(0.0, 2.0), st.floats(0.05, 5.0), st.integers(1, 3), st.integers(1, 6))
def test_the_proximal_step_to_all_digits(seed, strength, bound, outputs, nodes):
    """In double precision, whatever the default is."""
    generator = torch.Generator().manual_seed(seed)
    skip = torch.randn(outputs, 7, dtype=torch.float64, generator=generator)
    first = torch.randn(nodes, 7, dtype=torch.float64, generator=generator)
    assert torch.get_default_dtype() == torch.float32
    b, w = hier_prox(skip, first, strength=strength, bound=bound)
    for i in range(7):
        expected = shrunk(skip[:, i], first[:, i], strength, bound)
        torch.testing.assert_close(b[:, i], expected[0], rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(w[:, i], expected[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_proximal_step_keeps_its_type_and_its_inputs(dtype):
    skip, first = torch.randn(2, 5, dtype=dtype), torch.randn(3, 5, dtype=dtype)
    skip[:, 2] = 0
    given = skip.clone(), first.clone()
    b, w = hier_prox(skip, first, strength=0.3, bound=0.3)
    assert b.dtype == w.dtype == dtype
    assert torch.equal(skip, given[0])
    assert torch.equal(first, given[1])


DOUBLE = {"dtype": torch.float64, "device": "cpu"}


@pytest.mark.parametrize("measured", [False, True])
def test_the_path_written_out(measured):
    data = oracles.measured(23, (7,)) if measured else oracles.toy(23, (7,), 3)
    both = {"batch_size": 10, "lr": 0.04}
    alike = {"seeds": (5, 8), "loss": "mse" if measured else "cross_entropy", **DOUBLE}
    options = {"start": 0.7, "growth": 1.6, "longest": 4, "bound": 0.5, "epochs": 2}
    found = lassonet(data, hidden=[4], warm_up=3, **options, **both, **alike)
    trained = fit(mlp([7, 4, max(1, data.classes)], spectral=0), data, epochs=3, **both, **alike)
    stayed = 0
    for r, seed in enumerate((5, 8)):
        expected, there = alone(data, trained.run(r), seed, **options, **both)
        torch.testing.assert_close(found[r], expected, rtol=1e-12, atol=1e-12)
        stayed += len(there)
    assert 0 < stayed < 14
    assert len(set(found.floor().flatten().tolist())) > 2


def test_lassonet_of_a_run_is_that_of_the_run_alone(known):
    data, _ = known
    options = {"hidden": [8], "start": 0.5, "longest": 5, "lr": 0.02, "batch_size": 100, "dtype": torch.float64}
    both = lassonet(data, seeds=(5, 6), **options)
    alone = lassonet(data.run(1), seeds=(6,), **options)
    torch.testing.assert_close(both[1:], alone)


@pytest.mark.parametrize("path", [{"start": 0.0}, {"growth": 1.0}, {"longest": 0}])
def test_a_path_must_rise(known, path):
    with pytest.raises(ValueError, match="must be positive and rise"):
        lassonet(known[0], hidden=[4], seeds=(1, 2), **path)


def test_a_path_that_diverges_says_so(known):
    with pytest.raises(RuntimeError, match="lower lr=1000"):
        lassonet(known[0], hidden=[4], seeds=(1, 2), lr=1000.0, warm_up=1)


def test_the_defaults_written_out(known):
    """Among them the paper's bound, 10."""
    data = known[0].take(250)  # more than a batch
    given = {"hidden": [4], "seeds": (3, 5), "device": "cpu", "longest": 4}
    defaults = {"start": 1.0, "growth": 1.2, "warm_up": 10, "epochs": 2, "batch_size": 200, "lr": 1e-3,
                "loss": "cross_entropy", "dtype": torch.float32}  # fmt: skip
    found = lassonet(data, **given)
    assert torch.equal(found, lassonet(data, **given, **defaults))
    for name, other in (
        ("growth", 1.3),
        ("start", 2.0),
        ("warm_up", 3),
        ("epochs", 1),
        ("batch_size", 201),
        ("lr", 2e-3),
    ):
        assert not torch.equal(found, lassonet(data, **given, **{**defaults, name: other})), name
    strong = given | {"start": 20.0, "longest": 6, "lr": 0.02}  # so strong that the bound holds some weights back
    alike = [
        torch.equal(lassonet(data, **strong), lassonet(data, **strong, bound=bound)) for bound in (9.0, 10.0, 11.0)
    ]
    assert alike == [False, True, False]
