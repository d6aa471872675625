"""The four sets of free parameters: what they hold, what moves, and the perceptron that is left; random masks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oracles import toy
from spectral_lens.nn.layers import Dense, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import _run, fit, initial
from spectral_lens.training.subsets import (
    EIGENVALUES,
    SAME_START,
    SETS,
    SPECTRAL,
    SUBSET,
    WEIGHTS,
    compact,
    compare,
    count,
    random_mask,
    spectral_weights,
    trainable_network,
)

SEEDS, DEEP = (7, 2, 11), [6, 5, 4, 3]
KINDS = (*SETS, SAME_START)
DOUBLE = {"seeds": SEEDS, "dtype": torch.float64, "device": "cpu"}


def free(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_what_each_set_can_move():
    assert free(trainable_network(DEEP, EIGENVALUES)) == {f"layer{k}.lam_out" for k in (1, 2, 3)}
    assert free(trainable_network(DEEP, SPECTRAL)) == {
        f"layer{k}.{part}" for k in (1, 2, 3) for part in ("lam_out", "psi")
    }
    assert free(trainable_network([6, 3], EIGENVALUES)) == {"layer1.lam_in", "layer1.lam_out"}
    assert free(trainable_network([6, 3], SPECTRAL)) == {"layer1.lam_in", "layer1.lam_out", "layer1.psi"}
    for which in (SUBSET, SAME_START, WEIGHTS):
        assert free(trainable_network(DEEP, which)) == {f"layer{k}.weight" for k in (1, 2, 3)}
    assert not any("bias" in name for which in KINDS for name in trainable_network(DEEP, which).state_dict())


def test_each_set_starts_as_its_paper_does():
    """Keras' initial values in direct space, giambagli's in spectral space."""
    for which in KINDS:
        layers = [each for name, each in trainable_network(DEEP, which).named_children() if name.startswith("layer")]
        if which in (EIGENVALUES, SPECTRAL):
            assert [layer.init for layer in layers] == ["giambagli", "giambagli-inner", "giambagli-inner"]
        else:
            assert [type(layer) for layer in layers] == [Dense] * 3


def test_every_set_has_the_activations_asked_for():
    nets = compare(DEEP, toy(20, (6,), 3), sets=KINDS, activation=["tanh", "relu"], epochs=1, batch_size=20, **DOUBLE)
    for trained in nets.values():
        names = [name for name, _ in trained.model.named_children()]
        assert names == ["flatten", "layer1", "tanh1", "layer2", "relu2", "layer3"]


def test_counts_of_the_paper():
    assert [count([784, 10], which) for which in KINDS] == [794, 794, 7840, 784 + 10 + 7840, 794]
    weights, eigenvalues = 784 * 800 + 800 * 600 + 600 * 500 + 500 * 10, 800 + 600 + 500 + 10
    found = [count([784, 800, 600, 500, 10], which) for which in KINDS]
    assert found == [eigenvalues, eigenvalues, weights, weights + eigenvalues, eigenvalues]


def test_activations_stand_where_they_are_named():
    model = trainable_network(DEEP, EIGENVALUES, activation=["linear", "relu"])
    assert [name for name, _ in model.named_children()] == ["flatten", "layer1", "linear1", "layer2", "relu2", "layer3"]


@pytest.mark.parametrize("sizes", [[6, 3], DEEP])
def test_so_many_entries_move_and_no_others(sizes):
    data = toy(60, (6,), 3)
    nets = compare(sizes, data, sets=KINDS, epochs=3, batch_size=20, optimizer="adamax", lr=0.05, **DOUBLE)
    assert list(nets) == list(KINDS)
    for which, trained in nets.items():
        start = initial(trainable_network(sizes, which), SEEDS, dtype=torch.float64)
        if which == SAME_START:
            start |= spectral_weights(sizes, SEEDS, torch.float64)
        moved = sum((trained.state[name] != start[name]).flatten(1).sum(1) for name in start)
        assert moved.tolist() == [count(sizes, which)] * 3


def test_the_same_start_is_the_spectral_networks():
    weights = spectral_weights(DEEP, SEEDS, torch.float64)
    untrained = {"epochs": 1, "batch_size": 60, "optimizer": "sgd", "lr": 0.0}
    spectral = fit(trainable_network(DEEP, EIGENVALUES), toy(60, (6,), 3), **untrained, **DOUBLE)
    for r in range(3):
        for name, layer in spectral.run(r).named_children():
            if isinstance(layer, SpectralLinear):
                torch.testing.assert_close(weights[f"{name}.weight"][r], layer.weight, rtol=1e-14, atol=0)
    nets = compare(DEEP, toy(60, (6,), 3), sets=[EIGENVALUES, SAME_START, SUBSET], **untrained, **DOUBLE)
    one, same, other = (compact(nets[which]) for which in nets)
    torch.testing.assert_close(one, same, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(one, other, atol=1e-3)


def test_runs_of_one_seed_see_the_samples_in_one_order(monkeypatch):
    seen, gather = [], _run._gather
    monkeypatch.setattr(_run, "_gather", lambda x, rows, memory: seen.append(rows) or gather(x, rows, memory))
    compare([6, 3], toy(20, (6,), 3), sets=[EIGENVALUES, SUBSET], epochs=2, batch_size=10, **DOUBLE)
    first, second = seen[:4], seen[4:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("which", [EIGENVALUES, WEIGHTS])
def test_the_compact_weights_are_the_product(which):
    trained = fit(trainable_network(DEEP, which), toy(60, (6,), 3), epochs=2, batch_size=20, **DOUBLE)
    found = compact(trained)
    assert found.shape == (3, 3, 6)
    for r in range(3):
        first, second, third = (trained.run(r).get_submodule(f"layer{k}").weight for k in (1, 2, 3))
        torch.testing.assert_close(found[r], third @ second @ first, rtol=1e-12, atol=1e-14)


def test_a_nonlinear_network_has_no_compact_weights():
    model = trainable_network(DEEP, EIGENVALUES, activation=["linear", "relu"])
    trained = fit(model, toy(60, (6,), 3), epochs=1, batch_size=20, **DOUBLE)
    with pytest.raises(ValueError, match=r"(?s)is still .*ReLU.*only a linear one"):
        compact(trained)
    assert isinstance(trained.run(0), nn.Sequential)


def test_unknown_sets_are_named():
    with pytest.raises(ValueError, match=r"'eigenvectors' is no set.*eigenvalues; random subset; all weights"):
        trainable_network(DEEP, "eigenvectors")
    with pytest.raises(ValueError, match="no set"):
        compare(DEEP, toy(20, (6,), 3), sets=["weights"], seeds=SEEDS, epochs=1)


# ---- random masks, against counting


class Scaled(nn.Module):
    """A network with a single number to learn, and a frozen layer: 2 * 3 + 3 + 1 + 3 * 2 + 2 trainable entries."""

    def __init__(self):
        super().__init__()
        self.first, self.fixed, self.last = nn.Linear(2, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.fixed.requires_grad_(False)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x):
        return self.last(self.scale * self.fixed(self.first(x).tanh()))


NAMES = {"first.weight", "first.bias", "last.weight", "last.bias", "scale"}


TOTAL = 18


def flat(masks):
    """All entries of each run in one row."""
    return torch.cat([mask.unsqueeze(-1).flatten(1) for mask in masks.values()], 1)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=4),
    st.lists(st.integers(0, 2**40), max_size=5),
    st.data(),
)
def test_each_run_has_exactly_so_many(sizes, seeds, data):
    model = mlp(sizes)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    count = data.draw(st.integers(1, total))
    masks = random_mask(model, count, seeds)
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == {
        name: (len(seeds), *shape) for name, shape in shapes.items()
    }
    assert {mask.dtype for mask in masks.values()} == {torch.bool}
    assert flat(masks).sum(1).tolist() == [count] * len(seeds)


def test_only_what_is_trained_is_named():
    assert random_mask(Scaled(), 5, SEEDS).keys() == NAMES
    assert random_mask(Scaled(), 5, SEEDS)["scale"].shape == (3,)
    assert flat(random_mask(Scaled(), TOTAL, SEEDS)).all()


def test_a_run_depends_on_its_seed_alone():
    together = flat(random_mask(Scaled(), 9, SEEDS))
    for row, seed in zip(together, SEEDS, strict=True):
        assert torch.equal(flat(random_mask(Scaled(), 9, [seed])), row[None])
    assert torch.equal(flat(random_mask(Scaled(), 9, SEEDS[::-1])), together.flip(0))


def test_seeds_differ():
    rows = flat(random_mask(Scaled(), 9, range(200)))
    # 18! / 9!^2 = 48620 subsets: of 200 draws about 0.4 pairs are alike, and hardly ever 6
    assert len(rows.unique(dim=0)) > 194


def test_torchs_random_state_is_left_alone():
    model, before = Scaled(), torch.get_rng_state()
    random_mask(model, 5, SEEDS)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_subsets_are_equally_likely():
    runs, count = 6000, 5
    rows = flat(random_mask(Scaled(), count, range(runs))).double()
    pairs = rows.T @ rows  # how often two entries are chosen together; on the diagonal how often each is
    expected = torch.full((TOTAL, TOTAL), count * (count - 1) / (TOTAL * (TOTAL - 1)), dtype=torch.float64)
    expected.fill_diagonal_(count / TOTAL)
    error = (runs * expected * (1 - expected)).sqrt()  # binomial; 171 numbers, each beyond 5 with 6e-7
    assert ((pairs - runs * expected).abs() < 5 * error).all()


@pytest.mark.parametrize("count", [0, -1, TOTAL + 1])
def test_wrong_counts(count):
    with pytest.raises(ValueError, match=f"count={count} is not between 1 and the {TOTAL} trainable"):
        random_mask(Scaled(), count, SEEDS)


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="the 0 trainable"):
        random_mask(Scaled().requires_grad_(False), 1, SEEDS)


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
@pytest.mark.parametrize(
    ("model", "count"),
    [(Scaled(), 1), (Scaled(), 7), (mlp([2, 5, 3, 2], activation="tanh", spectral=2, init="giambagli"), 20)],
)
def test_a_training_moves_the_chosen_entries_only(model, count, optimizer):
    masks = random_mask(model, count, SEEDS)
    options = {"seeds": SEEDS, "epochs": 2, "batch_size": 5, "optimizer": optimizer, "lr": 0.1}
    start = initial(model, SEEDS, dtype=torch.float64)
    trained = fit(model, toy(11, (2,)), masks=masks, dtype=torch.float64, device="cpu", **options)
    for name, value in trained.state.items():  # smooth, so no gradient is 0
        moves = masks.get(name, torch.zeros(value.shape, dtype=torch.bool))
        assert torch.equal(value != start[name], moves)


def test_of_one_run_too_only_a_linear_network_is_compact():
    data = toy(20, (6,), 3)
    trained = fit(mlp([6, 4, 3], activation="relu"), data, seeds=[3], epochs=1, batch_size=10, progress=False)
    with pytest.raises(ValueError, match=r"(?s)is still .*ReLU.*only a linear one"):
        compact(trained)
