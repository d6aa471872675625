"""Side-by-side training: each run equals the run trained alone, and an ordinary loop with torch.optim."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import oracles
from oracles import measured, toy, train_alone
from spectral_lens import training
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import _batched, _loop, _parameters, accuracy, error, fit, losses, predict, recalibrated


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


SEEDS = (7, 2, 11)
TIGHT = {"rtol": 1e-12, "atol": 1e-12}
DOUBLE = {"dtype": torch.float64, "device": "cpu"}
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def own(options, r):
    """The options of run r alone."""

    def number(value):
        return value[r] if isinstance(value, list | tuple) else value

    mine = dict(options)
    if "lr" in mine:
        mine["lr"] = number(mine["lr"])
    for name in ("l1", "l2"):
        if name in mine:
            mine[name] = {key: number(value) for key, value in mine[name].items()}
    if "masks" in mine:
        mine["masks"] = {key: value[r] if len(value) == len(SEEDS) else value for key, value in mine["masks"].items()}
    for name in ("data", "validation"):
        if name in mine:
            mine[name] = mine[name].run(r)
    return mine


def starts(model, *, reinitialize=True, seeds=SEEDS):
    """Each run's initial state."""
    return [oracles.initial(model, seed, reinitialize=reinitialize).state_dict() for seed in seeds]


class Skip(nn.Module):
    """No Sequential, with batch norm: through vmap."""

    def __init__(self):
        super().__init__()
        # no bias before a batch norm: its gradient is rounding only, which Adam would turn into steps of any sign
        self.first = SpectralConv2d(2, 3, (3, 2), padding=1, init="giambagli", bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 3, 1, groups=3)

    def forward(self, x):
        x = self.norm(self.first(x)).tanh()
        return x + self.second(x)


def convolutional():
    return nn.Sequential(
        Skip(), nn.Dropout(0.2), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(6, 3)
    )


def frozen():
    model = mlp([5, 6, 3], spectral=2)
    model.layer1.psi.requires_grad_(False)
    model.layer2.bias.requires_grad_(False)
    return model


def some(shape, seed=0):
    """A mask."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


EXPERIMENTS = {
    "plain": (lambda: mlp([5, 7, 4, 2]), {"data": toy(23, (5,)), "batch_size": 6}),
    "penalties": (
        lambda: mlp([5, 6, 3], activation="tanh"),
        {
            "data": toy(20, (5,), 3),
            "batch_size": 7,
            "lr": 5e-3,
            "l1": {"layer1.lam_in": [0.0, 0.02, 0.5], "layer2.weight": 1e-3},
            "l2": {"layer1.psi": 0.03, "layer1.lam_in": [0.1, 0.0, 0.3], "layer2.bias": 0.2},
        },
    ),
    "everything": (
        lambda: mlp([5, 6, 4, 3], activation=["relu", "tanh"], spectral=2, batch_norm=True, dropout=0.3),
        {
            "data": toy(22, (5,), 3, runs=3),
            "validation": toy(9, (5,), 3, runs=3, seed=4),
            "batch_size": 8,
            "optimizer": "adamax",
            "lr": [0.01, 0.003, 0.1],
            "l1": {"layer1.psi": [1e-3, 0.0, 0.1]},
            "l2": {"layer3.weight": [0.3, 0.2, 0.1], "norm1.weight": 0.01},
            "masks": {"layer1.psi": some((3, 6, 5)), "layer2.psi": some((4, 6)), "layer3.bias": some((3, 3), 1)},
        },
    ),
    "products": (  # a matrix for each two layers in the full batch; layer by layer in the last one, of a single sample
        lambda: mlp([5, 9, 3, 8, 3], activation=["linear", "tanh", "linear"], spectral=3, init="giambagli"),
        {"data": toy(21, (5,), 3), "batch_size": 20, "optimizer": "sgd", "lr": [0.3, 0.1, 0.7]},
    ),
    "sgd": (
        lambda: mlp([5, 6, 3], init="giambagli"),
        {"data": toy(20, (5,), 3, runs=3), "batch_size": 20, "optimizer": "sgd", "lr": [0.3, 0.1, 0.7]},
    ),
    "batch larger than the set": (lambda: mlp([5, 4, 2]), {"data": toy(13, (5,)), "batch_size": 1000}),
    "frozen": (frozen, {"data": toy(20, (5,), 3), "batch_size": 9, "lr": 0.01, "l2": {"layer1.lam_in": 0.1}}),
    "present values": (lambda: mlp([5, 4, 2]), {"data": toy(21, (5,)), "batch_size": 4, "reinitialize": False}),
    "a quantity, the rate falling": (
        lambda: mlp([5, 6, 4, 1], activation="tanh", batch_norm=True),
        {
            "data": measured(23, (5,)),
            "validation": measured(9, (5,), seed=4),
            "batch_size": 8,
            "lr": [0.01, 0.03, 0.1],
            "decay": 0.6,
            "loss": "mae",
            "l1": {"layer1.lam_in": 0.01},
        },
    ),
    "squares, the rate falling all the time": (
        lambda: mlp([5, 4, 1]),
        {
            "data": measured(13, (5,), runs=3),
            "batch_size": 20,
            "optimizer": "sgd",
            "decay": 1.0,
            "loss": "mse",
            "lr": 0.1,
        },
    ),
    "convolution": (
        convolutional,
        {
            "data": toy(14, (2, 5, 4), 3),
            "validation": toy(5, (2, 5, 4), 3, seed=3),
            "batch_size": 5,
            "lr": [0.01, 0.02, 0.03],
            "l2": {"0.first.psi": [0.0, 0.1, 0.2]},
            "masks": {"0.second.weight": some((3, 3, 1, 1, 1))},
        },
    ),
}


@pytest.fixture(scope="module")
def experiment():
    """An experiment's network, options and runs, trained once."""
    done = {}

    def train(name):
        if name not in done:
            make, options = EXPERIMENTS[name]
            torch.manual_seed(0)
            model = make()
            done[name] = model, options, fit(model, seeds=SEEDS, epochs=3, **DOUBLE, **options)
        return done[name]

    return train


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_run_is_an_ordinary_loop(experiment, name):
    model, options, trained = experiment(name)
    for r, seed in enumerate(SEEDS):
        alone, history = train_alone(model, seed=seed, epochs=3, **own(options, r))
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, **TIGHT)
        assert trained.history.keys() == history.keys()
        for key, value in history.items():
            torch.testing.assert_close(trained.history[key][:, r], value, **TIGHT, equal_nan=True)
        x = own(options, r)["data"].x
        torch.testing.assert_close(trained.run(r)(x), alone(x), **TIGHT)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("name", ["penalties", "everything", "products", "frozen"])
