"""Side-by-side training: each run equals the run trained alone, and an ordinary loop with torch.optim."""

import copy
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import oracles
from experiments import DOUBLE, EXPERIMENTS, SEEDS, TIGHT, Steep, dropping, own, some, starts
from oracles import measured, toy, train_alone
from spectral_lens import training
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit, predict


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


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_run_equals_the_run_alone(experiment, name):
    model, options, trained = experiment(name)
    for r, seed in enumerate(SEEDS):
        alone = fit(model, seeds=[seed], epochs=3, recalibrate=False, **DOUBLE, **own(options, r))
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


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_penalty_may_hold_derivatives(activation, batch_norm):
    model = mlp([5, 6, 4, 3], activation=activation, spectral=2, batch_norm=batch_norm)
    options = {"data": toy(22, (5,), 3), "batch_size": 8, "lr": 0.01, "l2": {"layer1.psi": 0.01}, "epochs": 4}
    trained = fit(model, seeds=SEEDS, penalty=Steep(), recalibrate=False, **DOUBLE, **options)
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


def test_a_penalty_that_turns_nan_is_named():
    options = {"data": toy(22, (5,), 3), "seeds": SEEDS, "batch_size": 22, "epochs": 1, **DOUBLE}
    lost = torch.tensor([0.0, float("nan"), 0.0], dtype=torch.float64)
    with pytest.warns(RuntimeWarning, match=r"run 1 \(seed 2\) at step 0"):
        fit(mlp([5, 6, 3]), penalty=lambda step: lost * step.out.sum(), **options)


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


def test_progress_is_shown_when_asked_for(capsys):
    for progress, shown in [(True, True), (False, False), (None, False)]:  # no terminal here
        fit(mlp([4, 3, 2]), toy(10, (4,)), seeds=[1], epochs=2, progress=progress, device="cpu")
        out, err = capsys.readouterr()
        assert out == ""
        assert ("2/2" in err) == shown


def test_no_other_warnings():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(mlp([4, 3, 2]), toy(10, (4,)), seeds=[1, 2], epochs=1, device="cpu")
    assert not caught
