"""Records: executed chapters with their provenance, matched to their chapter by cells, parameters and what ran."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat

from spectral_lens._runtime import files
from spectral_lens.book import fingerprints, replay
from spectral_lens.book.chapters import Book, BookError, Chapter
from spectral_lens.book.parameters import parameters, resolve
from spectral_lens.claims import Measured

META = "spectral_lens"  # where a record's provenance and an output's claim or data stand in the metadata
INJECTED = "injected-parameters"
REFERENCE = "reference"  # the committed copies of the quick records, see `references`
_FOLDERS = {
    "quick": "build/records/quick",
    "paper": "data/runs/paper",
    "custom": "build/records/custom",
    "second": "data/runs/second",
    REFERENCE: "tests/reference",
}

State = Literal["current", "verified", "older", "stale", "missing"]


@dataclass(frozen=True)
class Status:
    """How a record stands to its chapter.

    current: the same cells, parameters and code. verified: code that ran has changed since, but the quick run of the
    chapter executes all that changed and prints the numbers that it printed before. older: code that ran has changed.
    stale: the cells or parameters are others. missing: there is none. `changed` names what changed ("training.fit").
    """

    state: State
    reason: str = ""
    changed: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the outputs belong to the chapter's code and parameters."""
        return self.state in ("current", "verified", "older")

    def __str__(self) -> str:
        changed = ", ".join(self.changed)
        why = "; ".join(part for part in (f"changed: {changed}" if changed else "", self.reason) if part)
        return f"{self.state} ({why})" if why else self.state


def injected(cell: Mapping[str, Any]) -> bool:
    """Whether the runner put this cell in, to set the parameters."""
    return INJECTED in cell["metadata"].get("tags", [])


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Fingerprint of the code cells without the parameters, which count by their values; prose and outputs don't."""
    return fingerprints.of_cells(cell.source for cell in notebook.cells if _counts(cell))


def _counts(cell: Mapping[str, Any]) -> bool:
    return cell["cell_type"] == "code" and not {INJECTED, "parameters"} & set(cell["metadata"].get("tags", []))


def folder(of: Book, profile: str) -> Path:
    """Where the records of that profile stand."""
    if profile not in _FOLDERS:
        raise BookError(f"There is no profile {profile!r}: there are {', '.join(_FOLDERS)}.")
    return of.root / _FOLDERS[profile]


def path(of: Chapter, profile: str, values: Mapping[str, Any] | None = None, base: str = "quick") -> Path:
    """Where the chapter's record stands; a custom one is told apart by its parameters `values` and its base profile."""
    name = of.name.replace("/", "__") if profile == REFERENCE else of.name
    if profile == "custom":
        if values is None:
            raise ValueError("A custom record is found by its parameters: give them.")
        told = json.dumps(values if base == "quick" else [base, values], sort_keys=True)
        name += "--" + hashlib.sha256(told.encode()).hexdigest()[:8]
    return folder(of.book, profile) / f"{name}.ipynb"


def every(of: Book, profile: str) -> list[Path]:
    """All records of that profile that there are, without the copies that Jupyter puts beside what it has open."""
    found = folder(of, profile).rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def read(record: Path) -> nbformat.NotebookNode:
    """The record in that file.

    Raises FileNotFoundError where there is none, BookError where the file is no record.
    """
    try:
        found = nbformat.read(record, as_version=4)
        provenance(found)
    except (
        nbformat.reader.NotJSONError,
        nbformat.ValidationError,
        KeyError,
        AttributeError,
        UnicodeDecodeError,
    ) as error:
        raise BookError(f"{record} is no record (or a damaged one): delete it and run the chapter again.") from error
    return found


def write(notebook: nbformat.NotebookNode, to: Path) -> None:
    """The notebook in the file `to`, whole or not at all."""
    nbformat.validate(notebook)
    with files.replacing(to) as aside:
        aside.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def status(of: Chapter, profile: str) -> Status:
    """How the profile's record stands to the chapter as it is now; nothing is run."""
    values = resolve(of, "quick" if profile == REFERENCE else profile)
    return compared(of, path(of, profile), values, witness=profile == "paper")