def test_runs_are_the_same_whether_they_are_updated_together_or_not(experiment, monkeypatch, name, rows):
    model, options, together = experiment(name)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    monkeypatch.setattr(_parameters, "_TOGETHER", rows * trained)
    apart = fit(model, seeds=SEEDS, epochs=3, **DOUBLE, **options)
    for one, other in ((apart.state, together.state), (apart.history, together.history)):
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-14, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize("init", ["chicchi", "giambagli"])
def test_fixed_eigenvalues_of_the_outputs_count_unless_they_are_zero(init):
    model, data = mlp([5, 6, 3], init=init, train={"lam_in", "psi"}), toy(20, (5,), 3)
    options = {
        "epochs": 3,
        "batch_size": 10,
        "lr": 0.05,
    }  # few samples at a time: the spectral layer's weight is not built
    trained = fit(model, data, seeds=SEEDS, **options, **DOUBLE)
    assert trained.state["layer1.lam_out"].any() == (init == "giambagli")
    for r, seed in enumerate(SEEDS):
        alone, _ = train_alone(model, data=data, seed=seed, **options)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, **TIGHT)


class Steep:
    """The mean squared gradient of the outputs' squares by the inputs, and a parameter's fourth powers."""

    strengths = torch.tensor([0.3, 0.0, 0.01], dtype=torch.float64)

    def __call__(self, step):
        (slope,) = torch.autograd.grad(step.out.square().sum(), step.x, create_graph=True)
        return self.strengths * (slope.square().sum(2).mean(1) + step.state["layer1.psi"].pow(4).sum((1, 2)))

    def __repr__(self):
        return "Steep()"


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_penalty_may_hold_derivatives(activation, batch_norm):
    model = mlp([5, 6, 4, 3], activation=activation, spectral=2, batch_norm=batch_norm)
    options = {"data": toy(22, (5,), 3), "batch_size": 8, "lr": 0.01, "l2": {"layer1.psi": 0.01}, "epochs": 4}
    trained = fit(model, seeds=SEEDS, penalty=Steep(), **DOUBLE, **options)
    for r, seed in enumerate(SEEDS):

        def steep(parameters, x, out, strength=Steep.strengths[r]):
            (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
            return strength * (slope.square().sum(1).mean() + parameters["layer1.psi"].pow(4).sum())

        alone, history = train_alone(model, seed=seed, penalty=steep, **options)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, rtol=1e-9, atol=1e-9)
        assert trained.history.keys() == history.keys()
        for key, value in history.items():
            torch.testing.assert_close(trained.history[key][:, r], value, rtol=1e-9, atol=1e-9)


