"""Shows a run of several chapters: plain lines, and on a terminal a line for each that runs."""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from spectral_lens.book import records
from spectral_lens.book.pages import duration
from spectral_lens.book.runner import Plan
from spectral_lens.claims import Measured, headlines, load


class Lines:
    """A line when a chapter starts and one when it ends: for logs, and beside the bars that one chapter shows."""

    def say(self, text: str, *, err: bool = False) -> None:
        """Print a text as it is."""
        typer.echo(text, err=err)

    def started(self, plan: Plan, *, left: float | None) -> None:
        """Name the chapter and, where it is known, how long all will take."""
        self.say(f"{plan.chapter.name} ({plan.profile}) ..." + (f" about {duration(left)} left" if left else ""))

    def ended(self, plan: Plan, *, error: str | None) -> None:
        """Say what went wrong, or what came out and where it stands."""
        if error is not None:
            self.say(f"\n{error}\n", err=True)
            return
        record = records.read(plan.target)
        made, judged = records.provenance(record), verdicts(records.claims(record))
        name, where = plan.chapter.name, plan.target.relative_to(plan.chapter.book.root)
        self.say(f"{name}: {made['duration']:.1f} s, {judged}, {where}")
        if said := made.get("warnings", ()):
            self.say(f"{name}: {len(said)} warning{'s' * (len(said) > 1)}:")
        for text in said:
            self.say(f"    {text}")

    def tick(self, *, left: float | None) -> None:
        """Nothing: a log does not move."""


class Live(Lines):
    """A moving line for each running chapter, and one for all; what ends is printed above them."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        self.rows: dict[str, TaskID] = {}
        self.all = progress.add_task("", total=total)
        self.tick(left=None)

    def say(self, text: str, *, err: bool = False) -> None:
        """Print above the moving lines."""
        self.progress.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def started(self, plan: Plan, *, left: float | None) -> None:
        """Begin a line."""
        self.rows[plan.chapter.name] = self.progress.add_task(f"{plan.chapter.name} ({plan.profile})", total=None)
        self.tick(left=left)

    def ended(self, plan: Plan, *, error: str | None) -> None:
        """Take the line away."""
        self.progress.remove_task(self.rows.pop(plan.chapter.name))
        self.done += 1
        super().ended(plan, error=error)

    def tick(self, *, left: float | None) -> None:
        """Move the lines on."""
        rest = f", about {duration(left)} left" if left else ""
        self.progress.update(self.all, description=f"{self.done} of {self.total} chapters{rest}", completed=self.done)
        self.progress.refresh()


@contextlib.contextmanager
def display(total: int, *, live: bool) -> Iterator[Lines]:
    """What shows a run of `total` chapters: moving lines if `live` and both outputs are a terminal that can do it."""
    terminal = sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
    if not (live and terminal):
        yield Lines()
        return
    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    # No thread of rich's own: the run looks at the clock every second anyway.
    with Progress(*columns, console=Console(), auto_refresh=False, transient=True) as progress:
        yield Live(progress, total)


def cost(made: Mapping[str, Any]) -> str:
    """How long a run took and, where the record knows, what memory at its peak.

    >>> cost({"duration": 725.0, "peak_memory": 1.3e9}), cost({"duration": 1.5})
    ('12 min 05 s, 1.3 GB', '1.5 s')
    """
    peak = made.get("peak_memory")
    return duration(made["duration"]) + (f", {peak / 1e9:.1f} GB" if peak else "")


_PLURAL = {"identity holds": "identities hold", "bound holds": "bounds hold"}


def verdicts(measured: Iterable[Measured]) -> str:
    """How many claims get which verdict by the ledger."""
    counted = Counter(judged.verdict for _, judged in headlines(load(), measured).values())
    return ", ".join(f"{count} {_PLURAL.get(v, v) if count > 1 else v}" for v, count in counted.items()) or "no claims"
