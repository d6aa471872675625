"""What starts when: pure functions on known costs."""

import os

from hypothesis import given
from hypothesis import strategies as st
from toy_chapters import keep, page, plans

from spectral_lens.book import schedule


def test_default_is_cores_over_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)), raising=False)
    assert [schedule.default(threads) for threads in (1, 2, 3, 7, 8, None)] == [7, 3, 2, 1, 1, 1]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert schedule.default(2) == 2


def test_longest_first_and_unknown_before_all():
    assert schedule.order("abcd", {"a": 3.0, "b": 7.0, "c": 5.0}, {}) == ["d", "b", "c", "a"]
    assert schedule.order("abc", {}, {}) == ["a", "b", "c"]
    assert schedule.order("abcd", {}, {"a": 1.0, "b": 9.0, "c": 3.0}) == ["d", "b", "c", "a"]
    assert schedule.order("abcd", {"a": 2.0, "b": 7.0}, {"b": 70.0, "c": 1.0, "d": 4.0}) == ["d", "c", "b", "a"]


def test_typical_seconds():
    assert schedule.typical([]) is None
    assert schedule.typical([1.0, 2.0, 6.0]) == 3


def test_time_left():
    assert schedule.time_left([], [], jobs=2) == 0
    assert schedule.time_left([], [5.0, 3.0, 2.0, 1.0], jobs=1) == 11
    assert schedule.time_left([], [5.0, 3.0, 2.0, 1.0], jobs=2) == 6  # 5 + 1 beside 3 + 2
    assert schedule.time_left([(4.0, 10.0), (9.0, 2.0)], [3.0], jobs=2) == 6  # the second is overdue: 3 starts now
    assert schedule.time_left([(4.0, 10.0), (1.0, 2.0)], [7.0], jobs=2) == 8
    assert schedule.time_left([(4.0, None)], [7.0], jobs=2) is None
    assert schedule.time_left([(4.0, 7.0)], [None], jobs=2) is None


@given(st.lists(st.floats(0, 1e4), max_size=12), st.integers(1, 5))
def test_time_left_lies_between_the_bounds_of_list_scheduling(seconds, places):
    left = schedule.time_left([], seconds, jobs=places)
    least = max([sum(seconds) / places, *seconds], default=0)
    assert least * (1 - 1e-9) <= left <= (sum(seconds) / places + max(seconds, default=0)) * (1 + 1e-9)


def test_what_fits_into_the_memory():
    assert schedule.fitting([], [], memory=100) is None
    assert schedule.fitting([900, 1], [], memory=100) == 0  # alone it may
    assert schedule.fitting([50, 1], [40], memory=100) == 0
    assert schedule.fitting([70, 60, 50], [40], memory=100) == 1
    assert schedule.fitting([70], [40], memory=100) is None
    unknown = int(schedule._UNKNOWN * 800)
    assert schedule.fitting([None], [800 - unknown], memory=800) == 0
    assert schedule.fitting([None], [801 - unknown], memory=800) is None
    assert schedule.fitting([800 - unknown], [None], memory=800) == 0
    assert schedule.fitting([801 - unknown], [None], memory=800) is None


def test_last_known_cost(tmp_path):
    one, two, three = plans(tmp_path, {"one": page("1", "1"), "two": page("2", "2"), "three": page("3", "3")})
    keep(one, duration=3.5, peak=7)
    two.target.write_text("no record")
    assert schedule.last(one.chapter, "quick") == schedule.Cost(3.5, 7)
    assert schedule.last(two.chapter, "quick") == schedule.last(three.chapter, "quick") == schedule.Cost()