def test_another_penalty_is_another_experiment_for_a_checkpoint(tmp_path):
    options = {"data": toy(22, (5,), 3), "seeds": SEEDS, "batch_size": 8, "checkpoint": tmp_path / "run.npz", **DOUBLE}
    fit(mlp([5, 6, 3]), epochs=1, penalty=Steep(), **options)
    with pytest.raises(ValueError, match="penalty"):
        fit(mlp([5, 6, 3]), epochs=2, **options)


def test_a_penalty_that_turns_nan_is_named():
    options = {"data": toy(22, (5,), 3), "seeds": SEEDS, "batch_size": 22, "epochs": 1, **DOUBLE}
    lost = torch.tensor([0.0, float("nan"), 0.0], dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match=r"run 1 \(seed 2\) at step 0"):
        fit(mlp([5, 6, 3]), penalty=lambda step: lost * step.out.sum(), **options)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_run_equals_the_run_alone(experiment, name):
    model, options, trained = experiment(name)
    for r, seed in enumerate(SEEDS):
        alone = fit(model, seeds=[seed], epochs=3, **DOUBLE, **own(options, r))
        for key, value in trained.state.items():
            torch.testing.assert_close(value[r], alone.state[key][0], **TIGHT)
        for key, value in trained.history.items():
            torch.testing.assert_close(value[:, r], alone.history[key][:, 0], **TIGHT, equal_nan=True)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_comes_back(experiment, name):
    model, options, trained = experiment(name)
    n, batch_size = options["data"].samples, options["batch_size"]
    assert trained.seeds == SEEDS
    assert trained.runs == 3
    assert trained.failed == {}
    assert trained.steps == 3 * len(range(0, n, batch_size))
    assert trained.seconds > 0
    assert list(trained.state) == [key for key, _ in (*model.named_parameters(), *model.named_buffers())]
    assert not any(value.requires_grad for value in trained.state.values())
    validated = {"validation_loss", "validation_accuracy"} if "validation" in options else set()
    assert trained.history.keys() == {"loss", "accuracy"} | validated
    assert all(value.shape == (3, 3) for value in trained.history.values())
    assert not trained.model.training
    assert not trained.run(0).training


@settings(deadline=None, derandomize=True, max_examples=10)
@given(
    n=st.integers(2, 17),
    batch_size=st.integers(1, 20),
    hidden=st.lists(st.integers(1, 6), max_size=2),
    classes=st.integers(2, 4),
    optimizer=st.sampled_from(["adam", "adamax", "sgd"]),
    seed=st.integers(0, 2**40),
    lr=st.floats(1e-4, 0.1),
)
def test_any_experiment_is_an_ordinary_loop(n, batch_size, hidden, classes, optimizer, seed, lr):
    sizes = [3, *hidden, classes]
    model = mlp(sizes, activation="tanh", spectral=len(hidden))
    data = toy(max(n, classes), (3,), classes, seed=seed % 997)
    options = {"epochs": 2, "batch_size": batch_size, "optimizer": optimizer, "lr": lr}
    trained = fit(model, data, seeds=[seed, seed + 1], **DOUBLE, **options)
    for r in range(2):
        alone, history = train_alone(model, data, seed + r, **options)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, **TIGHT)
        torch.testing.assert_close(trained.history["loss"][:, r], history["loss"], **TIGHT)


