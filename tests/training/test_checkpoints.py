"""A checkpoint is whole, of this experiment, or refused; a training goes on from it to the same bits."""

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oracles
from experiments import DOUBLE, SEEDS, Steep, dropping, some
from oracles import measured, toy
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import _batched, _loop, _parameters, checkpoints, fit
from spectral_lens.training.penalties import JacobianNorm

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


# ---- a training that goes on


STOPPED = {
    "data": toy(22, (5,), 3, runs=3),
    "validation": toy(9, (5,), 3, runs=3, seed=4),
    "seeds": SEEDS,
    "batch_size": 8,
    "lr": [0.01, 0.003, 0.1],
    "l1": {"layer1.psi": [1e-3, 0.0, 0.1]},
    "masks": {"layer1.psi": some((3, 6, 5))},
} | DOUBLE


def assert_same_bits(one, other):
    assert one.steps == other.steps
    assert one.failed == other.failed
    assert one.history.keys() == other.history.keys()
    for a, b in [(one.state, other.state), (one.history, other.history)]:
        for key, value in a.items():
            assert value.dtype == b[key].dtype
            torch.testing.assert_close(value, b[key], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("together", [1, _parameters._TOGETHER])
@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
def test_a_resumed_training_has_the_same_bits(tmp_path, monkeypatch, optimizer, together):
    monkeypatch.setattr(_parameters, "_TOGETHER", together)
    model, path = dropping(), tmp_path / "run.npz"
    whole = fit(model, epochs=5, optimizer=optimizer, **STOPPED)
    fit(model, epochs=2, optimizer=optimizer, checkpoint=path, **STOPPED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # another process has another state, and another model of the same form
        resumed = fit(dropping(), epochs=5, optimizer=optimizer, checkpoint=str(path), **STOPPED)
    assert_same_bits(resumed, whole)
    assert_same_bits(fit(model, epochs=5, optimizer=optimizer, checkpoint=path, **STOPPED), whole)  # nothing to do
    assert [each.name for each in tmp_path.iterdir()] == ["run.npz"]


class Cliff:
    """A price that is NaN in one run at one step, with no gradient, so that nothing but `failed` remembers it."""

    step = torch.tensor([0, 7, 0])

    def __call__(self, step):
        at = step.state["norm1.num_batches_tracked"] == self.step
        return torch.where(at, float("nan"), step.state["layer1.lam_in"].square().sum(1))

    def __repr__(self):
        return "Cliff()"


UNEQUAL = {
    "data": measured(22, (5,), runs=3),
    "validation": measured(9, (5,), runs=3, seed=4),
    "seeds": SEEDS,
    "epochs": 5,  # of three steps
    "batch_size": 8,
    "loss": "mse",
    "lr": [0.01, 0.003, 0.1],
    "decay": 0.7,
    "penalty": Cliff(),
    "l2": {"layer2.weight": [0.1, 0.0, 0.3]},
    "checkpoint_every": 1,
} | DOUBLE


@pytest.fixture(scope="module")
def unequal():
    """A training in which one run fails in the third of five epochs and the rate falls; its state at every epoch."""
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", lambda *arguments: saved.append(copy.deepcopy(arguments)))
        with pytest.warns(RuntimeWarning, match=r"run 1 \(seed 2\) at step 6; the other runs finished"):
            whole = fit(mlp([5, 6, 1], batch_norm=True, dropout=0.3), checkpoint="nowhere.npz", **UNEQUAL)
    return whole, saved


@pytest.mark.parametrize("done", [1, 2, 3, 4, 5])
def test_runs_of_unequal_fate_go_on_from_any_epoch(tmp_path, unequal, done):
    whole, saved = unequal
    assert whole.failed == {1: 6}
    assert all(value.isfinite().all() for value in whole.state.values())
    _, settings, tensors = saved[done - 1]
    assert tensors["failed"].tolist() == [-1, 6 if done > 2 else -1, -1]
    path = tmp_path / "run.npz"
    checkpoints.save(path, settings, tensors)
    with pytest.warns(RuntimeWarning, match=r"run 1 \(seed 2\) at step 6; the other runs finished"):
        resumed = fit(mlp([5, 6, 1], batch_norm=True, dropout=0.3), checkpoint=path, **UNEQUAL)
    assert_same_bits(resumed, whole)
    assert resumed.history["validation_loss"].shape == (5, 3)


def test_an_older_training_than_asked_for_is_refused(tmp_path):
    path, call = tmp_path / "run.npz", {"data": toy(20, (5,), 3), "seeds": SEEDS, **DOUBLE}
    fit(mlp([5, 6, 3]), epochs=3, checkpoint=path, **call)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"run\.npz is already 3 epochs old"):
        fit(mlp([5, 6, 3]), epochs=2, checkpoint=path, **call)
    assert path.read_bytes() == before


def test_an_interrupted_training_goes_on_from_its_last_checkpoint(tmp_path, monkeypatch):
    model, path = dropping(), tmp_path / "run.npz"
    whole = fit(model, epochs=6, **STOPPED)
    forward, calls = _batched.forward, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 18:  # 3 steps and a validation in each epoch: in the middle of the fifth
            raise KeyboardInterrupt
        return forward(*arguments, **options)

    monkeypatch.setattr(_batched, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(model, epochs=6, checkpoint=path, checkpoint_every=2, **STOPPED)
    assert float(torch.tensor([1e-38]) * torch.tensor([0.1])) > 0  # denormal numbers are numbers again
    calls.clear()
    monkeypatch.setattr(_batched, "forward", lambda *a, **o: calls.append(1) or forward(*a, **o))
    assert_same_bits(fit(model, epochs=6, checkpoint=path, checkpoint_every=2, **STOPPED), whole)
    assert len(calls) == 2 * 4  # epochs five and six only


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 9}, "batch_size: 8 then, 9 now"),
        ({"lr": [0.01, 0.003, 0.2]}, "lr"),
        ({"seeds": (7, 2, 12)}, "seeds"),
        ({"optimizer": "adamax"}, "optimizer: adam then, adamax now"),
        ({"l1": {"layer1.psi": 1e-3}}, "l1"),
        ({"l2": {"layer1.psi": 1e-3}}, "l2"),
        ({"masks": {"layer1.psi": some((3, 6, 5), 7)}}, "masks"),
        ({"masks": None}, "masks"),
        ({"reinitialize": False}, "reinitialize"),
        ({"init_state": {"layer1.psi": torch.zeros(3, 6, 5)}}, "init_state"),
        ({"dtype": torch.float32}, "dtype"),
        ({"data": toy(21, (5,), 3, runs=3)}, "samples"),
        ({"data": oracles.data_set(STOPPED["data"].x, STOPPED["data"].y, runs=3, sha256="1" * 64)}, "data"),
        ({"data": replace(STOPPED["data"], name="another")}, "data"),
        ({"data": replace(STOPPED["data"], provenance="scaled")}, "data"),
        ({"validation": None}, "validation"),
        ({"validation": replace(STOPPED["validation"], name="another")}, "validation"),
        ({"validation": replace(STOPPED["validation"], sha256="1" * 64)}, "validation"),
        ({"validation": replace(STOPPED["validation"], provenance="scaled")}, "validation"),
        ({"model": mlp([5, 6, 3], spectral=2, batch_norm=True, dropout=0.2)}, "model"),
        ({"model": mlp([5, 6, 3], spectral=2, batch_norm=True, dropout=0.3, activation="tanh")}, "model"),
        ({"model": mlp([5, 7, 3], spectral=2, batch_norm=True, dropout=0.3), "masks": None}, "shapes"),
        ({"model": mlp([5, 6, 3], batch_norm=True, dropout=0.3)}, "trained"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_experiments_checkpoint_is_refused(tmp_path, change, named):
    path = tmp_path / "run.npz"
    fit(dropping(), epochs=1, checkpoint=path, **STOPPED)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"belongs to another experiment.*{named}"):
        fit(**({"model": dropping(), "epochs": 2, "checkpoint": path} | STOPPED | change))
    assert path.read_bytes() == before


