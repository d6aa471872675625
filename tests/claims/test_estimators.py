"""Estimators that choose: what noise makes of them, and what they find where there is something."""

import numpy as np
import pytest

from spectral_lens.claims.estimators import halves, peak
from spectral_lens.claims.statistics import at_every, estimate

DRAWS = 1000
POSITIVE = (0.0, None)


def share(times):
    return sum(times) / len(times)


@pytest.mark.parametrize("units", [2, 5, 8])
def test_halves_are_all_units(units):
    chosen, judged = halves(units, seed=3)
    assert sorted(chosen + judged) == list(range(units))
    assert len(judged) - len(chosen) == units % 2
    assert halves(units, seed=3) == (chosen, judged)
    with pytest.raises(ValueError, match="cannot be halved"):
        halves(1, seed=3)


def has_peak(found):
    return at_every([estimate(each) for each in found.groups.values()], POSITIVE) == "inside"


def noise_passes(units, settings, draw):
    """How often a curve of noise has a peak, with units that differ among themselves as networks do."""
    passed = []
    for k in range(DRAWS):
        curves = draw.normal(0, 1, (units, settings)) + draw.normal(0, 3, (units, 1))
        found = peak(curves.tolist(), seed=k)
        passed.append(has_peak(found))
    return share(passed)


@pytest.mark.parametrize(("units", "settings"), [(4, 4), (6, 10), (20, 10), (7, 3)])
def test_noise_has_no_peak(units, settings):
    assert noise_passes(units, settings, np.random.default_rng(units)) <= 0.05


def test_the_better_of_all_interior_points_would_pass_on_noise():
    """What the statistic in use until now makes of the same noise: best interior value over the better end."""
    draw, passed = np.random.default_rng(0), []
    for _ in range(DRAWS):
        curve = draw.normal(10, 1, 10)
        passed.append(curve[1:-1].max() / max(curve[0], curve[-1]) > 1)
    assert share(passed) == pytest.approx(0.8, abs=0.05)


def test_a_peak_that_is_there_is_found():
    """Half as high again as the units' standard deviation: four times in five with thirty units."""
    draw, found = np.random.default_rng(5), []
    for k in range(300):
        curves = draw.normal(0, 1, (30, 6)) + 1.5 * np.array([0, 0.2, 1, 0.2, 0, 0])
        each = peak(curves.tolist(), seed=k)
        found.append(has_peak(each))
    assert share(found) >= 0.8


def test_the_peak_is_compared_with_both_ends():
    """Without noise the differences are those of the curve, at any number of settings."""
    for curve in ([1.0, 7.0, 3.0], [2.0, 4.0, 9.0, 8.5, 5.0]):
        found = peak([curve] * 5, seed=2)
        top = max(curve)
        assert (found.at, found.above_first, found.above_last) == (
            curve.index(top), [top - curve[0]] * 3, [top - curve[-1]] * 3
        )  # fmt: skip


def test_the_units_that_judge_do_not_choose():
    """The chosen setting is the best of the choosing half, however bad it is in the other."""
    curves = np.zeros((6, 5))
    choosing, judging = halves(6, seed=1)
    curves[np.ix_(choosing, [2])] = 1.0
    curves[np.ix_(judging, [3])] = 9.0
    found = peak(curves.tolist(), seed=1)
    assert found.at == 2
    assert found.above_first == [0.0] * 3
    assert list(found.groups.values()) == [found.above_first, found.above_last]
    for wrong in ([[1.0, 2.0, 3.0]] * 3, [[1.0, 2.0]] * 5):
        with pytest.raises(ValueError, match="at least four units with three settings"):
            peak(wrong, seed=0)
