"""The commands on measured numbers: what they print, what they refuse."""

import csv
import io
import json

import pytest
from typer.testing import CliRunner

from spectral_lens.book import records, results
from spectral_lens.book.chapters import book, chapter
from spectral_lens.book.cli import app

OF = book()
NAME = "relevance/independent"
PAPER = records.path(chapter(NAME, OF), "paper")


def call(*arguments):
    return CliRunner().invoke(app, ["results", *arguments])


def test_csv_is_what_comes_anyway():
    found = call(NAME)
    assert found.exit_code == 0
    assert found.stdout == results.as_csv(results.rows([PAPER], OF)) == call(NAME, "--csv").stdout
    assert json.loads(call(NAME, "--json").stdout)[0]["chapter"] == NAME


def test_two_runs_side_by_side_to_look_at_and_to_compute_with():
    names = [each.id for each in records.claims(records.read(PAPER))]
    head, *lines = call("--compare", NAME, str(PAPER)).stdout.splitlines()
    assert head.split() == ["claim", "first", "second", "difference", "95%", "interval", "by"]
    assert [line.split()[0].rstrip(",") for line in lines] == names
    assert all(line.endswith("0 to 0        paired by seed") for line in lines)
    table = list(csv.DictReader(io.StringIO(call("--compare", "--csv", NAME, str(PAPER)).stdout)))
    assert tuple(table[0]) == results.COMPARED
    assert [row["claim"] for row in table] == names
    (first, *_) = json.loads(call("--compare", "--json", NAME, NAME).stdout)
    assert (first["difference"], first["low"], first["high"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing/there"], "no chapter"),
        (["none.ipynb"], "has no record"),
        ([NAME, "--csv", "--json"], "--csv or --json, not both"),
        (["--compare", NAME], "--compare takes two records"),
    ],
)
def test_mistakes_are_one_line(arguments, said):
    refused = call(*arguments)
    assert refused.exit_code == 2
    assert said in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