def test_a_training_learns():
    data = toy(400, (4,), 2)
    trained = fit(mlp([4, 8, 2]), data, seeds=range(3), epochs=20, batch_size=50, lr=0.01, **DOUBLE)
    best = 0.84  # two unit Gaussians at a distance of sqrt(4) / 2 = 1: Phi(0.5) = 0.69; overfitting gives a little more
    assert (trained.history["accuracy"][-1] > 0.66).all()
    assert (trained.history["accuracy"][-1] < best).all()
    assert (trained.history["loss"][-1] < trained.history["loss"][0]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initial_is_where_a_training_starts(dtype):
    model, data = dropping(), toy(20, (5,), 3)
    start = training.initial(model, SEEDS, dtype=dtype)
    trained = fit(model, data, seeds=SEEDS, epochs=1, batch_size=20, lr=0.0, dtype=dtype, device="cpu")
    assert list(start) == list(trained.state)
    for key, _ in model.named_parameters():
        assert torch.equal(start[key], trained.state[key])
    for r, seed in enumerate(SEEDS):
        alone = oracles.initial(model, seed, dtype=dtype).state_dict()
        assert all(torch.equal(start[key][r], value) for key, value in alone.items())
        assert all(start[key].dtype == value.dtype for key, value in alone.items())


def test_initial_leaves_the_model_and_torchs_random_state_alone():
    model = dropping().double()
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert training.initial(model, SEEDS)["layer1.psi"].dtype == torch.float32  # as fit's default
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(value.dtype == before[key].dtype for key, value in model.state_dict().items())


def test_a_start_takes_the_place_of_initial_values():
    model, data = mlp([4, 3, 2], batch_norm=True), toy(20, (4,))
    own = {"layer1.psi": some((3, 3, 4)).double(), "norm1.running_mean": torch.full((3, 3), 0.5)}
    drawn = training.initial(model, SEEDS, dtype=torch.float64)
    trained = fit(model, data, seeds=SEEDS, epochs=1, batch_size=20, lr=0.0, init_state=own, **DOUBLE)
    assert torch.equal(trained.state["layer1.psi"], own["layer1.psi"])
    assert torch.equal(trained.state["layer2.weight"], drawn["layer2.weight"])
    alone = fit(model, data, seeds=SEEDS, epochs=1, batch_size=20, lr=0.0, **DOUBLE)
    moved = trained.state["norm1.running_mean"] - 0.9 * 0.5  # batch normalisation keeps nine tenths of what was there
    x = data.x @ (own["layer1.psi"] * drawn["layer1.lam_in"].unsqueeze(1)).mT + drawn["layer1.bias"].unsqueeze(1)
    torch.testing.assert_close(moved, 0.1 * x.relu().mean(1), **TIGHT)
    assert not torch.equal(alone.state["layer1.psi"], own["layer1.psi"])


def test_a_training_goes_on_from_another_ones_state():
    model, data = mlp([4, 3, 2]), toy(20, (4,))
    once = {"seeds": SEEDS, "epochs": 1, "batch_size": 20, "optimizer": "sgd", "lr": 0.1, **DOUBLE}
    first = fit(model, data, **once)
    before = {name: value.clone() for name, value in first.state.items()}
    second, whole = fit(model, data, init_state=first.state, **once), fit(model, data, **(once | {"epochs": 2}))
    for name, value in whole.state.items():  # plain descent on whole batches remembers nothing
        torch.testing.assert_close(second.state[name], value, **TIGHT)
        assert torch.equal(first.state[name], before[name])


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"layer1.psy": torch.zeros(3, 3, 4)}, "init_state names 'layer1.psy'.*layer1.psi"),
        ({"layer1.psi": torch.zeros(3, 4)}, r"init_state\['layer1.psi'\] is \(3, 4\).*must be \(3, 3, 4\)"),
        ({"layer1.psi": torch.zeros(2, 3, 4)}, r"\(2, 3, 4\).*\(3, 3, 4\), a row per run"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start, said):
    with pytest.raises(ValueError, match=said):
        fit(mlp([4, 3, 2]), toy(20, (4,)), seeds=SEEDS, epochs=1, init_state=start, **DOUBLE)


def test_masked_entries_keep_every_bit(experiment):
    model, options, trained = experiment("everything")
    for r, start in enumerate(starts(model)):
        for key, mask in own(options, r)["masks"].items():
            now = trained.state[key][r]
            assert torch.equal(now[~mask], start[key][~mask])
            assert (now[mask] != start[key][mask]).all()


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
def test_masks_hold_against_penalties(optimizer):
    model, data = mlp([4, 3, 2]), toy(10, (4,))
    mask = torch.tensor([True, False, False, True])
    options = {"masks": {"layer1.lam_in": mask}, "l1": {"layer1.lam_in": 3.0}, "l2": {"layer1.lam_in": 5.0}}
    trained = fit(model, data, seeds=[3, 1], epochs=4, batch_size=5, optimizer=optimizer, lr=0.01, **options, **DOUBLE)
    assert torch.equal(trained.state["layer1.lam_in"][:, ~mask], torch.ones(2, 2, dtype=torch.float64))
    assert (trained.state["layer1.lam_in"][:, mask] < 1).all()


def test_what_is_frozen_keeps_every_bit(experiment):
    model, _, trained = experiment("frozen")
    for r, start in enumerate(starts(model)):
        for key in ("layer1.psi", "layer1.lam_out", "layer2.bias"):
            assert torch.equal(trained.state[key][r], start[key])
        assert not torch.equal(trained.state["layer1.lam_in"][r], start["layer1.lam_in"])


