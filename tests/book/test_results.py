"""The measured numbers as tables, against the records that they are read from."""

import csv
import io
import json
import math
import shutil
import statistics

import pytest
from scipy import stats
from toy_chapters import page, record, write

from spectral_lens.book import records, results
from spectral_lens.book.chapters import BookError, book, chapter

OF = book()
NAME = "relevance/mnist"


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


def moved(tmp_path, by, name="moved.ipynb", **parameters):
    """The paper record with other numbers, and other parameters where they are named."""
    document = json.loads(paper().read_text(encoding="utf-8"))
    document["metadata"]["spectral_lens"]["parameters"] |= parameters
    for cell in document["cells"]:
        for output in cell.get("outputs", []):
            claim = output.get("metadata", {}).get("spectral_lens", {}).get("claim")
            if claim:
                claim["values"] = by(claim["values"])
    (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    return tmp_path / name


def shifted(values):
    return [value + 0.5 + 0.01 * k * k for k, value in enumerate(values)]


def test_runs_from_the_same_seeds_are_compared_one_by_one(tmp_path):
    measured = {each.id: each.values for each in records.claims(records.read(paper()))}
    compared = results.compare(moved(tmp_path, shifted), paper())
    assert [each.claim for each in compared] == list(measured)
    for each in compared:
        values = measured[each.claim]
        assert len(values) > 2
        assert each.interval == "paired by seed"
        low, high = stats.ttest_rel(shifted(values), values).confidence_interval(0.95)
        assert (each.difference.low, each.difference.high) == pytest.approx((low, high))
        assert each.difference.mean == pytest.approx(statistics.fmean(shifted(values)) - statistics.fmean(values))
        assert each.row["first_n"] == each.row["second_n"] == len(values)


@pytest.mark.parametrize(
    ("by", "parameters"), [(shifted, {"first_seed": 7}), (lambda values: shifted(values)[:-1], {})]
)
def test_other_seeds_or_another_number_of_runs_are_apart(tmp_path, by, parameters):
    compared = results.compare(moved(tmp_path, by, **parameters), paper())
    measured = {each.id: each.values for each in records.claims(records.read(paper()))}
    for each in compared:
        values = measured[each.claim]
        assert each.interval == "Welch"
        low, high = stats.ttest_ind(by(values), values, equal_var=False).confidence_interval(0.95)
        assert (each.difference.low, each.difference.high) == pytest.approx((low, high))


def test_one_run_has_no_interval(tmp_path):
    for each in results.compare(moved(tmp_path, lambda values: values[:1]), paper()):
        assert (each.interval, each.difference.low) == ("none", -math.inf)


def test_records_without_a_common_claim_are_refused():
    with pytest.raises(BookError, match="no claim in common"):
        results.compare(paper(), paper("learning/derivation"))


def test_old_records_with_means_alone(tmp_path):
    """They have no runs of their own: one row, with the interval that mean and deviation give, and nothing to pair."""
    name = "chicchi.mnist.all"
    document = json.loads(paper().read_text(encoding="utf-8"))
    for cell in document["cells"]:
        for output in cell.get("outputs", []):
            note = output.get("metadata", {}).get("spectral_lens", {})
            if note.get("claim", {}).get("id") == name:
                note["claim"] = {"id": name, "value": 0.98, "sd": 0.01, "n": 10, "profile": "paper"}
    old = tmp_path / "old.ipynb"
    old.write_text(json.dumps(document), encoding="utf-8")
    (row,) = (row for row in results.rows([old], OF) if row["claim"] == name)
    assert (row["value"], row["mean"], row["n"]) == (None, 0.98, 10)
    assert row["high"] - row["mean"] == pytest.approx(stats.t.ppf(0.975, 9) * 0.01 / math.sqrt(10))
    (each,) = (each for each in results.compare(old, paper()) if each.claim == name)
    assert each.interval == "Welch"
    statistic = stats.ttest_ind_from_stats(0.98, 0.01, 10, *each.second[:1], *each.second[3:], equal_var=False)
    assert each.difference.mean / statistic.statistic == pytest.approx(math.hypot(0.01, each.second.sd) / math.sqrt(10))


def test_copies_that_jupyter_keeps_are_no_records(tmp_path):
    toy = write(tmp_path, {"one": page("One", "1")})
    own = record(chapter("one", toy))
    copies = own.parent / ".ipynb_checkpoints"
    copies.mkdir()
    shutil.copy(own, copies / "one-checkpoint.ipynb")
    assert results.find(toy) == [own]
