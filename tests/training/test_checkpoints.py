"""A checkpoint is whole, of this experiment, or refused."""

import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.training import checkpoints

SETTINGS = {"seeds": (3, 1), "lr": [0.1, 1e-3], "l1": {"psi": 0.1 + 0.2}, "data": None, "batch_size": 500}
TENSORS = {
    "theta": torch.tensor([[1 / 3, float("nan")], [float("-inf"), -0.0]], dtype=torch.float64),
    "fixed:norm1.num_batches_tracked": torch.tensor([3, 4]),
    "power": torch.tensor(0.9, dtype=torch.float64),
    "state": torch.arange(5, dtype=torch.uint8),
    "half": torch.ones(2, dtype=torch.float16),
    "settings": torch.zeros(0, 3),
    "file": torch.tensor([True, False]),
}


def test_what_is_saved_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "new" / "folder" / "run.npz"
    checkpoints.save(path, SETTINGS, TENSORS)
    found = checkpoints.load(path, SETTINGS)
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert found[name].numpy().tobytes() == value.numpy().tobytes()
    assert [each.name for each in path.parent.iterdir()] == ["run.npz"]  # no .part beside it


@pytest.mark.parametrize("name", ["run", "run.checkpoint", "run.npz"])
def test_the_file_has_the_name_it_was_given(tmp_path, name):
    checkpoints.save(tmp_path / name, SETTINGS, TENSORS)
    assert [each.name for each in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 501}, r"batch_size: 500 then, 501 now"),
        ({"seeds": (1, 3)}, r"seeds: \[3, 1\] then, \[1, 3\] now"),
        ({"lr": [0.1, 1.1e-3]}, r"lr: .*0\.0011\] now"),
        ({"l1": {"psi": 0.3}}, r"l1: .*then, .*now"),
        ({"more": 1}, r"more: None then, 1 now"),
        ({"batch_size": 1, "data": "mnist"}, r"data: None then, mnist now; batch_size: 500 then, 1 now"),
    ],
)
def test_another_experiments_checkpoint_is_refused_by_what_differs(tmp_path, change, message):
    path = tmp_path / "run.npz"
    checkpoints.save(path, SETTINGS, TENSORS)
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.load(path, SETTINGS | change)
    assert "run.npz" in str(caught.value)
    assert not set(SETTINGS) - set(change) & {word.split(":")[0] for word in str(caught.value).split()}


def test_a_setting_that_is_gone_is_named(tmp_path):
    path = tmp_path / "run.npz"
    checkpoints.save(path, SETTINGS, TENSORS)
    with pytest.raises(ValueError, match=r"batch_size: 500 then, None now"):
        checkpoints.load(path, {name: value for name, value in SETTINGS.items() if name != "batch_size"})


@settings(deadline=None, derandomize=True, max_examples=25)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_refused(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "run.npz"
    checkpoints.save(path, SETTINGS, TENSORS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"run\.npz is no readable checkpoint.*remove it"):
        checkpoints.load(path, SETTINGS)


def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "run.npz"
    checkpoints.save(path, SETTINGS, TENSORS)
    content = bytearray(path.read_bytes())
    at = content.index(TENSORS["theta"].numpy().tobytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no readable checkpoint"):
        checkpoints.load(path, SETTINGS)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, where):
        self.where = where

    def __reduce__(self):
        return os.mkdir, (str(self.where),)


@pytest.mark.parametrize("name", ["settings", "tensor:theta"])
def test_nothing_is_unpickled(tmp_path, name):
    path, sprung = tmp_path / "run.npz", tmp_path / "sprung"
    np.savez(path, **{"settings": np.array("{}"), name: np.array([Trap(sprung)], dtype=object)})
    with pytest.raises(ValueError, match="no readable checkpoint"):
        checkpoints.load(path, {})
    assert not sprung.exists()


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "run.npz"
    checkpoints.save(path, SETTINGS, TENSORS)
    before = path.read_bytes()

    class Broken:
        def cpu(self):
            raise OSError("no space left")

    with pytest.raises(Exception, match=r"no space left|Broken"):
        checkpoints.save(path, SETTINGS, TENSORS | {"broken": Broken()})
    with pytest.raises(TypeError):
        checkpoints.save(path, SETTINGS | {"what": object()}, TENSORS)
    assert path.read_bytes() == before
    assert checkpoints.load(path, SETTINGS)["theta"].shape == (2, 2)
