"""The site: pages with the records' outputs, nothing from elsewhere, no dead link, a text for every image."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import toy_book
import yaml

from spectral_lens import claims
from spectral_lens.book import chapters, pages, records, scorecard_rows, site

ADDRESS = "https://github.com/someone/spectral-lens"


class Page(HTMLParser):
    """The tags of a page, its ids, and its images (also those that a script in the page writes)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.tags, self.ids = path, [], set[str]()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self.ids.update(given[name] for name in ("id", "name") if name in given)

    def all(self, *names: str) -> Iterator[dict[str, str]]:
        return (given for tag, given in self.tags if tag in names)


def pages_of(site: Path) -> dict[Path, Page]:
    found = sorted(path for path in site.rglob("*.html") if "_static" not in path.relative_to(site).parts)
    return {path: Page(path) for path in found}


def foreign(site: Path) -> list[str]:
    """What the pages and style sheets would fetch from another place."""
    loaded = [
        f"{path.name}: {given.get('src') or given.get('href')}"
        for path, page in pages_of(site).items()
        for given in page.all("script", "img", "link", "iframe", "source", "object")
        if re.match(r"(https?:)?//", given.get("src") or given.get("href") or "")
    ]
    sheets = [
        f"{path.name}: {url}"
        for path in site.rglob("*.css")
        for url in re.findall(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")]+)", path.read_text(encoding="utf-8"))
    ]
    return loaded + sheets


def dead_links(site: Path) -> list[str]:
    """Links inside the site whose file or whose place in the file is not there."""
    known, dead = pages_of(site), []
    for path, page in known.items():
        for given in page.all("a", "link", "script", "img"):
            target, _, place = (given.get("href") or given.get("src") or "").partition("#")
            if re.match(r"[a-z]+:|//", target):
                continue
            file = (path.parent / unquote(target.partition("?")[0])).resolve() if target else path
            place = unquote(place)
            if not file.is_file() or (file in known and place not in ("", "top", *known[file].ids)):
                dead.append(f"{path.relative_to(site)} -> {target}#{place}")
    return dead


def wordless(site: Path) -> list[str]:
    """Images without an alternative text, or with a file name for one."""
    return [
        f"{path.name}: {given.get('src')}"
        for path, page in pages_of(site).items()
        for given in page.all("img")
        if not given.get("alt", "").strip() or re.search(r"\.(png|svg|jpe?g)$", given["alt"])
    ]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> chapters.Book:
    """A toy book with a current paper record and a repository, built strictly."""
    book = toy_book.make(tmp_path_factory.mktemp("toy"), url=ADDRESS)
    toy_book.record(book, "paper", changes={"chicchi.independent.distance": [0.5, 0.51, 0.52]})
    done = toy_book.build(book, *toy_book.STRICT, profile="paper")
    assert done.returncode == 0, done.stderr
    return book


def text_of(book: chapters.Book, page: str) -> str:
    return (toy_book.site(book) / "book" / f"{page}.html").read_text(encoding="utf-8")


def words_of(book: chapters.Book, page: str) -> str:
    """What a reader reads on the page."""
    return " ".join(unescape(re.sub(r"<[^>]+>", "", text_of(book, page))).split())


@pytest.mark.site
def test_outputs_come_from_the_record_and_words_from_the_text(toy: chapters.Book) -> None:
    text = text_of(toy, "toy/lens")
    assert 'alt="A line that rises from the lower left to the upper right."' in text
    assert "What to see: a <em>line</em>" in text
    words = words_of(toy, "toy/lens")
    assert "samples, rate = 5, 0.1 samples = 50 A figure" in words, "the injected parameters are shown"
    assert "a progress bar" not in words
    facts = words[words.index("How this page was computed") :]
    for fact in ("rate = 0.1", "2026-05-04 10:20 UTC", "3 min 20 s", "1 thread", "torch 2.13.0", "0123456789ab",
                 "with changes not committed", "toy (train), generated", "feedface"):  # fmt: skip
        assert fact in facts, fact
    assert "Quick profile" not in words
    assert "older than the code" not in words


