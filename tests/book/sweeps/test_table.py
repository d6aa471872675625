"""The table of a sweep, against numbers written by hand."""

import csv
import io
import statistics

import pytest
import toy_sweeps as toy
from scipy import stats
from toy_chapters import page, write

from spectral_lens.book import results
from spectral_lens.book.sweeps import points, table
from spectral_lens.claims import Measured

EVERY = "giambagli.wide.gain"
POINTS = [{"lr": lr, "first_seed": seed} for seed in (0, 10) for lr in (0.1, 0.2)]


@pytest.fixture
def sweep(tmp_path, package):
    made = toy.sweep(toy.book(tmp_path, package), POINTS)
    for k, plan in enumerate(made.plans[:3]):
        groups = Measured.of(EVERY, {"N = 20": [0.1 + k, 0.2 + k], "N = 80": [0.3 + k]}, "custom")
        toy.measure(plan, toy.distance(*values(k)), groups, duration=100.0 + k, dirty=True)
    return made


def values(k):
    return [0.9 + k / 100, 0.91 + k / 100, 0.935 + k / 100]


def test_a_row_for_each_point_claim_group_and_run(sweep):
    found = table.rows(sweep)
    assert len(found) == 3 * (3 + 2 + 1) + 1
    assert {tuple(row) for row in found} == {table.columns(sweep.swept)}
    for k, point in enumerate(POINTS[:3]):
        own = [row for row in found if {name: row[name] for name in point} == point]
        distance = [row for row in own if row["claim"] == toy.DISTANCE]
        assert [row["value"] for row in distance] == values(k)
        assert [row["run"] for row in distance] == [point["first_seed"] + j for j in range(3)]
        low, high = stats.ttest_1samp(values(k), 0).confidence_interval(0.95)
        for row in distance:
            assert row["mean"] == pytest.approx(statistics.fmean(values(k)))
            assert (row["low"], row["high"]) == pytest.approx((low, high))
            assert (row["verdict"], row["seconds"], row["state"], row["counted"]) == (
                "quick only",
                100 + k,
                "current",
                True,
            )
            assert (row["chapter"], row["profile"], row["threads"], row["peak_memory"]) == (
                "toy/lens",
                "custom",
                1,
                1e9,
            )
        assert [(row["group"], row["value"]) for row in own if row["claim"] == EVERY] == [
            ("N = 20", 0.1 + k), ("N = 20", 0.2 + k), ("N = 80", 0.3 + k),
        ]  # fmt: skip
    last = found[-1]
    assert (last["lr"], last["first_seed"], last["state"], last["counted"]) == (0.2, 10, "missing", False)
    assert {last[name] for name in ("claim", "value", "mean", "seconds", "commit")} == {None}


def test_it_says_what_the_results_say_of_each_record(sweep):
    found = table.rows(sweep)
    for plan, point in zip(sweep.plans[:3], POINTS, strict=False):
        own = [row for row in found if {name: row[name] for name in point} == point]
        expected = results.rows([plan.target], sweep.chapter.book)
        assert [{name: row[name] for name in results.COLUMNS} for row in own] == expected


def test_where_an_interval_lies(tmp_path, package):
    made = toy.sweep(toy.book(tmp_path, package), [{"lr": lr} for lr in (0.1, 0.2, 0.3)])
    for plan, found in zip(made.plans, ([0.98, 0.981, 0.982], [0.5, 0.51], [0.9, 0.99]), strict=True):
        toy.measure(plan, toy.distance(*found))
    lies = list(dict.fromkeys(row["lies"] for row in table.rows(made)))
    assert lies == ["inside", "outside", "undecided"]


def test_the_file_can_be_read_again(sweep):
    where = table.write(sweep)
    assert where == sweep.chapter.book.root / "build" / "sweeps" / "toy" / "table.csv"
    assert {path.name for path in where.parent.iterdir()} == {"table.csv", "sweep.json"}
    read = list(csv.DictReader(io.StringIO(where.read_text(encoding="utf-8"))))
    found = table.rows(sweep)
    assert [row["value"] for row in read] == ["" if row["value"] is None else str(row["value"]) for row in found]
    assert next(row for row in read if row["n"] == "1")["low"] == ""
    assert {row["lr"] for row in read} == {"0.1", "0.2"}


def test_a_parameter_with_the_name_of_a_column_and_lists(tmp_path, package):
    of = write(tmp_path, {"toy/lens": page("Lens", "1", parameters="unit, digits = 'nm', [3, 8]")})
    made = toy.sweep(of, [{"unit": "um", "digits": [1, 7]}])
    toy.measure(made.plans[0], toy.distance(0.97))
    (row,) = table.rows(made)
    assert (row["parameter_unit"], row["unit"]) == ("um", "run")
    (read,) = csv.DictReader(io.StringIO(table.as_csv(points.gather(made))))
    assert read["digits"] == "[1, 7]"


def test_what_a_terminal_is_told(sweep, monkeypatch):
    toy.fail(sweep.plans[3], "MemoryError")
    toy.measure(sweep.plans[0], toy.distance(0.9), base="paper", duration=3600.0)
    lines = table.status(sweep)
    assert lines[0] == ("toy: 3 of 4 points are there (1 stale, 2 current, 1 failed); 1 h 03 min of computing.")
    log = sweep.plans[3].failed.with_suffix(".log").relative_to(sweep.chapter.book.root)
    assert lines[1] == f"  failed: lr=0.2 first_seed=10 (MemoryError), see {log}"
    assert lines[2] == "  stale: lr=0.1 first_seed=0 (it started from the profile paper)"
    assert lines[3] == "Left out of page and summary, being stale or made with other code than the others: 1."
    for plan in sweep.plans[:3]:
        plan.target.unlink()
    monkeypatch.setattr(table, "_MOST", 2)
    assert table.status(sweep)[2:] == [
        "  missing: lr=0.1 first_seed=0", "  missing: lr=0.2 first_seed=0", "  and 1 more missing",
    ]  # fmt: skip
