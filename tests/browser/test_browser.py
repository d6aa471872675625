"""The built site in a headless Chromium: it needs nobody else, draws its formulas, finds words, reads in the dark.

A toy book has the drawing that a reader can look into: run, recorded and built as a chapter is.
"""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import toy_book
import toy_chapters

from spectral_lens import claims
from spectral_lens.book import chapters, runner

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian package chromium)"),
]
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip

# For each element: the contrast of its text against what lies behind it, as WCAG defines it.
CONTRAST = """elements => {
  const read = colour => { const c = colour.match(/[\\d.]+/g).map(Number); return c.length < 4 ? [...c, 1] : c };
  const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.map(v => linear(v / 255)); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const behind = e => { for (; e; e = e.parentElement) { const c = read(getComputedStyle(e).backgroundColor);
                                                        if (c[3] > 0.9) return c } return [255, 255, 255, 1] };
  return elements.filter(e => e.checkVisibility() && e.textContent.trim()).map(e => {
    const [a, b] = [light(read(getComputedStyle(e).color).slice(0, 3)), light(behind(e).slice(0, 3))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName + ": " + e.textContent.trim().slice(0, 40)] })
}"""

TEXT = "article :is(p, li, h1, h2, h3, td, th, figcaption, dt, summary, .lens-verdict)"
BROKEN = "all => all.filter(image => !image.naturalWidth).map(image => image.src)"
GROUNDS = "all => all.map(image => getComputedStyle(image).backgroundColor)"

SPECTRUM = """\
import torch
from spectral_lens.figures import interactive
def flat(level, peak, at):
    return torch.full((3, 401), level).index_fill(1, torch.tensor([at - 4000]), peak)
bands = {"blue": (4000.0, 4100.0), "Fe <i> & more": (4205.0, 4295.0)}
scores = {"even": flat(0.25, 0.5, 4252), "line": flat(0.0, 0.75, 4250)}
interactive.over_wavelength(torch.linspace(4000, 4400, 401), scores, bands=bands)"""
ALL, LEFT, WIDTH = "the whole spectrum", 3996, 408  # the page's view: the wavelengths and a hundredth more on each side


