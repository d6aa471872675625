"""One step of all runs: in blocks or together, scaled, without denormal numbers, and as a CUDA graph."""

import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import oracles
from experiments import DOUBLE, SEEDS, TIGHT, some
from oracles import toy
from spectral_lens.nn.gates import GATES
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import _loop, _parameters, _run, fit
from spectral_lens.training.optimizers import OPTIMIZERS

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", ["penalties", "everything", "products", "frozen"])
def test_runs_are_the_same_whether_they_are_updated_together_or_not(experiment, monkeypatch, name, rows):
    model, options, together = experiment(name)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    monkeypatch.setattr(_parameters, "_TOGETHER", rows * trained)
    apart = fit(model, seeds=SEEDS, epochs=3, recalibrate=False, **DOUBLE, **options)
    for one, other in ((apart.state, together.state), (apart.history, together.history)):
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-14, atol=1e-14, equal_nan=True)


def test_only_whole_batches_go_the_captured_way():
    """A graph of one batch's size cannot take what is left over at the end of an epoch."""
    whole, rest = [], []
    run = SimpleNamespace(
        data=SimpleNamespace(samples=23), options=SimpleNamespace(batch_size=7, device="cpu"),
        offset=torch.zeros(2, 1).long(),
        generators=[torch.Generator().manual_seed(seed) for seed in (3, 4)], schedule=lambda epoch, share: None,
        step=rest.append, metrics={}, history={}, validation=None, flush_denormals=lambda: None,
    )  # fmt: skip
    _run.Run.epoch(run, 0, whole.append)
    assert [rows.shape for rows in whole] == [(2, 7)] * 3
    assert [rows.shape for rows in rest] == [(2, 2)]
    assert torch.equal(torch.cat([*whole, *rest], 1).sort(1).values, torch.arange(23).expand(2, -1))


