"""The scorecard says what the records say, about every claim of the ledger, and nothing more."""

from pathlib import Path

import toy_book

from spectral_lens import claims
from spectral_lens.book import scorecard


def by_id(rows: list[scorecard.Row]) -> dict[str, scorecard.Row]:
    return {row.id: row for row in rows}


def test_without_records_every_claim_is_listed_as_not_measured(tmp_path: Path) -> None:
    rows = scorecard.rows("paper", toy_book.make(tmp_path))
    assert [row.id for row in rows] == list(claims.load())
    assert {(row.verdict, row.here, row.chapter) for row in rows} == {("not measured yet", "", None)}


def test_a_record_s_claims_stand_in_their_rows(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book, "paper", changes={"chicchi.independent.distance": [0.5, 0.6, 0.7]})
    rows = by_id(scorecard.rows("paper", book))
    failed, held = rows["chicchi.independent.distance"], rows["giambagli.inverse"]
    assert (failed.verdict, failed.here, failed.chapter) == (
        "not reproduced",
        "0.60 (95% interval 0.35 to 0.85, 3 runs)",
        "toy/lens",
    )
    assert (held.verdict, held.here) == ("identity holds", "below 1e-12")
    assert sum(row.chapter is None for row in rows.values()) == len(rows) - 2
    count = scorecard.summary(list(rows.values()))
    assert count["chicchi"]["not reproduced"] == 1
    assert count["giambagli"]["identity holds"] == 1
    assert sum(sum(verdicts.values()) for verdicts in count.values()) == len(rows)
    assert {verdict for verdicts in count.values() for verdict in verdicts} <= set(scorecard.VERDICTS)


def test_profiles_do_not_mix(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book, "quick")
    assert by_id(scorecard.rows("quick", book))["chicchi.independent.distance"].verdict == "quick only"
    assert by_id(scorecard.rows("paper", book))["chicchi.independent.distance"].verdict == "not measured yet"


def test_a_record_of_other_code_counts_as_none(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book)
    page = tmp_path / "book" / "toy" / "lens.md"
    page.write_text(page.read_text(encoding="utf-8").replace("[0.97, 0.98]", "[0.99, 0.98]"), encoding="utf-8")
    assert {row.verdict for row in scorecard.rows("quick", book)} == {"not measured yet"}