def compared(of: Chapter, where: Path, values: Mapping[str, Any], *, witness: bool = False) -> Status:
    """How the record in that file stands to the chapter as it is now with the parameters `values`.

    witness: whether the chapter's quick reference may vouch for it where code has changed.
    """
    if not where.is_file():
        return Status("missing", "no record yet")
    try:
        record = read(where)
    except BookError:
        return Status("stale", "the record cannot be read")
    return stands(of, record, values, witness=witness)


def stands(of: Chapter, record: nbformat.NotebookNode, values: Mapping[str, Any], *, witness: bool = False) -> Status:
    """How a record that was read stands to the chapter, see `compared`."""
    made = provenance(record)
    if "ran" not in made:
        return Status("stale", "the record does not say what ran")
    if code_hash(record) != made["code"]:
        return Status("stale", "the record was edited")
    return since(of, made, values, witness=witness)


def since(of: Chapter, made: Mapping[str, Any], values: Mapping[str, Any], *, witness: bool = False) -> Status:
    """How a run of that provenance stands to the chapter, see `compared`: what is known without its notebook."""
    if made["code"] != code_hash(of.notebook):
        return Status("stale", "the code cells changed")
    if changes := _changes(made["parameters"], values):
        return Status("stale", f"parameters changed: {changes}")
    index = fingerprints.index(of.book.package)
    changed = index.changed(made["ran"])
    if not changed:
        return Status("current")
    names = tuple(index.dotted(place) for place in changed)
    why = _objection(of, made.get("replay"), index, changed) if witness else ""
    return Status("verified" if why is None else "older", why or "", names)


def _objection(
    of: Chapter, then: Mapping[str, Any] | None, index: fingerprints.Index, changed: tuple[fingerprints.Place, ...]
) -> str | None:
    """Why the chapter's quick reference does not vouch for a record of older code; None where it does."""
    quick = status(of, REFERENCE)
    if quick.state != "current":
        return f"the quick reference is {quick.state}"
    return replay.objection(then, read(path(of, REFERENCE)), [name for _, name in changed], index.places)


def replayed(of: Chapter, ran: fingerprints.Ran) -> dict[str, Any] | None:
    """What a new record keeps of the chapter's quick reference, to be verified by later; None without a current one."""
    if not path(of, REFERENCE).is_file() or status(of, REFERENCE).state != "current":
        return None
    return replay.kept(read(path(of, REFERENCE)), ran)


def provenance(record: nbformat.NotebookNode) -> dict[str, Any]:
    """Where the record comes from.

    chapter, profile, base (the profile that a custom run started from), parameters, code, ran (see
    `fingerprints.Index.snapshot`), replay (see `replay.kept`), commit, dirty, date (UTC, ISO), duration (s),
    cpu_seconds, peak_memory (bytes), device, threads, versions, data; where there are any, files (hashes of what
    parameters name) and warnings (each once). Raises KeyError for a notebook that is no record.
    """
    return record.metadata[META]


def claims(record: nbformat.NotebookNode) -> list[Measured]:
    """The claims that the chapter measured, in its order."""
    return [Measured.read(data) for data in carried(record, "claim")]


def data(record: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The data sets that the chapter showed: name, edition, sha256."""
    return list(provenance(record)["data"])


def noted(output: Mapping[str, Any], kind: Literal["claim", "data"]) -> dict[str, Any] | None:
    """What one output carries in its metadata."""
    return output.get("metadata", {}).get(META, {}).get(kind)


def carried(notebook: nbformat.NotebookNode, kind: Literal["claim", "data"]) -> list[dict[str, Any]]:
    """What the outputs carry in their metadata: claims (of one reading the last) or data sets (each once), in order."""
    found: dict[Any, dict[str, Any]] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            note = noted(output, kind)
            if note is not None:
                key = (note["id"], note.get("reading")) if kind == "claim" else json.dumps(note, sort_keys=True)
                found[key] = dict(note)
    return list(found.values())


def changed_parameters(of: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that differ from the chapter's own cell: what the runner has to inject."""
    own = parameters(of)
    return {name: value for name, value in values.items() if json.dumps(value) != json.dumps(own[name])}


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    def same(name: str) -> bool:
        values = [json.dumps(values[name], sort_keys=True) for values in (then, now) if name in values]
        return len(values) == 2 and values[0] == values[1]

    names = [name for name in {**then, **now} if not same(name)]
    return ", ".join(f"{n} {then.get(n, 'unset')!r} -> {now.get(n, 'unset')!r}" for n in names)
