"""The cache folder: verified loading, simulated downloads, and every fault that a user can meet."""

import errno
import hashlib
import json
import os
import pickle
import shutil
import tarfile
import tempfile
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pytest
import requests

from spectral_lens.datasets import cache, sources
from spectral_lens.datasets.cache import DataError


def some(n=7, m=5, shape=(3, 4), seed=0) -> dict[str, np.ndarray]:
    g = np.random.default_rng(seed)
    return {
        "train_images": g.integers(256, size=(n, *shape), dtype=np.uint8),
        "train_labels": g.integers(10, size=n, dtype=np.uint8),
        "test_images": g.integers(256, size=(m, *shape), dtype=np.uint8),
        "test_labels": g.integers(10, size=m, dtype=np.uint8),
    }


def edition(arrays, hashes=True, **more) -> dict:
    described = {}
    for key, array in arrays.items():
        described[key] = {"shape": list(array.shape), "dtype": str(array.dtype)}
        if hashes:
            described[key]["sha256"] = hashlib.sha256(array.tobytes()).hexdigest()
    return {"note": "some order", "arrays": described, **more}


def entry(file="tiny.npz", reader="fake", space=1000, **names) -> dict:
    return {
        "title": "Tiny",
        "file": file,
        "source": "https://example.org/tiny",
        "licence": "none",
        "download": {"reader": reader},
        "space": space,
        "classes": list("0123456789"),
        "editions": names,
    }


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


@pytest.fixture
def tiny(folder, monkeypatch) -> SimpleNamespace:
    """One small data set in the manifest; its source gives `arrays`, or raises what `source` holds."""
    world = SimpleNamespace(arrays=some(), fault=None, calls=0, file=folder / "tiny.npz", folder=folder)
    world.entry = entry(complete=edition(world.arrays))

    def reader(download, work):
        world.calls += 1
        assert work.parent == folder
        (work / "archive.bin").write_bytes(b"raw")
        if world.fault is not None:
            raise world.fault
        return world.arrays

    monkeypatch.setattr(cache, "manifest", lambda: {"tiny": world.entry, "other": world.entry})
    monkeypatch.setitem(sources.READERS, "fake", reader)
    return world


def put(file: Path, arrays) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **arrays)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def same(a, b) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[key], b[key]) for key in b)


