"""The folder with the data sets: what is there, whether it is what it should be, and how it comes there.

Each set is one npz of plain arrays. Every loading compares it with the editions in data/manifest.yml; a file that is
none of them is never used, and stays where it is: it may be another program's. Nothing is unpickled.
"""

import errno
import functools
import itertools
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from spectral_lens._runtime.errors import in_one_line
from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.resources import resource
from spectral_lens.datasets import fingerprint, sources
from spectral_lens.datasets.editions import Stored, Unfit, form, identify

__all__ = ["DataError", "Row", "Stored", "arrays", "fetch", "folder", "load", "manifest", "report"]

_VARIABLE = "SPECTRAL_LENS_DATA"
_NO_PLACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)  # no fault of a network


class DataError(RuntimeError):
    """A data set that is unknown, missing, damaged or out of reach; the message says what to do."""


@dataclass(frozen=True)
class Row:
    """One line of the report. What comes with scikit-learn has neither path nor bytes, what is missing no bytes."""

    name: str
    present: bool
    edition: str  # "" where missing, "damaged: ..." where the file is no known edition
    bytes: int | None
    path: Path | None
    licence: str


def folder() -> Path:
    """$SPECTRAL_LENS_DATA, else the platform's cache folder of the user. It need not exist yet.

    Raises DataError where the variable names the home of nobody.

    >>> os.environ.get("SPECTRAL_LENS_DATA", "") in str(folder())
    True
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen:
        try:
            return Path(chosen).expanduser()
        except RuntimeError:
            raise DataError(
                f"{_VARIABLE}={chosen} is in a home folder that there is not: name the whole path."
            ) from None
    with optional("data"):
        import platformdirs
    return platformdirs.user_cache_path("spectral-lens", appauthor=False)


@functools.cache
def manifest() -> Mapping[str, Any]:
    """The entries of data/manifest.yml by name of the data set.

    >>> manifest()["mnist"]["file"]
    'mnist.npz'
    """
    return yaml.safe_load(resource("data/manifest.yml").read_text(encoding="utf-8"))["datasets"]


def arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of a data set, verified; downloaded where missing. Raises DataError, see `load`.

    >>> arrays("digits")["images"].shape
    (1797, 8, 8)
    """
    return load(name).arrays


def load(name: str) -> Stored:
    """The data set of that name (mnist, cifar10, cifar100, digits), verified; downloaded where missing.

    Images are uint8, (n, h, w) or (n, h, w, 3), labels uint8 (n,), as train_images, train_labels, test_images and
    test_labels; digits has images and labels. Raises DataError for an unknown name, a file that is damaged or no known
    edition, a source that cannot be reached, a disk too full, a folder that cannot be read or written.
    """
    entry = _entry(name)
    path = _path(entry)
    if path is not None and not os.path.lexists(path):  # a link into a disk that is not there stays, too
        return _download(name, entry, path)
    try:
        return _stored(name, entry)
    except Unfit as problem:
        if path is None:
            raise DataError(f"scikit-learn carries other {name} than expected: {problem}.") from problem
        raise DataError(
            f"{path} is not the data set {name}: {problem}. It is left as it is and not used: move it elsewhere, and "
            f"the next use downloads {name}; or set {_VARIABLE} to another folder; without a network put a good file "
            f"there."
        ) from problem


def fetch(name: str) -> Row:
    """Make sure that the data set is in the cache and verified; its line of the report. Raises as `load` does.

    >>> fetch("digits").licence
    'CC BY 4.0'
    """
    return _row(name, load(name).edition)


def report() -> list[Row]:
    """A line for each data set of the manifest. Reads and verifies what is there, changes and downloads nothing."""
    rows = []
    for name in manifest():
        entry = _entry(name)
        path = _path(entry)
        try:
            edition = "" if path is not None and not os.path.lexists(path) else _stored(name, entry).edition
        except (Unfit, DataError) as problem:
            edition = f"damaged: {problem}"
        rows.append(_row(name, edition))
    return rows


def _row(name: str, edition: str) -> Row:
    entry = _entry(name)
    path = _path(entry)
    present = path is None or os.path.exists(path)
    size = path.stat().st_size if path is not None and present else None
    return Row(name, present, edition, size, path, entry["licence"])


def _entry(name: str) -> Mapping[str, Any]:
    if name not in manifest():
        raise DataError(f"There is no data set {name!r}: choose one of {', '.join(manifest())}.")
    return manifest()[name]