def filled(value):
    """A network with that value in every parameter."""
    model = mlp([5, 6, 3])
    for parameter in model.parameters():
        nn.init.constant_(parameter, value)
    return model


@pytest.mark.parametrize(
    ("then", "now", "named"),
    [
        ({"loss": "mse"}, {"loss": "mae"}, "loss"),
        ({}, {"validation": toy(9, (5,), 3, seed=4)}, "validation"),
        ({"decay": 0.5}, {"decay": 0.4}, "decay"),
        ({"penalty": JacobianNorm(0.1)}, {"penalty": JacobianNorm(0.2)}, "penalty"),
        ({"penalty": JacobianNorm(0.1)}, {"penalty": JacobianNorm(0.1, 2)}, "penalty"),
        ({"reinitialize": False, "model": filled(0.1)}, {"reinitialize": False, "model": filled(0.2)}, "init_state"),
        ({"init_state": {"layer2.bias": torch.ones(3, 3)}}, {"init_state": {"layer2.bias": torch.zeros(3, 3)}},
         "init_state"),
        ({"init_state": {"layer1.lam_out": torch.ones(3, 6)}}, {"init_state": {"layer1.lam_out": torch.zeros(3, 6)}},
         "init_state"),  # which is not trained
    ],
)  # fmt: skip
def test_one_difference_is_named_alone(tmp_path, then, now, named):
    data = measured(20, (5,)) if "loss" in then else toy(20, (5,), 3)
    model = mlp([5, 6, 1]) if "loss" in then else mlp([5, 6, 3])
    call = {"model": model, "data": data, "seeds": SEEDS, "epochs": 2, "checkpoint": tmp_path / "run.npz", **DOUBLE}
    fit(**(call | then))
    with pytest.raises(ValueError, match=rf"another experiment \({named}: [^;]* then, [^;]* now\)"):
        fit(**(call | now))
    fit(**(call | then))


