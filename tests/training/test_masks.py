"""Random subsets of the trainable entries, against counting."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from oracles import toy
from spectral_lens import training
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit
from spectral_lens.training.subsets import subset

SEEDS = (7, 2, 11)


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
    masks = subset(model, count, seeds)
    assert {name: tuple(mask.shape) for name, mask in masks.items()} == {
        name: (len(seeds), *shape) for name, shape in shapes.items()
    }
    assert {mask.dtype for mask in masks.values()} == {torch.bool}
    assert flat(masks).sum(1).tolist() == [count] * len(seeds)


def test_only_what_is_trained_is_named():
    assert subset(Scaled(), 5, SEEDS).keys() == NAMES
    assert subset(Scaled(), 5, SEEDS)["scale"].shape == (3,)
    assert flat(subset(Scaled(), TOTAL, SEEDS)).all()


def test_a_run_depends_on_its_seed_alone():
    together = flat(subset(Scaled(), 9, SEEDS))
    for row, seed in zip(together, SEEDS, strict=True):
        assert torch.equal(flat(subset(Scaled(), 9, [seed])), row[None])
    assert torch.equal(flat(subset(Scaled(), 9, SEEDS[::-1])), together.flip(0))


def test_seeds_differ():
    rows = flat(subset(Scaled(), 9, range(200)))
    # 18! / 9!^2 = 48620 subsets: of 200 draws about 0.4 pairs are alike, and hardly ever 6
    assert len(rows.unique(dim=0)) > 194


def test_torchs_random_state_is_left_alone():
    model, before = Scaled(), torch.get_rng_state()
    subset(model, 5, SEEDS)
    assert torch.equal(torch.get_rng_state(), before)


def test_all_subsets_are_equally_likely():
    runs, count = 6000, 5
    rows = flat(subset(Scaled(), count, range(runs))).double()
    pairs = rows.T @ rows  # how often two entries are chosen together; on the diagonal how often each is
    expected = torch.full((TOTAL, TOTAL), count * (count - 1) / (TOTAL * (TOTAL - 1)), dtype=torch.float64)
    expected.fill_diagonal_(count / TOTAL)
    error = (runs * expected * (1 - expected)).sqrt()  # binomial; 171 numbers, each beyond 5 with 6e-7
    assert ((pairs - runs * expected).abs() < 5 * error).all()


@pytest.mark.parametrize("count", [0, -1, TOTAL + 1])
def test_wrong_counts(count):
    with pytest.raises(ValueError, match=f"count={count} is not between 1 and the {TOTAL} trainable"):
        subset(Scaled(), count, SEEDS)


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="the 0 trainable"):
        subset(Scaled().requires_grad_(False), 1, SEEDS)


@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
@pytest.mark.parametrize(
    ("model", "count"),
    [(Scaled(), 1), (Scaled(), 7), (mlp([2, 5, 3, 2], activation="tanh", spectral=2, init="giambagli"), 20)],
)
def test_a_training_moves_the_chosen_entries_only(model, count, optimizer):
    masks = subset(model, count, SEEDS)
    options = {"seeds": SEEDS, "epochs": 2, "batch_size": 5, "optimizer": optimizer, "lr": 0.1}
    start = training.initial(model, SEEDS, dtype=torch.float64)
    trained = fit(model, toy(11, (2,)), masks=masks, dtype=torch.float64, device="cpu", **options)
    for name, value in trained.state.items():  # smooth, so no gradient is 0
        moves = masks.get(name, torch.zeros(value.shape, dtype=torch.bool))
        assert torch.equal(value != start[name], moves)
