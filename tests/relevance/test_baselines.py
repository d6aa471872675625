"""Other ways to choose inputs: their steps against slow oracles, and known inputs found."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from spectral_lens.datasets import synthetic
from spectral_lens.relevance import lassonet as path
from spectral_lens.relevance.baselines import (
    by_gates,
    by_sklearn,
    chance,
    forest,
    jaccard,
    mutual_information,
    permutation,
    sparse_linear,
)
from spectral_lens.relevance.lassonet import hierarchical, lassonet
from spectral_lens.relevance.scores import ranking

OPTIONS = {"dtype": torch.float64, "device": "cpu"}


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
    b, w = hierarchical(skip, first, strength=strength, bound=bound)
    length = b.norm(dim=1)
    assert (w.abs() <= bound * length.unsqueeze(1) + 1e-12).all()
    for r in range(2):
        for i in range(7):
            radius = by_search(skip[r, :, i].numpy(), first[r, :, i].numpy(), strength, bound)
            assert length[r, i].item() == pytest.approx(radius, abs=1e-5)
            clipped = first[r, :, i].sign() * first[r, :, i].abs().clamp(max=bound * length[r, i].item())
            torch.testing.assert_close(w[r, :, i], clipped)


def test_without_a_price_a_pair_inside_the_bound_stays():
    skip, first = torch.ones(1, 2, 3, dtype=torch.float64), torch.full((1, 4, 3), 0.2, dtype=torch.float64)
    b, w = hierarchical(skip, first, strength=0.0, bound=1.0)
    torch.testing.assert_close(b, skip)
    torch.testing.assert_close(w, first)


@pytest.fixture(scope="module")
def known():
    """Three of eight inputs matter."""
    sizes = {"separated": 3, "partners": 0, "spurious": 5, "distances": (0.7, 0.9)}
    data = synthetic.linked(600, seeds=(1, 2), dtype=torch.float64, **sizes)
    return data, [0, 1, 2]


@pytest.mark.parametrize("kind", ["stochastic", "hard concrete"])
def test_gates_find_what_matters(known, kind):
    data, truth = known
    scores = by_gates(
        data, kind=kind, penalty=0.02, hidden=[8], seeds=(5, 6), epochs=60, batch_size=50, lr=0.02, **OPTIONS
    )
    assert scores.shape == (2, 8)
    assert scores.min() == 0
    for order in ranking(scores):
        assert sorted(order[:3].tolist()) == truth


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

    monkeypatch.setattr(path, "hierarchical", step)
    options = {"hidden": [4], "seeds": (5, 6), "start": 1.0, "growth": 2.0, "longest": 6, "epochs": 1, "warm_up": 1}
    scores = lassonet(known[0], batch_size=600, **options, dtype=torch.float64)
    torch.testing.assert_close(scores[0], torch.tensor([1.0, 4.0] + 6 * [16.0], dtype=torch.float64))


def test_lassonet_of_a_run_is_that_of_the_run_alone(known):
    data, _ = known
    options = {"hidden": [8], "start": 0.5, "longest": 5, "lr": 0.02, "batch_size": 100, "dtype": torch.float64}
    both = lassonet(data, seeds=(5, 6), **options)
    alone = lassonet(data.run(1), seeds=(6,), **options)
    torch.testing.assert_close(both[1:], alone)


def test_scores_of_scikit_learn_see_their_runs_data(known):
    data, _ = known
    scores = by_sklearn(data, lambda x, y, seed: x.mean(0) + seed, seeds=(10, 20))
    torch.testing.assert_close(scores, data.x.mean(1) + torch.tensor([[10.0], [20.0]], dtype=torch.float64))


def test_chance_is_even_and_each_seeds_own(known):
    scores = by_sklearn(known[0], chance, seeds=(10, 20))
    np.testing.assert_array_equal(scores[1], np.random.default_rng(20).random(8))
    assert (scores[0] != scores[1]).all()
    many = chance(np.zeros((2, 10_000)), np.zeros(2), 3)
    np.testing.assert_allclose(np.quantile(many, [0, 0.25, 0.5, 0.75, 1]), [0, 0.25, 0.5, 0.75, 1], atol=0.02)


def test_jaccard_by_hand():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0], [3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    # the two highest: {0, 1}, {0, 2}, {3, 2}: 1/3, 0, 1/3
    assert jaccard(scores, 2) == pytest.approx(2 / 9)
    assert jaccard(scores, 4) == 1
    with pytest.raises(ValueError, match="two at least"):
        jaccard(scores[:1], 2)


@pytest.mark.parametrize("path", [{"start": 0.0}, {"growth": 1.0}, {"longest": 0}])
def test_a_path_must_rise(known, path):
    with pytest.raises(ValueError, match="must be positive and rise"):
        lassonet(known[0], hidden=[4], seeds=(1, 2), **path)


def test_a_path_that_diverges_says_so(known):
    with pytest.raises(RuntimeError, match="lower lr=1000"):
        lassonet(known[0], hidden=[4], seeds=(1, 2), lr=1000.0, warm_up=1)


def test_unknown_gates_are_refused(known):
    with pytest.raises(ValueError, match="is unknown"):
        by_gates(known[0], kind="garden", penalty=1.0, hidden=[4], seeds=(1, 2), epochs=1)


SKLEARN = {
    "mutual information": mutual_information,
    "forest": forest,
    "permutation": permutation([8]),
    "LASSO": sparse_linear,
}


@pytest.mark.parametrize("name", SKLEARN)
@pytest.mark.parametrize("measured", [False, True])
def test_scores_of_scikit_learn_find_what_matters(name, measured):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(900, 5))
    y = 2 * x[:, 1] - x[:, 3]
    target = y / 4 if measured else np.digitize(y, [-1, 1])
    score = SKLEARN[name](x, target, 0)
    assert sorted(np.argsort(-score)[:2]) == [1, 3]
    np.testing.assert_array_equal(SKLEARN[name](x, target, 0), score)


def test_mutual_information_of_a_copy_is_the_entropy():
    y = np.arange(600) % 3
    noise = np.random.default_rng(0).normal(size=600)
    score = mutual_information(np.stack([10.0 * y + 0.01 * noise, noise], 1), y, 0)
    assert score == pytest.approx([np.log(3), 0], abs=0.05)
