"""The directive, its script and the tables that the site offers."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import toy_book
from sphinx.application import Sphinx

from spectral_lens import claims
from spectral_lens.book import scorecard


def app(book: Path, about: dict[str, object], format: str = "html") -> Mock:
    env = SimpleNamespace(metadata={"book/scorecard": about, "book/intro": {}})
    return Mock(
        spec=Sphinx, env=env, srcdir=str(book), outdir=str(book / "out"), builder=SimpleNamespace(format=format)
    )


def test_only_a_page_with_a_scorecard_loads_the_filter(tmp_path: Path) -> None:
    of = app(tmp_path, {"scorecard": True})
    scorecard._load_script(of, "book/intro", "", {}, None)
    scorecard._load_script(of, "genindex", "", {}, None)
    of.add_js_file.assert_not_called()
    scorecard._load_script(of, "book/scorecard", "", {}, None)
    of.add_js_file.assert_called_once_with("scorecard.js", loading_method="defer")
    assert (toy_book.ROOT / "book" / "_static" / "scorecard.js").is_file()


def test_the_numbers_are_written_beside_the_pages_that_offer_them(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    toy_book.record(book, "quick")
    scorecard._write_data(app(tmp_path, {"scorecard": True}), None)
    found = json.loads((tmp_path / "out" / "scorecard.json").read_text(encoding="utf-8"))
    assert {row["id"] for row in found} == set(claims.load())
    assert sum(row["mean"] is not None for row in found) == 2


@pytest.mark.parametrize(
    ("about", "format", "error"),
    [({}, "html", None), ({"scorecard": True}, "latex", None), ({"scorecard": True}, "html", RuntimeError())],
)
def test_otherwise_nothing_is_written(
    tmp_path: Path, about: dict[str, object], format: str, error: Exception | None
) -> None:
    toy_book.make(tmp_path)
    scorecard._write_data(app(tmp_path, about, format), error)
    assert not (tmp_path / "out").exists()
