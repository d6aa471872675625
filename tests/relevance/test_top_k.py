"""Accuracy by the number of inputs against a loop over runs, counts and samples."""

import pytest
import torch
from torch import nn

import oracles
from experiments import TIGHT, doubles, untrained
from oracles import toy
from spectral_lens.nn.layers import SpectralConv2d
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance import top_k
from spectral_lens.relevance.scores import (
    of_inputs,
    ranking,
)
from spectral_lens.relevance.top_k import min_features, top_k_curve
from spectral_lens.training import accuracy, error, fit


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


@pytest.fixture(scope="module")
def trained():
    options = {"epochs": 12, "batch_size": 10, "lr": 0.02, "dtype": torch.float64, "device": "cpu"}
    return fit(mlp([6, 5, 3], activation="tanh", batch_norm=True), toy(60, (6,), 3), seeds=[2, 9], **options)


@pytest.mark.parametrize("counts", [None, [0, 6, 2], [3], range(0, 7, 2)])
@pytest.mark.parametrize("chunk", [None, 2, 1])
def test_accuracy_by_count_is_the_loop(trained, counts, chunk):
    data = toy(23, (6,), 3, seed=1)
    order = ranking(of_inputs(trained))
    found = top_k_curve(trained, data, order, counts=counts, chunk=chunk)
    every = list(range(1, 7)) if counts is None else list(counts)
    models = [trained.run(r) for r in range(2)]
    expected = oracles.accuracy_by_count(models, data.x, data.y, order, every, torch.zeros(6))
    torch.testing.assert_close(found, expected, **TIGHT)
    assert len(set(expected.flatten().tolist())) > 1 or len(every) == 1


def test_for_a_quantity_it_is_the_error():
    data = oracles.measured(23, (6,))
    options = {"epochs": 4, "batch_size": 8, "lr": 0.01, "loss": "mae", "dtype": torch.float64, "device": "cpu"}
    trained = fit(mlp([6, 5, 1]), data, seeds=[2, 9], **options)
    order = ranking(of_inputs(trained))
    found = top_k_curve(trained, data, order, counts=[6, 2], chunk=1)
    torch.testing.assert_close(found[:, 0], error(trained, data), **TIGHT)
    for r in range(2):
        given = torch.zeros_like(data.x).index_copy(1, order[r, :2], data.x[:, order[r, :2]])
        expected = (trained.run(r)(given)[:, 0] - data.y).abs().mean()
        torch.testing.assert_close(found[r, 1], expected, **TIGHT)


def test_all_inputs_give_the_full_accuracy(trained):
    data = toy(23, (6,), 3, seed=1)
    found = top_k_curve(trained, data, ranking(of_inputs(trained)), counts=[6])
    torch.testing.assert_close(found[:, 0], accuracy(trained, data), **TIGHT)


@pytest.mark.parametrize("fill", [0.7, "means"])
def test_the_rest_is_filled(trained, fill):
    data = toy(23, (6,), 3, seed=1)
    values = data.x.mean(0) if fill == "means" else torch.full((6,), fill, dtype=torch.float64)
    order = torch.tensor([[4, 0, 2, 1, 5, 3], [1, 5, 0, 3, 2, 4]])
    found = top_k_curve(trained, data, order, counts=range(7), fill=values if fill == "means" else fill)
    models = [trained.run(r) for r in range(2)]
    expected = oracles.accuracy_by_count(models, data.x, data.y, order, range(7), values)
    torch.testing.assert_close(found, expected, **TIGHT)


def test_one_order_for_all_runs(trained):
    data, order = toy(23, (6,), 3, seed=1), torch.tensor([4, 0, 2, 1, 5, 3])
    found = top_k_curve(trained, data, order)
    torch.testing.assert_close(found, top_k_curve(trained, data, order.expand(2, 6)), **TIGHT)