def test_folder_is_the_variables_or_the_platforms(monkeypatch, tmp_path):
    monkeypatch.setenv("SPECTRAL_LENS_DATA", "~/somewhere")
    assert cache.folder() == Path.home() / "somewhere"
    monkeypatch.delenv("SPECTRAL_LENS_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.folder().name == "spectral-lens"


def test_the_manifest_is_complete():
    for name, item in cache.manifest().items():
        assert {"title", "source", "licence", "citation", "editions"} <= set(item), name
        classes = item.get("classes", [])
        assert len(set(classes)) == len(classes) == {"cifar100": 100, "miles": 0}.get(name, 10)
        if "file" in item:
            assert item["download"]["reader"] in sources.READERS
            assert item["space"] > 1e8
        for what in item["editions"].values():
            known = [want for want in what["arrays"].values() if len(want.get("sha256", "")) == 64]
            assert len(known) == len(what["arrays"]) or {"contents", "receipt"} & set(what)


def test_a_download_becomes_a_verified_npz(tiny):
    stored = cache.load("tiny")
    assert same(stored.arrays, tiny.arrays)
    assert (stored.edition, stored.note) == ("complete", "some order")
    assert names(tiny.folder) == ["tiny.npz"]  # neither the archive nor a part of anything stays
    with np.load(tiny.file, allow_pickle=False) as file:
        assert same(dict(file), tiny.arrays)
    assert same(cache.arrays("tiny"), tiny.arrays)
    assert tiny.calls == 1


def test_fetch_and_report(tiny):
    assert [(row.name, row.present, row.edition, row.bytes) for row in cache.report()] == [
        ("tiny", False, "", None),
        ("other", False, "", None),
    ]
    assert not tiny.folder.exists()
    row = cache.fetch("tiny")
    assert row == cache.Row("tiny", True, "complete", tiny.file.stat().st_size, tiny.file, "none")
    assert cache.report()[0] == row


def test_report_names_damage_and_leaves_it_where_it_is(tiny):
    put(tiny.file, some(seed=1))
    row = cache.report()[0]
    assert row.present
    assert row.edition.startswith("damaged: it is not the edition 'complete'")
    assert names(tiny.folder) == ["tiny.npz"]
    assert tiny.calls == 0


def test_unknown_name(tiny):
    for call in (cache.load, cache.arrays, cache.fetch):
        with pytest.raises(DataError, match=r"no data set 'mnits': choose one of tiny, other"):
            call("mnits")


def test_wrong_checksum_is_never_used_and_stays(tiny):
    bad = {**tiny.arrays, "test_labels": tiny.arrays["test_labels"][::-1].copy()}
    put(tiny.file, bad)
    raw = tiny.file.read_bytes()
    good, found = (hashlib.sha256(a["test_labels"].tobytes()).hexdigest() for a in (tiny.arrays, bad))
    with pytest.raises(DataError, match=f"test_labels: expected SHA-256 {good}, found {found}") as caught:
        cache.load("tiny")
    assert f"{tiny.file} is not the data set tiny" in str(caught.value)
    assert "move it elsewhere" in str(caught.value)
    assert names(tiny.folder) == ["tiny.npz"]
    assert tiny.file.read_bytes() == raw
    assert tiny.calls == 0
    tiny.file.rename(tiny.folder / "mine.npz")
    assert same(cache.arrays("tiny"), tiny.arrays)  # downloaded


def test_the_file_of_another_program_stays(tiny):
    """Keras keeps a file of the same name, with other arrays."""
    put(tiny.file, {"x_train": np.zeros((3, 28, 28), np.uint8), "y_train": np.zeros(3, np.uint8)})
    raw = tiny.file.read_bytes()
    for call in (cache.load, cache.fetch, cache.arrays):
        with pytest.raises(DataError, match=r"found x_train, y_train.*left as it is.*SPECTRAL_LENS_DATA") as caught:
            call("tiny")
        assert len(str(caught.value).splitlines()) == 1
    assert names(tiny.folder) == ["tiny.npz"]
    assert tiny.file.read_bytes() == raw
    assert tiny.calls == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"train_images": np.zeros((7, 4, 3), np.uint8)},
            r"train_images: expected \(7, 3, 4\) uint8, found \(7, 4, 3\)",
        ),
        ({"train_labels": np.zeros(7, np.int64)}, r"found \(7,\) int64"),
        ({"extra": np.zeros(2, np.uint8)}, "expected the arrays test_images, test_labels"),
        ({"when": np.zeros(3, "datetime64[s]")}, "found test_images"),
    ],
)
def test_wrong_form(tiny, change, message):
    put(tiny.file, {**tiny.arrays, **change})
    with pytest.raises(DataError, match=message):
        cache.load("tiny")
    assert names(tiny.folder) == ["tiny.npz"]


@pytest.mark.parametrize("keep", [0, 1, 100, -1, -30])
def test_truncated_file(tiny, keep):
    put(tiny.file, tiny.arrays)
    tiny.file.write_bytes(tiny.file.read_bytes()[:keep])
    with pytest.raises(DataError, match="no complete npz file") as caught:
        cache.load("tiny")
    assert "the next use downloads tiny" in str(caught.value)
    assert names(tiny.folder) == ["tiny.npz"]
    assert tiny.calls == 0


def test_a_flipped_byte_inside(tiny):
    put(tiny.file, tiny.arrays)
    raw = bytearray(tiny.file.read_bytes())
    where = raw.index(tiny.arrays["train_images"].tobytes())
    raw[where + 3] ^= 1
    tiny.file.write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        cache.load("tiny")


class Bomb:
    """Unpickling it would leave a trace."""

    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_nothing_is_unpickled(tiny, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    held = np.empty(1, object)
    held[0] = Bomb()
    put(tiny.file, {**tiny.arrays, "train_labels": held})
    with pytest.raises(DataError, match="not the data set tiny"):
        cache.load("tiny")
    tiny.file.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="not the data set tiny"):
        cache.load("tiny")
    assert not (tmp_path / "exploded").exists()


