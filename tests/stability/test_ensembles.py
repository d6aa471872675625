"""Comparable networks: each is the one that it would be alone, and choices are those made by hand."""

import math

import pytest
import torch

from spectral_lens.datasets import images
from spectral_lens.nn.mlp import mlp
from spectral_lens.stability.ensembles import epochs_to_common, fit_strengths, strongest
from spectral_lens.training import fit
from spectral_lens.training.penalties import JacobianNorm

pytestmark = pytest.mark.usefixtures("double")


def test_each_network_is_the_one_that_it_would_be_alone():
    data = images.digits()[0].take(57).to(dtype=torch.float64)
    model, options = mlp([64, 7, 10], spectral=0), {"epochs": 2, "batch_size": 19, "dtype": torch.float64}
    strengths = [0.0, 0.3, 0.02]
    together = fit_strengths(model, data, penalty=JacobianNorm, strengths=strengths, runs=2, first_seed=11, **options)
    assert together.seeds == (11, 12, 13, 14, 15, 16)
    for s, strength in enumerate(strengths):
        for i in range(2):
            alone = fit(model, data, seeds=[11 + 2 * s + i], penalty=JacobianNorm(strength), **options)
            for name, values in together.state.items():
                torch.testing.assert_close(values.unflatten(0, (-1, 2))[s, i], alone.state[name][0])


def test_nothing_to_train():
    data, options = images.digits()[0].take(20), {"penalty": JacobianNorm, "first_seed": 0, "epochs": 1}
    for wrong in ({"strengths": [], "runs": 2}, {"strengths": [0.1], "runs": 0}):
        with pytest.raises(ValueError, match="at least one of each"):
            fit_strengths(mlp([64, 10]), data, **wrong, **options)


@pytest.mark.parametrize(
    ("means", "lost", "place"),
    [
        ([0.9, 0.89, 0.895, 0.5], 0.01, 2),  # the largest, not the first that keeps it
        ([0.9, 0.8, 0.895, 0.2], 0.01, 2),  # a weaker one that loses more does not matter
        ([0.9, 0.8, 0.7], 0.01, 0),
        ([0.9, 0.95, 0.93], 0.0, 2),
        ([0.9, 0.8, 0.7], 0.5, 2),
    ],
)
def test_the_strongest_within_a_loss(means, lost, place):
    spread = torch.tensor([-0.02, 0.0, 0.02])
    assert strongest(torch.tensor(means).unsqueeze(1) + spread, lost=lost + 1e-12) == place


def test_no_strength_to_choose():
    for lost in (-0.1, math.nan):
        with pytest.raises(ValueError, match="lost="):
            strongest(torch.ones(3, 2), lost=lost)
    for bad in (torch.ones(0, 2), torch.tensor([[1.0], [math.nan]])):
        with pytest.raises(ValueError, match="finite"):
            strongest(bad, lost=0.1)


def test_epochs_to_a_common_accuracy():
    histories = {name: torch.rand(epochs, 3) for name, epochs in (("a", 9), ("b", 5), ("c", 13))}
    found = epochs_to_common(histories)
    means = {name: [sum(row) / 3 for row in each.tolist()] for name, each in histories.items()}
    common = min(max(each) for each in means.values())
    for name, each in means.items():
        assert each[found[name] - 1] >= common - 1e-12
        assert all(value < common - 1e-12 for value in each[: found[name] - 1])
    near = {"a": torch.tensor([[0.5], [0.695], [0.7], [0.9]]), "b": torch.tensor([[0.6], [0.7]])}
    assert epochs_to_common(near) == {"a": 3, "b": 2}, "not where it is only nearly reached"
    with pytest.raises(ValueError, match="at least one kind"):
        epochs_to_common({})
    with pytest.raises(ValueError, match="an epoch of each"):
        epochs_to_common({"a": torch.rand(0, 3)})
