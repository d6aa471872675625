"""A sweep's page as one file, to be looked at without a site and without a network."""

import html
from pathlib import Path
from urllib.parse import quote

from spectral_lens._runtime import files
from spectral_lens.book import sweeps
from spectral_lens.book.sweeps import Sweep, table
from spectral_lens.book.sweeps.body import body
from spectral_lens.book.sweeps.points import Point, gather
from spectral_lens.book.sweeps.section import Links

__all__ = ["STYLES", "page"]

STYLES = "book/_static/sweep.css"
# What the theme and custom.css say on a page of the book.
_GROUND = """
:root { color-scheme: light dark; --pst-color-background: #ffffff; --pst-color-text-base: #1b1f24;
  --pst-color-text-muted: #48566b; --pst-color-border: #b5bcc6; --pst-color-link: #0a5bbf;
  --lens-good: #00664a; --lens-undecided: #7a5200; --lens-bad: #a8320a; --lens-open: #5a6472; }
@media screen and (prefers-color-scheme: dark) { :root { --pst-color-background: #14181e;
  --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af; --pst-color-border: #48566b;
  --pst-color-link: #8cc6f5; --lens-good: #56d8ae; --lens-undecided: #f0c25a; --lens-bad: #ff9a76;
  --lens-open: #a9b3c1; } }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; font-family: system-ui, sans-serif; line-height: 1.55;
  background: var(--pst-color-background); color: var(--pst-color-text-base); }
a { color: var(--pst-color-link); }
figure { margin: 1.5rem 0 0.5rem; }
"""


def page(sweep: Sweep) -> Path:
    """Write build/sweeps/NAME/page.html and the table beside it, each whole or not at all; returns the page's place.

    Raises OSError as the system does.
    """
    root, of = sweep.chapter.book.root, gather(sweep)
    where = sweeps.folder(sweep.chapter.book, sweep.name) / "page.html"
    up = "../" * len(where.parent.relative_to(root).parts)

    def record(point: Point) -> str:
        return quote(f"{up}{point.record}") if point.record else ""

    def log(point: Point) -> str:
        return quote(f"{up}{point.log}") if point.log else ""

    links = Links(table.write(sweep).name, record=record, log=log)
    styles = (root / STYLES).read_text(encoding="utf-8")
    title = html.escape(f"Sweep {of.name}: {sweep.chapter.title}")
    text = (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_GROUND}{styles}</style></head>'
        f"<body><h1>{title}</h1>{body(of, links)}</body></html>\n"
    )
    with files.replacing(where) as aside:
        aside.write_text(text, encoding="utf-8")
    return where
