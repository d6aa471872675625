"""What a training leaves, against each run's own module."""

import pytest
import torch
from torch import nn

from experiments import TIGHT
from oracles import toy
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.training import accuracy, error, predict, recalibrated


def test_a_run_is_an_ordinary_module(experiment):
    _, _, trained = experiment("everything")
    one = trained.run(1)
    with torch.no_grad():
        one.layer1.psi.zero_()
    assert trained.state["layer1.psi"][1].abs().sum() > 0
    assert trained.run(1).layer1.psi.abs().sum() > 0
    assert isinstance(one.layer1, SpectralLinear)
    assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in trained.model.parameters()]


@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_predictions_are_each_runs_own(experiment, chunk):
    _, options, trained = experiment("convolution")
    x = options["data"].x
    out = predict(trained, x, chunk=chunk)
    per_run = predict(trained, torch.stack([x, 2 * x, -x]), per_run=True, chunk=chunk)
    for r, factor in enumerate((1, 2, -1)):
        torch.testing.assert_close(out[r], trained.run(r)(x), **TIGHT)
        torch.testing.assert_close(per_run[r], trained.run(r)(factor * x), **TIGHT)
    assert not out.requires_grad
    assert torch.equal(predict(trained, x.float()).double(), predict(trained, x.float().double()))


@pytest.mark.parametrize("name", ["convolution", "everything"])
def test_accuracy_counts_the_right_answers(experiment, name):
    _, options, trained = experiment(name)
    found = accuracy(trained, options["data"])
    for r in range(3):
        data = options["data"].run(r)
        right = [int(trained.run(r)(x[None]).argmax()) == int(y) for x, y in zip(data.x, data.y, strict=True)]
        assert found[r] == pytest.approx(sum(right) / len(right), abs=1e-12)
    assert 0 < found.mean() < 1


def test_the_error_is_in_the_quantitys_unit(experiment):
    _, options, trained = experiment("a quantity, the rate falling")
    data = options["data"]
    found = error(trained, data)
    for r in range(3):
        each = [abs(trained.run(r)(x[None]).item() - y.item()) for x, y in zip(data.x, data.y, strict=True)]
        assert found[r] == pytest.approx(sum(each) / len(each), abs=1e-12)
    with pytest.raises(ValueError, match="classes: ask for the accuracy"):
        error(trained, toy(9, (5,)))


@pytest.mark.parametrize("name", ["everything", "convolution", "plain"])
def test_recalibrated_statistics_are_those_of_all_the_data(experiment, name):
    _, options, trained = experiment(name)
    data = options["data"]
    found = recalibrated(trained, data)
    for r in range(3):
        model = trained.run(r)  # after all data as one batch with the whole weight, the averages are what they saw
        for layer in model.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.train().momentum = 1.0
        x = data.run(r).x
        model(x)
        torch.testing.assert_close(found.run(r)(x), model.eval()(x), **TIGHT)
        for key, value in found.state.items():
            if "running" not in key and "tracked" not in key:
                assert torch.equal(value, trained.state[key])
    changed = [key for key, value in found.state.items() if not torch.equal(value, trained.state[key])]
    assert all("norm" in key for key in changed)
    assert bool(changed) == (name != "plain")
