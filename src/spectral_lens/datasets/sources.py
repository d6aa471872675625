"""Downloads from the original sources: each reader returns the four uint8 arrays of a data set of images.

A reader leaves its files in the folder that it is given and removes nothing. It shows a progress bar and raises what
the network or the disk raised: OSError, RuntimeError, ValueError (wrong checksum), EOFError or tarfile.TarError.
Nothing is unpickled: CIFAR comes in its binary form, not in the pickled one that torchvision reads.
"""

import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spectral_lens.datasets import vision

__all__ = ["READERS", "cifar", "mnist"]

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


READERS: dict[str, Callable[[Mapping[str, Any], Path], dict[str, np.ndarray]]] = {"mnist": mnist, "cifar": cifar}
