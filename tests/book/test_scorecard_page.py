"""The scorecard as HTML, parsed: what stands in which row, and where its links lead."""

import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
import toy_claims

from spectral_lens.book import scorecard_page
from spectral_lens.book.scorecard_rows import Row, Second
from spectral_lens.claims.ledger import Change, Printed


def links(source: str | None = None) -> scorecard_page.Links:
    return scorecard_page.Links(lambda chapter: f"{chapter}.html", lambda chapter: source, "../")


class Page:
    """A scorecard, read as XML: all its tags are closed."""

    def __init__(self, rows: list[Row], source: str | None = None) -> None:
        text = scorecard_page.page(rows, links(source)).replace(" download>", ' download="">')
        self.root = ET.fromstring(text)

    def all(self, tag: str, of: ET.Element | None = None, **wanted: str) -> list[ET.Element]:
        found = (self.root if of is None else of).iter()
        kept = (each for each in found if each.tag.rpartition("}")[2] == tag)
        return [each for each in kept if all(each.get(key) == value for key, value in wanted.items())]

    def claim(self, id: str) -> ET.Element:
        (found,) = self.all("tbody", id=f"row-claim-{id.replace('.', '-')}")
        return found


def words(of: ET.Element) -> str:
    return " ".join(" ".join(of.itertext()).split())


@pytest.fixture
def rows() -> list[Row]:
    read = toy_claims.claim(
        "chicchi.toy.read", accept=(0.9, None), history=(Change("2026-03-01", "changed after a look"),)
    )
    printed = toy_claims.reading(read, [0.5, 0.51, 0.52], fresh=True)
    code = toy_claims.reading(read, [0.95, 0.951, 0.952], "the code", fresh=True)
    second = Second(toy_claims.reading(read, [0.5, 0.51, 0.52]), "2026-06-01T10:00:00", "another", "GPU", 2000, "f")
    every = toy_claims.claim("giambagli.toy.every", accept=(0.0, None), nothing=0.0, kind="comparison",
                             printed=Printed("positive"), estimator="every")  # fmt: skip
    groups = {"N2 = 20": [0.2, 0.3, 0.25], "N2 = 80": [0.01, 0.02, 0.04]}
    theorem = toy_claims.claim("giambagli.toy.zero", kind="identity", accept=(None, 1e-12), printed=Printed("0"))
    return [
        Row(every, (toy_claims.reading(every, groups, fresh=False),)),
        Row(theorem, (toy_claims.reading(theorem, [1e-16, 2e-16]),)),
        Row(toy_claims.claim("giambagli.toy.open", kind="bound", accept=(None, 1.0))),
        Row(read, (printed, code), (second,)),
        Row(toy_claims.claim("chicchi.toy.none")),
    ]


def test_counts_are_those_of_the_rows_with_theorems_apart(rows: list[Row]) -> None:
    page = Page(rows)
    (table,) = page.all("table", **{"class": "lens-counts"})
    linked = page.all("a", table)
    expected = Counter[tuple[str, str, str]]()
    for row in rows:
        kind = "theorem" if row.claim.theorem else "measurement"
        expected.update((kind, paper, verdict) for paper in (row.paper, "") for verdict in (row.verdict, ""))
    found = {(a.get("data-kind"), a.get("data-paper", ""), a.get("data-verdict", "")): int(a.text) for a in linked}
    assert found == expected
    ids = {each.get("id") for each in page.root.iter()}
    assert {a.get("href")[1:] for a in linked} <= ids, "without script a number leads to its paper"
    heads = page.all("th", table)
    assert {head.get("scope") for head in heads} == {"col", "row", "rowgroup"}


def test_each_claim_can_be_filtered_and_read(rows: list[Row]) -> None:
    page = Page(rows)
    kept = [(each.get("data-paper"), each.get("data-kind"), each.get("data-verdict")) for each in
            page.all("tbody") if each.get("data-verdict")]  # fmt: skip
    assert sorted(kept) == sorted(
        (row.paper, "theorem" if row.claim.theorem else "measurement", row.verdict) for row in rows
    )
    for table in page.all("table"):
        assert len(page.all("caption", table)) == 1
        assert {head.get("scope") for head in page.all("th", table)} <= {"col", "row", "rowgroup"}
    assert [words(caption) for caption in page.all("caption")][1:] == [
        "Measurements of Giambagli et al. (2021)", "Theorems of Giambagli et al. (2021)",
        "Measurements of Chicchi et al. (2026)",
    ]  # fmt: skip
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    theorem = words(page.claim("giambagli.toy.zero"))
    assert "below 1e-12 (2 values)" in theorem
    assert "identity holds" in theorem


def test_each_reading_and_each_look_is_a_line_below_the_headline(rows: list[Row]) -> None:
    page = Page(rows, "https://host/book/toy/lens.md")
    claim = page.claim("chicchi.toy.read")
    lines = page.all("tr", claim)
    assert len(lines) == 3
    assert page.all("th", claim)[0].get("rowspan") == "3"
    first, other, second = (words(line) for line in lines)
    assert "The code 0.9510" in first
    assert "▲" not in first
    assert "reproduced in another reading" in first
    assert "confirmed with seeds that nobody had looked at" in first
    assert "As printed 0.510 (95% interval" in other
    assert "not reproduced" in other
    assert "judged with seeds that nobody had looked at" in other
    assert "Second look: another, 2026-06-01 0.510 (95% interval 0.485 to 0.535, 3 runs)" in second
    assert "not reproduced seeds from 2000" in second
    assert "History 2026-03-01: changed after a look" in first
    assert [a.get("href") for a in page.all("a", lines[0])] == [
        "toy/lens.html#claim-chicchi-toy-read", "https://host/book/toy/lens.md"
    ]  # fmt: skip
    places = [svg.get("viewBox").split()[2] for svg in page.all("svg", claim)]
    assert len(places) == 3
    bands = {rect.get("x") for rect in page.all("rect", claim)}
    assert len(bands) == 1, "all lines of a claim have one axis"


def test_groups_are_listed_and_the_deciding_one_is_named(rows: list[Row]) -> None:
    text = words(Page(rows).claim("giambagli.toy.every"))
    assert re.search(r"2 groups N2 = 20: 0\.25.*N2 = 80: 0\.023.*, which decides", text)
    assert "undecided" in text
    assert re.search(r"\d+ runs would decide, if mean and scatter stayed", text)
    assert "fresh seeds: not yet" in text


def test_what_nobody_measured_says_so_and_links_nowhere(rows: list[Row]) -> None:
    page = Page(rows)
    claim = page.claim("chicchi.toy.none")
    assert words(claim).endswith("– not measured yet")
    assert page.all("a", claim) == []
    assert "0.82 ± 0.02" in words(claim)
    assert not [a for a in page.all("a") if "https" in a.get("href", "")], "no repository, no link to it"
