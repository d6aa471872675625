"""Runs chapters: text to notebook, kernel, cleaned record with its provenance."""

import contextlib
import os
import platform
import shlex
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat

from spectral_lens._runtime import resources
from spectral_lens.book import checks, fingerprints, origin, records
from spectral_lens.book.chapters import BookError, Chapter, profile
from spectral_lens.book.parameters import resolve

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_VERSIONS = ("torch", "numpy")
_DATA = "SPECTRAL_LENS_DATA"
_AVX2 = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")  # left out where the processor has no AVX2
_TRACE = 12  # lines of a traceback that are worth reading


class ChapterFailed(Exception):
    """A chapter did not get through; the message says where and why, the files say the rest."""


class KernelDied(ChapterFailed):
    """The kernel was killed, ran out of memory or crashed: another try may get through."""


@dataclass(frozen=True)
class Plan:
    """A run that was checked and may start: which parameters, and where its record goes."""

    chapter: Chapter
    profile: str  # what the record says: "custom" where parameters were given by hand
    base: str  # the profile whose environment and other values count
    parameters: dict[str, Any]
    target: Path
    kind: str = ""  # what tells it apart from other runs of the profile

    @property
    def failed(self) -> Path:
        """Where the notebook of a failed run is kept (its log beside it, as .log)."""
        folder = self.chapter.book.root / "build" / "failed" / (self.kind or self.profile)
        return folder / Path(self.chapter.name).with_name(self.target.name)


def plan(of: Chapter, profile_name: str = "quick", overrides: Mapping[str, Any] | None = None) -> Plan:
    """Check everything that can be checked before a kernel starts.

    Raises BookError for unknown parameters and wrong types (see `parameters.resolve`), for a file that cannot be read
    where the chapter says of a parameter that it is one ("# file ..."), or a function in one ("# function ...", as
    my.py:build), for cells that don't parse, for claims that are measured twice or that the ledger doesn't have, for a
    data folder in nobody's home, and where the record could not be written.
    """
    values = resolve(of, profile_name, overrides)
    checks.files(of, values)
    data_folder()
    checks.claims(of)
    name = "custom" if overrides else profile_name
    target = records.path(of, name, values, profile_name)
    checks.target(target)
    return Plan(of, name, profile_name, values, target)


def run(of: Plan, *, show_progress: bool = False) -> Path:
    """Execute the plan and write its record; returns the record's path.

    Raises ChapterFailed where a cell fails, and KernelDied, which is one, where the kernel does: an earlier record
    stays as it was, the notebook and a log are kept under build/failed/. So is a record that cannot be written to its
    place any more. Where build/failed/ takes nothing either, both go to the system's folder for temporary files. Raises
    BookError where the record's place cannot be written to, before anything runs, and where the chapter cannot take a
    file of the reader's.
    """
    from spectral_lens.book.execution import CellFailed, execute

    chapter = of.chapter
    checks.target(of.target)  # again: a plan may have waited for hours
    checks.files(chapter, of.parameters)
    read = checks.contents(chapter, of.parameters)
    index = fingerprints.index(chapter.book.package)  # before the run: what is edited meanwhile must not count as run
    commit, dirty = origin.commit(chapter.book.root)
    date, clock = datetime.now(UTC), time.perf_counter()
    try:
        done = execute(
            chapter.notebook,
            folder=chapter.path.parent,
            environment=environment(of),
            parameters=records.changed_parameters(chapter, of.parameters),
            show_progress=show_progress,
        )
    except CellFailed as error:
        if error.refused:
            raise BookError(f"{chapter.name}: {error.refused}") from None
        raise (KernelDied if error.died else ChapterFailed)(_keep(of, error)) from None
    duration = time.perf_counter() - clock
    said = [(count, text) for count, text in done.note.get("warnings", ())]
    record = clean(done.notebook, chapter.notebook, said)
    cells = [cell.source for cell in chapter.notebook.cells if cell.cell_type == "code"]
    ran = index.snapshot(done.note.get("ran", {}), cells)
    record.metadata[records.META] = {
        "chapter": chapter.name,
        "profile": of.profile,
        "base": of.base,
        "parameters": of.parameters,
        "code": records.code_hash(chapter.notebook),
        "ran": ran,
        "replay": records.replayed(chapter, ran) if of.profile != "quick" else None,
        "commit": commit,
        "dirty": dirty,
        "date": date.isoformat(timespec="seconds"),
        "duration": round(duration, 1),
        "cpu_seconds": done.note.get("cpu_seconds"),
        "peak_memory": done.note.get("peak_memory"),
        "device": origin.device(done.note.get("device", "cpu")),
        "threads": done.note.get("threads", profile(of.base, chapter.book)["threads"]),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in _VERSIONS}},
        "data": records.carried(record, "data"),
        **({"files": read} if read else {}),
        **({"warnings": list(dict.fromkeys(text for _, text in said))} if said else {}),
    }
    try:
        records.write(record, of.target)
    except OSError as error:
        raise ChapterFailed(_rescue(of, record, error)) from None
    for left in (of.failed, of.failed.with_suffix(".log")):
        with contextlib.suppress(OSError):
            left.unlink()
    return of.target


