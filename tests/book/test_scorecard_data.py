"""The scorecard's numbers as tables, read back and held against what they were made from."""

import csv
import io
import json
import statistics
from dataclasses import replace

import pytest
import toy_claims
from scipy import stats

from spectral_lens.book import results, scorecard_data
from spectral_lens.book.scorecard_rows import Row, Second
from spectral_lens.claims.ledger import Change, Printed

GROUPS = {"N2 = 20": [0.2, 0.3, 0.25], "N2 = 80": [0.01, 0.02, 0.03]}


@pytest.fixture
def rows():
    """Groups with a history; two readings with a second look; one number; nothing measured."""
    every = toy_claims.claim(
        "giambagli.toy.every", kind="comparison", estimator="every", accept=(0.0, None), nothing=0.0,
        printed=Printed("positive"), history=(Change("2026-03-01", "more widths"), Change("2026-04-01", "x", "feed")),
    )  # fmt: skip
    read = toy_claims.claim("chicchi.toy.read")
    second = Second(toy_claims.reading(read, [0.83, 0.84]), "2026-06-01", "another", "GPU", 2000, "feed")
    single = toy_claims.claim("chicchi.toy.single")
    return [
        Row(every, (toy_claims.reading(every, GROUPS, fresh=True),)),
        Row(
            read, (toy_claims.reading(read, [0.5, 0.51]), toy_claims.reading(read, [0.82, 0.83], "the code")), (second,)
        ),
        Row(single, (toy_claims.reading(single, [0.82]),)),
        Row(toy_claims.claim("maess.toy.none")),
    ]


def test_a_row_for_each_claim_reading_look_and_group(rows):
    found = scorecard_data.table(rows)
    assert [(row["id"], row["look"], row["reading"], row["group"]) for row in found] == [
        ("giambagli.toy.every", "record", "as printed", "N2 = 20"),
        ("giambagli.toy.every", "record", "as printed", "N2 = 80"),
        ("chicchi.toy.read", "record", "as printed", ""),
        ("chicchi.toy.read", "record", "the code", ""),
        ("chicchi.toy.read", "second", "as printed", ""),
        ("chicchi.toy.single", "record", "as printed", ""),
        ("maess.toy.none", None, None, None),
    ]
    assert {tuple(row) for row in found} == {scorecard_data.COLUMNS}
    for row, values in zip(found, GROUPS.values(), strict=False):
        assert (row["mean"], row["sd"]) == pytest.approx((statistics.fmean(values), statistics.stdev(values)))
        assert (row["low"], row["high"]) == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)))
        assert (row["n"], row["verdict"], row["needs"]) == (
            3,
            "undecided" if row["needs"] else "reproduced",
            row["needs"],
        )
        assert (row["accept_low"], row["accept_high"], row["nothing"], row["fresh_seeds"]) == (0.0, None, 0.0, True)
    assert {row["headline"] for row in found[2:5]} == {rows[1].verdict}
    assert (found[4]["machine"], found[4]["first_seed"], found[2]["machine"]) == ("another", 2000, None)
    assert (found[6]["verdict"], found[6]["printed_mean"], found[6]["mean"]) == ("not measured yet", 0.82, None)


def test_the_tables_can_be_read_again(rows):
    found = scorecard_data.table(rows)
    back = json.loads(results.as_json(found))
    assert [row["mean"] for row in back] == [row["mean"] for row in found]
    assert back[0]["history"] == [
        {"date": "2026-03-01", "change": "more widths", "commit": None},
        {"date": "2026-04-01", "change": "x", "commit": "feed"},
    ]
    assert (back[5]["low"], back[5]["high"], back[5]["sd"]) == (None, None, None), "one unit has no interval"
    read = list(csv.DictReader(io.StringIO(scorecard_data.as_csv(found))))
    assert [row["claim"] for row in read] == ["light < glass & bends"] * len(found)
    assert [float(row["mean"]) for row in read[:-1]] == [row["mean"] for row in found[:-1]]
    assert (read[5]["low"], read[5]["sd"], read[6]["mean"]) == ("", "", "")
    assert read[0]["history"] == "2026-03-01: more widths; 2026-04-01: x"


def test_both_files_are_written(rows, tmp_path):
    scorecard_data.write([replace(rows[3])], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scorecard.csv", "scorecard.json"]
    (row,) = json.loads((tmp_path / "scorecard.json").read_text(encoding="utf-8"))
    assert row["id"] == "maess.toy.none"
