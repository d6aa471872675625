"""What a page says about its record."""

import pytest

from spectral_lens.book import pages, records


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.84, "0.8 s"), (42, "42 s"), (200, "3 min 20 s"), (3900, "1 h 05 min")]
)
def test_durations_in_words(seconds: float | None, text: str) -> None:
    assert pages.duration(seconds) == text


def test_pages_say_how_their_record_stands() -> None:
    about = {"chapter": "a/b", "date": "2026-05-04T10:20:30+00:00"}
    assert pages.top(about, "paper", records.Status("current")) == []
    (grey,) = pages.top(about, "paper", records.Status("verified", changed=("training.fit",)))
    assert "lens-verified" in grey
    assert "`training.fit` changed; the quick run" in grey
    (orange,) = pages.top(
        about, "paper", records.Status("older", "the quick run prints other numbers", ("training.fit",))
    )
    assert "warning lens-older" in orange
    assert "`training.fit` changed (the quick run prints other numbers)" in orange
    (orange,) = pages.top(about, "paper", records.Status("older", "", tuple("abcdefgh")))
    assert "`f` and 2 more changed" in orange


def test_the_block_at_the_end_offers_the_record() -> None:
    about = {"profile": "paper", "date": "2026-05-04T10:20:30+00:00", "parameters": {"rate": 0.1}}
    block = pages.provenance(about, "data/runs/paper/a/b.ipynb")
    assert "* - Notebook\n  - {download}`executed notebook </data/runs/paper/a/b.ipynb>`" in block
    assert "Notebook" not in pages.provenance(about)
    assert "`rate = 0.1`" in block
