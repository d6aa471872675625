"""A sweep's page as one file: whole, offline, and with links that lead to what is there."""

import re
import shutil
from urllib.parse import unquote

import toy_sweeps as toy
from toy_book import ROOT

from spectral_lens.book.sweeps import page


def test_a_file_that_needs_nobody_else(tmp_path, package):
    of = toy.book(tmp_path, package)
    (tmp_path / "book" / "_static").mkdir()
    shutil.copy(ROOT / page.STYLES, tmp_path / page.STYLES)
    made = toy.sweep(of, [{"lr": 0.2}, {"lr": 0.3}, {"lr": 0.4}])
    toy.measure(made.plans[0], toy.distance(0.97, 0.98))
    toy.measure(made.plans[1], toy.distance(0.5, 0.6))
    toy.fail(made.plans[2])
    where = page.page(made)
    assert where == tmp_path / "build" / "sweeps" / "toy" / "page.html"
    text = where.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)\b|@import|url\(", text)
    assert "<title>Sweep toy: Lens</title>" in text
    links = re.findall(r'href="([^"]+)"', text)
    assert len(links) == 4
    for link in links:
        assert (where.parent / unquote(link)).is_file(), link
    used = set(re.findall(r"var\((--(?:pst|lens)-[a-z-]+)", text)) - {"--lens-verdict"}
    assert used <= set(re.findall(r"(--(?:pst|lens)-[a-z-]+):", text)), "each colour that is used is defined here"
    assert '<a href="table.csv" download>' in text
