"""The clock of the benchmarks, the comparison of results that comes before it, and the table that comes out."""

import argparse
import contextlib
import datetime
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral_lens._runtime.timing import shortest

OURS = "spectral_lens"

Work = Callable[[], Tensor]


class Line(NamedTuple):
    part: str
    contender: str
    seconds: float
    ratio: float
    demand: float | None


def seconds(work: Callable[[], object]) -> float:
    return shortest(work, repeats=1)


def best_of(repeats: int, contenders: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """The best figure of each; they take turns within each repeat, so that a busy moment hits all of them."""
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, measure in contenders.items():
            best[name] = min(best.get(name, float("inf")), measure())
    return best


def clock(work: Callable[[], object]) -> Callable[[], float]:
    return lambda: seconds(work)


def difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / one.norm())


def agree(contenders: Mapping[str, Work], tolerance: float) -> list[Tensor]:
    """The contenders' results; says how far they are from the first one's, raises where that is too far."""
    first, *others = (work() for work in contenders.values())
    worst = max(difference(first, other) for other in others)
    print(f"    same results: they differ by {worst:.0e} (of their norm, {str(first.dtype).removeprefix('torch.')})")
    assert worst < tolerance, f"{worst} is not below {tolerance}"
    return [first, *others]


def table(part: str, best: Mapping[str, float], demands: Mapping[str, float]) -> list[Line]:
    lines = [Line(part, name, value, value / best[OURS], demands.get(name)) for name, value in best.items()]
    for line in lines:
        verdict = "holds" if line.demand is None or line.ratio >= line.demand else "MISSED"
        demanded = "" if line.demand is None else f"{line.demand:6g} x demanded: {verdict}"
        value, unit = (line.seconds, " s") if line.seconds >= 0.1 else (line.seconds * 1e3, "ms")
        print(f"    {line.contender:44s} {value:9.3f} {unit} {line.ratio:8.2f} x {demanded}".rstrip())
    return lines


def add_options(parser: argparse.ArgumentParser, *, parts: Iterable[str], repeats: int) -> None:
    """What every benchmark of several parts can be asked for."""
    parser.add_argument("--part", nargs="+", choices=list(parts), default=list(parts))
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--json", type=Path, help="write the figures there too")


def surroundings(device: torch.device, packages: Iterable[str]) -> dict[str, Any]:
    """Versions of those packages that are installed, the device, the threads and the date; printed in one line."""
    versions = {}
    for name in packages:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = distribution(name).version
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    threads = torch.get_num_threads()
    print(", ".join(f"{name} {version}" for name, version in versions.items()) + f"; {where}, {threads} threads")
    return {"versions": versions, "device": where, "threads": threads, "date": datetime.date.today().isoformat()}


def write(path: Path | None, about: Mapping[str, Any], lines: Iterable[Line]) -> None:
    if path is not None:
        path.write_text(json.dumps({**about, "figures": [line._asdict() for line in lines]}, indent=1) + "\n")
