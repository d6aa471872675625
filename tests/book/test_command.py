"""What the commands share: lines in columns, how many chapters at a time."""

import pytest
from toy_chapters import page, write

from spectral_lens.book import command, schedule
from spectral_lens.book.chapters import BookError


def test_columns_stand_below_each_other():
    lines = list(command.aligned([("a", "b", "c"), ("long", "", "x"), ("", "wide", "")]))
    assert lines == ["a     b     c", "long        x", "      wide"]


def test_chapters_at_a_time(tmp_path, monkeypatch):
    toy = write(tmp_path, {"one": page("One", "1")})
    monkeypatch.setattr(schedule, "default", lambda threads: {1: 4, None: 1}[threads])
    assert [command.number_of_jobs(number, "quick", toy) for number in (None, 3)] == [4, 3]
    assert command.number_of_jobs(None, "paper", toy) == 1
    with pytest.raises(BookError, match="--jobs takes a number from 1 up, not 0"):
        command.number_of_jobs(0, "quick", toy)