def test_each_run_may_have_its_own_data(trained):
    data = toy(11, (6,), 3, seed=1, runs=2)
    order = ranking(of_inputs(trained))
    found = top_k_curve(trained, data, order, chunk=4)
    for r in range(2):
        alone = oracles.accuracy_by_count(
            [trained.run(r)], data.x[r], data.y[r], order[[r]], range(1, 7), torch.zeros(6)
        )
        torch.testing.assert_close(found[[r]], alone, **TIGHT)


def test_images_are_taken_input_by_input():
    model = mlp([6, 4, 3])
    data = toy(20, (1, 2, 3), 3)
    trained = untrained(model)
    order = ranking(of_inputs(trained))
    flat = top_k_curve(trained, data.flat(), order)
    torch.testing.assert_close(top_k_curve(trained, data, order), flat, **TIGHT)


def test_of_a_convolutional_network_pixel_by_pixel():
    model = nn.Sequential(SpectralConv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6, 2))
    data, trained = toy(9, (1, 2, 3)), None
    trained = untrained(model)
    order = torch.tensor([[4, 0, 2, 1, 5, 3], [1, 5, 0, 3, 2, 4]])
    found = top_k_curve(trained, data, order)
    models = [trained.run(r) for r in range(2)]
    expected = oracles.accuracy_by_count(models, data.x, data.y, order, range(1, 7), torch.zeros(6))
    torch.testing.assert_close(found, expected, **TIGHT)


def test_the_relevant_inputs_suffice():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 5, generator=generator, dtype=torch.float64)
    data = oracles.data_set(x, (x[:, 3] > 0).long())  # one input decides
    options = {"epochs": 40, "batch_size": 50, "lr": 0.02, "l2": {"layer1.lam_in": 0.01, "layer1.psi": 0.01}}
    trained = fit(mlp([5, 4, 2]), data, seeds=[1, 2], dtype=torch.float64, device="cpu", **options)
    scores = of_inputs(trained)
    order = ranking(scores)
    assert order[:, 0].tolist() == [3, 3]
    assert (top_k_curve(trained, data, order, counts=[1]) > 0.95).all()
    assert (top_k_curve(trained, data, order.flip(1), counts=[4]) < 0.7).all()


def test_many_runs_share_the_memory(trained, monkeypatch):
    """At most so many bytes of inputs at a time: those of two counts here."""
    data, order = toy(23, (6,), 3, seed=1), torch.arange(6)
    expected, asked, predict = top_k_curve(trained, data, order), [], top_k.training.predict

    def watched(trained, x, **options):
        asked.append(tuple(x.shape))
        return predict(trained, x, **options)

    monkeypatch.setattr(top_k.training, "predict", watched)
    monkeypatch.setattr(top_k, "_AT_ONCE", 2 * 2 * 23 * 6 * 8 + 1)
    assert torch.equal(top_k_curve(trained, data, order), expected)
    assert asked == [(2, 2 * 23, 6)] * 3


@pytest.mark.parametrize(
    ("order", "options", "message"),
    [
        ([0, 1, 2], {}, "names 3 inputs, but toy has 6"),
        (range(6), {"counts": [7]}, "between 0 and the 6"),
        (range(6), {"counts": [-1, 2]}, "between 0 and the 6"),
        (range(6), {"counts": []}, "between 0 and the 6"),
        (range(6), {"chunk": 0}, "chunk=0 must be at least 1 count"),
    ],
)
def test_wrong_counts(trained, order, options, message):
    with pytest.raises(ValueError, match=message):
        top_k_curve(trained, toy(23, (6,), 3), torch.tensor(list(order)), **options)


def test_needed_is_the_first_count_that_reaches_the_share():
    accuracies = doubles([0.5, 0.9, 0.85, 0.95], [0.2, 0.3, 0.4, 0.5], [0.96, 0.1, 0.1, 0.1])
    full = doubles(1.0, 0.5, 2.0)
    counts = [2, 3, 7, 20]
    assert min_features(accuracies, counts, share=0.9, full=full).tolist() == [3, 20, 20]
    assert min_features(accuracies, counts, share=0.4, full=full).tolist() == [2, 2, 2]
    assert min_features(accuracies, counts, share=0.8, full=full).tolist() == [3, 7, 20]  # the last never reaches it
