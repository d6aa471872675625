"""The clock."""

import pytest

from spectral_lens._runtime import timing


def test_the_quickest_call_counts(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 11.5, 20.0, 22.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    calls = []
    assert timing.shortest(lambda: calls.append(1), repeats=3) == 1.5
    assert len(calls) == 3


def test_no_call_has_no_time():
    with pytest.raises(ValueError, match="once at least"):
        timing.shortest(lambda: None, repeats=0)


def test_works_take_turns_after_a_call_without_the_clock(monkeypatch):
    ticks = iter([0.0, 3.0, 10.0, 10.5, 20.0, 24.0, 30.0, 31.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(ticks))
    calls = []
    found = timing.in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2)
    assert found == {"a": [3.0, 4.0], "b": [0.5, 1.0]}
    assert calls == ["a", "b"] * 3


def test_no_round_has_no_time():
    with pytest.raises(ValueError, match="once at least"):
        timing.in_turn({"a": lambda: None}, rounds=0)