@dataclass
class Tour:
    """What a visit of every page found, by page, and what went wrong on the way."""

    names: list[str]
    wrong: list[str] = field(default_factory=list)
    formulas: dict[str, int] = field(default_factory=dict)
    misread: dict[str, int] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)
    poor: dict[tuple[str, str], list[tuple[float, str]]] = field(default_factory=dict)  # by page and scheme
    grounds: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    sideways: list[str] = field(default_factory=list)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that writes no log."""

    def do_GET(self) -> None:
        """The file; nothing for an icon that the browser only guesses, as it may on Jupyter Book's redirecting page."""
        if self.path == "/favicon.ico":
            self.send_response(http.HTTPStatus.NO_CONTENT)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """The address of the site while it is served on this machine."""
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real book, built from its quick records."""
    with served(toy_book.built(tmp_path_factory)) as where:
        yield where


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a chapter that shows relevance over wavelength."""
    book = toy_book.make(tmp_path_factory.mktemp("drawn"), toy_chapters.page("Lines", SPECTRUM, parameters=None))
    runner.run(runner.plan(chapters.chapter("toy/lens", book)))
    done = toy_book.build(book, *toy_book.STRICT)
    assert done.returncode == 0, done.stderr
    with served(toy_book.site(book)) as where:
        yield f"{where}/book/toy/lens.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator["playwright.Browser"]:
    """One browser for all tests, with nothing of its user's."""
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def window(
    chromium: "playwright.Browser", address: str, wrong: list[str], scheme: str, *, scripts: bool = True
) -> Iterator["playwright.Page"]:
    """A fresh window; requests to elsewhere (which find no host) are noted in `wrong`, as are errors.

    Without Playwright's routes, which switch the cache off: each page would load the formulas' fonts anew.
    """
    size = {"width": 1280, "height": 900}
    context = chromium.new_context(color_scheme=scheme, viewport=size, java_script_enabled=scripts)

    def note(request: "playwright.Request") -> None:
        if not request.url.startswith((address, "data:", "blob:")):
            wrong.append(f"request to {request.url}")

    def hear(message: "playwright.ConsoleMessage") -> None:
        if message.type == "error":
            wrong.append(f"console: {message.text} {message.location.get('url')}")

    page = context.new_page()
    page.on("request", note)
    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("response", lambda answer: wrong.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    yield page
    context.close()


@pytest.fixture(scope="module")
def tour(chromium: "playwright.Browser", address: str) -> Tour:
    """One visit of every page, which is looked at in the light, in the dark and on a narrow screen."""
    tour = Tour([f"book/{name}.html" for name in chapters.chapters()])
    with window(chromium, address, tour.wrong, "light") as page:
        page.goto(address)
        page.wait_for_url(f"{address}/{tour.names[0]}")  # the site's first page leads to the book's
        for name in tour.names:
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(f"{address}/{name}", wait_until="load")
            if page.locator(".math").count():
                page.locator("mjx-container").first.wait_for(state="attached", timeout=20_000)
            tour.formulas[name] = page.locator("mjx-container").count() - page.locator(".math").count()
            tour.misread[name] = page.locator("mjx-merror").count() + page.get_by_text("Math input error").count()
            tour.broken[name] = page.eval_on_selector_all("img", BROKEN)
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
                poor = page.eval_on_selector_all(TEXT, CONTRAST)
                tour.poor[name, scheme] = [found for found in poor if found[0] < 4.5]
                tour.grounds[name, scheme] = page.eval_on_selector_all("article .cell_output img", GROUNDS)
            page.emulate_media(color_scheme="light")
            page.set_viewport_size({"width": 390, "height": 800})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                tour.sideways.append(name)
    return tour


def none(found: Mapping[Any, object]) -> dict[Any, object]:
    """Those pages where something was found."""
    return {name: what for name, what in found.items() if what}


def test_no_request_leaves_and_nothing_goes_wrong(tour: Tour) -> None:
    assert tour.wrong == []
    assert none(tour.broken) == {}


def test_formulas_are_drawn(tour: Tour) -> None:
    assert none(tour.misread) == {}
    assert all(more >= 0 for more in tour.formulas.values()), "a formula was left as text"


def test_text_and_figures_are_readable(tour: Tour) -> None:
    assert none(tour.poor) == {}
    cards = {ground for (_, scheme), grounds in tour.grounds.items() if scheme == "dark" for ground in grounds}
    assert cards
    assert all(min(map(int, ground[4:-1].split(","))) > 220 for ground in cards), cards


def test_a_narrow_screen_needs_no_sideways_scrolling(tour: Tour) -> None:
    assert tour.sideways == []


def test_search_finds_a_word(chromium: "playwright.Browser", address: str) -> None:
    wrong: list[str] = []
    with window(chromium, address, wrong, "light") as page:
        page.goto(f"{address}/search.html?q=eigenvalue", wait_until="load")
        page.locator("#search-results ul.search li a").first.wait_for(timeout=20_000)
        assert page.locator("#search-results ul.search li").count() > 0
    assert wrong == []


class Spectrum:
    """The drawing on a page, with its places in Angstrom."""

    def __init__(self, page: "playwright.Page") -> None:
        self.page, self.svg = page, page.locator(".lens-spectrum svg[role=img]")
        self.status, self.tip = page.locator(".lens-spectrum p[aria-live]"), page.locator(".lens-tip")
        self.list = page.locator(".lens-spectrum select")
        self.svg.scroll_into_view_if_needed()

    def view(self) -> tuple[float, float]:
        """The ends of what is shown, the same in all panels."""
        found = self.page.eval_on_selector_all(
            ".lens-spectrum :is(.bands, .panel)", "all => all.map(e => [e.viewBox.baseVal.x, e.viewBox.baseVal.width])"
        )
        assert found == found[:1] * 3
        low, width = found[0]
        return low / 10, (low + width) / 10

    def point(self, at: float, panel: int = 1) -> None:
        """Move the pointer to that wavelength in a panel."""
        low, high = self.view()
        box = self.svg.bounding_box()
        top = float(self.page.locator(".lens-spectrum .panel").nth(panel).get_attribute("y"))
        self.page.mouse.move(box["x"] + box["width"] * (at - low) / (high - low), box["y"] + top + 2)
        self.rest()

    def rest(self) -> None:
        """Wait until what the mouse did has come through: moves are handed on once per frame."""
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def ticks(self) -> list[float]:
        """The numbers at the axis."""
        return [float(text) for text in self.page.locator(".lens-spectrum .ticks text").all_text_contents()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_drawing_is_read_and_zoomed(chromium: "playwright.Browser", drawn: str, scheme: str) -> None:
    wrong: list[str] = []
    with window(chromium, drawn.partition("/book/")[0], wrong, scheme) as page:
        page.goto(drawn, wait_until="load")
        spectrum = Spectrum(page)
        whole = spectrum.view()
        assert whole == pytest.approx((LEFT, LEFT + WIDTH))
        assert page.locator(".lens-spectrum .names text").all_text_contents() == ["blue", "Fe <i> & more"]
        assert spectrum.list.locator("option").all_inner_texts()[:3] == [ALL, "blue", "Fe <i> & more"]
        spectrum.point(4251)
        assert spectrum.tip.inner_text() == "4250.0\u00a0Å, Fe <i> & more\neven: 0.250\nline: 0.750"
        spectrum.point(4251, panel=0)
        assert spectrum.tip.inner_text() == "4252.0\u00a0Å, Fe <i> & more\neven: 0.500\nline: 0.000"
        spectrum.point(4160)
        assert spectrum.tip.inner_text() == "4160.0\u00a0Å, no band\neven: 0.250\nline: 0.000"
        poor = page.eval_on_selector_all(".lens-spectrum :is(text, p, small, .lens-tip)", CONTRAST)
        assert [found for found in poor if found[0] < 4.5] == []

        page.mouse.wheel(0, -200)
        spectrum.rest()
        assert spectrum.view() == whole, "before a click the wheel is the page's"
        spectrum.point(4195)
        page.mouse.down()
        spectrum.point(4305)
        page.mouse.up()
        spectrum.rest()
        assert spectrum.view() == pytest.approx((4195, 4305), abs=1)
        assert all(4194 < tick < 4306 for tick in spectrum.ticks())
        assert len(spectrum.ticks()) > 3
        assert "even 0.500 at 4252.0\u00a0Å; line 0.750 at 4250.0\u00a0Å" in spectrum.status.inner_text()
        assert spectrum.list.input_value() == "another part"
        spectrum.point(4250)
        page.mouse.wheel(0, -200)
        page.wait_for_function("document.querySelector('.lens-spectrum .panel').viewBox.baseVal.width < 1000")
        low, high = spectrum.view()
        assert (low + high) / 2 == pytest.approx(4250, abs=1), "the wheel keeps what is under the pointer"
        spectrum.svg.dblclick()
        assert spectrum.view() == whole
        assert spectrum.list.input_value() == ALL

        spectrum.list.select_option("blue")
        assert spectrum.view() == pytest.approx((LEFT, LEFT + 300)), "three times the band, and nothing from outside"
        page.locator(".lens-spectrum").focus()
        page.keyboard.press("Escape")
        page.keyboard.press("+")
        assert spectrum.view() == pytest.approx((4098, 4302), abs=0.1)
        page.keyboard.press("ArrowRight")
        assert spectrum.view() == pytest.approx((4149, 4353), abs=0.1)
    assert wrong == []


def test_without_scripts_a_drawing_stands_still(chromium: "playwright.Browser", drawn: str) -> None:
    with window(chromium, drawn.partition("/book/")[0], [], "light", scripts=False) as page:
        page.goto(drawn, wait_until="load")
        assert page.locator(".lens-spectrum p").count() == 0
        assert page.locator(".lens-spectrum .names text").all_text_contents() == ["blue", "Fe <i> & more"]
        boxes = [path.bounding_box() for path in page.locator(".lens-spectrum path").all()]
        assert [box["height"] for box in boxes] == pytest.approx([0.5 * 90, 0.75 * 90], abs=6)


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scorecard of a book that measured two claims, one of which fails."""
    book = toy_book.make(tmp_path_factory.mktemp("scored"))
    toy_book.record(book, "paper", changes={FAILED: [0.5, 0.51, 0.52]})
    done = toy_book.build(book, *toy_book.STRICT, profile="paper")
    assert done.returncode == 0, done.stderr
    with served(toy_book.site(book)) as where:
        yield f"{where}/book/scorecard.html"


FAILED = "chicchi.independent.distance"
SHOWN = "all => all.filter(row => row.checkVisibility()).map(row => row.id)"
ROWS = ".lens-list tbody[data-verdict]"


def row_of(claim: str) -> str:
    return "row-claim-" + claim.replace(".", "-").replace("_", "-")


def test_claims_are_filtered_and_the_address_keeps_it(chromium: "playwright.Browser", scored: str) -> None:
    wrong: list[str] = []
    ledger = claims.load()
    with window(chromium, scored.partition("/book/")[0], wrong, "light") as page:
        page.goto(scored, wait_until="load")
        status = page.locator(".lens-filter [aria-live]")
        assert status.inner_text() == f"{len(ledger)} of {len(ledger)} claims"
        page.get_by_label("Verdict", exact=True).select_option("not reproduced")
        assert page.eval_on_selector_all(ROWS, SHOWN) == [row_of(FAILED)]
        assert status.inner_text() == f"1 of {len(ledger)} claims"
        assert page.evaluate("location.hash") == "#verdict=not+reproduced"
        assert page.locator(".lens-list h2:visible").count() == 1, "papers without a claim are gone"
        page.reload(wait_until="load")
        assert page.eval_on_selector_all(ROWS, SHOWN) == [row_of(FAILED)]
        page.get_by_role("button", name="Show all").click()
        page.wait_for_function(f"document.querySelectorAll('{ROWS}:not([hidden])').length == {len(ledger)}")
        assert page.evaluate("location.hash") == ""

        page.get_by_role("searchbox", name="Text").fill("DISTANCE follows")
        found = page.eval_on_selector_all(ROWS, SHOWN)
        assert row_of(FAILED) in found
        assert len(found) < len(ledger) / 4
        page.get_by_role("button", name="Show all").click()
        page.locator(".lens-counts a[data-kind=theorem][data-paper=giambagli][data-verdict='identity holds']").click()
        assert page.eval_on_selector_all(ROWS, SHOWN) == [row_of("giambagli.inverse")]
        chosen = [page.get_by_label(name, exact=True).input_value() for name in ("Paper", "Kind", "Verdict")]
        assert chosen == ["giambagli", "theorem", "identity holds"]

        page.emulate_media(media="print")
        assert len(page.eval_on_selector_all(ROWS, SHOWN)) == len(ledger), "on paper nothing is left out"
        assert not page.locator(".lens-filter").is_visible()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_scorecard_is_read_on_a_phone_in_the_dark_and_without_scripts(
    chromium: "playwright.Browser", scored: str, scheme: str
) -> None:
    with window(chromium, scored.partition("/book/")[0], [], scheme) as page:
        page.goto(scored, wait_until="load")
        parts = ".lens-scorecard :is(p, th, td, li, a, label, select, button, summary, .lens-name, .lens-verdict)"
        assert [found for found in page.eval_on_selector_all(parts, CONTRAST) if found[0] < 4.5] == []
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        box = page.locator(f"#{row_of(FAILED)} svg").bounding_box()
        assert 250 < box["width"] < 390
    with window(chromium, scored.partition("/book/")[0], [], scheme, scripts=False) as page:
        page.goto(scored, wait_until="load")
        assert page.locator(".lens-filter").count() == 0
        assert page.locator(f"{ROWS}:visible").count() == len(claims.load())
