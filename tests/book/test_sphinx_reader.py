"""Pages made from text and record."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import toy_book

from spectral_lens import claims
from spectral_lens.book import chapters, records, scorecard, sphinx_reader


def test_a_changed_criterion_turns_card_and_scorecard_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run: the record stays as it is."""
    book = toy_book.make(tmp_path)
    id = "chicchi.independent.distance"
    path = toy_book.record(book, "paper", changes={id: [0.979, 0.98, 0.981]})
    before = path.read_bytes()

    def shown() -> tuple[str, str]:
        cell = records.read(path).cells[-1]
        (output,) = sphinx_reader._outputs(cell, "toy/lens", 1)
        (row,) = (row for row in scorecard.rows("paper", book) if row.id == id)
        (verdict,) = re.findall(r"<th>verdict</th><td>([^<]*)", output.data["text/html"])
        return verdict, row.verdict

    assert shown() == ("reproduced in another reading",) * 2
    stamp = sphinx_reader._stamp(chapters.chapter("toy/lens", book), "paper")
    strict = dict(claims.load()) | {id: replace(claims.load()[id], accept=(0.99, None))}
    monkeypatch.setattr(claims, "load", lambda: strict)
    assert shown() == ("not reproduced", "not reproduced")
    assert sphinx_reader._stamp(chapters.chapter("toy/lens", book), "paper") != stamp, "the page is read again"
    assert path.read_bytes() == before
