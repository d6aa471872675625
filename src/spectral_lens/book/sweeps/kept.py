"""Sweeps kept for the book: data/runs/sweeps has one file for each, without notebooks.

It holds values, seeds, provenance and what ran, so that verdicts and ages are made anew whenever somebody looks.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectral_lens._runtime import files
from spectral_lens.book import sweeps
from spectral_lens.book.chapters import Book, BookError, Chapter, runnable
from spectral_lens.book.parameters import resolve
from spectral_lens.book.sweeps import Sweep
from spectral_lens.book.sweeps.points import Compare, Gathered, Point, apart, comparing, digest, gather, why
from spectral_lens.claims import Measured

__all__ = ["FOLDER", "LARGEST", "find", "keep", "load", "path"]

FOLDER = "data/runs/sweeps"
LARGEST = 1_500_000  # bytes of a kept sweep: it is committed
_SHARED = ("ran", "replay", "versions", "data")  # mostly the same in all points: kept once


def find(of: Book, name: str) -> Gathered:
    """The sweep as it is kept for the book, else from its records in build.

    Raises BookError where there is neither, or the kept file is damaged.
    """
    if path(of, name).is_file():
        return load(of, name)
    if not (sweeps.folder(of, sweeps.named(name)) / "sweep.json").is_file():
        raise BookError(
            f"There is no sweep {name!r}, neither in {FOLDER} nor in build/sweeps: `spectral-lens sweep CHAPTER --grid "
            f"... --name {name}` makes it, `spectral-lens sweep {name} --keep` keeps it for the book."
        )
    return gather(sweeps.load(of, name))


def path(of: Book, name: str) -> Path:
    """Where the sweep is kept for the book."""
    return of.root / FOLDER / f"{sweeps.named(name)}.json"


def keep(sweep: Sweep) -> Path:
    """Keep the sweep's data for the book, whole or not at all; returns their file.

    Raises BookError where no point is there yet, for one that reads files of its own, and for more than `LARGEST`
    bytes; OSError as the system does.
    """
    of = gather(sweep)
    where = path(sweep.chapter.book, sweep.name)
    if not of.counted:
        raise BookError(
            f"The sweep {sweep.name} has no point to keep: `spectral-lens sweep {sweep.name}` computes them."
        )
    if read := sorted({name for point in of.points for name in point.made.get("files", {})}):
        raise BookError(f"The sweep {sweep.name} reads files that the book does not have ({', '.join(read)}).")
    text = _text(of)
    if len(text) > LARGEST:
        raise BookError(
            f"The sweep {sweep.name} takes {len(text) / 1e6:.1f} MB, and no more than {LARGEST / 1e6:.1f} MB are "
            "committed: keep a sweep of fewer points."
        )
    with files.replacing(where) as aside:
        aside.write_text(text, encoding="utf-8")
    return where


def _text(of: Gathered) -> str:
    """The file: a line for each point, what points share once."""
    shared: dict[str, Any] = {}
    lines = []
    for point in of.points:
        about: dict[str, Any] = {"values": point.values}
        if point.there:
            made = dict(point.made)
            for name in _SHARED:
                if name in made:
                    shared[key := digest(made[name])] = made[name]
                    made[name] = key
            about |= {"record": point.record, "made": made, "claims": [each.data for each in point.claims]}
        elif point.log:
            about |= {"log": point.log, "said": point.said}
        lines.append(json.dumps(about, allow_nan=False))
    head = {"sweep": of.name, "chapter": of.chapter, "base": of.base, "swept": of.swept}
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    parts += [_table("shared", "{}", [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in shared.items()])]
    return "{\n" + ",\n".join([*parts, _table("points", "[]", lines)]) + "\n}\n"


def _table(name: str, brackets: str, lines: Sequence[str]) -> str:
    return f'"{name}": {brackets[0]}\n' + ",\n".join(f" {line}" for line in lines) + f"\n{brackets[1]}"


def load(of: Book, name: str) -> Gathered:
    """The sweep as it is kept for the book, its points compared with the chapter as it is now.

    Raises BookError, which names the file, where there is none or it is damaged.
    """
    where = path(of, name)
    try:
        data = json.loads(files.read_text(where))
        chapter = runnable(of).get(data["chapter"])
        compare = comparing(chapter)
        points = [_read(each, data["shared"], chapter, compare) for each in data["points"]]
        swept = tuple(data["swept"])
        if data["sweep"] != name or any(set(point.values) != set(swept) for point in points):
            raise ValueError
        return Gathered(name, data["chapter"], data["base"], swept, apart(points), kept=True)
    except FileNotFoundError:
        raise BookError(f"There is no kept sweep {where}.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BookError(
            f"{where} is no kept sweep (or a damaged one): delete it, then keep it again by `spectral-lens "
            f"sweep {name} --keep`."
        ) from None


def _read(data: Mapping[str, Any], shared: Mapping[str, Any], of: Chapter | None, compare: Compare) -> Point:
    if "made" not in data:
        log, said = data.get("log", ""), data.get("said", "")
        return Point(data["values"], "failed" if log else "missing", said, log=log, said=said)
    made = data["made"] | {name: shared[data["made"][name]] for name in _SHARED if name in data["made"]}
    try:
        values = {} if of is None else resolve(of, made["base"], data["values"])
    except BookError:  # the chapter takes other parameters than it did
        values = {}
    status = compare(made, values)
    claims = tuple(Measured.read(each) for each in data["claims"])
    return Point(data["values"], status.state, why(status), claims, made, data["record"])