def test_another_penalty_is_another_experiment_for_a_checkpoint(tmp_path):
    options = {"data": toy(22, (5,), 3), "seeds": SEEDS, "batch_size": 8, "checkpoint": tmp_path / "run.npz", **DOUBLE}
    fit(mlp([5, 6, 3]), epochs=1, penalty=Steep(), **options)
    with pytest.raises(ValueError, match="penalty"):
        fit(mlp([5, 6, 3]), epochs=2, **options)


def test_a_falling_rate_is_another_experiment_for_a_checkpoint(tmp_path):
    path, call = tmp_path / "run.npz", {"data": toy(20, (5,), 3), "seeds": SEEDS, "device": "cpu"}
    fit(mlp([5, 6, 3]), epochs=2, decay=0.5, checkpoint=path, **call)
    with pytest.raises(ValueError, match=r"another experiment.*epochs"):
        fit(mlp([5, 6, 3]), epochs=4, decay=0.5, checkpoint=path, **call)
    with pytest.raises(ValueError, match=r"another experiment.*decay"):
        fit(mlp([5, 6, 3]), epochs=4, checkpoint=path, **call)


def test_a_checkpoint_of_other_blocks_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    fit(dropping(), epochs=1, checkpoint=path, **STOPPED)
    monkeypatch.setattr(_parameters, "_TOGETHER", 1)
    with pytest.raises(ValueError, match="blocks: None then, 3 now"):
        fit(dropping(), epochs=2, checkpoint=path, **STOPPED)


def test_a_truncated_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "run.npz"
    fit(dropping(), epochs=1, checkpoint=path, **STOPPED)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"run\.npz is no readable checkpoint.*remove it"):
        fit(dropping(), epochs=2, checkpoint=path, **STOPPED)
    assert len(path.read_bytes()) == len(whole) // 2


def test_a_disk_that_fills_up_does_not_lose_the_training(tmp_path, monkeypatch):
    expected, path = fit(dropping(), epochs=4, **STOPPED), tmp_path / "run.npz"
    fit(dropping(), epochs=2, checkpoint=path, **STOPPED)
    whole = path.read_bytes()

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.warns(RuntimeWarning, match=r"could not be written .*No space left.* goes on") as said:
        found = fit(dropping(), epochs=4, checkpoint=path, checkpoint_every=1, **STOPPED)
    assert len(said) == 2  # epochs three and four
    assert_same_bits(found, expected)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["theta", "m", "generators", "count", "history:loss"])
def test_a_checkpoint_that_lacks_something_is_refused(tmp_path, monkeypatch, name):
    path, save = tmp_path / "run.npz", checkpoints.save
    without = lambda tensors: {key: value for key, value in tensors.items() if key != name}  # noqa: E731
    monkeypatch.setattr(checkpoints, "save", lambda path, own, tensors: save(path, own, without(tensors)))
    fit(dropping(), epochs=1, checkpoint=path, **STOPPED)
    with pytest.raises(ValueError, match=rf"run.npz lacks {name}: remove it"):
        fit(dropping(), epochs=2, checkpoint=path, **STOPPED)


def test_checkpoint_every_says_when_one_is_written(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(_loop.checkpoints, "save", lambda path, s, tensors: written.append(int(tensors["count"])))
    fit(
        mlp([4, 3, 2]),
        toy(10, (4,)),
        seeds=[1],
        epochs=7,
        checkpoint_every=3,
        checkpoint=tmp_path / "run.npz",
        **DOUBLE,
    )
    assert written == [3, 6, 7]  # one step in each epoch; the last epoch is always kept