def test_files_that_are_no_arrays(tiny):
    import zipfile

    tiny.folder.mkdir(parents=True)
    with zipfile.ZipFile(tiny.file, "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match="no arrays"):
        cache.load("tiny")


def test_read_only_folder_is_good_for_reading(tiny, monkeypatch):
    put(tiny.file, tiny.arrays)
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    assert same(cache.arrays("tiny"), tiny.arrays)


def refuse(*args, **options):
    raise PermissionError(13, "Permission denied")


@pytest.mark.parametrize(("module", "call"), [(tempfile, "mkdtemp"), (os, "replace"), (Path, "mkdir")])
def test_downloading_into_a_read_only_folder(tiny, monkeypatch, module, call):
    tiny.folder.mkdir(parents=True)
    monkeypatch.setattr(module, call, refuse)
    with pytest.raises(DataError, match=r"cannot be written to .*Permission denied.*SPECTRAL_LENS_DATA"):
        cache.load("tiny")
    assert names(tiny.folder) == []


def test_a_file_that_may_not_be_read_stays(tiny, monkeypatch):
    put(tiny.file, tiny.arrays)
    with monkeypatch.context() as patch:
        patch.setattr(cache, "open", refuse, raising=False)
        with pytest.raises(DataError, match=r"cannot be read .*permissions"):
            cache.load("tiny")
        assert cache.report()[0].edition.startswith("damaged: ")
    assert names(tiny.folder) == ["tiny.npz"]


@pytest.mark.parametrize("place", ["a file", "below a file", "a folder", "a link to nothing", "the link of a file"])
def test_a_place_where_no_file_can_be(tiny, monkeypatch, tmp_path, place):
    """One line that names it and says what to do; nothing that stands there is touched."""
    (tmp_path / "file").write_text("mine")
    if place == "a folder":
        tiny.file.mkdir(parents=True)
    elif place == "the link of a file":
        tiny.folder.mkdir(parents=True)
        tiny.file.symlink_to(tmp_path / "unplugged" / "tiny.npz")
    elif place == "a link to nothing":
        (tmp_path / "link").symlink_to(tmp_path / "file" / "x")
        monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path / "link"))
    else:
        monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path / "file" / ("x" if "below" in place else "")))
    with pytest.raises(DataError, match=r"cannot be (written|read)") as caught:
        cache.load("tiny")
    assert len(str(caught.value).splitlines()) == 1
    assert tiny.calls == 0
    assert len(cache.report()) == 2
    assert (tmp_path / "file").read_text() == "mine"
    assert tiny.file.is_symlink() is (place == "the link of a file")


def test_a_home_that_there_is_not(monkeypatch):
    monkeypatch.setenv("SPECTRAL_LENS_DATA", "~nobody-of-that-name/data")
    with pytest.raises(DataError, match="name the whole path"):
        cache.load("mnist")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_the_disk_refuses_is_no_fault_of_the_network(tiny, number):
    tiny.fault = OSError(number, os.strerror(number))
    with pytest.raises(DataError, match="cannot be written to") as caught:
        cache.load("tiny")
    assert "network" not in str(caught.value)
    assert os.strerror(number) in str(caught.value)
    assert names(tiny.folder) == []


def test_what_a_library_says_becomes_one_line(tiny):
    tiny.fault = ValueError("Could not fetch\n  a mirror\n\n  another")
    with pytest.raises(DataError, match=r"\(Could not fetch a mirror another\)") as caught:
        cache.load("tiny")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "fault",
    [
        URLError("Name or service not known"),
        requests.exceptions.ConnectionError("Max retries exceeded"),
        RuntimeError("Error downloading train-images"),
        ValueError("hash of downloaded file does not match"),
        EOFError("Compressed file ended"),
        tarfile.ReadError("not a gzip file"),
    ],
)
def test_no_network(tiny, fault):
    tiny.fault = fault
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        cache.load("tiny")
    message = str(caught.value)
    assert str(fault) in message
    assert f"put tiny.npz into {tiny.folder}" in message
    assert "train_images (7, 3, 4) uint8" in message
    assert names(tiny.folder) == []
    tiny.fault = None
    assert cache.fetch("tiny").present


def test_interruption_leaves_nothing(tiny):
    tiny.fault = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        cache.load("tiny")
    assert names(tiny.folder) == []


def test_little_disk(tiny, monkeypatch):
    usage = namedtuple("usage", "total used free")
    tiny.entry["space"] = 360_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 12_000_000))
    with pytest.raises(DataError, match=r"tiny needs 360 MB in .*, only 12 MB are free"):
        cache.load("tiny")
    assert tiny.calls == 0


