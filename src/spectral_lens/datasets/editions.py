"""Which edition of a data set some arrays are: the comparison with its entry in data/manifest.yml.

An edition is known by the SHA-256 of its arrays. Two are not at hand to take it from:

* CIFAR-10 in its original order has the images of the class-interleaved edition, so a digest that does not depend on
  the order proves the contents, and the first ten labels tell the order.
* CIFAR-100 complete is proved by its archive's SHA-256 when it is downloaded. A receipt beside the npz then keeps the
  SHA-256 of the arrays; it guards against damage, not against somebody who rewrites both files.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spectral_lens.datasets import fingerprint

__all__ = ["Stored", "Unfit", "form", "identify"]


class Unfit(Exception):
    """What was read is no known edition; the message says why."""


@dataclass(frozen=True)
class Stored:
    """The verified arrays of a data set, and which edition they are."""

    arrays: dict[str, np.ndarray]
    edition: str
    note: str  # what is particular about the edition, its order for one


def identify(entry: Mapping[str, Any], found: dict[str, np.ndarray], receipt: Mapping[str, str] | None) -> Stored:
    """The arrays with the name of their edition, from a manifest entry and the SHA-256 that a receipt gives, if any.

    Raises Unfit, which names what each edition expects and what was found.

    >>> found = {"x": np.zeros(3)}
    >>> known = {"note": "", "arrays": {"x": {"shape": [3], "dtype": "float64"}}}
    >>> identify({"editions": {"complete": known}}, found, None).edition
    'complete'
    """
    hashes = {key: fingerprint(array) for key, array in found.items()}
    reasons = []
    for name, edition in entry["editions"].items():
        reason = _difference(edition, found, hashes, receipt)
        if reason is None:
            return Stored(found, name, edition["note"])
        reasons.append(f"not the edition '{name}' ({reason})")
    raise Unfit("it is " + ", ".join(reasons))


def _difference(
    edition: Mapping[str, Any],
    found: Mapping[str, np.ndarray],
    hashes: Mapping[str, str],
    receipt: Mapping[str, str] | None,
) -> str | None:
    """Why the arrays are not this edition, None where they are."""
    expected = edition["arrays"]
    if set(found) != set(expected):
        return f"expected the arrays {', '.join(sorted(expected))}; found {', '.join(sorted(found)) or 'none'}"
    for key, want in expected.items():
        if (list(found[key].shape), str(found[key].dtype)) != (want["shape"], want["dtype"]):
            return f"{key}: expected {form(want)}, found {found[key].shape} {found[key].dtype}"
    for key, want in expected.items():
        if hashes[key] != want.get("sha256", hashes[key]):
            return f"{key}: expected SHA-256 {want['sha256']}, found {hashes[key]}"
    for split, want in edition.get("contents", {}).items():
        digest = _contents(found[f"{split}_images"], found[f"{split}_labels"])
        if digest != want:
            return f"{split}: expected images and labels with the digest {want}, found {digest}"
    start = edition.get("first_labels", [])
    if start and found["train_labels"][: len(start)].tolist() != start:
        return f"train_labels: expected to begin with {start}, found {found['train_labels'][: len(start)].tolist()}"
    if "receipt" in edition and receipt != hashes:
        return "no receipt of a download beside it" if receipt is None else "the arrays are not those of the receipt"
    return None


def _contents(images: UInt8[np.ndarray, "n h w *colours"], labels: UInt8[np.ndarray, " n"]) -> str:
    """A digest of the labelled images that does not depend on their order."""
    pairs = zip(images, labels, strict=True)
    return hashlib.sha256(
        b"".join(sorted(hashlib.sha256(image.tobytes() + label.tobytes()).digest() for image, label in pairs))
    ).hexdigest()


def form(want: Mapping[str, Any]) -> str:
    """How an array of the manifest looks: "(1797, 8, 8) uint8".

    >>> form({"shape": [1797, 8, 8], "dtype": "uint8"})
    '(1797, 8, 8) uint8'
    """
    return f"{tuple(want['shape'])} {want['dtype']}"
