"""A sweep's points, against records written by hand: what is there, what failed, what other code made."""

import pytest
import toy_sweeps as toy

from spectral_lens.book import records
from spectral_lens.book.sweeps import points

LRS = [{"lr": lr} for lr in (0.1, 0.2, 0.3, 0.4)]
RAN = {"middle": ["f"]}


@pytest.fixture
def of(tmp_path, package):
    return toy.book(tmp_path, package)


def test_each_point_is_there_failed_or_missing(of):
    sweep = toy.sweep(of, LRS)
    first, second, third, fourth = sweep.plans
    toy.measure(first, toy.distance(0.97, 0.98))
    toy.fail(second)
    toy.measure(third, toy.distance(0.5))
    toy.fail(third)
    found = points.gather(sweep)
    assert [point.state for point in found.points] == ["current", "failed", "current", "missing"]
    assert [point.values for point in found.points] == LRS
    assert [point.counted for point in found.points] == [True, False, True, False]
    assert found.points[0].claims == (toy.distance(0.97, 0.98),)
    assert found.points[0].record == first.target.relative_to(of.root).as_posix()
    failed, told = found.points[1], found.points[2]
    assert failed.said == "ValueError: it does not converge"
    assert of.root / failed.log == second.failed.with_suffix(".log")
    assert told.log == "", "the log of a run that was asked for again says nothing of the record that is there"
    assert fourth.target.is_file() is False


def test_a_record_that_is_none_or_was_edited_is_left_out(of):
    sweep = toy.sweep(of, LRS)
    for plan in sweep.plans:
        toy.measure(plan, toy.distance(0.97))
    first, second, third, _ = sweep.plans
    first.target.write_text("{}", encoding="utf-8")
    text = second.target.read_text(encoding="utf-8")
    second.target.write_text(text.replace('"code": "', '"code": "0'), encoding="utf-8")
    toy.measure(third, toy.distance(0.97), base="paper")
    found = points.gather(sweep)
    assert [point.state for point in found.points] == ["stale", "stale", "stale", "current"]
    assert [point.there for point in found.points] == [False, True, True, True]
    assert [point.reason.partition(" (")[0] for point in found.points[:3]] == [
        "the record cannot be read", "the record was edited", "it started from the profile paper",
    ]  # fmt: skip
    assert [point.values["lr"] for point in found.counted] == [0.4]


def test_points_of_the_present_code_count_and_older_ones_are_left_out(of, package):
    sweep = toy.sweep(of, LRS)
    old, *new = sweep.plans
    toy.measure(old, toy.distance(0.97), ran=RAN)
    (package / "leaf.py").write_text("value = 2\n")
    for plan in new:
        toy.measure(plan, toy.distance(0.97), ran=RAN)
    found = points.gather(sweep).points
    assert [point.state for point in found] == ["older", "current", "current", "current"]
    assert [point.apart for point in found] == ["made with other code than the others", "", "", ""]
    assert "leaf.value" in found[0].reason
    assert found[0].code != found[1].code == found[2].code


def test_where_all_are_older_the_most_of_one_code_count(of, package):
    """What ran in one point alone is no other code."""
    sweep = toy.sweep(of, LRS)
    first, second, third, fourth = sweep.plans
    toy.measure(first, toy.distance(0.97), ran=RAN)
    (package / "leaf.py").write_text("value = 2\n")
    toy.measure(second, toy.distance(0.97), ran=RAN)
    toy.measure(third, toy.distance(0.97), ran=RAN | {"sub.top": ["g"]})
    toy.measure(fourth, toy.distance(0.97), ran=RAN)
    (package / "leaf.py").write_text("value = 3\n")
    found = points.gather(sweep).points
    assert [point.state for point in found] == ["older"] * 4
    assert [point.counted for point in found] == [False, True, True, True]
    assert found[1].code != found[2].code


def test_the_chapter_is_compared_once_for_all_points_of_one_code(of, package, monkeypatch):
    sweep = toy.sweep(of, LRS)
    for plan in sweep.plans:
        toy.measure(plan, toy.distance(0.97), ran=RAN)
    calls, since = [], records.since
    monkeypatch.setattr(records, "since", lambda *args, **kwargs: calls.append(1) or since(*args, **kwargs))
    states = [point.state for point in points.gather(sweep).points]
    assert (states, len(calls)) == (["current"] * 4, 1)