def test_every_seed_starts_and_goes_its_own_way(experiment):
    for name, same in [("plain", False), ("present values", True)]:
        model, options, trained = experiment(name)
        first = starts(model, reinitialize=options.get("reinitialize", True))
        assert torch.equal(first[0]["layer1.psi"], first[1]["layer1.psi"]) == same
        assert not torch.allclose(trained.state["layer1.psi"][0], trained.state["layer1.psi"][1], atol=1e-6)


def test_a_run_does_not_depend_on_its_place():
    model, data = mlp([4, 3, 2], dropout=0.3), toy(20, (4,))
    options = {"epochs": 3, "batch_size": 6, **DOUBLE}
    one, other = fit(model, data, seeds=[5, 3, 8], **options), fit(model, data, seeds=[3, 8, 5], **options)
    for key, value in one.state.items():
        torch.testing.assert_close(value, other.state[key][[2, 0, 1]], **TIGHT)


@pytest.mark.parametrize("reinitialize", [True, False])
def test_the_model_the_data_and_torchs_random_state_are_left_alone(reinitialize):
    model, data = mlp([4, 3, 2], batch_norm=True, dropout=0.2).eval(), toy(20, (4,))
    before, x = copy.deepcopy(model.state_dict()), data.x.clone()
    torch.manual_seed(3)
    random = torch.get_rng_state()
    fit(model, data, seeds=[1, 2], epochs=2, batch_size=6, reinitialize=reinitialize, validation=data, **DOUBLE)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(value.dtype == before[key].dtype for key, value in model.state_dict().items())
    assert not model.training
    assert torch.equal(data.x, x)


def test_a_model_handed_over_in_evaluation_mode_is_trained_all_the_same():
    model, data = mlp([4, 3, 2], batch_norm=True, dropout=0.3), toy(20, (4,))
    one, other = (
        fit(model.train(mode), data, seeds=[1, 2], epochs=2, batch_size=6, **DOUBLE) for mode in (False, True)
    )
    assert all(torch.equal(value, other.state[key]) for key, value in one.state.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_same_call_gives_the_same_bits_in_the_dtype_asked_for(dtype):
    model, data = mlp([4, 3, 2], batch_norm=True, dropout=0.2), toy(20, (4,), dtype=torch.float32)
    first, second = (
        fit(model, data, seeds=[1, 2], epochs=2, batch_size=6, dtype=dtype, device="cpu") for _ in range(2)
    )
    for key, value in first.state.items():
        assert torch.equal(value, second.state[key])
        assert value.dtype == (dtype if value.is_floating_point() else torch.int64)
    assert first.history["loss"].dtype == dtype


def test_float32_follows_float64():
    model, data = mlp([4, 6, 3], batch_norm=True), toy(20, (4,), 3)
    options = {"seeds": [1, 2], "epochs": 5, "batch_size": 6, "lr": 1e-3, "device": "cpu"}
    low, high = fit(model, data, **options, dtype=torch.float32), fit(model, data, **options, dtype=torch.float64)
    # initial values are drawn in each dtype anew, so only what follows from them is alike: nothing of half precision
    assert (low.history["loss"] - high.history["loss"].float()).abs().max() < 1


def test_torchs_defaults_are_ours():
    model, data = mlp([4, 3, 2]), toy(20, (4,))
    first = fit(model, data, seeds=[1], epochs=2, **DOUBLE)
    second = fit(model, data, seeds=[1], epochs=2, batch_size=500, optimizer="adam", lr=1e-3, **DOUBLE)
    assert all(torch.equal(value, second.state[key]) for key, value in first.state.items())
    assert first.steps == 2


# ---- checkpoints


def dropping():
    return mlp([5, 6, 3], spectral=2, batch_norm=True, dropout=0.3)


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


def test_every_says_when_a_checkpoint_is_written(tmp_path, monkeypatch):
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


# ---- a run that fails


# One linear layer and the mean square: at the rate 1e100 each step multiplies the outputs by 1e100, give or take a few
# decades.  The losses are 1, 1e200 and 1e400, which double precision, up to 1e308, holds nowhere.
EXPLODING = {"batch_size": 20, "optimizer": "sgd", "loss": "mse", "lr": [1e-3, 1e100, 0.01]}


def test_a_run_whose_loss_overflows_is_named_and_the_others_finish(tmp_path):
    model, data, at = mlp([5, 1], spectral=0), measured(20, (5,)), 2  # one batch an epoch: the epoch is the step
    path = tmp_path / "run.npz"
    for _ in range(2):  # trained, and read from the checkpoint
        with pytest.warns(RuntimeWarning, match=rf"run 1 \(seed 2\) at step {at}; the other runs finished"):
            trained = fit(model, data, seeds=SEEDS, epochs=5, checkpoint=path, **EXPLODING, **DOUBLE)
        assert trained.failed == {1: at}
    assert trained.history["loss"][:at, 1].isfinite().all()
    assert trained.history["loss"][at, 1] == float("inf")
    assert not trained.history["loss"][at:, 1].isfinite().any()
    for r in (0, 2):
        alone, history = train_alone(model, data, SEEDS[r], epochs=5, **own(EXPLODING, r))
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, **TIGHT)
        torch.testing.assert_close(trained.history["loss"][:, r], history["loss"], **TIGHT)


