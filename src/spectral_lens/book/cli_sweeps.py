"""The commands on many runs at once: sweeps, and all records of a profile, on one machine or on many."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from spectral_lens._runtime.extras import optional

with optional("book"):
    import typer

    from spectral_lens.book.chapters import Book, BookError, book, chapter, profile, runnable
    from spectral_lens.book.command import Profile, Root, app, guarded

if TYPE_CHECKING:  # slow to import
    from spectral_lens.book.runner import Plan
    from spectral_lens.book.schedule import Cost
    from spectral_lens.book.sweeps import Sweep

_SHOWN = ("status", "table", "page", "keep")
_TOGETHER = {True: 60.0, False: 300.0}  # seconds of a job: ten times what starting it takes, here and on a cluster

EngineName = Annotated[
    str, typer.Option("--engine", metavar="NAME|FOLDER", help="local, slurm, kubernetes, or a profile of your own.")
]
JobsAtOnce = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Jobs at a time [as the engine says].")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only say what there is to do, and what it takes.")]


@app.command()
@guarded
def sweep(
    name: Annotated[str, typer.Argument(metavar="CHAPTER|NAME")],
    grid: Annotated[
        list[str] | None, typer.Option("--grid", metavar="NAME=VALUES", help="a=0:100:10, or b=0.1|0.2.")
    ] = None,
    points: Annotated[Path | None, typer.Option("--points", metavar="FILE.csv", help="A point in each line.")] = None,
    called: Annotated[str | None, typer.Option("--name", help="What to call it [chapter and a short hash].")] = None,
    status: Annotated[bool, typer.Option("--status", help="Which points are there, and which failed.")] = False,
    table: Annotated[bool, typer.Option("--table", help="All measured numbers as CSV.")] = False,
    page: Annotated[bool, typer.Option("--page", help="A page of figures.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="As data for the book, in data/runs/sweeps.")] = False,
    dry_run: Dry = False,
    profile: Profile = "quick",
    engine: EngineName = "local",
    jobs: JobsAtOnce = None,
    root: Root = None,
) -> None:
    """Run a chapter at many points: every combination of the --grid's values, or the lines of a file.

    Each point is a run of your own, as `run -p` makes it; what is there is not computed again. The same call goes on
    after any interruption, and so does `sweep NAME`. Exit status 1 where a point fails.
    """
    from spectral_lens.book import sweeps
    from spectral_lens.book.sweeps import grids

    of = book(root)
    asked = [each for each, said in zip(_SHOWN, (status, table, page, keep), strict=True) if said]
    if bool(grid) + (points is not None) + len(asked) > 1:
        raise BookError(f"Say one of --grid (as often as you like), --points, --{', --'.join(_SHOWN)}.")
    if asked:
        _show(sweeps.load(of, name), asked[0])
        return
    if grid or points:
        found = grids.product(grid) if grid else grids.from_file(points or "")
        made = sweeps.make(of, name, profile, found, called)
    else:
        made = sweeps.load(of, name)
    _run_sweep(of, made, engine, jobs, dry_run)


@app.command("records")
@guarded
def all_records(
    names: Annotated[list[str] | None, typer.Argument(metavar="CHAPTER...")] = None,
    profile: Profile = "paper",
    engine: EngineName = "local",
    jobs: JobsAtOnce = None,
    dry_run: Dry = False,
    root: Root = None,
) -> None:
    """Make all records of a profile that are stale, missing or older, the longest first; or those that are named.

    Each takes the place of the earlier one as it ends; where a run fails the earlier one stays. Exit status 1 then.
    """
    from spectral_lens.book import runner, schedule

    of = book(root)
    chosen = [chapter(each, of) for each in dict.fromkeys(names or runnable(of))]
    plans = [runner.plan(each, profile) for each in chosen]
    costs = [schedule.last(plan.chapter, plan.base) for plan in plans]
    _run(
        of, list(zip(plans, costs, strict=True)), f"records-{profile}", engine, jobs, dry_run, lambda p: p.chapter.name
    )


@app.command(hidden=True)
@guarded
def point(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json")],
    batch: Annotated[str, typer.Argument(metavar="BATCH")],
    to: Annotated[Path, typer.Option("--to", help="The folder to hand over.")],
) -> None:
    """Make the runs of one batch; engines start it. Exit status 1 where a kernel was killed, to be tried again."""
    from spectral_lens.book.engine import worker
    from spectral_lens.book.execution import Terminated, terminable

    try:
        with terminable():
            if not worker.batch(
                plan, batch, to, lambda each: typer.echo(f"{each.plan.target}: {each.how} {each.said}")
            ):
                raise typer.Exit(1)
    except Terminated:
        raise typer.Exit(143) from None


def _show(of: "Sweep", what: str) -> None:
    """What there is of the sweep: as lines, or as the file that this makes."""
    from spectral_lens.book.sweeps import kept, page, table

    if what == "status":
        for line in table.status(of):
            typer.echo(line)
    else:
        make = {"table": table.write, "page": page.page, "keep": kept.keep}[what]
        typer.echo(make(of).relative_to(of.chapter.book.root).as_posix())


def _run_sweep(of: Book, found: "Sweep", engine: str, jobs: int | None, dry: bool) -> None:
    from spectral_lens.book import schedule, sweeps

    typer.echo(f"{found.name}: {len(found.plans)} points of {found.chapter.name} ({found.base}).")
    cost = schedule.last(found.chapter, found.base)
    if not dry:
        sweeps.save(found)

    def named(plan: "Plan") -> str:
        return sweeps.shown(sweeps.point(plan, found.varied))

    _run(of, [(plan, cost) for plan in found.plans], f"sweep-{found.name}", engine, jobs, dry, named)


def _run(
    of: Book,
    runs: "Sequence[tuple[Plan, Cost]]",
    name: str,
    engine_name: str,
    jobs: int | None,
    dry: bool,
    named: "Callable[[Plan], str]",
) -> None:
    """Run what is not there, and say what comes out."""
    from spectral_lens.book import engine, schedule
    from spectral_lens.book.engine import batches, handover
    from spectral_lens.book.engine.worker import current
    from spectral_lens.book.execution import Terminated

    if jobs is not None and jobs < 1:
        raise BookError(f"--jobs takes a number from 1 up, not {jobs}.")
    by = engine.find(of, engine_name)
    number = jobs or by.jobs or schedule.default(profile(runs[0][0].base, of)["threads"])
    where = engine.folder(of, name)
    with engine.alone(where):
        handover.take(where, [plan for plan, _ in runs], by.store)
        handover.clear(where)
        left = [run for run in runs if not current(run[0])]
        typer.echo(f"{len(runs) - len(left)} of {len(runs)} there already.")
        if not left:
            return
        shared = batches.shared_out(
            left, jobs=number, together=_TOGETHER[by.local], cores=schedule.default(1) if by.local else None
        )
        price = batches.price([cost for _, cost in left], jobs=number)
        typer.echo(
            f"{len(left)} to run in {len(shared)} job{'s' * (len(shared) > 1)} of the engine {by.name}: {price}."
        )
        told = Told(len(left), named)
        try:
            failed = engine.run(of, where, shared, engine=by, jobs=number, tell=told, dry=dry)
        except KeyboardInterrupt as stop:
            typer.echo("\nInterrupted. Nothing half-written; the same call goes on.", err=True)
            raise typer.Exit(143 if isinstance(stop, Terminated) else 130) from None
    if failed:
        if dry:
            raise BookError(next(iter(failed.values())))
        names = ", ".join(named(plan) for plan, _ in left if plan.target in failed)
        typer.echo(f"{len(failed)} of {len(left)} failed: {names}. The same call tries them again.", err=True)
        raise typer.Exit(1)


class Told:
    """Says a line as each of `total` runs ends. named: what to call one."""

    def __init__(self, total: int, named: "Callable[[Plan], str]") -> None:
        self.total, self.named, self.ended = total, named, 0

    def __call__(self, plan: "Plan", error: str | None) -> None:
        from spectral_lens.book import records
        from spectral_lens.book.progress import cost, verdicts

        self.ended += 1
        head = f"{self.ended} of {self.total}, {self.named(plan)}:"
        if error is not None:
            typer.echo(f"{head} failed\n\n{error}\n", err=True)
            return
        record = records.read(plan.target)
        told = [cost(records.provenance(record)), verdicts(records.claims(record))]
        typer.echo(f"{head} {', '.join(told)}, {plan.target.relative_to(plan.chapter.book.root)}")
