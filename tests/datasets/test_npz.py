"""Samples in a file of NumPy: as they were saved, or one sentence that names the file."""

import io

import numpy as np
import pytest
import torch

from spectral_lens._runtime import resources
from spectral_lens._runtime.errors import InputError
from spectral_lens.datasets import DataSet
from spectral_lens.datasets.npz import read_npz

G = np.random.default_rng(0)
X, Y = G.normal(size=(7, 3, 5)), np.array([0, 2, 1, 1, 0, 2, 2])


def test_x_and_y_are_a_data_set(tmp_path):
    np.savez(tmp_path / "mine.npz", x=X, y=Y, other=np.array([1.5]))
    data = read_npz(tmp_path / "mine.npz")
    assert isinstance(data, DataSet)
    assert torch.equal(data.x, torch.from_numpy(X))
    assert data.y.tolist() == Y.tolist()
    assert (data.name, data.edition, data.provenance) == ("mine", "the reader's own", "Read from mine.npz")


def test_x_alone_is_a_tensor(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "mine.npz", x=X.astype(">f4"))
    monkeypatch.setenv(resources.CALLED_FROM, str(tmp_path))
    x = read_npz("mine.npz")
    assert isinstance(x, torch.Tensor)
    assert torch.equal(x, torch.from_numpy(X.astype("f4")))


@pytest.mark.parametrize(
    ("y", "labels", "quantity"),
    [
        (Y.astype(np.uint8), ("0", "1", "2"), ""),
        (np.array(list("abcabca")), ("a", "b", "c"), ""),
        (Y * 0.5, (), "y"),
        (Y > 0, ("False", "True"), ""),
    ],
)
def test_y_is_classes_or_a_quantity(tmp_path, y, labels, quantity):
    np.savez(tmp_path / "mine.npz", x=(X > 0).astype(np.uint8), y=y)
    data = read_npz(tmp_path / "mine.npz")
    assert (data.labels, data.quantity) == (labels, quantity)
    assert data.x.dtype == torch.float32


def saved(save=np.savez, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


WHOLE = saved(x=X, y=Y)
WRONG = {
    "no x": (saved(a=X, b=Y), "mine.npz has no array x: it holds a, b"),
    "nothing": (saved(), "mine.npz has no array x: it holds nothing"),
    "unnamed": (saved(np.savez, X), "has no array x: it holds arr_0"),
    "no axis of samples": (saved(x=Y), r"mine\.npz: x is \(7,\): samples \(n, \*d\) are needed"),
    "a number": (saved(x=3.0), r"x is \(\): samples"),
    "no samples": (saved(x=X[:0]), r"x is \(0, 3, 5\): samples"),
    "text": (saved(x=np.array([["a", "b"]])), "mine.npz: x holds <U1, not numbers"),
    "NaN": (saved(x=np.where(X > 0, X, np.nan)), "mine.npz: x holds NaN or infinite values"),
    "NaN with y": (saved(x=np.where(X > 0, X, np.nan), y=Y), "mine: x holds NaN or infinite values"),
    "too few y": (saved(x=X, y=Y[:4]), r"mine: x and y must have the shapes"),
    "classes or not": (saved(x=X, y=Y * 500), "mine.npz: y has 3 different whole numbers"),
    "objects": (saved(x=np.array([{}, {}], dtype=object)), r"mine\.npz is not read \(Object arrays.*np\.savez\(path"),
    "a single array": (saved(np.save, X), r"mine\.npz is not read \(it is no npz\)"),
    "another file": (b"x,y\n1,2\n", r"mine\.npz is not read \(it is no npz\)"),
    "empty": (b"", r"mine\.npz is not read \(it is no npz\)"),
    "cut short": (WHOLE[: len(WHOLE) // 2], r"mine\.npz is not read \(it is no npz\)"),
    "a byte changed": (WHOLE[:300] + bytes([WHOLE[300] ^ 255]) + WHOLE[301:], r"mine\.npz is not read \(Bad CRC"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_holds_no_samples_is_one_sentence(tmp_path, kind):
    content, why = WRONG[kind]
    (tmp_path / "mine.npz").write_bytes(content)
    with pytest.raises(InputError, match=why) as error:
        read_npz(tmp_path / "mine.npz")
    assert len(str(error.value).splitlines()) == 1
    assert "mine" in str(error.value)


def test_a_file_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^data=mine\.npz cannot be read \(No such file or directory\)\.$"):
        read_npz("mine.npz")
    with pytest.raises(InputError, match=r"^data names no file"):
        read_npz("")