def test_what_is_large_but_finite_is_no_failure():
    trained = fit(mlp([5, 1], spectral=0), measured(20, (5,)), seeds=SEEDS, epochs=2, **EXPLODING, **DOUBLE)
    assert trained.history["loss"][1, 1] > 1e100
    assert trained.failed == {}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_failure_is_the_first_step_that_is_not_finite(bad):
    planted, steps = torch.zeros(14, 3, dtype=torch.float64), iter(range(14))
    planted[8, 0] = planted[[3, 9], 2] = bad  # in two epochs of seven batches
    options = {"data": toy(20, (5,), 3), "seeds": SEEDS, "epochs": 2, "batch_size": 3, **DOUBLE}
    with pytest.warns(RuntimeWarning, match=r"run 0 \(seed 7\) at step 8, run 2 \(seed 11\) at step 3"):
        trained = fit(mlp([5, 6, 3]), penalty=lambda _: planted[next(steps)], **options)
    assert trained.failed == {0: 8, 2: 3}


def test_a_run_that_the_last_update_breaks_has_failed(tmp_path):
    options = {"seeds": SEEDS, "batch_size": 20, "optimizer": "sgd", "lr": [0.1, 1e200, 0.1], **DOUBLE}
    options["l2"] = {"layer2.weight": [0.1, 1e200, 0.1]}  # no part of the loss; its update, 1e400, overflows
    path = tmp_path / "run.npz"
    for epochs in (1, 2):  # the one step more, from the checkpoint, would have shown it at the same place
        with pytest.warns(RuntimeWarning, match=r"run 1 \(seed 2\) at step 1; the other runs"):
            trained = fit(mlp([5, 6, 3]), toy(20, (5,), 3), epochs=epochs, checkpoint=path, **options)
        assert trained.failed == {1: 1}
        assert trained.history["loss"].isfinite().tolist() == [[True] * 3, [True, False, True]][:epochs]
    for value in trained.state.values():
        assert value[[0, 2]].isfinite().all()


class Scaled(nn.Module):
    """A single number to learn, and a buffer that no state dict holds."""

    def __init__(self):
        super().__init__()
        self.inner, self.scale = SpectralLinear(4, 2), nn.Parameter(torch.tensor(1.5))
        self.register_buffer("shift", torch.tensor([0.5, -1.0]), persistent=False)

    def forward(self, x):
        return self.scale * self.inner(x) + self.shift


class Spare(nn.Module):
    """With parameters that the outputs do not depend on."""

    def __init__(self):
        super().__init__()
        self.unused, self.inner, self.extra = nn.Linear(3, 2), nn.Linear(4, 2), nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.inner(x)


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.last = SpectralLinear(4, 4), nn.Linear(4, 2)
        self.second = self.first

    def forward(self, x):
        return self.last(self.second(self.first(x).tanh()))


# ---- what is refused before any computing

