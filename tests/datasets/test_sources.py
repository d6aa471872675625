"""Readers of what the sources publish, on archives made here."""

import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spectral_lens.datasets import sources, vision


def some(*shape, n=6, m=5) -> dict[str, np.ndarray]:
    g = np.random.default_rng(0)
    parts = (("train", n), ("test", m))
    images = {f"{split}_images": g.integers(256, size=(k, *shape), dtype=np.uint8) for split, k in parts}
    return images | {f"{split}_labels": g.integers(10, size=k, dtype=np.uint8) for split, k in parts}


def same(found, given) -> bool:
    return set(found) == set(given) and all(np.array_equal(found[key], given[key]) for key in given)


def test_mnist_through_torchvision(monkeypatch, tmp_path):
    given, asked = some(28, 28), []

    def fake(root, *, train, download):
        asked.append((Path(root), train, download))
        split = "train" if train else "test"
        return SimpleNamespace(
            data=torch.from_numpy(given[f"{split}_images"]), targets=torch.from_numpy(given[f"{split}_labels"]).long()
        )

    monkeypatch.setattr(vision, "torchvision", lambda: SimpleNamespace(datasets=SimpleNamespace(MNIST=fake)))
    assert same(sources.READERS["mnist"]({}, tmp_path), given)
    assert asked == [(tmp_path, True, True), (tmp_path, False, True)]


def packed(archive: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"batches/{name}")
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))


@pytest.mark.parametrize("before", [1, 2])
def test_cifar_from_the_binary_archive(monkeypatch, tmp_path, before):
    given = some(32, 32, 3)

    def records(images, labels):
        raw = b""
        for image, label in zip(images, labels, strict=True):
            raw += bytes([77] * (before - 1) + [label])
            raw += b"".join(image[:, :, colour].tobytes() for colour in range(3))
        return raw

    train, labels = given["train_images"], given["train_labels"]
    test = records(given["test_images"], given["test_labels"])
    archive = tmp_path / "cifar.tar.gz"
    packed(archive, {"c": test, "b": records(train[4:], labels[4:]), "a": records(train[:4], labels[:4])})
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()

    def retrieve(url, known, path, progressbar):
        assert (url, known, progressbar) == ("https://example.org/cifar", f"sha256:{checksum}", True)
        return shutil.copy(archive, path / "copy")

    monkeypatch.setattr("pooch.retrieve", retrieve)
    download = {"url": "https://example.org/cifar", "sha256": checksum, "bytes_before_image": before}
    download |= {"train": ["a", "b"], "test": ["c"]}
    assert same(sources.READERS["cifar"](download, tmp_path), given)
    with pytest.raises(ValueError, match="lacks d"):
        sources.READERS["cifar"](download | {"test": ["d"]}, tmp_path)
