"""The commands on measured numbers: as tables, two runs side by side."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from spectral_lens._runtime.extras import optional

with optional("book"):
    import typer

    from spectral_lens.book.chapters import BookError, book
    from spectral_lens.book.command import Root, aligned, app, guarded

if TYPE_CHECKING:  # slow to import
    from spectral_lens.book.results import Compared


@app.command()
@guarded
def results(
    names: Annotated[list[str] | None, typer.Argument(metavar="CHAPTER|RECORD...")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values [what comes anyway].")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of CSV.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Two records side by side, with the difference.")] = False,
    profile: Annotated[str, typer.Option("--profile", help="Of chapters: paper or quick.")] = "paper",
    root: Root = None,
) -> None:
    """The measured numbers, one row per claim, reading, group and run: of all records, or of those that are named.

    A record is named by its chapter (in the profile) or by its file, as those in build/records/custom are. --compare
    shows a table to look at; with --csv or --json it is one to compute with.
    """
    from spectral_lens.book import results as numbers

    of = book(root)
    if as_csv and as_json:
        raise BookError("Say --csv or --json, not both.")
    if compare and len(names or ()) != 2:
        raise BookError("--compare takes two records, as in: results --compare CHAPTER build/records/custom/....ipynb")
    paths = numbers.find(of, names or (), profile)
    if compare and not (as_csv or as_json):
        for line in side_by_side(numbers.compare(*paths)):
            typer.echo(line)
        return
    table = [each.row for each in numbers.compare(*paths)] if compare else numbers.rows(paths, of)
    columns = numbers.COMPARED if compare else numbers.COLUMNS
    typer.echo(numbers.as_json(table) if as_json else numbers.as_csv(table, columns), nl=as_json)


def side_by_side(compared: "Sequence[Compared]") -> list[str]:
    """A line for each claim: both means, their difference with its 95% interval, and what kind of interval that is."""
    lines: list[tuple[str, ...]] = [("claim", "first", "second", "difference", "95% interval", "by")]
    for each in compared:
        low, high = each.difference.low, each.difference.high
        ends = f"{low:.3g} to {high:.3g}" if math.isfinite(low) else "-"
        means = (f"{value:.4g}" for value in (each.first.mean, each.second.mean, each.difference.mean))
        lines.append((each.name, *means, ends, each.interval))
    return list(aligned(lines))