ERRORS = [
    ({"seeds": ()}, "at least one seed"),
    ({"seeds": (3, 1, 3)}, "repeat"),
    ({"epochs": 0}, "epochs=0"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"optimizer": "rmsprop"}, "rmsprop.*adam, adamax, sgd"),
    ({"loss": "hinge"}, "hinge.*cross_entropy"),
    ({"loss": "mse"}, "mse.*int64"),
    ({"loss": "mae"}, "mae.*int64"),
    ({"loss": "cross_entropy", "data": measured(20, (5,))}, "cross_entropy.*float64"),
    ({"decay": -0.1}, "decay=-0.1"),
    ({"decay": 1.1}, "decay=1.1"),
    ({"device": "gpu"}, "no device"),
    ({"lr": [0.1, 0.2]}, "lr has 2 values for 3 runs"),
    ({"lr": [0.1, 0.2, 0.3, 0.4]}, "lr has 4 values for 3 runs"),
    ({"l1": {"layer1.psi": [0.1, 0.2]}}, r"l1\['layer1.psi'\] has 2 values"),
    ({"l2": {"layer1.psi": [0.1, 0.2]}}, r"l2\['layer1.psi'\] has 2 values"),
    ({"l1": {"psi": 0.1}}, r"l1 names \['psi'\].*layer1.psi"),
    ({"l2": {"layer1.lam_out": 0.1}}, r"l2 names \['layer1.lam_out'\]"),  # frozen
    ({"masks": {"layer9": torch.ones(1, dtype=torch.bool)}}, r"masks names \['layer9'\]"),
    ({"masks": {"layer1.psi": torch.ones(6, 5)}}, "must be torch.bool"),
    ({"masks": {"layer1.psi": torch.ones(5, 6, dtype=torch.bool)}}, r"\(5, 6\).*\(6, 5\).*\(3, 6, 5\)"),
    ({"masks": {"layer1.psi": torch.ones(2, 6, 5, dtype=torch.bool)}}, r"\(2, 6, 5\).*\(6, 5\).*\(3, 6, 5\)"),
    ({"data": toy(20, (5,), 3, runs=2)}, "2 runs.*3 seeds"),
    ({"data": toy(20, (4,), 3)}, "toy"),
    ({"data": toy(20, (5,), 4)}, "toy"),
    ({"validation": toy(20, (5,), 3, runs=2)}, "2 runs"),
    ({"validation": toy(20, (4,), 3)}, "toy"),
    ({"validation": toy(20, (5,), 4)}, "toy"),
    ({"model": mlp([5, 6, 3], dropout=0.1, spectral=0).requires_grad_(False)}, "every parameter.*frozen"),
    ({"model": Twice(), "data": toy(20, (4,))}, "second.*first"),
]


@pytest.mark.parametrize(("change", "message"), ERRORS, ids=[f"{next(iter(c))}-{k}" for k, (c, _) in enumerate(ERRORS)])
def test_wrong_arguments_are_refused(tmp_path, change, message):
    call = {"model": mlp([5, 6, 3]), "data": toy(20, (5,), 3), "seeds": SEEDS, "epochs": 1, "device": "cpu"}
    path = tmp_path / "run.npz"
    with pytest.raises(ValueError, match=message):
        fit(**(call | {"checkpoint": path} | change))
    assert not path.exists()


def test_dropout_of_all_runs_at_once_is_refused():
    model = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Dropout1d(0.5), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="Dropout"):
        fit(model, toy(10, (4,)), seeds=[1, 2], epochs=1, device="cpu")


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
def test_what_the_loss_does_not_reach_stays(optimizer):
    model, data, options = Spare(), toy(20, (4,)), {"epochs": 3, "batch_size": 6, "optimizer": optimizer, "lr": 0.1}
    start = training.initial(model, SEEDS, dtype=torch.float64)
    trained = fit(model, data, seeds=SEEDS, **options, **DOUBLE)
    for key, value in trained.state.items():
        if key.startswith("inner"):
            assert (value != start[key]).all()
        else:
            assert torch.equal(value, start[key])
    priced = {"unused.weight": 0.3, "extra": 0.2}  # a price reaches them all the same
    trained = fit(model, data, seeds=SEEDS, l2=priced, **options, **DOUBLE)
    for r, seed in enumerate(SEEDS):
        alone, _ = train_alone(model, data, seed, l2=priced, **options)
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, **TIGHT)
        assert trained.state["extra"][r] < 0.5


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
def test_single_numbers_and_unsaved_buffers_are_each_runs_own(optimizer):
    model, data, options = Scaled(), toy(20, (4,)), {"epochs": 2, "batch_size": 6, "optimizer": optimizer, "lr": 0.1}
    trained = fit(model, data, seeds=SEEDS, **options, **DOUBLE)
    assert trained.state["scale"].shape == (3,)
    assert trained.state["scale"].unique().numel() == 3
    for r, seed in enumerate(SEEDS):
        alone, _ = train_alone(model, data, seed, **options)
        torch.testing.assert_close(predict(trained, data.x)[r], alone(data.x).detach(), **TIGHT)
        torch.testing.assert_close(trained.run(r)(data.x), alone(data.x), **TIGHT)


# ---- evaluation


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


def test_a_falling_rate_is_another_experiment_for_a_checkpoint(tmp_path):
    path, call = tmp_path / "run.npz", {"data": toy(20, (5,), 3), "seeds": SEEDS, "device": "cpu"}
    fit(mlp([5, 6, 3]), epochs=2, decay=0.5, checkpoint=path, **call)
    with pytest.raises(ValueError, match=r"another experiment.*epochs"):
        fit(mlp([5, 6, 3]), epochs=4, decay=0.5, checkpoint=path, **call)
    with pytest.raises(ValueError, match=r"another experiment.*decay"):
        fit(mlp([5, 6, 3]), epochs=4, checkpoint=path, **call)


