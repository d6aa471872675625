"""Knockoffs: their moments against algebra, the filter against a slow oracle, the promise against chance."""

import numpy as np
import pytest
import torch

import oracles
from spectral_lens.datasets import synthetic
from spectral_lens.relevance.detection import false_share, found_share
from spectral_lens.relevance.knockoffs import entropy_gaps, gaussian, kept, signs, with_knockoffs


def correlation(d=7, seed=0):
    draw = np.random.default_rng(seed).normal(size=(d, d + 3))
    covariance = draw @ draw.T
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


def test_the_gaps_make_the_entropy_stationary_and_largest():
    c = correlation()
    s = entropy_gaps(c)
    np.testing.assert_allclose(1 / s, np.diag(np.linalg.inv(2 * c - np.diag(s))), rtol=1e-8)

    def entropy(s):
        return np.linalg.slogdet(2 * c - np.diag(s))[1] + np.log(s).sum()

    assert (s > 0).all()
    assert np.linalg.eigvalsh(2 * c - np.diag(s))[0] > 0
    for step in 0.01 * np.random.default_rng(1).normal(size=(50, len(s))):
        assert entropy(s * (1 + step)) < entropy(s)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.3, 0.8])
def test_the_gaps_of_a_pair_have_a_closed_form(rho):
    c = np.eye(5)
    c[1, 3] = c[3, 1] = rho
    expected = np.ones(5)
    expected[[1, 3]] = (3 - np.sqrt(1 + 8 * rho**2)) / 2
    np.testing.assert_allclose(entropy_gaps(c), expected, atol=1e-9)


def test_inputs_that_repeat_one_another_have_no_knockoffs():
    with pytest.raises(ValueError, match="determined by the others"):
        entropy_gaps(np.ones((2, 2)))
    x = np.random.default_rng(0).normal(size=(20, 3))
    x[:, 1] = 0.5
    with pytest.raises(ValueError, match="an input is constant"):
        gaussian(x, seed=0)


def test_means_and_covariances_stay_when_an_input_and_its_knockoff_change_places():
    c, scale, mean = correlation(5), np.array([0.5, 1.0, 2.0, 3.0, 0.1]), np.array([1.0, -2.0, 0.0, 5.0, 0.3])
    covariance = c * np.outer(scale, scale)
    x = np.random.default_rng(2).multivariate_normal(mean, covariance, size=200_000)
    both = (np.hstack([x, gaussian(x, seed=3, covariance=covariance)]) - np.tile(mean, 2)) / np.tile(scale, 2)
    np.testing.assert_allclose(both.mean(0), 0, atol=0.01)
    gaps = np.diag(entropy_gaps(c))
    np.testing.assert_allclose(np.cov(both.T), np.block([[c, c - gaps], [c - gaps, c]]), atol=0.01)
    for swapped in ([0], [1, 3], [0, 1, 2, 3, 4]):
        order = np.arange(10)
        for i in swapped:
            order[[i, i + 5]] = order[[i + 5, i]]
        np.testing.assert_allclose(np.cov(both[:, order].T), np.cov(both.T), atol=0.015)


def test_without_a_covariance_that_of_the_inputs_is_estimated_and_shrunk():
    from sklearn.covariance import ledoit_wolf

    x = np.random.default_rng(4).normal(size=(60, 4)) @ np.linalg.cholesky(correlation(4)).T * [1.0, 2.0, 3.0, 4.0] + 5
    away = (x - x.mean(0)) / x.std(0)
    shrunk = ledoit_wolf(away, assume_centered=True)[0]
    root = np.sqrt(np.diag(shrunk))
    covariance = shrunk / np.outer(root, root) * np.outer(x.std(0), x.std(0))
    np.testing.assert_allclose(gaussian(x, seed=1), gaussian(x, seed=1, covariance=covariance), atol=1e-10)
    assert abs(gaussian(x, seed=1) - gaussian(x, seed=2)).min() > 0


def test_a_set_gets_knockoffs_for_each_seed_from_its_own_inputs():
    data = synthetic.independent(30, seeds=(0, 1), inputs=5, relevant=2, dtype=torch.float64)
    both = with_knockoffs(data, seeds=(7, 8))
    assert both.runs == 2
    assert (both.x[..., :5] == data.x).all()
    for r, seed in enumerate((7, 8)):
        np.testing.assert_array_equal(both.x[r, :, 5:], gaussian(data.x[r].numpy(), seed=seed))
    assert both.inputs[5:] == tuple(f"knockoff of {name}" for name in data.inputs)
    assert (both.y == data.y).all()
    shared = with_knockoffs(data.run(0), seeds=(7, 8, 9))
    assert shared.x.shape == (3, 30, 10)
    assert (shared.x[0] == both.x[0]).all()
    assert (shared.y == data.y[0]).all()
    images = oracles.toy(40, (2, 3), dtype=torch.float32)
    assert with_knockoffs(images, seeds=(0,)).x.shape == (1, 40, 12)


def test_signs_pair_the_inputs_with_their_knockoffs():
    scores = torch.tensor([[1.0, 2.0, 3.0, 0.5, 4.0, 3.0]])
    assert signs(scores).tolist() == [[0.5, -2.0, 0.0]]
    with pytest.raises(ValueError, match="one of each knockoff"):
        signs(scores[:, :5])


def slow(w, share):
    """The filter, as it is written down."""
    for t in sorted(abs(each) for each in w if each):
        false, found = sum(each <= -t for each in w), sum(each >= t for each in w)
        if (1 + false) / max(found, 1) <= share:
            return [each >= t for each in w]
    return [False] * len(w)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5])
def test_the_filter_is_the_printed_one(share):
    draw = np.random.default_rng(5)
    w = draw.normal(size=(60, 40)) + np.where(np.arange(40) % 3, 1.5, 0)
    w[:, ::7] = w[:, ::7].round()  # ties and zeros
    assert kept(torch.from_numpy(w), share).tolist() == [slow(each, share) for each in w.tolist()]


def test_as_many_as_the_share_asks_for_or_none():
    w = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert kept(w, 0.25).all()
    assert not kept(w, 0.24).any()
    assert not kept(torch.zeros(1, 4), 0.5).any()
    for share in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            kept(w, share)


def test_the_share_of_false_discoveries_stays_below_what_is_allowed():
    """Correlated inputs and a linear answer, with the simplest score: the size of the least squares' coefficients."""
    c, relevant = 0.4 ** abs(np.subtract.outer(np.arange(30), np.arange(30))), torch.arange(30) % 3 == 0
    draw, runs, n = np.random.default_rng(7), 300, 200
    w = []
    for r in range(runs):
        x = draw.normal(size=(n, 30)) @ np.linalg.cholesky(c).T
        y = 0.5 * x[:, relevant.numpy()].sum(1) + draw.normal(size=n)
        both = np.hstack([x, gaussian(x, seed=r, covariance=c)])
        w.append(signs(torch.from_numpy(np.abs(np.linalg.lstsq(both, y)[0]))[None])[0])
    w, truth = torch.stack(w), relevant.expand(runs, -1)
    for share in (0.1, 0.2, 0.4):
        chosen = kept(w, share)
        assert false_share(chosen, truth).mean() < share + 0.02
    assert found_share(chosen, truth).mean() > 0.5
    assert false_share(chosen, truth).mean() > 0.2  # the bound is no empty one
