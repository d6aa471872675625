"""What jobs hand over: records and logs in folders that an engine brings, taken into their places."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from spectral_lens._runtime.files import replacing
from spectral_lens.book import records
from spectral_lens.book.chapters import BookError
from spectral_lens.book.engine.batches import key
from spectral_lens.book.engine.worker import current
from spectral_lens.book.runner import Plan

__all__ = ["clear", "short", "stamp", "take"]

_PLACES = ("done/*", ".snakemake/storage/**/done/*")  # on a shared disk, and the copies of what an object store holds


def take(where: Path, plans: Sequence[Plan], store: Path | None = None, tried: Collection[str] = ()) -> dict[Path, str]:
    """Take the plans' records out of what was handed over; returns what went wrong, by the places of the records.

    where: Snakemake's folder.  store: a folder beside it in which jobs hand over, too.  A record that stands in its
    place already, or that other code made than stands here, is not taken.  tried: the batches whose failures count:
    where machines share no disk, those of earlier calls are still there.
    """
    failed, waiting = dict[Path, str](), {key(plan): plan for plan in plans}
    for folder in _handed(where, store):
        for path in sorted(folder.iterdir()):
            plan = waiting.get(path.stem)
            if plan is None:
                continue
            if path.suffix == ".log" and folder.name in tried:
                failed[plan.target] = path.read_text(encoding="utf-8", errors="replace").strip()
            elif path.suffix == ".ipynb" and (why := _adopt(plan, path)):
                failed[plan.target] = why
    return failed


def clear(where: Path) -> None:
    """Forget what was handed over: the next call plans by what is in its place."""
    shutil.rmtree(where / "done", ignore_errors=True)


def stamp(path: Path) -> tuple[int, int] | None:
    """Which file stands in the place: another one, or a newer, has another stamp."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def short(of: Any) -> str:
    """A short hash of what JSON can hold."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:8]


def _handed(where: Path, store: Path | None) -> list[Path]:
    found = [path for place in _PLACES for path in where.glob(place)]
    found += store.glob("*") if store else []
    return sorted(path for path in found if path.is_dir() and path.suffix != ".part")


def _adopt(plan: Plan, path: Path) -> str | None:
    """Put the record into its place, where it belongs there; returns why it does not."""
    if plan.target.exists() and (path.samefile(plan.target) or current(plan)):
        return None
    state = records.compared(plan.chapter, path, plan.parameters)
    try:
        made = records.provenance(records.read(path))
    except BookError as error:
        return str(error)
    if state.state != "current" or (made.get("base"), made.get("profile")) != (plan.base, plan.profile):
        return f"{plan.chapter.name} ({plan.profile}): {path} is not taken over, it comes from other code: {state}."
    with replacing(plan.target) as aside:
        shutil.copyfile(path, aside)
    with contextlib.suppress(OSError):
        plan.failed.with_suffix(".log").unlink()
    return None
