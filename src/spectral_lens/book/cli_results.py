"""The commands on measured numbers: as tables, two runs side by side, and measured a second time."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from spectral_lens._runtime.extras import optional

with optional("book"):
    import typer

    from spectral_lens.book.chapters import BookError, book
    from spectral_lens.book.command import Jobs, Root, aligned, app, execute, guarded, number_of_jobs

if TYPE_CHECKING:  # slow to import
    from spectral_lens.book.progress import Lines
    from spectral_lens.book.results import Compared
    from spectral_lens.book.runner import Plan


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


@app.command()
@guarded
def certify(
    names: Annotated[list[str] | None, typer.Argument(metavar="CHAPTER...")] = None,
    first_seed: Annotated[
        int | None,
        typer.Option("--first-seed", metavar="N", help="The first seed [100000 above the record's]."),
    ] = None,
    same_seeds: Annotated[bool, typer.Option("--same-seeds", help="The record's own, for another machine.")] = False,
    jobs: Jobs = None,
    root: Root = None,
) -> None:
    """Measure the claims of paper records a second time, from other seeds, and compare the verdicts.

    Of all chapters that measure claims, or of those that are named. The data go to data/runs/second; the records stay
    as they are. Exit status 1 where a run fails, or a claim is reproduced in one run and not reproduced in the other.
    """
    from spectral_lens.book import second

    of = book(root)
    if same_seeds and first_seed is not None:
        raise BookError("Say --first-seed or --same-seeds, not both.")
    number = number_of_jobs(jobs, "paper", of)
    chapters, left = second.chosen(of, names or ())
    plans = [second.plan(each, first_seed=first_seed, same_seeds=same_seeds) for each in chapters]
    for name, why in left.items():
        typer.echo(f"left out: {name} {why}", err=True)
    flipped, lost = list[str](), list[str]()
    try:
        execute(plans, number, lambda lines: Certified(lines, flipped, lost))
    finally:
        if flipped:
            typer.echo(f"Claims that flipped: {', '.join(flipped)}.", err=True)
    if flipped or lost:
        raise typer.Exit(1)


class Certified:
    """Shows a run by `lines`; keeps what each chapter measured as soon as it has ended, and compares it.

    flipped: takes the claims whose verdicts contradict each other.  lost: the chapters whose data could not be kept.
    """

    def __init__(self, lines: "Lines", flipped: list[str], lost: list[str]) -> None:
        self.lines, self.flipped, self.lost = lines, flipped, lost
        self.started, self.tick = lines.started, lines.tick

    def ended(self, plan: "Plan", *, error: str | None) -> None:
        """Say what came out, claim by claim."""
        from spectral_lens.book import second

        self.lines.ended(plan, error=error)
        if error is not None:
            return
        try:
            where = second.keep(plan)
            found = second.repeats(plan.chapter)
        except (OSError, BookError) as failure:
            self.lines.say(f"{plan.chapter.name}: its second run could not be kept ({failure}).", err=True)
            self.lost.append(plan.chapter.name)
            return
        for each in found:
            self.lines.say(f"    {each}")
        self.flipped.extend(each.claim.id for each in found if each.agreement == "flipped")
        self.lines.say(f"    kept as {where.relative_to(plan.chapter.book.root)}")


def side_by_side(compared: "Sequence[Compared]") -> list[str]:
    """A line for each claim: both means, their difference with its 95% interval, and what kind of interval that is."""
    lines: list[tuple[str, ...]] = [("claim", "first", "second", "difference", "95% interval", "by")]
    for each in compared:
        low, high = each.difference.low, each.difference.high
        ends = f"{low:.3g} to {high:.3g}" if math.isfinite(low) else "-"
        means = (f"{value:.4g}" for value in (each.first.mean, each.second.mean, each.difference.mean))
        lines.append((each.name, *means, ends, each.interval))
    return list(aligned(lines))
