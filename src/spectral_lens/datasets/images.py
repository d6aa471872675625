"""Images of digits and of things, as training and test sets."""

import numpy as np
import torch
from jaxtyping import UInt8

from spectral_lens.datasets import DataSet, cache, fingerprint

__all__ = ["digits", "load"]

_COLOURS = ("red", "green", "blue")


def load(name: str) -> tuple[DataSet, DataSet]:
    """Training and test set of "mnist", "cifar10", "cifar100" or "digits".

    x is float32 in [0, 1], (n, channels, height, width); the classes are int64. Missing files are downloaded.
    Raises cache.DataError for an unknown name and for data that are damaged or out of reach.

    >>> train, test = load("digits")  # comes with scikit-learn; the others are downloaded
    >>> train.x.shape[1:], train.classes
    (torch.Size([1, 8, 8]), 10)
    """
    if name == "digits":
        return digits()
    stored = cache.load(name)
    title = cache.manifest()[name]["title"]
    pairs = []
    for part, what in (("train", "training part"), ("test", "test part")):
        pixels, labels = stored.arrays[f"{part}_images"], stored.arrays[f"{part}_labels"]
        known = fingerprint(pixels, labels)
        pairs.append(_images(name, part, f"{title}, {what}", stored, pixels, labels, largest=255, sha256=known))
    return pairs[0], pairs[1]


def digits() -> tuple[DataSet, DataSet]:
    """scikit-learn's 1797 digits of 8 x 8 pixels with values 0 to 16, here over 16; nothing is downloaded.

    They come without a split: of each class every fifth image, in scikit-learn's order, is for testing.

    >>> train, test = digits()
    >>> train.samples + test.samples
    1797
    """
    stored = cache.load("digits")
    pixels, labels = stored.arrays["images"], stored.arrays["labels"]
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        held[np.flatnonzero(labels == label)[4::5]] = True
    known = fingerprint(pixels, labels)
    pairs = []
    for part, what, chosen in (("train", "four of five images", ~held), ("test", "every fifth image", held)):
        line = f"Optical digits, {what} of each class"
        pairs.append(_images("digits", part, line, stored, pixels[chosen], labels[chosen], largest=16, sha256=known))
    return pairs[0], pairs[1]


def _images(
    name: str,
    part: str,
    what: str,
    stored: cache.Stored,
    pixels: UInt8[np.ndarray, "n h w *colours"],
    labels: UInt8[np.ndarray, " n"],
    *,
    largest: int,
    sha256: str,
) -> DataSet:
    """Pixels (n, h, w) or (n, h, w, 3) with values 0 ... largest as (n, c, h, w) in [0, 1]."""
    entry = cache.manifest()[name]
    grid = torch.from_numpy(pixels)
    # Sorted into planes as bytes: four times less to move than as floats.
    planes = grid[:, None] if grid.ndim == 3 else grid.permute(0, 3, 1, 2).contiguous()
    _, channels, height, width = planes.shape
    kinds = ("pixel",) if channels == 1 else _COLOURS
    return DataSet(
        name=f"{name} ({part})",
        x=planes.to(torch.float32).div_(largest),
        y=torch.from_numpy(labels).long(),
        inputs=tuple(f"{kind} {row},{column}" for kind in kinds for row in range(height) for column in range(width)),
        unit="grey value, 0 to 1" if channels == 1 else "colour value, 0 to 1",
        edition=stored.edition,
        sha256=sha256,
        provenance=f"{what}, {stored.note}; {entry['source']}; licence: {entry['licence']}",
        labels=tuple(entry["classes"]),
    )