def environment(of: Plan) -> dict[str, str]:
    """What the kernel's environment gets on top of this process's own."""
    settings = profile(of.base, of.chapter.book)
    threads = settings["threads"]
    found = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    found |= {"PYTHONHASHSEED": "0", "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    left = () if origin.has_avx2() else _AVX2
    chosen = {name: value for name, value in settings["environment"].items() if name not in left}
    found |= {resources.CALLED_FROM: os.getcwd()}
    return found | data_folder() | chosen | {"SPECTRAL_LENS_PROFILE": of.profile}


def data_folder() -> dict[str, str]:
    """The variable that names the data folder, where it is set, with the whole path.

    The kernel works in the chapter's folder: what is named from here has to mean the same there. Raises BookError for
    the home folder of nobody.
    """
    named = os.environ.get(_DATA)
    try:
        return {_DATA: str(Path(named).expanduser().absolute())} if named else {}
    except RuntimeError:
        raise BookError(f"{_DATA}={named} is in a home folder that there is not: name the whole path.") from None


def clean(
    executed: nbformat.NotebookNode, source: nbformat.NotebookNode, said: Iterable[tuple[int, str]] = ()
) -> nbformat.NotebookNode:
    """The executed notebook without times, progress and random ids; cells keep the ids and tags of `source`.

    said: the warnings, each with the execution count of its cell: the only thing that is kept of stderr, without the
    paths and lines of code that Python writes with them.
    """
    warned: dict[int, dict[str, None]] = {}
    for count, text in said:
        warned.setdefault(count, {})[f"{text}\n"] = None
    record = nbformat.from_dict(executed)
    record.metadata = nbformat.from_dict(
        {k: v for k, v in record.metadata.items() if k in ("kernelspec", "language_info")}
    )
    originals = iter(source.cells)
    for cell in record.cells:
        if records.injected(cell):
            cell["id"], cell.metadata = "injected", nbformat.from_dict({"tags": [records.INJECTED]})
        else:
            original = next(originals)
            cell["id"], cell.metadata = original["id"], nbformat.from_dict(original.metadata)
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell.outputs)
            if texts := warned.get(cell.execution_count):
                cell.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="".join(texts)))
    return record


def _outputs(outputs: Iterable[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    kept: list[nbformat.NotebookNode] = []
    for output in outputs:
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            if kept and kept[-1].output_type == "stream":
                kept[-1].text += output.text
                continue
        elif "application/vnd.jupyter.widget-view+json" in output.get("data", {}):
            continue  # a progress bar that found ipywidgets
        kept.append(output)
    return kept


def _keep(of: Plan, error: Any) -> str:
    """Store what is left of a failed run; returns what to tell the reader."""
    source = "\n".join(f"    {line}" for line in error.source.splitlines())
    heading = f"{of.chapter.name} ({of.profile}): code cell {error.number} failed"
    log = f"{heading}\n\n{source}\n\n" + "\n".join(error.reason) + "\n"

    def store(where: Path) -> None:
        where.parent.mkdir(parents=True, exist_ok=True)
        where.with_suffix(".log").write_text(log, encoding="utf-8")
        if error.notebook is not None:
            with contextlib.suppress(nbformat.ValidationError):
                records.write(error.notebook, where)

    short = "\n".join(f"    {line}" for line in error.reason[-_TRACE:])
    kept = _somewhere(of, store)
    told = f"{heading}\n\n{source}\n\n{short}\n\n"
    if kept is None:
        return (
            told + "The notebook up to there could not be kept: neither build/failed nor the temporary folder takes it."
        )
    return told + f"The notebook up to there: {_short(of, kept)} (log: {_short(of, kept.with_suffix('.log'))})"


def _rescue(of: Plan, record: nbformat.NotebookNode, error: OSError) -> str:
    """Store a finished record that its own place does not take; returns what to tell the reader."""
    told = f"{of.chapter.name} ({of.profile}) ran, but its record could not be written ({error}).\n"
    kept = _somewhere(of, lambda where: records.write(record, where))
    if kept is None:
        return told + "It is lost: neither build/failed nor the temporary folder takes it."
    folder, source, target = (shlex.quote(str(path)) for path in (of.target.parent, kept, of.target))
    return (
        f"{told}It was kept as {_short(of, kept)}. Once its place can be written to:\n"
        f"    mkdir -p {folder} && cp {source} {target}"
    )


def _somewhere(of: Plan, store: Callable[[Path], None]) -> Path | None:
    """Store in build/failed, else in a new folder for temporary files; returns where, or None."""
    for find in (lambda: of.failed, lambda: Path(tempfile.mkdtemp(prefix="spectral-lens-")) / of.failed.name):
        with contextlib.suppress(OSError):
            where = find()
            store(where)
            return where
    return None


def _short(of: Plan, path: Path) -> Path:
    root = of.chapter.book.root
    return path.relative_to(root) if path.is_relative_to(root) else path