def _path(entry: Mapping[str, Any]) -> Path | None:
    return folder() / entry["file"] if "file" in entry else None


def _stored(name: str, entry: Mapping[str, Any]) -> Stored:
    path = _path(entry)
    found = _digits() if path is None else _read(path)
    return identify(entry, found, None if path is None else _read_receipt(path))


def _digits() -> dict[str, np.ndarray]:
    with optional("data"):
        from sklearn.datasets import load_digits  # not needed where the data are others, and slow to import

    bunch = load_digits()
    return {"images": bunch.images.astype(np.uint8), "labels": bunch.target.astype(np.uint8)}


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            # A zip file's table stands at its end: without it the file was cut short, or is none at all.
            if not zipfile.is_zipfile(file):
                raise Unfit(f"it is no complete npz file ({path.stat().st_size} bytes)")
            file.seek(0)
            with np.load(file, allow_pickle=False) as npz:
                found = {key: npz[key] for key in npz.files}
        if not all(isinstance(value, np.ndarray) for value in found.values()):
            raise Unfit("it holds files that are no arrays")
        return found
    except OSError as error:
        raise DataError(f"{path} cannot be read ({in_one_line(error)}): check its permissions and the disk.") from error
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise Unfit(f"it is damaged ({in_one_line(error)})") from error


def _receipt(path: Path) -> Path:
    return path.with_suffix(".receipt.json")


def _read_receipt(path: Path) -> Mapping[str, str] | None:
    try:
        return dict(json.loads(_receipt(path).read_text(encoding="utf-8"))["arrays"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _set_aside(part: Path, path: Path, name: str, problem: Exception) -> DataError:
    """Keep beside `path` what was downloaded for it and is something else; the error to raise."""
    ends = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    aside = next(place for end in ends if not os.path.lexists(place := path.with_name(f"{path.name}.rejected{end}")))
    os.replace(part, aside)
    return DataError(
        f"What was downloaded is not the data set {name}: {problem}. It was kept as {aside} and is not used. "
        f"The next use downloads {name} again; without a network put a good file at {path}."
    )


def _download(name: str, entry: Mapping[str, Any], path: Path) -> Stored:
    """Download, convert, verify, and only then give the file its name; all else happens in a folder that goes away."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < entry["space"]:
            raise DataError(
                f"{name} needs {entry['space'] / 1e6:.0f} MB in {path.parent}, only {free / 1e6:.0f} MB are free: "
                f"make room, or set {_VARIABLE} to a folder with more."
            )
        with tempfile.TemporaryDirectory(prefix=f"{name}-", suffix=".part", dir=path.parent) as work:
            found = _fetched(name, entry, path, Path(work))
            part = Path(work) / path.name
            with open(part, "wb") as file:
                np.savez(file, **found)  # type: ignore[arg-type]
            # The source's checksum was met, so the arrays are their own receipt.
            hashes = {key: fingerprint(array) for key, array in found.items()}
            try:
                stored = identify(entry, found, hashes)
            except Unfit as problem:
                raise _set_aside(part, path, name, problem) from problem
            if "receipt" in entry["editions"][stored.edition]:
                slip = Path(work) / _receipt(path).name
                slip.write_text(
                    json.dumps({"download": entry["download"], "arrays": hashes}, indent=1), encoding="utf-8"
                )
                os.replace(slip, _receipt(path))
            os.replace(part, path)
            return stored
    except OSError as error:
        raise DataError(
            f"{name} cannot be written to {path.parent} ({in_one_line(error)}): make it a folder that can be written "
            f"to, on a disk large enough, or set {_VARIABLE} to another folder."
        ) from error


def _fetched(name: str, entry: Mapping[str, Any], path: Path, work: Path) -> dict[str, np.ndarray]:
    download = entry["download"]
    try:
        return sources.READERS[download["reader"]](download, work)
    except (OSError, RuntimeError, ValueError, EOFError, HTTPException, tarfile.TarError, zlib.error) as error:
        if getattr(error, "errno", None) in _NO_PLACE:
            raise
        forms = [
            ", ".join(f"{key} {form(want)}" for key, want in edition["arrays"].items())
            for edition in entry["editions"].values()
        ]
        raise DataError(
            f"{name} is not in the cache and could not be downloaded from {entry['source']} ({in_one_line(error)}). "
            f"Try again with a network, or put {path.name} into {path.parent}: an npz file with the arrays "
            f"{', or '.join(dict.fromkeys(forms))}; or set {_VARIABLE} to a folder that has it."
        ) from error
