"""Downloads from the original sources: each reader returns the arrays of a data set, as data/manifest.yml names them.

A reader leaves its files in the folder that it is given and removes nothing. It shows a progress bar and raises what
the network or the disk raised: OSError, RuntimeError, ValueError (wrong checksum), EOFError or tarfile.TarError.
Nothing is unpickled: CIFAR comes in its binary form, not in the pickled one that torchvision reads.
"""

import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spectral_lens._runtime.extras import optional
from spectral_lens.datasets import vision

__all__ = ["READERS", "cifar", "miles", "mnist", "parameters"]

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE


def mnist(download: Mapping[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """MNIST through torchvision, which tries its mirrors and checks each archive."""
    arrays = {}
    for split in ("train", "test"):
        part = vision.torchvision().datasets.MNIST(folder, train=split == "train", download=True)
        arrays[f"{split}_images"] = np.asarray(part.data).astype(np.uint8, copy=False)
        arrays[f"{split}_labels"] = np.asarray(part.targets).astype(np.uint8)
    return arrays


def cifar(download: Mapping[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The binary edition of CIFAR-10 or CIFAR-100 through pooch, which checks the archive's SHA-256.

    A record is `bytes_before_image` labels, the last of them the class (CIFAR-100 has the superclass before it), then
    1024 red, 1024 green and 1024 blue values, row by row. Images become (n, 32, 32, 3).
    """
    with optional("data"):
        import pooch

    archive = pooch.retrieve(download["url"], f"sha256:{download['sha256']}", path=folder, progressbar=True)
    before = download["bytes_before_image"]
    arrays = {}
    with tarfile.open(archive) as tar:
        members = {Path(member.name).name: member for member in tar if member.isfile()}
        for split in ("train", "test"):
            raw = bytearray()
            for name in download[split]:
                file = tar.extractfile(members[name]) if name in members else None
                if file is None:
                    raise ValueError(f"{archive} lacks {name}")
                raw += file.read()
            records = np.frombuffer(raw, np.uint8).reshape(-1, before + _PIXELS)
            planes = records[:, before:].reshape(-1, 3, _SIDE, _SIDE)
            arrays[f"{split}_images"] = np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
            arrays[f"{split}_labels"] = records[:, before - 1].copy()
    return arrays


def miles(download: Mapping[str, Any], folder: Path) -> dict[str, np.ndarray]:
    """The MILES library as FITS images, one for each star, and the table of the stars' parameters.

    Nobody publishes a checksum of the archive: what counts are those of the arrays.
    """
    with optional("data"):
        import pooch
        from astropy.io import fits

    archive = pooch.retrieve(download["url"], None, path=folder, progressbar=True)
    table, spectra, headers = "", {}, {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            if f"/{download['folder']}/" not in f"/{path}" or (file := tar.extractfile(member)) is None:
                continue
            if path.name.startswith("paramsMILES"):
                table = file.read().decode("ascii")
            elif path.suffix == ".fits":
                number = int(path.stem.partition("star_m")[2][:4])
                with fits.open(io.BytesIO(file.read())) as image:
                    spectra[number] = image[0].data.reshape(-1).astype(np.float32)
                    headers[number] = (image[0].header["CRVAL1"], image[0].header["CDELT1"])
    if not spectra or len(set(headers.values())) > 1 or sorted(spectra) != list(range(1, len(spectra) + 1)):
        raise ValueError(f"{archive} does not hold one spectrum for each star on one grid")
    ((first, step),) = set(headers.values())
    flux = np.stack([spectra[number] for number in sorted(spectra)])
    return {"flux": flux, "wavelength": first + step * np.arange(flux.shape[1])} | parameters(table)


def parameters(table: str) -> dict[str, np.ndarray]:
    """The columns of the MILES table of parameters in the order of the numbers; NaN where nothing is given."""
    rows = {}
    for line in table.splitlines()[3:]:
        number = line[23:28].strip().replace("022.", "0221")  # a misprint: the only number that no other star has
        values = (line[51:57], line[57:64], line[64:73])
        rows[int(number)] = (
            line[:23].strip(),
            line[36:51].strip(),
            *(float(each) if each.strip(" -") else np.nan for each in values),
        )
    columns = zip(*(rows[number] for number in sorted(rows)), strict=True)
    kinds: dict[str, Any] = {"name": "U20", "spectral_type": "U12", "teff": float, "logg": float, "feh": float}
    found = {key: np.array(column, kind) for (key, kind), column in zip(kinds.items(), columns, strict=True)}
    return {"miles_id": np.array(sorted(rows), np.int16)} | found


READERS: dict[str, Callable[[Mapping[str, Any], Path], dict[str, np.ndarray]]] = {
    "mnist": mnist,
    "cifar": cifar,
    "miles": miles,
}
