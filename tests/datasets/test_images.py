"""The sets of images: pixels, classes and splits as they were published."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from spectral_lens.datasets import cache, fingerprint, images

REAL = Path(os.environ.get("SPECTRAL_LENS_DATA", ""))


@pytest.fixture
def real_data() -> None:
    if not os.environ.get("SPECTRAL_LENS_DATA") or not (REAL / "mnist.npz").is_file():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with mnist.npz")


def test_digits_are_scikit_learns_and_split_by_class():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    train, test = images.digits()
    assert (train.name, test.name) == ("digits (train)", "digits (test)")
    assert train.x.shape[1:] == test.x.shape[1:] == (1, 8, 8)
    assert train.x.dtype == torch.float32
    whole = sorted([*map(tuple, train.flat().x.tolist()), *map(tuple, test.flat().x.tolist())])
    assert whole == sorted(map(tuple, (bunch.data / 16).tolist()))
    for label in range(10):
        where = np.flatnonzero(bunch.target == label)
        assert torch.equal(test.x[test.y == label, 0], torch.tensor(bunch.images[where[4::5]] / 16).float())
    assert train.inputs[8 * 3 + 5] == "pixel 3,5"
    again, _ = images.load("digits")
    assert torch.equal(again.x, train.x)


def stored(split_shape, largest=256) -> cache.Stored:
    g = np.random.default_rng(5)
    arrays = {}
    for split, n in (("train", 11), ("test", 7)):
        arrays[f"{split}_images"] = g.integers(largest, size=(n, *split_shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = g.integers(10, size=n, dtype=np.uint8)
    return cache.Stored(arrays, "sample", "some order")


def test_grey_images(monkeypatch):
    given = stored((5, 3))
    monkeypatch.setattr(cache, "load", lambda name: given)
    train, test = images.load("mnist")
    assert train.x.shape == (11, 1, 5, 3)
    assert test.x.shape == (7, 1, 5, 3)
    expected = given.arrays["train_images"].astype(np.float32) / np.float32(255)
    assert np.array_equal(train.x[:, 0].numpy(), expected)
    assert np.array_equal(test.y.numpy(), given.arrays["test_labels"])
    assert train.inputs[:4] == ("pixel 0,0", "pixel 0,1", "pixel 0,2", "pixel 1,0")
    assert train.sha256 == fingerprint(given.arrays["train_images"], given.arrays["train_labels"])
    assert (train.edition, train.unit, train.classes) == ("sample", "grey value, 0 to 1", 10)


def test_colour_images(monkeypatch):
    given = stored((5, 4, 3))
    monkeypatch.setattr(cache, "load", lambda name: given)
    train, _ = images.load("cifar10")
    assert train.x.shape == (11, 3, 5, 4)
    assert train.x.is_contiguous()
    flat = train.flat()
    where = train.inputs.index("blue 4,1")
    assert torch.equal(flat.x[:, where], torch.from_numpy(given.arrays["train_images"][:, 4, 1, 2]) / 255)
    assert train.labels[9] == "truck"


@pytest.mark.data
def test_real_mnist(real_data):
    train, test = images.load("mnist")
    assert (train.x.shape, test.x.shape) == ((60000, 1, 28, 28), (10000, 1, 28, 28))
    assert torch.bincount(train.y).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert train.x.mean().item() == pytest.approx(0.1307, abs=5e-5)  # the well-known mean
    assert train.select([5, 9]).samples == 5421 + 5949


@pytest.mark.data
def test_real_cifar(real_data):
    if not (REAL / "cifar10.npz").is_file():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with cifar10.npz")
    train, _ = images.load("cifar10")
    assert train.x.mean((0, 2, 3)).tolist() == pytest.approx([0.49140, 0.48216, 0.44653], abs=5e-5)
    assert torch.bincount(train.y).tolist() == [5000] * 10
