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