@pytest.mark.site
def test_scorecard_page_is_readable_without_eyes_for_colour(toy: chapters.Book) -> None:
    page, text = Page(toy_book.site(toy) / "book" / "scorecard.html"), text_of(toy, "scorecard")
    ledger = claims.load()
    kinds = {(id.split(".")[0], claim.theorem) for id, claim in ledger.items()}
    assert len(list(page.all("caption"))) == 1 + len(kinds)
    assert {given.get("scope") for given in page.all("th")} <= {"row", "col", "rowgroup"}
    rows = [given for given in page.all("tbody") if "data-verdict" in given]
    assert [given["id"] for given in rows] == list(dict.fromkeys(given["id"] for given in rows))
    assert {given["id"] for given in rows} == {f"row-{pages.anchor(id)}" for id in ledger}
    part = words_of(toy, "intro")
    assert part.count("relevance follows the distance") == 1
    assert "Phi^-1 = 2I - Phi" not in part
    assert "No claim of this part has been measured yet." in part
    claim = text[text.index(f'id="row-{pages.anchor("chicchi.independent.distance")}"') :].partition("</tbody>")[0]
    assert ">not reproduced<" in claim
    assert f'href="toy/lens.html#{pages.anchor("chicchi.independent.distance")}"' in claim
    assert f'href="{ADDRESS}/blob/main/book/toy/lens.md"' in claim


