"""The measured numbers as tables, against the records that they are read from."""

import csv
import io
import json
import math
import shutil
import statistics

import pytest
from scipy import stats
from typer.testing import CliRunner

from spectral_lens.book import records, results
from spectral_lens.book.chapters import BookError, book, chapter
from spectral_lens.book.cli import app

OF = book()
NAME = "relevance/independent"


def paper(name=NAME):
    return records.path(chapter(name, OF), "paper")


def test_a_row_for_each_claim_and_run():
    measured = records.claims(records.read(paper()))
    table = results.rows([paper()], OF)
    assert len(table) == sum(len(each.values) for each in measured)
    assert {tuple(row) for row in table} == {results.COLUMNS}
    first = records.provenance(records.read(paper()))["parameters"]["first_seed"]
    for each in measured:
        own = [row for row in table if row["claim"] == each.id]
        assert [row["value"] for row in own] == list(each.values)
        assert [row["run"] for row in own] == [first + k for k in range(len(own))]
        (mean,) = {row["mean"] for row in own}
        assert mean == pytest.approx(statistics.fmean(each.values))
        if len(own) > 1:
            low, high = stats.ttest_1samp(each.values, 0).confidence_interval(0.95)
            assert (own[0]["low"], own[0]["high"]) == pytest.approx((low, high))
        assert {(row["chapter"], row["profile"], row["n"]) for row in own} == {(NAME, "paper", len(own))}
        assert own[0]["record"] == f"data/runs/paper/{NAME}.ipynb"


def test_tables_can_be_read_again():
    table = results.rows(results.find(OF, ["learning/derivation", NAME]), OF)
    read = list(csv.DictReader(io.StringIO(results.as_csv(table))))
    assert [row["claim"] for row in read] == [row["claim"] for row in table]
    assert [float(row["value"]) for row in read] == [row["value"] for row in table]
    single = next(row for row in read if row["n"] == "1")
    assert (single["low"], single["high"], single["sd"]) == ("", "", "")
    back = json.loads(results.as_json(table))
    assert [row["mean"] for row in back] == [row["mean"] for row in table]
    assert {row["low"] for row in back if row["n"] == 1} == {None}


def test_all_records_there_are():
    paths = results.find(OF)
    assert paper() in paths
    table = results.rows(paths, OF)
    assert {row["claim"] for row in table} >= {each.id for each in records.claims(records.read(paper()))}
    assert {row["profile"] for row in table} >= {"paper"}


def test_a_record_of_ones_own(tmp_path):
    """A file anywhere; one in the folder of custom runs is told apart from its base."""
    own = shutil.copy(paper(), tmp_path / "own.ipynb")
    (path,) = results.find(OF, [str(own)])
    assert {row["record"] for row in results.rows([path], OF)} == {str(own)}
    assert {row["profile"] for row in results.rows([path], OF)} == {"paper"}


def test_two_records_side_by_side(tmp_path):
    document = json.loads(paper().read_text(encoding="utf-8"))
    moved = 0.5
    for cell in document["cells"]:
        for output in cell.get("outputs", []):
            claim = output.get("metadata", {}).get("spectral_lens", {}).get("claim")
            if claim:
                claim["values"] = [value + moved for value in claim["values"]]
    other = tmp_path / "moved.ipynb"
    other.write_text(json.dumps(document), encoding="utf-8")
    measured = {each.id: each.values for each in records.claims(records.read(paper()))}
    compared = results.compare(other, paper())
    assert [each.claim for each in compared] == list(measured)
    for each in compared:
        assert each.difference.mean == pytest.approx(moved)
        if len(measured[each.claim]) > 1 and each.first.sd > 1e-12:
            found = stats.ttest_ind([v + moved for v in measured[each.claim]], measured[each.claim], equal_var=False)
            low, high = found.confidence_interval(0.95)
            assert (each.difference.low, each.difference.high) == pytest.approx((low, high))
    lines = results.side_by_side(compared).splitlines()
    assert len(lines) == 1 + len(measured)
    assert lines[0].split() == ["claim", "first", "second", "difference", "95%", "interval"]
    with pytest.raises(BookError, match="no claim in common"):
        results.compare(paper(), paper("learning/derivation"))


def test_old_records_with_means_alone(tmp_path):
    """They have no runs of their own: one row, judged by the interval that mean and deviation give."""
    document = json.loads(paper().read_text(encoding="utf-8"))
    for cell in document["cells"]:
        for output in cell.get("outputs", []):
            claim = output.get("metadata", {}).get("spectral_lens", {}).get("claim")
            if claim:
                del claim["values"]
                claim |= {"value": 0.98, "sd": 0.01, "n": 10}
    other = tmp_path / "old.ipynb"
    other.write_text(json.dumps(document), encoding="utf-8")
    row = results.rows([other], OF)[0]
    assert (row["value"], row["mean"], row["n"]) == (None, 0.98, 10)
    assert row["high"] - row["mean"] == pytest.approx(2.262 * 0.01 / math.sqrt(10), rel=1e-3)


def test_the_command(tmp_path):
    run = CliRunner().invoke
    found = run(app, ["results", NAME])
    assert found.exit_code == 0
    assert found.stdout == results.as_csv(results.rows([paper()], OF))
    assert json.loads(run(app, ["results", NAME, "--json"]).stdout)[0]["chapter"] == NAME
    both = run(app, ["results", "--compare", NAME, str(paper())])
    assert both.exit_code == 0
    assert "0 to 0" not in both.stdout.splitlines()[0]
    for wrong, said in (
        (["results", "nothing/there"], "no chapter"),
        (["results", str(tmp_path / "none.ipynb")], "has no record"),
        (["results", "--compare", NAME], "--compare takes two records"),
    ):
        refused = run(app, wrong)
        assert refused.exit_code == 2
        assert said in refused.stderr
