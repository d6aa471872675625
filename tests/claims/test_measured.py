"""What was measured: kept as it was, and said in words that do not change with a processor's rounding."""

import math

import pytest

from spectral_lens.claims import Measured
from spectral_lens.claims.measured import plain
from spectral_lens.claims.statistics import estimate


@pytest.mark.parametrize("profile", ["paper", "quick", "custom"])
@pytest.mark.parametrize("reading", ["", "the authors' code"])
@pytest.mark.parametrize("values", [[0.25], [0.25, -1.5, 0.0], {"a": [1.0, 2.0], "b": [3.0]}, {"a": [1.0]}])
def test_what_a_record_keeps_is_what_was_measured(profile, reading, values):
    measured = Measured.of("a.b", values, profile, reading=reading, revision=3)
    assert Measured.read(measured.data) == measured


def test_what_a_record_keeps():
    assert Measured.of("a.b", [0.5, 1.0], "paper").data == {
        "id": "a.b", "values": [0.5, 1.0], "profile": "paper", "revision": 1,
    }  # fmt: skip
    assert Measured.of("a.b", {"a": [0.5]}, "quick", reading="ours", revision=2).data == {
        "id": "a.b", "groups": {"a": [0.5]}, "profile": "quick", "reading": "ours", "revision": 2,
    }  # fmt: skip


def test_records_from_before():
    """One with values and no revision; one with mean, deviation and number alone."""
    measured = Measured.read({"id": "a.b", "values": [0.5, 0.7], "profile": "paper"})
    assert (measured.revision, measured.reading, measured.values) == (1, "", (0.5, 0.7))
    old = {"id": "a.b", "value": 0.98, "sd": 0.01, "n": 10, "printed": "?", "accept": None, "scale": "paper",
           "profile": "paper", "verdict": "no criterion"}  # fmt: skip
    measured = Measured.read(old)
    assert (measured.values, measured.numbers, measured.here) == ((), (0.98,), "0.98 +- 0.01 (10 runs)")
    (found,) = measured.estimates.values()
    assert (found.mean, found.n) == (0.98, 10)
    assert found.high - found.mean == pytest.approx(2.262 * 0.01 / math.sqrt(10), rel=1e-3)
    single = Measured.read(old | {"sd": None, "n": 1})
    assert single.here == "0.98"
    assert single.estimates[""].high == math.inf


def test_groups_are_estimated_apart():
    measured = Measured.of("a.b", {"a": [1.0, 2.0, 4.0], "b": [3.0, 5.0]}, "paper")
    assert measured.estimates == {"a": estimate([1.0, 2.0, 4.0]), "b": estimate([3.0, 5.0])}
    assert measured.numbers == measured.values == (1.0, 2.0, 4.0, 3.0, 5.0)
    with pytest.raises(TypeError):
        measured.groups["a"] = (0.0,)
    with pytest.raises(AttributeError):
        measured.profile = "quick"


@pytest.mark.parametrize(
    ("values", "here"),
    [
        ([0.0], "below 1e-06"),
        ([1e-9], "below 1e-06"),
        ([-9.9e-7], "below 1e-06"),
        ([1e-6], "1e-06"),
        ([-0.5], "-0.5"),
        ([0.5, 0.5], "0.5 +- 0 (2 runs)"),
        ([0.12344, 0.12366], "0.124 +- 0.0002 (2 runs)"),
        ([1e-9, 3e-9, 5e-9], "below 1e-06 (3 runs)"),
        ({"only": [0.5, 0.5]}, "0.5 +- 0 (2 runs)"),
        ({"a": [0.25, 0.75], "b": [1.0, 3.0]}, "0.5 to 2 in 2 groups (2 runs each)"),
        ({"a": [0.25, 0.75], "b": [1.0], "c": [3.0]}, "0.5 to 3 in 3 groups (1 to 2 runs each)"),
        ({"a": [0.25], "b": [1.0]}, "0.25 to 1 in 2 groups (1 run each)"),
    ],
)
def test_what_is_printed(values, here):
    assert Measured.of("a.b", values, "paper").here == here


def test_what_counts_as_zero():
    assert plain(1e-3, math.nan, 1, zero=1e-2) == "below 1e-02"
    assert plain(-1e-3, 0.1, 2, zero=1e-4) == "-0.001 +- 0.1 (2 runs)"