def test_a_download_of_something_else_is_kept_aside(tiny):
    tiny.arrays = some(seed=4)
    with pytest.raises(DataError, match=r"What was downloaded .*expected SHA-256.*kept as .*tiny\.npz\.rejected"):
        cache.load("tiny")
    (tiny.folder / "tiny.npz.rejected-2").write_text("mine")
    with pytest.raises(DataError, match="rejected-3"):
        cache.load("tiny")
    assert names(tiny.folder) == ["tiny.npz.rejected", "tiny.npz.rejected-2", "tiny.npz.rejected-3"]
    assert (tiny.folder / "tiny.npz.rejected-2").read_text() == "mine"


def test_contents_in_another_order(tiny):
    shown = tiny.arrays
    order = np.random.default_rng(3).permutation(7)
    moved = {**shown, "train_images": shown["train_images"][order], "train_labels": shown["train_labels"][order]}
    oracle = {
        split: hashlib.sha256(
            b"".join(
                sorted(
                    hashlib.sha256(
                        shown[f"{split}_images"][i].tobytes() + bytes([shown[f"{split}_labels"][i]])
                    ).digest()
                    for i in range(n)
                )
            )
        ).hexdigest()
        for split, n in (("train", 7), ("test", 5))
    }
    start = moved["train_labels"][:3].tolist()
    original = edition(moved, hashes=False, contents=oracle, first_labels=start)
    tiny.entry["editions"] = {"shuffled": edition(shown), "original": original}
    put(tiny.file, moved)
    assert cache.load("tiny").edition == "original"
    put(tiny.file, shown)
    assert cache.load("tiny").edition == "shuffled"
    # Labels that belong to other images, and another order still.
    wrong = {**moved, "train_labels": np.roll(moved["train_labels"], 1)}
    put(tiny.file, wrong)
    with pytest.raises(DataError, match="train: expected images and labels with the digest"):
        cache.load("tiny")
    put(tiny.file, {key: value[::-1].copy() for key, value in moved.items()})
    with pytest.raises(DataError, match="train_labels: expected to begin with"):
        cache.load("tiny")


def test_receipts(tiny):
    receipt = tiny.folder / "tiny.receipt.json"
    tiny.entry["editions"] = {
        "sample": edition(some(3, 2)),
        "complete": edition(tiny.arrays, hashes=False, receipt=True),
    }
    assert cache.fetch("tiny").edition == "complete"
    assert names(tiny.folder) == ["tiny.npz", "tiny.receipt.json"]
    assert cache.load("tiny").edition == "complete"
    put(tiny.file, some(seed=8))  # the right form, other values
    with pytest.raises(DataError, match="not those of the receipt"):
        cache.load("tiny")
    for spoiled in ("{", "[]", json.dumps({"arrays": 3})):
        put(tiny.file, tiny.arrays)
        receipt.write_text(spoiled)
        with pytest.raises(DataError, match="receipt"):
            cache.load("tiny")
    put(tiny.file, tiny.arrays)
    receipt.unlink()
    with pytest.raises(DataError, match="no receipt of a download"):
        cache.load("tiny")
    put(tiny.file, some(3, 2))
    assert cache.load("tiny").edition == "sample"


def test_embedded_digits(folder, monkeypatch):
    assert {key: value.shape for key, value in cache.arrays("digits").items()} == {
        "images": (1797, 8, 8),
        "labels": (1797,),
    }
    assert cache.fetch("digits") == cache.Row("digits", True, "complete", None, None, "CC BY 4.0")
    monkeypatch.setattr(cache, "_digits", lambda: {"images": np.zeros((1797, 8, 8), np.uint8)})
    with pytest.raises(DataError, match="scikit-learn carries other digits"):
        cache.arrays("digits")


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "expected"),
    [("mnist", "complete"), ("cifar10", "complete, class-interleaved"), ("cifar100", "sample")],
)
def test_real_files_are_known_editions(name, expected):
    path = Path(os.environ.get("SPECTRAL_LENS_DATA", "")) / f"{name}.npz"
    if not os.environ.get("SPECTRAL_LENS_DATA") or not path.is_file():
        pytest.skip(f"SPECTRAL_LENS_DATA names no folder with {name}.npz")
    assert cache.load(name).edition == expected
