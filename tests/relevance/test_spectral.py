"""Scores of a data set by eigenvalues: read off the trained state by hand."""

import pytest
import torch

import oracles
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.spectral import by_eigenvalues, fixed_steps
from spectral_lens.training import fit

OPTIONS = {"epochs": 3, "batch_size": 11, "lr": 0.02, "dtype": torch.float64, "device": "cpu"}


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_score_is_the_length_of_a_column_of_weights_over_the_longest(norm):
    data = oracles.toy(23, (7,), 3)
    found = by_eigenvalues(data, penalty=0.04, psi_penalty=0.01, norm=norm, hidden=[5, 4], seeds=(2, 3), **OPTIONS)
    penalties = {norm: {"layer1.lam_in": 0.04, "layer1.psi": 0.01}}
    state = fit(mlp([7, 5, 4, 3]), data, seeds=(2, 3), **penalties, **OPTIONS).state
    length = (state["layer1.lam_in"].unsqueeze(1) * state["layer1.psi"]).norm(dim=1)
    torch.testing.assert_close(found, length / length.amax(1, keepdim=True))


def test_the_eigenvectors_pay_a_twentieth_by_default():
    data = oracles.toy(23, (7,), 3)
    found, same, free = (
        by_eigenvalues(data, penalty=0.4, psi_penalty=each, hidden=[5], seeds=(2,), **OPTIONS)
        for each in (None, 0.02, 0.0)
    )
    torch.testing.assert_close(found, same, rtol=0, atol=0)
    assert (found - free).abs().max() > 1e-4


def test_the_architecture_is_the_networks():
    data = oracles.measured(23, (7,))
    options = {"penalty": 0.0, "hidden": [5], "seeds": (2,), "loss": "mse", **OPTIONS | {"batch_size": 12}}
    normed, plain = (by_eigenvalues(data, architecture=each, **options) for each in ({"batch_norm": True}, None))
    assert (normed - plain).abs().max() > 1e-4


def test_an_unknown_norm_is_refused():
    with pytest.raises(ValueError, match="use 'l1' or 'l2'"):
        by_eigenvalues(oracles.toy(23, (7,)), penalty=0.1, norm="l0", hidden=[5], seeds=(2,), **OPTIONS)


@pytest.mark.parametrize("samples", [17, 100, 999, 1700, 5000])
def test_sets_of_any_size_are_trained_for_about_as_many_steps(samples):
    options = fixed_steps(oracles.toy(samples, (3,)), steps=60, batch_size=100)
    taken = options["epochs"] * -(-samples // options["batch_size"])
    assert options["batch_size"] == min(100, samples)
    assert abs(taken - 60) <= max(6, samples / 100 / 2)
    assert fixed_steps(oracles.toy(5000, (3,)), steps=1, batch_size=100)["epochs"] == 1
    assert fixed_steps(oracles.toy(17, (3,)), steps=29, batch_size=10) == {"epochs": 17, "batch_size": 10}  # 17.06


@pytest.mark.parametrize("wrong", [{"steps": 0, "batch_size": 5}, {"steps": 5, "batch_size": 0}])
def test_steps_and_batches_are_positive(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        fixed_steps(oracles.toy(17, (3,)), **wrong)
