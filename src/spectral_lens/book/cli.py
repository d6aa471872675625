"""The command `spectral-lens`."""

import functools
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, ParamSpec

from spectral_lens._runtime.extras import optional

with optional("book"):
    import typer

    from spectral_lens.book.chapters import (
        PROFILES,
        Book,
        BookError,
        book,
        chapter,
        runnable,
    )
    from spectral_lens.book.chapters import profile as settings
    from spectral_lens.book.parameters import descriptions, parameters, read, resolve

app = typer.Typer(
    name="spectral-lens",
    help="Run the book's chapters, look after their records, build the site.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


_WIDE = 50  # a value that is longer pushes its own description away, not everybody's

P = ParamSpec("P")
Root = Annotated[Path | None, typer.Option("--root", help="Folder of another book.", hidden=True)]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Chapters at a time [cores over threads].")]
Profile = Annotated[str, typer.Option("--profile", help="quick (embedded data) or paper (the papers' sizes).")]


def _guarded(command: Callable[P, None]) -> Callable[P, None]:
    """A mistake of the caller is one line and exit status 2, not a traceback.

    A title with a Greek letter is no reason to stop on a terminal that has none.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
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

    return guarded


@app.command("list")
@_guarded
def list_chapters(root: Root = None) -> None:
    """The chapters with code: title, and the state of the record in each profile."""
    from spectral_lens.book import records
    from spectral_lens.book.progress import verdicts

    rows: list[tuple[str, ...]] = [("chapter", "title", *PROFILES)]
    for name, found in runnable(book(root)).items():
        cells = []
        for profile in PROFILES:
            state = records.status(found, profile)
            text: str = state.state
            if state.usable:
                record = records.read(records.path(found, profile))
                made = records.provenance(record)
                text += f", {made['date'][:10]}, {_cost(made)}, {verdicts(records.claims(record))}"
            cells.append(text)
        rows.append((name, found.title, *cells))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


@app.command()
@_guarded
def params(
    name: Annotated[str, typer.Argument(metavar="CHAPTER")], profile: Profile = "quick", root: Root = None
) -> None:
    """The parameters of a chapter, their values in a profile, and what they are."""
    found = chapter(name, book(root))
    own, said = parameters(found), descriptions(found)
    rows = {
        key: f"{key} = {value!r}" + (f"  (quick: {own[key]!r})" if value != own[key] else "")
        for key, value in resolve(found, profile).items()
    }
    width = max((min(len(row), _WIDE) for row in rows.values()), default=0)
    for key, row in rows.items():
        typer.echo(f"{row.ljust(width)}   {said[key]}" if key in said else row)


@app.command()
@_guarded
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="CHAPTER...")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="e.g. digits=[3,8]")] = None,
    every: Annotated[bool, typer.Option("--all", help="All chapters.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Those whose record is stale or missing.")] = False,
    older: Annotated[
        bool, typer.Option("--older", help="Those, and those whose record is older than the code.")
    ] = False,
    jobs: Jobs = None,
    profile: Profile = "quick",
    root: Root = None,
) -> None:
    """Run chapters and keep their records.

    With -p the record goes to build/records/custom and leaves the profile's own record alone.
    """
    of = book(root)
    if bool(names) + every + (stale or older) != 1:
        raise BookError("Name chapters, or give one of --all, --stale, --older.")
    if names:
        chosen = list(dict.fromkeys(chapter(name, of).name for name in names))
    else:
        chosen = list(runnable(of)) if every else _outdated(of, profile, older)
    overrides = dict(read(text) for text in parameter or [])
    if not chosen:
        typer.echo("All records are current.")
        return
    _run(of, chosen, profile, overrides, jobs)


@app.command()
@_guarded
def check(
    profile: Profile = "paper",
    strict: Annotated[bool, typer.Option("--strict", help="Older records fail too, as before a release.")] = False,
    root: Root = None,
) -> None:
    """Compare the records with the chapters: exit status 1 where one is stale or missing."""
    from spectral_lens.book import records

    found, bad, counted = runnable(book(root)), 0, Counter[str]()
    for name, one in found.items():
        state = records.status(one, profile)
        bad += not state.usable or (strict and state.state == "older")
        if state.state != "current":
            typer.echo(f"{name}: {state}")
        counted[state.state] += 1
    counts = ", ".join(f"{count} {state}" for state, count in counted.items())
    typer.echo(f"{len(found)} records of the profile {profile}: {counts}.")
    if bad:
        raise typer.Exit(1)


@app.command()
@_guarded
def results(
    names: Annotated[list[str] | None, typer.Argument(metavar="CHAPTER|RECORD...")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON in place of CSV.")] = False,
    compare: Annotated[bool, typer.Option("--compare", help="Two records side by side, with the difference.")] = False,
    profile: Annotated[str, typer.Option("--profile", help="Of chapters: paper or quick.")] = "paper",
    root: Root = None,
) -> None:
    """The measured numbers, one row per claim and run (CSV): of all records, or of those that are named.

    A record is named by its chapter (in the profile) or by its file, as those in build/records/custom are.
    """
    from spectral_lens.book import results as numbers

    of = book(root)
    if compare and len(names or ()) != 2:
        raise BookError("--compare takes two records, as in: results --compare CHAPTER build/records/custom/....ipynb")
    paths = numbers.find(of, names or (), profile)
    if compare:
        typer.echo(numbers.side_by_side(numbers.compare(*paths)))
        return
    table = numbers.rows(paths, of)
    typer.echo(numbers.as_json(table) if as_json else numbers.as_csv(table), nl=as_json)


@app.command()
@_guarded
def build(
    profile: Profile = "quick",
    jobs: Jobs = None,
    strict: Annotated[bool, typer.Option("--strict", help="From nothing, warnings are errors.")] = False,
    root: Root = None,
) -> None:
    """Build the site, after running what is stale, missing or older (quick) or refusing to (paper)."""
    from spectral_lens.book import site

    of = book(root)
    waiting = _outdated(of, profile, older=profile == "quick")
    if waiting and profile == "paper":
        lines = "\n".join(f"  spectral-lens run {name} --profile paper" for name in waiting)
        raise BookError(f"the paper records of these chapters are stale or missing; they may take long:\n{lines}")
    if waiting:
        _run(of, waiting, profile, {}, jobs)
    if site.current(of, profile, strict):
        typer.echo("Nothing has changed.")
    else:
        site.build(of, profile, strict)
    typer.echo(f"The site: {site.index(of, profile)}")


@app.command()
@_guarded
def data(
    action: Annotated[str | None, typer.Argument(metavar="fetch", help="Download a set and check it.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME")] = None,
) -> None:
    """The data sets: which are in the cache folder, in which edition; `data fetch NAME` downloads one."""
    from spectral_lens.book import runner
    from spectral_lens.datasets import cache

    if action is not None and (action != "fetch" or name is None):
        raise BookError("Say `spectral-lens data` or `spectral-lens data fetch NAME`.")
    runner.data_folder()
    try:
        rows = cache.report() if name is None else [cache.fetch(name)]
    except cache.DataError as error:
        raise BookError(str(error)) from None
    typer.echo(f"Folder: {cache.folder()}")
    for row in rows:
        size = "" if row.bytes is None else f", {row.bytes / 1e6:.1f} MB"
        typer.echo(f"{row.name:10}  {row.edition or 'missing'}{size}  ({row.licence})")


@app.command(hidden=True)
@_guarded
def references(
    compare: Annotated[bool, typer.Option("--check", help="Only say which differ from their source.")] = False,
    root: Root = None,
) -> None:
    """Write the references of the tests anew from the quick records."""
    from spectral_lens.book import golden as kept

    of = book(root)
    if not compare:
        typer.echo(f"{len(kept.write(of))} references written.")
        return
    differing = kept.differing(of)
    for name, reason in differing.items():
        typer.echo(f"{name}: {reason}")
    if differing:
        raise typer.Exit(1)


def _run(of: Book, names: Iterable[str], profile: str, overrides: dict[str, Any], number: int | None) -> None:
    """Run, `number` at a time. Exits with 1 after failures, 130 after Ctrl-C, 143 after SIGTERM."""
    from spectral_lens.book import jobs, progress, runner, schedule

    if number is not None and number < 1:
        raise BookError(f"--jobs takes a number from 1 up, not {number}.")
    number = number or schedule.default(settings(profile, of)["threads"])
    plans = [runner.plan(chapter(name, of), profile, overrides) for name in names]
    try:
        with progress.display(len(plans), live=min(number, len(plans)) > 1) as report:
            failed = jobs.run(plans, jobs=number, report=report)
    except jobs.Stopped as stop:
        typer.echo(f"\nInterrupted. Nothing half-written; not run: {', '.join(stop.left)}.", err=True)
        raise typer.Exit(stop.status) from None
    if failed:
        typer.echo(f"{len(failed)} of {len(plans)} chapters failed: {', '.join(failed)}.", err=True)
        raise typer.Exit(1)


def _outdated(of: Book, profile: str, older: bool = False) -> list[str]:
    from spectral_lens.book import records

    wanted = ("stale", "missing", "older") if older else ("stale", "missing")
    return [name for name, found in runnable(of).items() if records.status(found, profile).state in wanted]


def _cost(made: dict[str, Any]) -> str:
    """How long a run took and, where the record knows, what memory at its peak: "12 min 05 s, 1.3 GB"."""
    from spectral_lens.book.pages import duration

    peak = made.get("peak_memory")
    return duration(made["duration"]) + (f", {peak / 1e9:.1f} GB" if peak else "")


if __name__ == "__main__":
    app()
