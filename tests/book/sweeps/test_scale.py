"""Where values stand on an axis, by its two ends alone."""

import dataclasses
import itertools
import math

import pytest
import toy_sweeps as toy

from spectral_lens import claims
from spectral_lens.book.sweeps import cells, scale

CLAIM = claims.load()[toy.DISTANCE]


def test_a_parameter_that_spans_decades_is_drawn_by_its_logarithm():
    axis = scale.along([1e-4, 1e-3, 1e-2], 50.0, 350.0)
    assert axis.log
    places = [axis.at(value) for value in axis.values]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1]) == pytest.approx(axis.step)
    assert axis.at(1e-3) == pytest.approx(200.0)
    assert [text for _, text in axis.ticks] == ["0.0001", "0.001", "0.01"]


@pytest.mark.parametrize("values", [[1, 2, 5], [-1.0, 0.0, 100.0], [0.0, 1000.0], [3]])
def test_others_by_themselves(values):
    axis = scale.along(values, 0.0, 100.0)
    assert not axis.log
    low, high = axis.low, axis.high
    for value in values:
        assert axis.at(value) == pytest.approx(100 * (value - low) / (high - low))
        assert 0 < axis.at(value) < 100


def test_names_have_a_place_each():
    axis = scale.along(["b", "a", [1, 2]], 0.0, 30.0)
    assert [axis.at(value) for value in ("b", "a", [1, 2])] == [5.0, 15.0, 25.0]


def test_many_values_get_round_ticks():
    axis = scale.along(list(range(0, 100, 7)), 0.0, 100.0)
    assert [text for _, text in axis.ticks] == ["0", "20", "40", "60", "80", "100"]


def axis(*means, accept=(0.965, None), half=0.001):
    claim = dataclasses.replace(CLAIM, accept=accept, printed=CLAIM.printed._replace(mean=None))
    of = toy.gathered(*(({"lr": k}, [toy.distance(mean - half, mean + half)]) for k, mean in enumerate(means)))
    return scale.of_values(cells.cells(of, claim, claim.reading))


def test_all_means_are_seen_and_the_range_where_it_is_near():
    near = axis(0.5, 0.9)
    assert near.low < 0.5 < 0.965 < near.high
    assert not near.log
    far = axis(0.5, 0.51)
    assert far.low < 0.5 - 0.0127 < 0.51 + 0.0127 < far.high < 0.965
    assert axis(0.5, 0.5).high > 0.965


def test_means_that_span_decades_are_drawn_by_their_logarithm():
    found = axis(1e-3, 1e-2, 1e-1, half=1e-6, accept=(None, 0.2))
    assert found.log
    assert math.log(found.high / found.low) > math.log(200)


def test_an_interval_that_would_press_all_together_goes_over_the_edge():
    assert axis(0.5, 0.6, half=0.5).high < 1.0


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 17.0), (1e-7, 3e-7), (999.0, 1001.0)])
def test_round_numbers_lie_inside_and_are_few(low, high):
    found = scale.round_numbers(low, high, log=False)
    assert 3 <= len(found) <= 8
    assert all(low - 1e-9 * abs(low) <= value <= high * (1 + 1e-9) for value in found)
    steps = {round((b - a) / (high - low), 6) for a, b in itertools.pairwise(found)}
    assert len(steps) == 1