@pytest.mark.site
def test_numbers_and_notebooks_can_be_taken_away(toy: chapters.Book) -> None:
    site = toy_book.site(toy)
    rows = json.loads((site / "scorecard.json").read_text(encoding="utf-8"))
    assert {row["id"] for row in rows} == set(claims.load())
    (row,) = (row for row in rows if row["id"] == "chicchi.independent.distance")
    assert (row["mean"], row["verdict"], row["chapter"]) == (pytest.approx(0.51), "not reproduced", "toy/lens")
    with (site / "scorecard.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    page = Page(site / "book" / "scorecard.html")
    assert {"../scorecard.csv", "../scorecard.json"} <= {given.get("href") for given in page.all("a")}
    assert any(given.get("src", "").partition("?")[0] == "../_static/scorecard.js" for given in page.all("script"))
    chapter = Page(site / "book" / "toy" / "lens.html")
    (offered,) = (given["href"] for given in chapter.all("a") if "download" in given and ".ipynb" in given["href"])
    record = records.path(chapters.chapter("toy/lens", toy), "paper")
    assert (chapter.path.parent / offered).read_bytes() == record.read_bytes()


@pytest.mark.site
def test_the_built_toy_is_whole(toy: chapters.Book) -> None:
    site = toy_book.site(toy)
    assert dead_links(site) == []
    assert wordless(site) == []
    assert foreign(site) == []
    assert (site / "_static" / "mathjax" / "tex-mml-chtml.js").is_file()
    assert sum(file.stat().st_size for file in (site / "_static" / "mathjax").rglob("*.*")) < 2e6


@pytest.mark.site
def test_a_repository_brings_its_links(toy: chapters.Book) -> None:
    text = text_of(toy, "toy/lens")
    assert f'href="{ADDRESS}"' in text
    assert f"{ADDRESS}/issues/new" in text
    assert f"{ADDRESS}/edit/main/book/toy/lens.md" in text
    assert f"{ADDRESS}/blob/main/book/toy/lens.md" in text
    assert f"{ADDRESS}/blob/main/CITATION.cff" in text
    assert "https://mybinder.org/v2/gh/someone/spectral-lens/main?urlpath=notebooks%2Fbook%2Ftoy%2Flens.md%3F" in text
    colab = "https://colab.research.google.com/github/someone/spectral-lens/blob/main/data/runs/paper/toy/lens.ipynb"
    assert colab in text
    assert "mybinder.org" not in text_of(toy, "intro"), "no code, nothing to launch"


@pytest.mark.site
def test_a_page_without_a_current_record_says_so_and_a_run_mends_it(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path)
    done = toy_book.build(book, "-n")
    assert "toy/lens: no record yet in the profile quick; run `spectral-lens run toy/lens" in done.stderr
    assert done.returncode == 0
    text, words = text_of(book, "toy/lens"), words_of(book, "toy/lens")
    assert "Not computed yet" in words
    assert "spectral-lens run toy/lens --profile quick" in words
    assert "How this page was computed" not in words
    assert ADDRESS.rsplit("/", 2)[0] not in text
    assert not re.search("mybinder|colab|CITATION|/issues/new", text)

    toy_book.record(book, ran={"gone": {"refraction": "0" * 12}})
    done = toy_book.build(book, "-n")
    assert (done.returncode, done.stderr) == (0, "")
    words = words_of(book, "toy/lens")
    assert "Quick profile" in words
    assert re.search(r"older than the code.*gone\.refraction", words)
    assert "toy/lens.html#claim-giambagli-inverse" in text_of(book, "scorecard"), "the scorecard was read again"


@pytest.mark.site
def test_a_missing_record_and_a_wordless_figure_fail_the_strict_build(tmp_path: Path) -> None:
    book = toy_book.make(tmp_path / "bare")
    assert toy_book.build(book, *toy_book.STRICT).returncode != 0
    book = toy_book.make(tmp_path / "wordless", toy_book.TOY.replace("    alt: A line", "    align: center #"))
    toy_book.record(book)
    done = toy_book.build(book, *toy_book.STRICT)
    assert done.returncode != 0
    assert "a figure without alternative text" in done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of the real book."""
    return toy_book.built(tmp_path_factory)


@pytest.mark.site
def test_the_book_builds_strictly_and_is_whole(built: Path) -> None:
    book = chapters.book()
    listed = yaml.safe_load((book.root / "_toc.yml").read_text(encoding="utf-8"))
    files = [listed["root"], *(c["file"] for part in listed["parts"] for c in part["chapters"])]
    written = {path.relative_to(built).with_suffix("").as_posix() for path in (built / "book").rglob("*.html")}
    assert written == set(files)
    assert dead_links(built) == []
    assert wordless(built) == []
    assert foreign(built) == []


@pytest.mark.site
def test_every_measured_claim_is_shown_and_those_of_any_scale_are_judged(built: Path) -> None:
    book = chapters.book()
    source = "".join(chapter.path.read_text(encoding="utf-8") for chapter in chapters.runnable(book).values())
    ledger = claims.load()
    measured = {name for name in ledger if re.search(rf"measure\(\s*[\"']{re.escape(name)}[\"']", source)}
    judged = {name for name in measured if ledger[name].theorem}
    rows = scorecard_rows.rows(records.REFERENCE, book)
    shown = {row.id for row in rows if row.chapter}
    assert shown <= measured
    # what the quick profile's data cannot show, the paper's records do
    assert measured - shown <= {row.id for row in scorecard_rows.rows("paper", book) if row.chapter}
    held = ("identity holds", "bound holds", "not reproduced")
    assert {row.id for row in rows if row.verdict in held} == judged & shown
    assert shown
    text = (built / "book" / "scorecard.html").read_text(encoding="utf-8")
    assert len(re.findall(r'href="[^"#]+#claim-', text)) == sum(len(row.readings) for row in rows)
    for name in chapters.runnable(book):
        page = (built / "book" / f"{name}.html").read_text(encoding="utf-8")
        assert "How this page was computed" in page, name
        assert page.count('class="claim claim-') == len(records.claims(_record(name))), name


def _record(name: str) -> object:
    return records.read(records.path(chapters.chapter(name), records.REFERENCE))


# --- from text to site, and from data to card ---

DRAWN = """\
import matplotlib.pyplot as plt
from spectral_lens import claims
figure, axes = plt.subplots()
_ = axes.plot([0, samples])"""


@pytest.mark.site
def test_one_command_runs_the_chapters_and_builds_their_site(tmp_path: Path) -> None:
    """`make book` on a small book: kernels, records and builder are the real ones."""
    book = toy_book.make(tmp_path, toy_book.TOY.replace("draw(samples)", DRAWN))
    command = [
        sys.executable,
        "-m",
        "spectral_lens.book.cli",
        "build",
        "--strict",
        "--jobs",
        "2",
        "--root",
        str(tmp_path),
    ]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stdout + first.stderr
    index = tmp_path / "build" / "site" / "quick" / "_build" / "html" / "index.html"
    page = (index.parent / "book" / "toy" / "lens.html").read_text(encoding="utf-8")
    assert page.count('class="claim claim-') == 2
    assert "How this page was computed" in page
    assert wordless(index.parent) == []
    made = records.provenance(records.read(records.path(chapters.chapter("toy/lens", book), "quick")))
    assert made["cpu_seconds"] > 0
    assert made["peak_memory"] > 1e7
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.splitlines() == ["Nothing has changed.", f"The site: {index}"]


def test_a_sweep_that_is_not_kept_yet_counts_as_what_the_site_is_made_from(tmp_path: Path) -> None:
    book, (sweep, run) = (
        toy_book.make(tmp_path),
        ("build/sweeps/a/sweep.json", "build/records/custom/toy/lens--1.ipynb"),
    )
    stamps = [site.stamp(book, "quick")]
    for name in (run, sweep, sweep, run):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(str(len(stamps)), encoding="utf-8")
        stamps.append(site.stamp(book, "quick"))
    assert stamps[1] == stamps[0], "no sweep, no page that could show one"
    assert len(set(stamps)) == 4
