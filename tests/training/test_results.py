"""What a training leaves, against each run's own module."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from experiments import DOUBLE, TIGHT, convolutional, dropping, untrained
from oracles import data_set, measured, toy
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import Trained, accuracy, error, fit, predict, recalibrated, results
from spectral_lens.training.penalties import JacobianNorm


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


def parts_of(x, parts):
    return [x[k::parts] for k in range(parts)]


@pytest.mark.parametrize("make", [dropping, convolutional, lambda: mlp([5, 3, 3], batch_norm=True)])
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_many_data_go_in_parts(monkeypatch, make, parts):
    """As torch's own update_bn does with batches."""
    trained = untrained(make())
    data = toy(31, (2, 5, 4) if make is convolutional else (5,), 3)
    if parts > 1:
        monkeypatch.setattr(results, "_AT_ONCE", 1)  # three samples at a time at least
        monkeypatch.setattr(results.math, "ceil", lambda amount: parts if amount > 10 else pytest.fail("too few parts"))
    found = recalibrated(trained, data)
    for r in range(trained.runs):
        alone = trained.run(r)
        update_bn(parts_of(data.x, parts), alone)
        for layer in alone.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0  # update_bn leaves it on
        update_bn(parts_of(data.x, parts), alone)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(found.state[key][r], value, **TIGHT)


def test_sorted_data_are_mixed(monkeypatch):
    x = torch.arange(60, dtype=torch.float64)[:, None].repeat(1, 4)
    trained = untrained(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)))
    monkeypatch.setattr(results, "_AT_ONCE", 0)
    found = recalibrated(trained, data_set(x, torch.arange(60) % 2)).state
    assert found["0.running_mean"][0, 0] == pytest.approx(29.5)
    assert float(found["0.running_var"][0, 0]) > 200  # 305 in all; of three neighbours it would be 1
    torch.testing.assert_close(found["0.num_batches_tracked"], torch.full((2,), 20))


def lagging(**options):
    """A quantity learned with a price on what stands before the norm, and its mean error by the evaluated networks."""
    data = measured(80, (6,))
    model = mlp([6, 9, 1], batch_norm=True)
    options = {"seeds": (1, 2), "epochs": 25, "batch_size": 16, "lr": 0.05, "loss": "mse"} | options
    return data, fit(model, data, **options, **DOUBLE)


@pytest.mark.parametrize(
    "price",
    [
        {"l1": {"layer1.psi": 0.01}},
        {"l2": {"layer1.psi": [0.03, 0.1], "layer1.lam_in": 0.0}},
        {"penalty": JacobianNorm((0.5, 0.0), 1)},
    ],
    ids=["l1", "l2", "penalty"],
)
def test_statistics_do_not_lag_behind_a_penalty(price):
    data, found = lagging(**price)
    _, behind = lagging(**price, recalibrate=False)
    expected = recalibrated(behind, data)
    assert all(torch.equal(value, expected.state[key]) for key, value in found.state.items())
    assert torch.equal(found.history["loss"], behind.history["loss"])


def test_what_shrinks_to_the_end_spoils_no_error():
    """Each step leaves nine tenths of the layer before the norm, and the averages remember ten steps."""
    steep = {"l2": {"layer1.psi": 0.5}, "optimizer": "sgd", "lr": 0.1, "epochs": 8}
    data, found = lagging(**steep)
    _, behind = lagging(**steep, recalibrate=False)
    assert (error(behind, data) > 0.5 * (data.y - data.y.mean()).abs().mean()).all()  # of always saying the mean
    assert (error(found, data) < 0.6 * error(behind, data)).all()


@pytest.mark.parametrize("price", [{}, {"l1": {"layer1.psi": 0.0}}, {"l2": {"layer1.psi": [0.0, 0.0]}}, {"l1": {}}])
def test_without_a_penalty_the_averages_are_those_of_the_training(price):
    data, found = lagging(**price)
    _, kept = lagging(recalibrate=False)
    _, anew = lagging(recalibrate=True)
    assert all(torch.equal(value, kept.state[key]) for key, value in found.state.items())
    assert all(torch.equal(value, recalibrated(kept, data).state[key]) for key, value in anew.state.items())
    assert not torch.equal(kept.state["norm1.running_mean"], anew.state["norm1.running_mean"])


def test_a_training_goes_on_from_the_averages_that_it_had(tmp_path):
    price, path = {"l1": {"layer1.psi": 0.01}}, tmp_path / "run.npz"
    lagging(**price, epochs=4, checkpoint=path)
    _, found = lagging(**price, epochs=9, checkpoint=path)
    _, expected = lagging(**price, epochs=9)
    assert all(torch.equal(value, expected.state[key]) for key, value in found.state.items())


# ---- modules that were trained elsewhere


class Own(nn.Module):
    """What fit cannot train: recurrent, with branches, and it writes to its inputs."""

    def __init__(self, outputs=3):
        super().__init__()
        self.r, self.f = nn.GRU(1, 4, batch_first=True), nn.Linear(4, outputs)

    def forward(self, x):
        x = x.mul_(2)
        out = self.f(self.r(x.unsqueeze(2))[0][:, -1])
        return out if float(out.detach().sum()) > 1e9 else 3 * out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [1, 4, 1000])
