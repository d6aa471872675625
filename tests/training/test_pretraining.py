"""Eigenvalues first, all weights afterwards; a part of the eigenvectors."""

import pytest
import torch

from spectral_lens.datasets import synthetic
from spectral_lens.training import fit
from spectral_lens.training.comparison import moved
from spectral_lens.training.pretraining import pretrained, with_fraction
from spectral_lens.training.subsets import (
    EIGENVALUES,
    SPECTRAL,
    WEIGHTS,
    compare,
    direct_weights,
    spectral_weights,
    trainable_network,
)

SIZES, SHAPE = [7, 5, 4, 3], ["linear", "relu"]
SETTINGS = {"seeds": [3, 5], "batch_size": 10, "lr": 0.02, "optimizer": "adamax", "dtype": torch.float64}


@pytest.fixture(scope="module")
def data():
    x = torch.randn(60, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return synthetic.DataSet.of(x, (x @ x[:3].T).argmax(1))


def outputs(trained, x):
    return torch.stack([trained.run(r)(x) for r in range(trained.runs)])


def test_the_second_stage_begins_where_the_first_has_ended(data):
    (found,) = pretrained(SIZES, data, first=2, epochs=[3], activation=SHAPE, **SETTINGS)
    first = compare(SIZES, data, sets=[EIGENVALUES], activation=SHAPE, epochs=2, **SETTINGS)[EIGENVALUES]
    start = direct_weights(first)
    by_hand = fit(trainable_network(SIZES, WEIGHTS, activation=SHAPE), data, init_state=start, epochs=1, **SETTINGS)
    assert found.steps == by_hand.steps == 6
    for name, each in found.state.items():
        assert torch.equal(each, by_hand.state[name])
        assert (each - start[name]).abs().max() <= 6 * 0.02 + 1e-12  # AdaMax moves by the rate at most
    model = trainable_network(SIZES, WEIGHTS, activation=SHAPE).double()
    model.load_state_dict({name: each[1] for name, each in start.items()})
    torch.testing.assert_close(model(data.x), first.run(1)(data.x), rtol=1e-12, atol=1e-12)


def test_without_a_first_stage_it_is_direct_training_from_the_spectral_start(data):
    early, late = pretrained(SIZES, data, first=0, epochs=[1, 2], activation=SHAPE, **SETTINGS)
    model = trainable_network(SIZES, WEIGHTS, activation=SHAPE)
    start = spectral_weights(SIZES, SETTINGS["seeds"], torch.float64)
    for epochs, found in ((1, early), (2, late)):
        by_hand = fit(model, data, init_state=start, epochs=epochs, **SETTINGS)
        torch.testing.assert_close(outputs(found, data.x), outputs(by_hand, data.x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("first", "epochs"), [(-1, [2]), (2, [2]), (2, [3, 2]), (1, [])])
def test_stages_in_the_wrong_order(data, first, epochs):
    with pytest.raises(ValueError, match=r"must come before|must be positive and rise"):
        pretrained(SIZES, data, first=first, epochs=epochs, **SETTINGS)


def test_a_share_of_the_eigenvectors_moves_with_all_eigenvalues(data):
    trained = with_fraction(SIZES, data, share=0.3, epochs=2, **SETTINGS)
    changed = moved(trained)
    psi = torch.cat([each.flatten(1) for name, each in changed.items() if name.endswith("psi")], 1)
    assert psi.shape == (2, 7 * 5 + 5 * 4 + 4 * 3)
    assert psi.sum(1).tolist() == [20, 20]  # of 67
    assert (psi[0] != psi[1]).any()
    assert all(each.all() for name, each in changed.items() if name.endswith("lam_out"))


@pytest.mark.parametrize(("share", "which"), [(0.0, EIGENVALUES), (1.0, SPECTRAL)])
def test_no_eigenvectors_and_all_of_them(data, share, which):
    found = with_fraction(SIZES, data, share=share, epochs=2, activation=SHAPE, **SETTINGS)
    whole = compare(SIZES, data, sets=[which], epochs=2, activation=SHAPE, **SETTINGS)[which]
    torch.testing.assert_close(outputs(found, data.x), outputs(whole, data.x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(data, share):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        with_fraction(SIZES, data, share=share, epochs=1, **SETTINGS)