def test_a_run_is_an_ordinary_module(experiment):
    _, _, trained = experiment("everything")
    one = trained.run(1)
    with torch.no_grad():
        one.layer1.psi.zero_()
    assert trained.state["layer1.psi"][1].abs().sum() > 0
    assert trained.run(1).layer1.psi.abs().sum() > 0
    assert isinstance(one.layer1, SpectralLinear)
    assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in trained.model.parameters()]


def test_losses_are_means_over_each_runs_batch_size():
    out = torch.randn(3, 5, 4, dtype=torch.float64)
    y = torch.randint(4, (3, 5))
    found = losses.LOSSES["cross_entropy"](out, y)
    torch.testing.assert_close(found, torch.stack([F.cross_entropy(o, t) for o, t in zip(out, y, strict=True)]))
    value = torch.randn(3, 5, dtype=torch.float64)
    for name, oracle in [("mse", F.mse_loss), ("mae", F.l1_loss)]:
        found = losses.LOSSES[name](out[..., :1], value)
        expected = torch.stack([oracle(o[:, 0], t) for o, t in zip(out, value, strict=True)])
        torch.testing.assert_close(found, expected, **TIGHT)
    assert losses.num_correct(out[..., :1], value).isnan().all()
    assert losses.num_correct(out, y).tolist() == [sum(o.argmax(1) == t) for o, t in zip(out, y, strict=True)]


# ---- surroundings


def test_progress_is_shown_when_asked_for(capsys):
    for progress, shown in [(True, True), (False, False), (None, False)]:  # no terminal here
        fit(mlp([4, 3, 2]), toy(10, (4,)), seeds=[1], epochs=2, progress=progress, device="cpu")
        out, err = capsys.readouterr()
        assert out == ""
        assert ("2/2" in err) == shown


def test_parameters_whose_products_would_be_denormal_become_zero():
    model = mlp([4, 3, 2])
    small, kept = 1e-21, 1e-15
    with torch.no_grad():
        model.layer1.lam_in.copy_(torch.tensor([small, -small, kept, 1.0]))
    data = oracles.data_set(torch.zeros(10, 4), torch.arange(10) % 2)  # so that the data move no eigenvalue
    trained = fit(model, data, seeds=[1], epochs=1, reinitialize=False, device="cpu")
    assert trained.state["layer1.lam_in"][0].tolist() == pytest.approx([0, 0, kept, 1], rel=1e-6, abs=0)


def test_the_scale_of_the_gradient_changes_no_digit(monkeypatch):
    data, options = (
        toy(20, (5,), 3),
        {"seeds": SEEDS, "epochs": 3, "batch_size": 7, "dtype": torch.float32, "device": "cpu"},
    )
    scaled = fit(mlp([5, 6, 3]), data, **options).state
    monkeypatch.setattr(_loop, "_SCALE", 1.0)
    plain = fit(mlp([5, 6, 3]), data, **options).state
    assert all(torch.equal(value, plain[name]) for name, value in scaled.items())


def test_nothing_is_captured_on_the_cpu(monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("a step was captured")

    monkeypatch.setattr(_loop, "captured", never)
    assert fit(mlp([4, 3, 2]), toy(10, (4,)), seeds=[1], epochs=1, device="cpu").steps == 1


@cuda
@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
@pytest.mark.parametrize("make", [lambda: mlp([5, 6, 3], batch_norm=True, spectral=2), lambda: mlp([5, 4, 3])])
def test_the_gpu_gives_the_cpus_numbers(make, optimizer):
    # one batch an epoch and the present values, so that neither the order of samples nor the draw matters
    data = toy(20, (5,), 3, runs=3)
    options = {"seeds": SEEDS, "epochs": 12, "batch_size": 20, "reinitialize": False, "dtype": torch.float64}
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
    monkeypatch.setattr(_loop, "captured", lambda step: step)
    plain = fit(model, data, epochs=5, **options)
    for trained in (graph, resumed):
        assert trained.steps == plain.steps
        for key, value in plain.state.items():
            torch.testing.assert_close(trained.state[key], value, **TIGHT)
        for key, value in plain.history.items():
            torch.testing.assert_close(trained.history[key], value, **TIGHT)


def test_no_other_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(mlp([4, 3, 2]), toy(10, (4,)), seeds=[1, 2], epochs=1, device="cpu")
    assert not caught
