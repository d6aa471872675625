"""Numbers of every kind as settings: the same training as with Python's own, and the same checkpoint."""

import itertools
import json

import numpy as np
import pytest
import torch

from experiments import DOUBLE
from oracles import toy
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit, initial
from spectral_lens.training._numbers import numbers, whole
from spectral_lens.training.penalties import JacobianNorm

WHOLE = [int, np.int8, np.uint8, np.int32, np.int64, np.uint64, lambda n: np.array(n), lambda n: torch.tensor(n)]
FLOATS = [float, np.float16, np.float32, np.float64, lambda v: np.array(v), lambda v: torch.tensor(v)]
LISTS = [list, tuple, np.array, torch.tensor, lambda v: [np.float32(each) for each in v]]


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers(kind):
    found = whole(kind(7), "epochs")
    assert found == 7
    assert type(found) is int


@pytest.mark.parametrize("bad", [2.0, np.float64(2), "2", None, torch.tensor([1, 2]), np.arange(2)])
def test_what_is_no_whole_number(bad):
    with pytest.raises(ValueError, match=r"epochs=.* must be a whole number"):
        whole(bad, "epochs")


@pytest.mark.parametrize("kind", FLOATS)
def test_floats(kind):
    found = numbers(kind(0.5), "lr")
    assert found == 0.5
    assert type(found) is float


@pytest.mark.parametrize("kind", LISTS)
def test_one_for_each_run(kind):
    found = numbers(kind([0.5, 0.25, 2.0]), "lr")
    assert found == (0.5, 0.25, 2.0)
    assert [type(each) for each in found] == [float] * 3
    assert numbers(torch.tensor([0.5], requires_grad=True), "lr") == (0.5,)
    assert numbers(torch.tensor(0.5, dtype=torch.bfloat16), "lr") == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, [], [1.0, np.nan], None, "0.5", np.ones((2, 2)), [[1.0], [1.0, 2.0]]])
def test_what_is_no_number(bad):
    with pytest.raises(ValueError, match=r"(?s)lr=.* must be a finite number, or one per run"):
        numbers(bad, "lr")


def options(integer, number, several):
    return {
        "seeds": [integer(3), integer(1)],
        "epochs": integer(2),
        "batch_size": integer(7),
        "checkpoint_every": integer(1),
        "lr": number(0.125),
        "decay": number(0.5),
        "l1": {"layer1.lam_in": number(0.25)},
        "l2": {"layer1.psi": several([0.5, 0.0])},
        "penalty": JacobianNorm(number(0.25), integer(2)),
    }


def settings(path):
    with np.load(path) as file:
        return json.loads(str(file["settings"]))


@pytest.mark.parametrize(("integer", "number"), list(zip(WHOLE, itertools.cycle(FLOATS), strict=False)))
def test_every_kind_is_the_same_experiment(tmp_path, integer, number):
    model, data = mlp([4, 3, 2]), toy(20, (4,))
    expected = fit(model, data, checkpoint=tmp_path / "a.npz", **options(int, float, list), **DOUBLE)
    for k, several in enumerate(LISTS):
        path = tmp_path / f"{k}.npz"
        found = fit(model, data, checkpoint=path, **options(integer, number, several), **DOUBLE)
        assert all(torch.equal(value, expected.state[name]) for name, value in found.state.items())
        assert found.seeds == (3, 1)
        assert settings(path) == settings(tmp_path / "a.npz")


def test_seeds_of_an_array():
    model = mlp([4, 3, 2])
    for seeds in (np.arange(3), torch.arange(3), iter(range(3))):
        assert torch.equal(initial(model, seeds)["layer1.psi"], initial(model, range(3))["layer1.psi"])
