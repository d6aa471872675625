"""What the commands of `spectral-lens` share: the application, how mistakes are told, how chapters are run."""

import functools
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ParamSpec

from spectral_lens._runtime.extras import optional

with optional("book"):
    import typer

    from spectral_lens.book.chapters import Book, BookError, profile

if TYPE_CHECKING:  # slow to import
    from spectral_lens.book.jobs import Report
    from spectral_lens.book.progress import Lines
    from spectral_lens.book.runner import Plan

app = typer.Typer(
    name="spectral-lens",
    help="Run the book's chapters, look after their records, build the site.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

P = ParamSpec("P")
Root = Annotated[Path | None, typer.Option("--root", help="Folder of another book.", hidden=True)]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Chapters at a time [cores over threads].")]
Profile = Annotated[str, typer.Option("--profile", help="quick (embedded data) or paper (the papers' sizes).")]


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """A mistake of the caller is one line and exit status 2, not a traceback.

    A title with a Greek letter is no reason to stop on a terminal that has none.
    """

    @functools.wraps(command)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            command(*args, **kwargs)
        except BookError as error:
            typer.echo(f"spectral-lens: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None

    return call


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line for each row, its columns below each other.

    >>> list(aligned([("claim", "mean"), ("a.b", "0.5")]))
    ['claim  mean', 'a.b    0.5']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def number_of_jobs(number: int | None, profile_name: str, of: Book) -> int:
    """How many chapters at a time, as said or as the cores carry.

    Raises BookError for less than one.
    """
    from spectral_lens.book import schedule

    if number is not None and number < 1:
        raise BookError(f"--jobs takes a number from 1 up, not {number}.")
    return number or schedule.default(profile(profile_name, of)["threads"])


def execute(plans: "Sequence[Plan]", number: int, told: "Callable[[Lines], Report]" = lambda lines: lines) -> None:
    """Run, `number` at a time, and show it. Exits with 1 after failures, 130 after Ctrl-C, 143 after SIGTERM.

    told: makes of what shows the run what is told of it.
    """
    from spectral_lens.book import jobs, progress

    try:
        with progress.display(len(plans), live=min(number, len(plans)) > 1) as lines:
            failed = jobs.run(plans, jobs=number, report=told(lines))
    except jobs.Stopped as stop:
        typer.echo(f"\nInterrupted. Nothing half-written; not run: {', '.join(stop.left)}.", err=True)
        raise typer.Exit(stop.status) from None
    if failed:
        typer.echo(f"{len(failed)} of {len(plans)} chapters failed: {', '.join(failed)}.", err=True)
        raise typer.Exit(1)
