"""Records: executed chapters with their provenance, matched to their chapter by code and parameters."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nbformat

from spectral_lens.book import sources
from spectral_lens.book.chapters import Book, BookError, Chapter, parameters, resolve

META = "spectral_lens"  # where a record's provenance and an output's claim or data stand in the metadata
INJECTED = "injected-parameters"
_FOLDERS = {"quick": "build/records/quick", "paper": "data/runs/paper", "custom": "build/records/custom"}


@dataclass(frozen=True)
class Status:
    """How a record stands to its chapter: `older` names the package modules whose code changed since the run."""

    state: Literal["current", "stale", "missing"]
    reason: str = ""
    older: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether the outputs belong to the chapter's code and parameters."""
        return self.state == "current"


def injected(cell: Mapping[str, Any]) -> bool:
    """Whether the runner put this cell in, to set the parameters."""
    return INJECTED in cell["metadata"].get("tags", [])


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """Hash of the code cells, injected parameters left out; prose, tags and outputs don't count."""
    code = [cell.source.strip() for cell in notebook.cells if cell.cell_type == "code" and not injected(cell)]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def key(code: str, values: Mapping[str, Any]) -> str:
    """Hash of a code hash together with the parameters: what a record is matched by."""
    return hashlib.sha256((code + json.dumps(values, sort_keys=True)).encode()).hexdigest()


def module_hashes(of: Chapter) -> dict[str, str]:
    """Hash of the code of each package module that the chapter imports (see `sources.module_hashes`)."""
    return sources.module_hashes(of.notebook, of.book.package)


def folder(of: Book, profile: str) -> Path:
    """Where the records of that profile stand."""
    if profile not in _FOLDERS:
        raise BookError(f"There is no profile {profile!r}: there are {', '.join(_FOLDERS)}.")
    return of.root / _FOLDERS[profile]


def path(of: Chapter, profile: str, values: Mapping[str, Any] | None = None) -> Path:
    """Where the chapter's record stands; one of the profile "custom" is told apart by its parameters `values`."""
    name = of.name
    if profile == "custom":
        if values is None:
            raise ValueError("A custom record is found by its parameters: give them.")
        name += "--" + hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return folder(of.book, profile) / f"{name}.ipynb"


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
    to.parent.mkdir(parents=True, exist_ok=True)
    aside = to.with_name(f"{to.name}.{os.getpid()}.part")
    try:
        aside.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
        os.replace(aside, to)
    finally:
        aside.unlink(missing_ok=True)


def status(of: Chapter, profile: str) -> Status:
    """How the profile's record stands to the chapter as it is now; nothing is run."""
    where = path(of, profile)
    values = resolve(of, profile)
    if not where.is_file():
        return Status("missing", "no record yet")
    try:
        record = read(where)
    except BookError:
        return Status("stale", "the record cannot be read")
    made = provenance(record)
    code = code_hash(of.notebook)
    if code != made["code"]:
        return Status("stale", "the code cells changed")
    if code_hash(record) != code:
        return Status("stale", "the record was edited")
    if made["key"] != key(code, values):
        return Status("stale", "parameters changed: " + _changes(made["parameters"], values))
    return Status("current", older=older(of, record))


def older(of: Chapter, record: nbformat.NotebookNode) -> tuple[str, ...]:
    """The package modules that the chapter imports and whose code is not the one that the record was made with."""
    then, now = provenance(record)["modules"], module_hashes(of)
    return tuple(sorted(module for module in then.keys() | now.keys() if then.get(module) != now.get(module)))


def provenance(record: nbformat.NotebookNode) -> dict[str, Any]:
    """Where the record comes from.

    chapter, profile, parameters, code, key, modules, commit, dirty, date (UTC, ISO), duration (s), device, threads,
    versions, data, claims. Raises KeyError for a notebook that is no record.
    """
    return record.metadata[META]


def claims(record: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The claims that the chapter measured, in its order (keys: the fields of `spectral_lens.claims.Measured`)."""
    return list(provenance(record)["claims"])


def data(record: nbformat.NotebookNode) -> list[dict[str, Any]]:
    """The data sets that the chapter showed: name, edition, sha256."""
    return list(provenance(record)["data"])


def carried(notebook: nbformat.NotebookNode, kind: Literal["claim", "data"]) -> list[dict[str, Any]]:
    """What the outputs carry in their metadata: claims (of one id the last) or data sets (each once), in order."""
    found: dict[Any, dict[str, Any]] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            note = output.get("metadata", {}).get(META, {}).get(kind)
            if note is not None:
                found[note["id"] if kind == "claim" else json.dumps(note, sort_keys=True)] = dict(note)
    return list(found.values())


def changed_parameters(of: Chapter, values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `values` that differ from the chapter's own cell: what the runner has to inject."""
    own = parameters(of)
    return {name: value for name, value in values.items() if json.dumps(value) != json.dumps(own[name])}


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [n for n in {**then, **now} if n not in then or n not in now or json.dumps(then[n]) != json.dumps(now[n])]
    return ", ".join(f"{n} {then.get(n, 'unset')!r} -> {now.get(n, 'unset')!r}" for n in names)
