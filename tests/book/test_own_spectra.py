"""The chapter of stars with a file of the reader's own: rerun by its parameters, from another folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from spectral_lens._runtime import resources
from spectral_lens.book import records, runner
from spectral_lens.book.chapters import Book, chapter

ROOT = Path(resources.__file__).parents[3]
SMALL = {
    "runs": 2, "hidden": [6, 5], "batch_size": 8, "epochs": 2, "early_epochs": 1, "sparse_epochs": 2, "plain_epochs": 1,
    "counts_up_to": 9,
}  # fmt: skip


@pytest.fixture
def stars(tmp_path):
    """The chapter in a book of its own, so that the record goes there."""
    shutil.copytree(ROOT / "book", tmp_path / "root" / "book")
    shutil.copy(ROOT / "_toc.yml", tmp_path / "root")
    return chapter("relevance/stars", Book(tmp_path / "root"))


@pytest.mark.parametrize(("first", "unit"), [(480.0, "nm"), (1.2, "um")])  # with the band of H beta, and beyond all
def test_the_chapter_reads_the_readers_spectra(stars, tmp_path, monkeypatch, first, unit):
    g = np.random.default_rng(0)
    ages = g.uniform(1, 9, 40)
    flux = 1 + 0.1 * g.normal(size=(40, 11)) - 0.05 * ages[:, None] * (np.arange(11) == 4)
    heading = ";".join([*(f"{first + 0.7 * k:.2f}".replace(".", ",") for k in range(11)), "age"])
    rows = [";".join(f"{v:.4f}".replace(".", ",") for v in (*row, age)) for row, age in zip(flux, ages, strict=True)]
    (tmp_path / "mine.csv").write_text("\n".join([heading, *rows]), encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    path = runner.run(runner.plan(stars, "quick", {**SMALL, "spectra": "mine.csv", "unit": unit, "target": "age"}))
    record = records.read(path)
    (data,) = records.data(record)
    assert (data["name"], data["edition"]) == ("mine", "the reader's own")
    said = "\n".join(output["text"] for cell in record.cells for output in cell.get("outputs", []) if "text" in output)
    assert "L2: test error" in said
    assert said.count(" age") >= 7
    assert "dex" not in said
    assert {claim.profile for claim in records.claims(record)} == {"custom"}
