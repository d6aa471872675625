"""The tensors of many runs: where each starts, and what one number per run becomes."""

import copy

import pytest
import torch
from torch import nn

import oracles
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import _parameters
from spectral_lens.training._parameters import StackedParameters, stack, streams
from toy_networks import MODELS, SEEDS


@pytest.mark.parametrize("name", MODELS)
def test_each_copy_starts_from_its_own_seed(name):
    model = MODELS[name][0]().double()
    state = stack(model, SEEDS)
    for r, seed in enumerate(SEEDS):
        own = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in own.modules():
                if hasattr(layer, "reset_parameters"):
                    layer.reset_parameters()
        for key, value in own.state_dict().items():
            assert torch.equal(state[key][r], value)
    for key, value in stack(model, SEEDS[:1]).items():
        assert torch.equal(value[0], state[key][0])


def test_without_new_initial_values_every_copy_is_the_model():
    model = mlp([4, 3, 2])
    with torch.no_grad():
        model.layer1.lam_in.fill_(0.3)
    before = copy.deepcopy(model.state_dict())
    state = stack(model, SEEDS, reinitialize=False)
    for key, value in before.items():
        assert torch.equal(state[key], value.expand(3, *value.shape))
    state["layer1.psi"].zero_()
    assert torch.equal(model.layer1.psi, before["layer1.psi"])  # copies, no views


@pytest.mark.parametrize("reinitialize", [True, False])
def test_torchs_random_state_is_left_alone(reinitialize):
    torch.manual_seed(5)
    model = mlp([4, 3, 2], batch_norm=True, dropout=0.5)
    before = torch.get_rng_state()
    stack(model, SEEDS, reinitialize=reinitialize)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_would_be_shared_is_refused():
    layer, tied = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    for model in (nn.Sequential(layer, nn.Tanh(), layer), tied):
        with pytest.raises(ValueError, match="one parameter"):
            stack(model, SEEDS)


def test_a_seeds_two_streams():
    assert [streams(seed) for seed in (0, 7, 2**40)] == [oracles.streams(seed) for seed in (0, 7, 2**40)]


def stacked(**options):
    model = mlp([4, 3, 2])
    own = {"reinitialize": True, "init_state": None, "device": torch.device("cpu")} | options
    return model, StackedParameters(model, SEEDS, **own)


def test_what_is_trained_lies_in_one_matrix():
    model, parameters = stacked()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    state, start = parameters.state(), stack(model, SEEDS)
    assert set(parameters.names) == trained
    assert parameters.theta.shape == (3, sum(p.numel() for p in model.parameters() if p.requires_grad))
    parts = dict(zip(parameters.names, parameters.theta.split(parameters.sizes, 1), strict=True))
    for name, value in start.items():
        assert torch.equal(state[name], value)
        assert state[name].requires_grad == (name in trained)
        if name in trained:
            assert torch.equal(parts[name], value.flatten(1))
    parameters.theta.fill_(3)
    assert all((state[name] == 3).all() for name in trained)


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_blocks_hold_every_run_once(monkeypatch, rows):
    total = stacked()[1].theta.shape[1]
    monkeypatch.setattr(_parameters, "_TOGETHER", rows * total)
    blocks = stacked()[1].blocks
    assert [r for block in blocks for r in range(block.start, block.stop)] == [0, 1, 2]
    assert max(block.stop - block.start for block in blocks) == min(rows, 3)


def test_a_number_per_run_is_a_column():
    _, parameters = stacked()
    assert parameters.column(0.5, "lr").tolist() == [[0.5]] * 3
    assert parameters.column([1.0, 2.0, 4.0], "lr").tolist() == [[1.0], [2.0], [4.0]]
    with pytest.raises(ValueError, match="lr has 2 values for 3 runs: give one, or one per run"):
        parameters.column([1.0, 2.0], "lr")


def test_what_a_mask_leaves_out_is_frozen():
    _, parameters = stacked()
    assert parameters.frozen(None) is None
    assert parameters.frozen({}) is None
    mask = torch.tensor([True, False, False, True])
    own = torch.stack([mask, ~mask, mask])
    for given, expected in ((mask, [~mask] * 3), (own, list(~own))):
        parts = parameters.frozen({"layer1.lam_in": given}).split(parameters.sizes, 1)
        for name, part in zip(parameters.names, parts, strict=True):
            wanted = torch.stack(expected) if name == "layer1.lam_in" else torch.zeros_like(part)
            assert torch.equal(part, wanted)
