"""The built site in a headless Chromium: it needs nobody else, draws its formulas, finds words, reads in the dark."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

import toy_book
from spectral_lens.book import chapters

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian package chromium)"),
]
OPTIONS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
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


@dataclass
class Tour:
    """What a visit of every page found, by page, and what went wrong on the way."""

    names: list[str]
    wrong: list[str] = field(default_factory=list)
    formulas: dict[str, int] = field(default_factory=dict)
    misread: dict[str, int] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)
    poor: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    grounds: dict[str, list[str]] = field(default_factory=dict)
    themes: set[str] = field(default_factory=set)
    sideways: list[str] = field(default_factory=list)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A file server that writes no log."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real book, built from its quick records and served on this machine."""
    site = toy_book.built(tmp_path_factory.mktemp("site"))
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator["playwright.Browser"]:
    """One browser for all tests, with nothing of its user's."""
    with playwright.sync_playwright() as session:
        browser = session.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@contextmanager
def window(chromium: "playwright.Browser", address: str, wrong: list[str], scheme: str) -> Iterator["playwright.Page"]:
    """A fresh window; requests to elsewhere are refused and noted in `wrong`, as are errors."""
    context = chromium.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})

    def decide(route: "playwright.Route") -> None:
        if route.request.url.startswith((address, "data:", "blob:")):
            route.continue_()
        else:
            wrong.append(f"request to {route.request.url}")
            route.abort()

    context.route("**/*", decide)
    page = context.new_page()
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("response", lambda answer: wrong.append(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    yield page
    context.close()


@pytest.fixture(scope="module", params=["light", "dark"])
def tour(chromium: "playwright.Browser", address: str, request: pytest.FixtureRequest) -> Tour:
    """One visit of every page, in a light and in a dark window."""
    tour = Tour([f"book/{name}.html" for name in chapters.chapters()])
    with window(chromium, address, tour.wrong, request.param) as page:
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
            tour.poor[name] = [found for found in page.eval_on_selector_all(TEXT, CONTRAST) if found[0] < 4.5]
            tour.grounds[name] = page.eval_on_selector_all("article .cell_output img", GROUNDS)
            tour.themes.add(page.evaluate("document.documentElement.dataset.theme"))
            page.set_viewport_size({"width": 390, "height": 800})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                tour.sideways.append(name)
    assert tour.themes == {request.param}
    return tour


def none(found: Mapping[str, object]) -> dict[str, object]:
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
    assert sum(map(len, tour.grounds.values())) > 0
    if tour.themes == {"dark"}:
        cards = {ground for grounds in tour.grounds.values() for ground in grounds}
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
