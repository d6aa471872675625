"""The dip against its definition, as linear programmes over all unimodal distributions, and against known values."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from experiments import TIGHT, doubles
from spectral_lens.relevance.modes import dip, uniform_dip


def defined(values):
    """The smallest distance to a distribution function with a mode at, between or beside the values."""
    x = np.unique(values)
    knots = np.sort(np.concatenate([[x[0] - 1], x, (x[1:] + x[:-1]) / 2, [x[-1] + 1]]))
    return min(to_mode(np.sort(values), knots, mode) for mode in range(len(knots)))


def to_mode(values, knots, mode):
    """The same, the mode being knots[mode]: G at the knots up to it, its limit there from the left, then from the
    right, and G at the knots behind it are unknown, and their distance."""
    left = np.arange(len(knots)) <= mode
    places = np.concatenate([knots[left], knots[mode:]])
    unit = np.eye(len(places) + 1)
    g, distance = unit[:-1], unit[-1]
    rows, limits = [], []
    for i, place in enumerate(places):
        sides = {"left", "right"} - ({"right"} if i == mode else {"left"} if i == mode + 1 else set())
        for height in (np.searchsorted(values, place, side) / len(values) for side in sides):
            rows += [g[i] - distance, -g[i] - distance]
            limits += [height, -height]
    rows += list(g[:-1] - g[1:])  # it does not fall
    for i in range(1, len(places) - 1):
        if i in (mode, mode + 1):
            continue
        before, behind = np.diff(places[i - 1 : i + 2])
        bend = (g[i + 1] - g[i]) * before - (g[i] - g[i - 1]) * behind
        rows.append(-bend if i < mode else bend)
    limits += [0.0] * (len(rows) - len(limits))
    solved = linprog(distance, A_ub=np.array(rows), b_ub=limits, bounds=(0, 1))
    assert solved.status == 0
    return solved.fun


SAMPLES = {
    "normal": lambda draw, n: draw.normal(size=n),
    "near zero": lambda draw, n: draw.random(n) ** 3,
    "two heaps": lambda draw, n: np.where(draw.random(n) < 0.5, 0, 3) + 0.3 * draw.normal(size=n),
    "ties": lambda draw, n: draw.integers(0, 4, n).astype(float),
    "uneven ties": lambda draw, n: draw.choice([0, 1, 2.5, 2.6, 7, 7.2], n),
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_it_is_the_distance_to_the_nearest_unimodal_distribution(kind):
    draw = np.random.default_rng(0)
    for n in (1, 2, 3, 4, 5, 6, 7, 7, 8, 8, 9, 10, 11, 12):
        values = SAMPLES[kind](draw, n)
        assert dip(torch.from_numpy(values)).item() == pytest.approx(defined(values), abs=1e-9), values


@pytest.mark.parametrize("kind", ["near zero", "two heaps", "uneven ties"])
def test_of_more_numbers(kind):
    values = SAMPLES[kind](np.random.default_rng(1), 31)
    assert dip(torch.from_numpy(values)).item() == pytest.approx(defined(values), abs=1e-9)


@pytest.mark.parametrize("n", [2, 3, 7, 50])
def test_equally_spaced_numbers_have_the_smallest(n):
    assert dip(torch.arange(float(n))).item() == pytest.approx(1 / (2 * n), abs=1e-15)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([5.0], 0),
        ([-3.0, -3.0, -3.0], 0),
        ([0.0, -0.0, 0.0], 0),
        ([2.0, 2.0, 2.0, 2.0, 9.0], 1 / 10),
        ([0.0, 0.0, 1.0, 1.0], 1 / 4),
        ([0.0, 0.0, 0.0, 1.0, 1.0], 1 / 5),
        ([0.0] * 5 + [1.0] * 5 + [9.0] * 5, 1 / 6),
        ([0.0] * 2 + [1.0] * 9 + [2.0] * 3, 3 / 28),
    ],
)
def test_ties_by_hand(values, found):
    """Of two heaps one is the mode, and G reaches the other by its half; so do outer ones beside one in the middle."""
    assert dip(doubles(*values)).item() == pytest.approx(found, abs=1e-15)


def test_two_equal_heaps_come_near_a_quarter():
    generator = torch.Generator().manual_seed(0)
    heap = torch.rand(2, 200, dtype=torch.float64, generator=generator)
    found = [dip(torch.cat([heap[0], heap[1] + apart])).item() for apart in (1, 10, 1000, 10**6)]
    assert found == sorted(found)
    assert found[0] < 0.03
    assert 0.2499 < found[-1] <= 0.25


def test_it_lies_between_its_bounds():
    generator = torch.Generator().manual_seed(0)
    for n in (2, 5, 40):
        found = dip(torch.randint(0, 9, (200, n), generator=generator) + torch.linspace(0, 0.1, n))
        assert ((found >= 1 / (2 * n) - 1e-15) & (found <= 1 / 4)).all()


@pytest.mark.parametrize("factor", [-1.0, 3.7, -1e-300, 1e300, 2.0**-1040])
def test_affine_maps_change_nothing(factor):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(-50, 50, (8, 43), generator=generator).double()
    assert torch.allclose(dip(values * factor), dip(values), **TIGHT)
    if 1e-3 < abs(factor) < 1e3:
        assert torch.allclose(dip(17 - values * factor), dip(values), **TIGHT)


def test_numbers_of_all_sizes():
    spread = doubles(0.0, 5e-324, 1e-323, 1.5e-323, 1e-200, 1e-100, 1.0)
    assert dip(spread).item() == pytest.approx(defined([0.0, 0.1, 0.2, 0.3, 1e3, 1e6, 1e9]), abs=1e-6)


def test_each_run_has_its_own():
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(2, 3, 17, generator=generator, requires_grad=True)
    found = dip(values)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float64
    assert found.tolist() == [[dip(values[i, j].double().flip(0)).item() for j in range(3)] for i in range(2)]
    assert dip(values[0, 0]).shape == ()
    assert dip(torch.rand(0, 5)).shape == (0,)


@pytest.mark.parametrize("values", [torch.zeros(3, 0), torch.zeros(0)])
def test_rows_without_numbers_are_refused(values):
    with pytest.raises(ValueError, match="one number or more"):
        dip(values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="NaN or infinite"):
        dip(doubles([0.0, 1.0], [2.0, value]))


def test_the_quantile_is_that_of_its_draws():
    generator = torch.Generator().manual_seed(5)
    draws = dip(torch.rand(30, 19, dtype=torch.float64, generator=generator))
    for level in (0.0, 0.5, 0.95, 1.0):
        assert uniform_dip(19, level=level, draws=30, seed=5) == draws.quantile(level).item()
    assert uniform_dip(19, draws=30, seed=5) == draws.quantile(0.95).item()
    assert uniform_dip(19, draws=30) == uniform_dip(19, draws=30, seed=0) != uniform_dip(19, draws=30, seed=5)
    assert uniform_dip(1, draws=1) == 0


def test_the_quantile_of_many_numbers_falls_with_their_root():
    scaled = [uniform_dip(n, level=0.5, draws=200) * n**0.5 for n in (100, 400)]
    assert scaled[0] == pytest.approx(scaled[1], rel=0.1)


@pytest.mark.parametrize("options", [{"level": 1.1}, {"level": -0.1}, {"draws": 0}, {"n": 0}])
def test_quantiles_of_nothing_are_refused(options):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        uniform_dip(**{"n": 9, **options})


def test_one_mode_is_rarely_taken_for_several_and_two_are_found():
    limit = uniform_dip(60)
    generator = torch.Generator().manual_seed(1)
    even = torch.rand(500, 60, generator=generator)
    normal = torch.randn(500, 60, generator=generator)
    two = normal + 8 * (torch.arange(60) % 3 > 0)
    shares = [(dip(each) > limit).double().mean().item() for each in (even, normal, two)]
    assert 0.02 < shares[0] < 0.08
    assert shares[1] < 0.02
    assert shares[2] > 0.99
