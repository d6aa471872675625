"""Pages made from text and record."""

import re
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import toy_book
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from spectral_lens import claims
from spectral_lens.book import chapters, records, scorecard_rows, sphinx_reader


def test_a_changed_criterion_turns_card_and_scorecard_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run: the record stays as it is."""
    book = toy_book.make(tmp_path)
    path = toy_book.record(book, "paper", changes={"chicchi.independent.distance": [0.97, 0.971, 0.972]})
    before, id = path.read_bytes(), "chicchi.independent.distance"

    def shown() -> tuple[str, str]:
        cell = records.read(path).cells[-1]
        (output,) = sphinx_reader._outputs(cell, "toy/lens", 1)
        (row,) = (row for row in scorecard_rows.rows("paper", book) if row.id == id)
        (verdict,) = re.findall(r"verdict</th><td>([^<:]*)", output.data["text/html"])
        return verdict, row.verdict

    def accept(low: float) -> None:
        claim = replace(claims.load()[id], accept=(low, None), estimator="mean", reading="as printed")
        ledger = dict(claims.load()) | {id: claim}
        monkeypatch.setattr(claims, "load", lambda: ledger)

    accept(0.9)
    assert shown() == ("reproduced", "reproduced")
    stamp = sphinx_reader._stamp(chapters.chapter("toy/lens", book), "paper")
    accept(0.99)
    assert shown() == ("not reproduced", "not reproduced")
    assert sphinx_reader._stamp(chapters.chapter("toy/lens", book), "paper") != stamp, "the page is read again"
    assert path.read_bytes() == before


def test_a_new_second_look_has_the_scorecards_read_again(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    pages = {"book/intro", "book/toy/lens", "book/scorecard"}
    env = BuildEnvironment.__new__(BuildEnvironment)
    env.project, env.metadata = Mock(docnames=pages), {page: {"scorecard": page == "book/scorecard"} for page in pages}

    def outdated() -> list[str]:
        return sphinx_reader.outdated(Mock(spec=Sphinx, srcdir=str(book.root)), env, set(), set(), set())

    assert outdated() == outdated() == []
    look = tmp_path / "data" / "runs" / "second" / "toy.json"
    look.parent.mkdir(parents=True)
    look.write_text("{}", encoding="utf-8")
    assert outdated() == ["book/scorecard"]
    assert outdated() == []
