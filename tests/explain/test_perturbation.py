"""Distances between attributions against their textbook forms."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from spectral_lens.explain.perturbation import cosine_distance, frechet_distance, relative_difference, robustness

pytestmark = pytest.mark.usefixtures("double")


def test_cosine_distances():
    a = torch.randn(5, 2, 3)
    expected = 1 - torch.nn.functional.cosine_similarity(a.flatten(1), (a + 0.1).flatten(1))
    torch.testing.assert_close(cosine_distance(a, a + 0.1), expected)
    assert cosine_distance(a, 3 * a).abs().max() < 1e-15
    torch.testing.assert_close(cosine_distance(a, -a), torch.full((5,), 2.0))
    e = torch.eye(3)
    torch.testing.assert_close(cosine_distance(e[:2], e[1:]), torch.ones(2))
    near = cosine_distance(e[:1], e[:1] + 1e-9 * e[1:2])
    assert float(near) == pytest.approx(5e-19)  # not lost in 1 - cos
    zero = torch.zeros(1, 3)
    assert cosine_distance(zero, zero).tolist() == [0]
    assert cosine_distance(zero, e[:1]).tolist() == cosine_distance(e[:1], zero).tolist() == [1]


def test_relative_differences():
    a, b, noise = torch.randn(4, 2, 3), torch.randn(4, 2, 3), torch.randn(4, 7)
    expected = [float((b[n] - a[n]).flatten().norm() / a[n].flatten().norm() / noise[n].norm()) for n in range(4)]
    assert relative_difference(a, b, noise).tolist() == pytest.approx(expected)
    assert relative_difference(1e-30 * a, 1e-30 * b, noise).tolist() == pytest.approx(expected)
    zero = torch.zeros(1, 3)
    assert relative_difference(zero, zero, noise[:1]).tolist() == [0]
    assert relative_difference(zero, zero + 1, noise[:1]).tolist() == [math.inf]
    for bad in (torch.zeros(4, 7), noise * math.nan, noise[:3]):
        with pytest.raises(ValueError, match="finite noise for each sample"):
            relative_difference(a, b, bad)


def textbook(one, other):
    """The Frechet distance with covariances and matrix roots written out."""
    one, other = one.flatten(1).numpy(), other.flatten(1).numpy()
    C, D = np.cov(one.T), np.cov(other.T)
    root = scipy.linalg.sqrtm(C)
    inner = scipy.linalg.sqrtm(root @ D @ root).real
    return float(((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(C + D - 2 * inner))


@pytest.mark.parametrize(("n", "m"), [(17, 23), (40, 9)])
def test_the_frechet_distance(n, m):
    mix = torch.randn(6, 6)
    one, other = torch.randn(n, 2, 3), (torch.randn(m, 6) @ mix + 0.5).view(m, 2, 3)
    assert float(frechet_distance(one, other)) == pytest.approx(textbook(one, other), rel=1e-8)


def test_the_frechet_distance_of_fewer_maps_than_pixels():
    one, other = torch.randn(5, 40), 2 * torch.randn(4, 40) + 1
    A, B = ((each - each.mean(0)).numpy() for each in (one, other))
    C, D = A.T @ A / 4, B.T @ B / 3
    w, V = np.linalg.eigh(C)
    root = V * np.sqrt(w.clip(0)) @ V.T
    inner = np.sqrt(np.linalg.eigvalsh(root @ D @ root).clip(0)).sum()
    expected = float((one.mean(0) - other.mean(0)).square().sum()) + np.trace(C) + np.trace(D) - 2 * inner
    assert float(frechet_distance(one, other)) == pytest.approx(expected, rel=1e-5)


def test_frechet_distances_in_closed_form():
    one = torch.randn(50, 4)
    moved = torch.tensor([1.0, 2.0, 0.0, -2.0])
    assert float(frechet_distance(one, one + moved)) == pytest.approx(9)
    assert abs(float(frechet_distance(one, one))) < 1e-12
    scaled = float(frechet_distance(one - one.mean(0), 3 * (one - one.mean(0))))
    assert scaled == pytest.approx(4 * float(one.var(0).sum()))  # (3 - 1)^2 tr C
    torch.testing.assert_close(frechet_distance(one, 2 * one), frechet_distance(2 * one, one))
    assert frechet_distance(one.float(), one.float()).dtype == torch.float64
    rows = torch.randperm(50)
    torch.testing.assert_close(frechet_distance(one, (2 * one)[rows]), frechet_distance(one, 2 * one))


def test_two_sets_of_few_maps_from_one_law_are_far_apart():
    """As the docstring says: by their means alone 2 tr(C) / n, here 2 * 30 / 10."""
    found = [float(frechet_distance(torch.randn(10, 30), torch.randn(10, 30))) for _ in range(200)]
    assert np.mean(found) > 6


@pytest.mark.parametrize("function", [cosine_distance, lambda a, b: relative_difference(a, b, torch.ones(len(a), 2))])
def test_maps_that_cannot_be_compared(function):
    a = torch.ones(3, 4)
    with pytest.raises(ValueError, match="must be alike"):
        function(a, torch.ones(3, 5))
    with pytest.raises(ValueError, match="not empty"):
        function(torch.ones(0, 4), torch.ones(0, 4))
    with pytest.raises(ValueError, match="NaN or infinite"):
        function(a, a * math.nan)


def test_sets_that_cannot_be_compared():
    with pytest.raises(ValueError, match="must be alike"):
        frechet_distance(torch.ones(3, 4), torch.ones(3, 5))
    with pytest.raises(ValueError, match="at least two"):
        frechet_distance(torch.ones(1, 4), torch.ones(3, 4))
    with pytest.raises(ValueError, match="NaN or infinite"):
        frechet_distance(torch.ones(2, 4), torch.full((2, 4), math.inf))


def test_the_robustness_of_a_method():
    W, x, noise = torch.randn(5, 5), torch.randn(6, 5), 0.1 * torch.randn(6, 5)
    found = robustness(lambda x: (x @ W).tanh(), x, noise)
    maps, shifted = (x @ W).tanh(), ((x + noise) @ W).tanh()
    torch.testing.assert_close(found.cosine, cosine_distance(maps, shifted))
    torch.testing.assert_close(found.relative, relative_difference(maps, shifted, noise))
    torch.testing.assert_close(found.frechet, frechet_distance(maps, shifted))
    assert found.cosine.shape == found.relative.shape == (6,)
    assert found.frechet.shape == ()


def test_single_numbers_are_no_maps():
    for function in (cosine_distance, frechet_distance, lambda a, b: relative_difference(a, b, torch.ones(2, 3))):
        with pytest.raises(ValueError, match="must be alike"):
            function(torch.tensor(1.0), torch.tensor(2.0))
    a, b = torch.randn(4), torch.randn(4)  # one number for each sample
    torch.testing.assert_close(relative_difference(a, b, 2 * torch.ones(4)), (b - a).abs() / a.abs() / 2)
    assert cosine_distance(a, -a).tolist() == [2] * 4
    with pytest.raises(ValueError, match="finite noise for each sample"):
        relative_difference(a, b, torch.tensor(1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_distances_are_computed_in_double_precision(dtype):
    a, b = (300 * torch.randn(4, 300)).to(dtype), (300 * torch.randn(4, 300)).to(dtype)
    for found, same in ((cosine_distance(a, b), cosine_distance(a.double(), b.double())),
                        (frechet_distance(a, b), frechet_distance(a.double(), b.double()))):  # fmt: skip
        assert found.dtype == torch.float64
        assert torch.equal(found, same)


def test_the_inputs_stay_as_they_are():
    x, noise = torch.rand(5, 3), 0.1 * torch.rand(5, 3)
    given = x.clone(), noise.clone()
    found = robustness(lambda x: x.sub_(0.3).mul_(x), x, noise)
    assert torch.equal(x, given[0])
    assert torch.equal(noise, given[1])
    expected = robustness(lambda x: (x - 0.3) ** 2, x, noise)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match=r"noise \(3,\) must have the shape of x, \(5, 3\)"):
        robustness(lambda x: x, x, noise[0])
