"""Known editions: told apart by form, hashes, contents and order; refused where nothing fits."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from spectral_lens.datasets import cache, editions
from spectral_lens.datasets.editions import Unfit, form, identify


def arrays(n=5, seed=0) -> dict[str, np.ndarray]:
    g = np.random.default_rng(seed)
    return {"values": g.normal(size=(n, 3)), "labels": g.integers(10, size=n, dtype=np.uint8)}


def described(found, *hashed) -> dict:
    about = {key: {"shape": list(array.shape), "dtype": str(array.dtype)} for key, array in found.items()}
    for key in hashed:
        about[key]["sha256"] = hashlib.sha256(found[key].tobytes()).hexdigest()
    return {"note": "some order", "arrays": about}


def test_the_first_edition_that_fits_is_the_one():
    small, large = arrays(5), arrays(7)
    entry = {"editions": {"small": described(small, "values"), "large": described(large, "values", "labels")}}
    assert identify(entry, large, None) == editions.Stored(large, "large", "some order")
    assert identify(entry, small, None).edition == "small"


def test_each_edition_says_what_it_expected():
    entry = {"editions": {"small": described(arrays(5)), "other": described(arrays(7), "values")}}
    with pytest.raises(Unfit, match=r"small' \(values: expected \(5, 3\) float64, found \(7, 3\).*other' .*SHA-256"):
        identify(entry, arrays(7, seed=1), None)
    with pytest.raises(Unfit, match="expected the arrays labels, values; found values"):
        identify(entry, {"values": arrays(5)["values"]}, None)


def test_a_receipt_stands_for_hashes_that_nobody_published():
    found = arrays()
    entry = {"editions": {"complete": described(found) | {"receipt": True}}}
    receipt = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in found.items()}
    assert identify(entry, found, receipt).edition == "complete"
    with pytest.raises(Unfit, match="no receipt of a download"):
        identify(entry, found, None)
    with pytest.raises(Unfit, match="not those of the receipt"):
        identify(entry, arrays(seed=1), receipt)


def test_a_form_for_a_reader():
    assert form({"shape": [1797, 8, 8], "dtype": "uint8"}) == "(1797, 8, 8) uint8"


@pytest.mark.data
def test_cifar10_contents_are_recognised_in_any_order():
    path = Path(os.environ.get("SPECTRAL_LENS_DATA", "")) / "cifar10.npz"
    if not os.environ.get("SPECTRAL_LENS_DATA") or not path.is_file():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with cifar10.npz")
    found = cache.arrays("cifar10")
    order = np.random.default_rng(1).permutation(50000)
    item = cache.manifest()["cifar10"]
    start = item["editions"]["complete, original order"]["first_labels"]
    labels = found["train_labels"]
    front = []
    for label in start:  # a permutation that begins as the original does
        front.append(next(i for i in order if labels[i] == label and i not in front))
    order = np.concatenate([front, order[~np.isin(order, front)]])
    moved = {**found, "train_images": found["train_images"][order], "train_labels": labels[order]}
    assert identify(item, moved, None).edition == "complete, original order"
    moved["train_labels"][-2:] = (moved["train_labels"][-2:] + 1) % 10
    with pytest.raises(Unfit, match="train: expected images and labels"):
        identify(item, moved, None)
