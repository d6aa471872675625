"""The scorecard says what the records say, about every claim of the ledger, and nothing more."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import toy_book
import toy_claims

from spectral_lens import claims
from spectral_lens.book import chapters, records, sphinx_reader
from spectral_lens.book.chapters import BookError
from spectral_lens.book.scorecard_rows import VERDICTS, Row, rows, second_looks, summary

DISTANCE, INVERSE = "chicchi.independent.distance", "giambagli.inverse"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> dict[str, claims.Claim]:
    """A ledger of three claims, two of which the toy chapter measures."""
    entries = {
        DISTANCE: toy_claims.claim(DISTANCE, accept=(0.9, None), revision=claims.load()[DISTANCE].revision),
        INVERSE: toy_claims.claim(INVERSE, kind="identity", accept=(None, 1e-12)),
        "maess.toy": toy_claims.claim("maess.toy"),
    }
    monkeypatch.setattr(claims, "load", lambda: entries)
    return entries


def by_id(table: list[Row]) -> dict[str, Row]:
    return {row.id: row for row in table}


def measured(
    book: chapters.Book, *given: claims.Measured, profile: str = "paper", first_seed: int | None = None
) -> None:
    """A record of the toy chapter that measured these in its last cell."""
    path = toy_book.record(book, profile)
    run = records.read(path)
    cell = run.cells[-1]
    present = [replace(each, revision=claims.load()[each.id].revision) for each in given]
    cell.outputs = [toy_book._output({"text/plain": each.id}, {records.META: {"claim": each.data}}) for each in present]
    if first_seed is not None:
        run.metadata[records.META]["parameters"]["first_seed"] = first_seed
    records.write(run, path)


def test_without_records_every_claim_is_listed_as_not_measured(tmp_path: Path) -> None:
    table = rows("paper", toy_book.make(tmp_path))
    assert [row.id for row in table] == list(claims.load())
    assert {(row.verdict, row.here, row.chapter, row.fresh) for row in table} == {("not measured yet", "", None, None)}


def test_a_record_s_claims_stand_in_their_rows(tmp_path: Path, ledger: dict[str, claims.Claim]) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book, "paper", changes={DISTANCE: [0.5, 0.51, 0.52]})
    found = by_id(rows("paper", book))
    failed, held = found[DISTANCE], found[INVERSE]
    assert (failed.verdict, failed.chapter, failed.paper) == ("not reproduced", "toy/lens", "chicchi")
    assert failed.here == "0.510 (95% interval 0.485 to 0.535, 3 runs)"
    assert (held.verdict, held.here, held.fresh) == ("identity holds", "below 1e-12", None)
    count = summary(list(found.values()))
    assert count == {"chicchi": {"not reproduced": 1}, "giambagli": {"identity holds": 1},
                     "maess": {"not measured yet": 1}}  # fmt: skip
    assert {verdict for verdicts in count.values() for verdict in verdicts} <= set(VERDICTS)


def test_each_reading_has_its_verdict_and_the_headline_is_one_of_them(
    tmp_path: Path, ledger: dict[str, claims.Claim], monkeypatch: pytest.MonkeyPatch
) -> None:
    book = toy_book.make(tmp_path)
    code, printed = (
        claims.Measured.of(DISTANCE, [level, level + 0.001, level + 0.002], "paper", reading=reading)
        for level, reading in ((0.95, "the code"), (0.5, ""))
    )
    measured(book, code, printed)
    monkeypatch.setattr(records, "status", lambda *_: records.Status("current"))
    row = by_id(rows("paper", book))[DISTANCE]
    assert [(each.name, each.judged.verdict) for each in row.readings] == [
        ("as printed", "not reproduced"),
        ("the code", "reproduced in another reading"),
    ]
    assert row.headline is row.readings[1]
    assert (row.verdict, row.here[:5]) == ("reproduced in another reading", "0.951")
    measured(book, claims.Measured.of(DISTANCE, [0.4, 0.41], "paper", reading="the code"), printed)
    row = by_id(rows("paper", book))[DISTANCE]
    assert row.headline is row.readings[0], "as printed, where no reading reproduces"


@pytest.mark.parametrize(("seed", "fresh"), [(0, False), (999, False), (1000, True), (None, None)])
def test_fresh_seeds_begin_at_a_thousand(
    tmp_path: Path,
    ledger: dict[str, claims.Claim],
    monkeypatch: pytest.MonkeyPatch,
    seed: int | None,
    fresh: bool | None,
) -> None:
    book = toy_book.make(tmp_path)
    measured(book, *(claims.Measured.of(id, [0.0, 0.1], "paper") for id in (DISTANCE, INVERSE)), first_seed=seed)
    monkeypatch.setattr(records, "status", lambda *_: records.Status("current"))
    found = by_id(rows("paper", book))
    assert (found[DISTANCE].fresh, found[INVERSE].fresh) == (fresh, None), "a theorem needs no seed"


def test_profiles_do_not_mix(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book, "quick")
    assert by_id(rows("quick", book))[DISTANCE].verdict == "quick only"
    assert by_id(rows("paper", book))[DISTANCE].verdict == "not measured yet"


def test_a_record_of_other_code_counts_as_none(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book)
    page = tmp_path / "book" / "toy" / "lens.md"
    page.write_text(page.read_text(encoding="utf-8").replace("[0.97, 0.98]", "[0.99, 0.98]"), encoding="utf-8")
    assert {row.verdict for row in rows("quick", book)} == {"not measured yet"}


def test_page_and_scorecard_agree_on_every_record_there_is() -> None:
    """The cards of the pages and the rows of the scorecard, of the real book's records."""
    of = chapters.book()
    table, seen = by_id(rows("paper", of)), 0
    for chapter in chapters.runnable(of).values():
        if not records.status(chapter, "paper").usable:
            continue
        for each in records.claims(records.read(records.path(chapter, "paper"))):
            if each.id not in table:
                continue
            reading = next(
                one for one in table[each.id].readings if (one.chapter, one.measured) == (chapter.name, each)
            )
            card = sphinx_reader._card(each.data, "page", 1)
            why = f": {reading.judged.why}" if reading.judged.why else ""
            assert f"<td>{reading.judged.verdict}{why}</td></tr></tbody>" in card
            assert f'class="claim claim-{reading.judged.verdict.replace(" ", "-")}"' in card
            seen += 1
    assert seen > 10


