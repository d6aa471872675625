"""The reader's own samples in a file of NumPy: arrays x and, where they are known, y."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from torch import Tensor

from spectral_lens._runtime.errors import InputError, first_line
from spectral_lens._runtime.resources import named
from spectral_lens.datasets import DataSet
from spectral_lens.datasets.arrays import inputs_of

__all__ = ["read_npz"]


def read_npz(path: str | Path) -> DataSet | Tensor:
    """The set of the arrays x, (n, *d), and y, (n,), or x alone where the file has no y; as `np.savez` writes them.

    path: relative to where the command was called.  What y may be, classes or a quantity, says `DataSet.of`; other
    arrays are left alone.  Nothing in the file is executed (allow_pickle=False).
    Raises ValueError, one sentence that names the file, for one that cannot be read or is no npz, without x, and for
    arrays that make no samples.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/my.npz", x=np.zeros((5, 3)), y=[0, 1, 1, 0, 2])
    ...     read_npz(f"{folder}/my.npz").classes
    3
    """
    if not str(path):
        raise InputError("data names no file: a network of one's own needs samples, data=my.npz.")
    place = named(path)
    try:
        arrays = _arrays(place)
    except OSError as error:
        raise InputError(f"data={path} cannot be read ({error.strerror or error}).") from error
    except (ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{place.name} is not read ({first_line(error)}): save numbers by np.savez(path, x=x, y=y)."
        ) from error
    if "x" not in arrays:
        raise InputError(
            f"{place.name} has no array x: it holds {', '.join(arrays) or 'nothing'}; np.savez(path, x=x, y=y) names "
            "what it saves."
        )
    x = arrays["x"]
    if x.ndim < 2 or 0 in x.shape:
        raise InputError(f"{place.name}: x is {x.shape}: samples (n, *d) are needed, at least one.")
    try:
        if "y" in arrays:
            return DataSet.of(
                x, arrays["y"], name=place.stem, edition="the reader's own", provenance=f"Read from {place.name}"
            )
        found = inputs_of(x)
    except ValueError as error:
        raise InputError(f"{place.name}: {error}") from error
    if not found.isfinite().all():
        raise InputError(f"{place.name}: x holds NaN or infinite values: remove or replace them first.")
    return found


def _arrays(place: Path) -> dict[str, np.ndarray]:
    """x and y, and of other arrays that they are there."""
    with place.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise InputError("it is no npz")
        stream.seek(0)
        with np.load(stream, allow_pickle=False) as found:
            return {name: found[name] if name in ("x", "y") else np.empty(0) for name in found.files}
