"""The command `spectral-lens`."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from spectral_lens._runtime.extras import optional

with optional("book"):
    import typer

    from spectral_lens.book.chapters import PROFILES, Book, BookError, book, chapter, runnable
    from spectral_lens.book.command import Jobs, Profile, Root, aligned, app, execute, guarded, number_of_jobs
    from spectral_lens.book.parameters import descriptions, parameters, read, resolve

if TYPE_CHECKING:  # slow to import
    from spectral_lens.book.customs import Custom

_WIDE = 50  # a value that is longer pushes its own description away, not everybody's


@app.command("list")
@guarded
def list_chapters(
    custom: Annotated[bool, typer.Option("--custom/--no-custom", help="With the runs of your own, or without.")] = True,
    root: Root = None,
) -> None:
    """The chapters with code: title, and the state of the record in each profile; below them the runs of your own."""
    from spectral_lens.book import customs, records
    from spectral_lens.book.progress import cost, verdicts

    of = book(root)
    rows: list[tuple[str, ...]] = [("chapter", "title", *PROFILES)]
    for name, found in runnable(of).items():
        cells = []
        for profile in PROFILES:
            state = records.status(found, profile)
            text: str = state.state
            if state.usable:
                record = records.read(records.path(found, profile))
                made = records.provenance(record)
                text += f", {made['date'][:10]}, {cost(made)}, {verdicts(records.claims(record))}"
            cells.append(text)
        rows.append((name, found.title, *cells))
    for line in aligned(rows):
        typer.echo(line)
    if custom and (runs := customs.every(of)):
        typer.echo("")
        for line in aligned([("run of your own", "with", "state"), *(_custom(run, of) for run in runs)]):
            typer.echo(line)


@app.command()
@guarded
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
@guarded
def run(
    names: Annotated[list[str] | None, typer.Argument(metavar="CHAPTER...")] = None,
    parameter: Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="e.g. digits=[3,8]")] = None,
    every: Annotated[bool, typer.Option("--all", help="All chapters.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="Those whose record is stale or missing.")] = False,
    older: Annotated[
        bool, typer.Option("--older", help="Those, and those whose record is older than the code.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="With -p: even what stands there from the same code.")] = False,
    jobs: Jobs = None,
    profile: Profile = "quick",
    root: Root = None,
) -> None:
    """Run chapters and keep their records.

    With -p the record goes to build/records/custom and leaves the profile's own record alone. What stands there with
    the same parameters, from the same code and files, is not computed again.
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
    _run(of, chosen, profile, overrides, jobs, again)


@app.command()
@guarded
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
@guarded
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
@guarded
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
@guarded
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


def _run(
    of: Book, names: Iterable[str], profile: str, overrides: dict[str, Any], number: int | None, again: bool = False
) -> None:
    from spectral_lens.book import customs, runner

    number = number_of_jobs(number, profile, of)
    plans = [runner.plan(chapter(name, of), profile, overrides) for name in names]
    there = {} if again else customs.there(plans)
    for path, state in there.items():
        typer.echo(f"{state.state}: {path.relative_to(of.root)} (--again computes it anew)")
    if left := [plan for plan in plans if plan.target not in there]:
        execute(left, number)


def _custom(run: "Custom", of: Book) -> tuple[str, str, str]:
    """The record, what it was given, its state with date, cost and verdicts."""
    from spectral_lens.book.progress import cost, verdicts

    given = ", ".join(f"{name}={_short(repr(value))}" for name, value in run.differs.items())
    told = [run.state, run.made.get("date", "")[:10], cost(run.made) if "duration" in run.made else ""]
    told += [verdicts(run.claims)] if run.made else []
    place = run.path.relative_to(of.root).as_posix()
    return place, f"{run.base}: {given}" if run.base else "", ", ".join(filter(None, told))


def _short(text: str) -> str:
    return text if len(text) <= _WIDE else text[: _WIDE - 3] + "..."


def _outdated(of: Book, profile: str, older: bool = False) -> list[str]:
    from spectral_lens.book import records

    wanted = ("stale", "missing", "older") if older else ("stale", "missing")
    return [name for name, found in runnable(of).items() if records.status(found, profile).state in wanted]


from spectral_lens.book import cli_results, cli_sweeps  # noqa: E402, F401  their commands come after these

if __name__ == "__main__":
    app()