def test_a_module_is_one_run(dtype, chunk):
    model, data = Own().to(dtype).eval(), toy(23, (5,), 3)
    x = data.x.clone()
    out = model(x.to(dtype, copy=True)).detach()
    torch.testing.assert_close(predict(model, data.x, chunk=chunk), out)
    assert not predict(model, data.x).requires_grad
    found = accuracy(model, data)
    assert found.shape == ()
    assert found == pytest.approx(float((out.argmax(1) == data.y).double().mean()))
    assert torch.equal(data.x, x)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["convolution", "everything", "plain"])
def test_a_run_is_judged_like_all_runs(experiment, name):
    _, options, trained = experiment(name)
    data, found = options["data"], accuracy(trained, options["data"])
    for r in range(3):
        assert torch.equal(accuracy(trained.run(r), data.run(r)), found[r])


def test_a_module_has_an_error_too(experiment):
    _, options, trained = experiment("a quantity, the rate falling")
    found = error(trained, options["data"])
    for r in range(3):
        torch.testing.assert_close(error(trained.run(r), options["data"]), found[r], **TIGHT)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float16, torch.float64])
def test_inputs_of_any_kind(dtype):
    x = torch.randint(9, (7, 5)).to(dtype)
    trained = untrained(dropping())
    expected = predict(trained, x.double())
    torch.testing.assert_close(predict(trained, x), expected)
    torch.testing.assert_close(predict(trained.run(1), x), expected[1])


def test_a_quantity_has_no_accuracy(experiment):
    _, options, trained = experiment("a quantity, the rate falling")
    for network in (trained, trained.run(0)):
        with pytest.raises(ValueError, match="toy has no classes but a quantity, a quantity, m: ask for the error"):
            accuracy(network, options["data"])


class Centred(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear(5, 1), r"3 classes, but the outputs are \(1,\)"),
        (nn.Linear(5, 2), r"3 classes, but the outputs are \(2,\)"),
        (nn.Sequential(nn.Linear(5, 3), nn.Flatten(0)), "must be one tensor with the outputs of each sample"),
        (nn.RNN(5, 3), "returns tuple"),
        (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)), r"1 \(BatchNorm1d\) is in training mode"),
        (
            nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval(),
            "1 .*no running statistics",
        ),
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(5, 3)), r"0 \(Dropout\) is in training mode"),
        (nn.Sequential(nn.RReLU(), nn.Linear(5, 3)), r"0 \(RReLU\) is in training mode"),
        (nn.Sequential(nn.Linear(5, 3), Centred()), "change with the other samples, or from call to call"),
    ],
)
def test_modules_whose_accuracy_would_mean_nothing(model, message):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        accuracy(model, toy(9, (5,), 3, dtype=torch.float32))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_module_is_no_three_runs():
    with pytest.raises(ValueError, match="3 runs, but there are 1 runs"):
        accuracy(nn.Linear(5, 2), toy(9, (5,), 2, runs=3, dtype=torch.float32))
    with pytest.raises(ValueError, match="a module is one run"):
        predict(nn.Linear(5, 2), torch.zeros(3, 9, 5), per_run=True)
    with pytest.raises(ValueError, match=r"one value a sample, but the outputs are \(2,\)"):
        error(nn.Linear(5, 2), measured(9, (5,), dtype=torch.float32))


# ---- in one line


def test_a_training_is_shown_in_one_line(experiment):
    trained = experiment("everything")[2]
    line = repr(trained)
    assert line.count("\n") == 0
    assert len(line) < 250
    loss = trained.history["loss"][-1]
    assert line.startswith("Sequential: 3 runs (seed 7, 2, 11), 9 steps with toy, ")
    assert f"loss {loss.mean():.3g} ± {loss.std():.2g}, accuracy " in line
    assert "validation_loss" in line
    _, _, quantity = experiment("a quantity, the rate falling")
    assert "accuracy" not in repr(quantity)


def test_what_the_line_says_of_one_of_many_and_of_failed_runs():
    history = {"loss": torch.tensor([[1.0], [0.25]])}
    one = Trained(nn.Linear(2, 1), {}, (4,), history, {}, 7, 1.0)
    assert repr(one) == "Linear: 1 run (seed 4), 7 steps, loss 0.25"
    history |= {"accuracy": torch.tensor([[0.5], [torch.nan]]), "validation_loss": torch.tensor([[torch.nan], [2.0]])}
    only = Trained(nn.Linear(2, 1), {}, (4,), {name: values[:1] for name, values in history.items()}, {}, 3, 1.0)
    assert repr(only) == "Linear: 1 run (seed 4), 3 steps, loss 1, accuracy 0.5"
    longer = {name: torch.cat([torch.full((2, 1), 9.0), values]) for name, values in history.items()}
    some = Trained(nn.Linear(2, 1), {}, (4,), longer, {}, 9, 1.0)
    assert repr(some) == "Linear: 1 run (seed 4), 9 steps, loss 0.25, validation_loss 2"
    history = {"loss": torch.full((2, 12), 0.5).index_fill(1, torch.tensor([3]), torch.nan)}
    many = Trained(nn.Linear(2, 1), {}, tuple(range(12)), history, {3: 5}, 7, 1.0)
    assert repr(many) == "Linear: 12 runs (seed 0, 1, ..., 11), 7 steps, loss 0.5 ± 0, run 3 failed at step 5"
