"""The chapter of one's own table, with a file of the reader's: rerun by its parameters, from another folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from spectral_lens._runtime import resources
from spectral_lens.book import records, runner
from spectral_lens.book.chapters import Book, BookError, chapter

ROOT = Path(resources.__file__).parents[3]
SMALL = {"runs": 2, "folds": 3, "shuffles": 2, "counts": [1, 2], "first_seed": 3}


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The chapter in a book of its own, so that the record goes there, called from the folder of the tables."""
    shutil.copytree(ROOT / "book", tmp_path / "root" / "book")
    shutil.copy(ROOT / "_toc.yml", tmp_path / "root")
    monkeypatch.chdir(tmp_path)
    return chapter("apply/table", Book(tmp_path / "root"))


def written(path, columns):
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    text = "\n".join(";".join(str(cell).replace(".", ",") for cell in row) for row in rows)
    Path(path).write_text(text, encoding="utf-8-sig")


def said(page, **parameters):
    record = records.read(runner.run(runner.plan(page, "quick", {**SMALL, **parameters})))
    text = "\n".join(output["text"] for cell in record.cells for output in cell.get("outputs", []) if "text" in output)
    return " ".join(text.split()), records.data(record)


def test_the_chapter_reads_the_readers_table(page):
    g = np.random.default_rng(0)
    x = g.normal(size=(90, 5)).round(3)
    kind = np.where(x[:, 1] > 0, "gut", "böse")
    written("mine.csv", {"id": range(90), "a": x[:, 0], "größe": x[:, 1], "c": x[:, 2], "d": x[:, 3], "kind": kind})
    text, (data,) = said(page, table="mine.csv", target="kind", leave_out=["d"], epochs=60)
    assert (data["name"], data["edition"]) == ("mine", "the reader's own")
    assert "spectral keeps 1 of 3: größe" in text
    assert "1 of 3 columns are kept. For rows that its networks have not seen" in text
    assert "Nothing was found" not in text
    assert "first 1, random" in text
    assert "balanced accuracy" in text


def test_of_noise_the_chapter_says_that_nothing_was_found(page):
    g = np.random.default_rng(1)
    written("noise.csv", {"a": g.normal(size=60), "b": g.normal(size=60), "price": g.normal(size=60)})
    text, _ = said(page, table="noise.csv", target="price", epochs=20)
    assert text.startswith("Nothing was found: ")
    assert "spectral keeps 0 of 2: nothing" in text
    assert "balanced accuracy" not in text


def test_a_file_that_is_not_there_is_refused_before_anything_runs(page):
    with pytest.raises(BookError, match=r"apply/table: table=nowhere\.csv cannot be read"):
        runner.plan(page, "quick", {"table": "nowhere.csv", "target": "price"})