def test_parameters_whose_products_would_be_denormal_become_zero():
    model = mlp([4, 3, 2])
    small, kept = 1e-21, 1e-15
    with torch.no_grad():
        model.layer1.lam_in.copy_(torch.tensor([small, -small, kept, 1.0]))
    data = oracles.data_set(torch.zeros(10, 4), torch.arange(10) % 2)  # so that the data move no eigenvalue
    trained = fit(model, data, seeds=[1], epochs=1, reinitialize=False, device="cpu")
    assert trained.state["layer1.lam_in"][0].tolist() == pytest.approx([0, 0, kept, 1], rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_an_optimiser_remembers_is_kept_down_to_the_smallest_normal_number(dtype):
    """Second moments are squares of gradients: much smaller than a parameter may be, and they count."""
    tiny = torch.finfo(dtype).tiny
    theta = torch.tensor([[1.0, 0.0, -(tiny**0.5) / 2], [-2 * tiny**0.5, tiny**0.5 / 2, -1.0]], dtype=dtype)
    state = torch.tensor([[tiny / 2, 2 * tiny, -1.0], [-tiny / 2, -2 * tiny, tiny**0.75]], dtype=dtype)
    blocks = [slice(0, 1), slice(1, 2)]
    optimizers = [OPTIMIZERS["adam"](theta[block], torch.ones(1, 1, dtype=dtype)) for block in blocks]
    for row, optimizer in zip(state, optimizers, strict=True):
        optimizer.state["v"].copy_(row)
        optimizer.state["steps"].fill_(3)
    run = SimpleNamespace(parameters=SimpleNamespace(theta=theta, blocks=blocks), optimizers=optimizers)
    expected = theta.clone()
    expected[0, 2] = expected[1, 1] = 0
    _run.Run.flush_denormals(run)
    assert torch.equal(theta, expected)
    state[:, 0] = 0
    assert torch.equal(torch.cat([optimizer.state["v"] for optimizer in optimizers]), state)
    assert all((optimizer.state["steps"] == 3).all() for optimizer in optimizers)


def test_a_gradient_that_is_denormal_on_its_way_arrives():
    """d/dw of |w a b c x + 1| is a b c x: about 2^-66, but what comes back to w before x is 2^-152 for 64 samples."""
    w, a, b, c, x, lr = 2.0**-10, 1.25 * 2.0**-63, 1.5 * 2.0**-63, 1.125 * 2.0**-20, 2.0**80, 2.0**56
    model = nn.Sequential()
    for value in (w, a, b, c):
        model += nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
        nn.init.constant_(model[-2].weight, value)
        model[-2].requires_grad_(value == w)
    data = oracles.data_set(torch.full((64, 1), x), torch.full((64,), -1.0))
    options = {"optimizer": "sgd", "lr": lr, "loss": "mae", "batch_size": 64, "reinitialize": False, "device": "cpu"}
    trained = fit(model, data, seeds=[1], epochs=1, **options)
    assert trained.state["0.weight"].item() == pytest.approx(w - lr * a * b * c * x, rel=1e-6)


def test_only_steps_without_random_numbers_and_penalties_repeat():
    def repeats(*layers, penalty=None):
        run = SimpleNamespace(options=SimpleNamespace(penalty=penalty), model=nn.Sequential(nn.Linear(3, 3), *layers))
        return _run.Run.repeats(run)

    assert repeats()
    assert repeats(nn.BatchNorm1d(3), nn.Sequential(nn.Dropout(0.0)))
    assert not repeats(nn.Sequential(nn.Dropout(0.1)))
    assert not repeats(penalty=lambda step: 0)
    assert not any(repeats(nn.Sequential(kind(3))) for kind in GATES.values())


def test_the_scale_of_the_gradient_changes_no_digit(monkeypatch):
    data, options = (
        toy(20, (5,), 3),
        {"seeds": SEEDS, "epochs": 3, "batch_size": 7, "dtype": torch.float32, "device": "cpu"},
    )
    scaled = fit(mlp([5, 6, 3]), data, **options).state
    monkeypatch.setattr(_run, "_SCALE", 1.0)
    plain = fit(mlp([5, 6, 3]), data, **options).state
    assert all(torch.equal(value, plain[name]) for name, value in scaled.items())


def test_nothing_is_captured_on_the_cpu(monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("a step was captured")

    monkeypatch.setattr(_loop, "cuda_graph", never)
    assert fit(mlp([4, 3, 2]), toy(10, (4,)), seeds=[1], epochs=1, device="cpu").steps == 1


@cuda
@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
@pytest.mark.parametrize(
    "make", [lambda: mlp([5, 6, 3], batch_norm=True, spectral=2), lambda: mlp([5, 4, 3], dropout=0.3)]
)
def test_the_gpu_gives_the_cpus_numbers(make, optimizer):
    """Initial values, orders of the samples and dropout are drawn on the CPU."""
    data = toy(20, (5,), 3, runs=3)
    options = {"seeds": SEEDS, "epochs": 4, "batch_size": 8, "dtype": torch.float64}
    options |= {"optimizer": optimizer, "lr": [0.01, 0.02, 0.03], "l2": {"layer1.psi": 0.1}, "validation": data}
    model = make()
    cpu, gpu = (fit(model, data, device=device, **options) for device in ("cpu", "cuda"))
    assert cpu.steps == gpu.steps
    for key, value in cpu.state.items():
        torch.testing.assert_close(gpu.state[key].cpu(), value, rtol=1e-9, atol=1e-9)
    for key, value in cpu.history.items():
        torch.testing.assert_close(gpu.history[key], value, rtol=1e-9, atol=1e-9)


@cuda
def test_captured_steps_are_the_steps(monkeypatch, tmp_path):
    data = toy(50, (5,), 3, runs=3)  # with a smaller last batch, which is never captured
    options = {"seeds": SEEDS, "batch_size": 8, "masks": {"layer1.psi": some((3, 6, 5))}, "dtype": torch.float64}
    options |= {"device": "cuda"}
    model = mlp([5, 6, 3], batch_norm=True)
    graph = fit(model, data, epochs=5, **options)
    fit(model, data, epochs=2, checkpoint=tmp_path / "run.npz", **options)
    resumed = fit(model, data, epochs=5, checkpoint=tmp_path / "run.npz", **options)
    monkeypatch.setattr(_loop, "cuda_graph", lambda step: step)
    plain = fit(model, data, epochs=5, **options)
    for trained in (graph, resumed):
        assert trained.steps == plain.steps
        for key, value in plain.state.items():
            torch.testing.assert_close(trained.state[key], value, **TIGHT)
        for key, value in plain.history.items():
            torch.testing.assert_close(trained.history[key], value, **TIGHT)


def test_its_memory_is_free_when_a_training_ends(monkeypatch):
    made = []

    class Watched(_run.Run):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(weakref.ref(self))

    monkeypatch.setattr(_loop, "Run", Watched)
    gc.disable()  # so that what only a search for cycles would find stays
    try:
        fit(mlp([4, 3, 2], dropout=0.5), toy(10, (4,)), seeds=[1], epochs=1, device="cpu")
        assert [each() for each in made] == [None]
    finally:
        gc.enable()