def look(book: chapters.Book, name: str = "gpu/toy.json", **changes: object) -> Path:
    revision = claims.load()[DISTANCE].revision
    run = {
        "chapter": "toy/lens", "date": "2026-06-01T12:00:00+00:00", "machine": "another", "device": "GPU",
        "first_seed": 2000, "commit": "feed", "versions": {"torch": "2.13.0"},
        "claims": [claims.Measured.of(DISTANCE, [0.93, 0.931, 0.932], "paper", revision=revision).data,
                   claims.Measured.of("gone.claim", [1.0], "paper").data],
    } | changes  # fmt: skip
    path = book.root / "data" / "runs" / "second" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(run), encoding="utf-8")
    return path


def test_a_second_look_stands_beside_the_paper_s_record(tmp_path: Path, ledger: dict[str, claims.Claim]) -> None:
    book = toy_book.make(tmp_path)
    assert second_looks(book) == {}
    look(book)
    ((id, (second,)),) = second_looks(book).items()
    assert (id, second.machine, second.first_seed, second.date[:10]) == (DISTANCE, "another", 2000, "2026-06-01")
    assert second.reading.judged.verdict == "reproduced"
    assert second.reading.judged.found.mean == pytest.approx(0.931)
    toy_book.record(book, "paper", changes={DISTANCE: [0.5, 0.51, 0.52]})
    row = by_id(rows("paper", book))[DISTANCE]
    assert (row.verdict, row.seconds) == ("not reproduced", (second,))
    assert by_id(rows("quick", book))[DISTANCE].seconds == ()


@pytest.mark.parametrize("broken", [{"claims": None}, {"claims": [{"id": DISTANCE}]}, {"claims": ["a"]}])
def test_a_damaged_second_look_is_named(tmp_path: Path, broken: dict[str, object]) -> None:
    book = toy_book.make(tmp_path)
    look(book, **broken)
    with pytest.raises(BookError, match=r"data/runs/second/gpu/toy\.json is no second run"):
        second_looks(book)
