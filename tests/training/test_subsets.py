"""The four sets of free parameters: what they hold, what moves, and the perceptron that is left."""

import pytest
import torch
from torch import nn

from oracles import toy
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.training import _loop, fit, initial
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
    network,
    spectral_weights,
)

SEEDS, DEEP = (7, 2, 11), [6, 5, 4, 3]
KINDS = (*SETS, SAME_START)
DOUBLE = {"seeds": SEEDS, "dtype": torch.float64, "device": "cpu"}


def free(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_what_each_set_can_move():
    assert free(network(DEEP, EIGENVALUES)) == {f"layer{k}.lam_out" for k in (1, 2, 3)}
    assert free(network(DEEP, SPECTRAL)) == {f"layer{k}.{part}" for k in (1, 2, 3) for part in ("lam_out", "psi")}
    assert free(network([6, 3], EIGENVALUES)) == {"layer1.lam_in", "layer1.lam_out"}
    assert free(network([6, 3], SPECTRAL)) == {"layer1.lam_in", "layer1.lam_out", "layer1.psi"}
    for which in (SUBSET, SAME_START, WEIGHTS):
        assert free(network(DEEP, which)) == {f"layer{k}.weight" for k in (1, 2, 3)}
    assert not any("bias" in name for which in KINDS for name in network(DEEP, which).state_dict())


def test_counts_of_the_paper():
    assert [count([784, 10], which) for which in KINDS] == [794, 794, 7840, 784 + 10 + 7840, 794]
    weights, eigenvalues = 784 * 800 + 800 * 600 + 600 * 500 + 500 * 10, 800 + 600 + 500 + 10
    found = [count([784, 800, 600, 500, 10], which) for which in KINDS]
    assert found == [eigenvalues, eigenvalues, weights, weights + eigenvalues, eigenvalues]


def test_activations_stand_where_they_are_named():
    model = network(DEEP, EIGENVALUES, activation=["linear", "relu"])
    assert [name for name, _ in model.named_children()] == ["flatten", "layer1", "linear1", "layer2", "relu2", "layer3"]


@pytest.mark.parametrize("sizes", [[6, 3], DEEP])
def test_so_many_entries_move_and_no_others(sizes):
    data = toy(60, (6,), 3)
    nets = compare(sizes, data, sets=KINDS, epochs=3, batch_size=20, optimizer="adamax", lr=0.05, **DOUBLE)
    assert list(nets) == list(KINDS)
    for which, trained in nets.items():
        start = initial(network(sizes, which), SEEDS, dtype=torch.float64)
        if which == SAME_START:
            start |= spectral_weights(sizes, SEEDS, torch.float64)
        moved = sum((trained.state[name] != start[name]).flatten(1).sum(1) for name in start)
        assert moved.tolist() == [count(sizes, which)] * 3


def test_the_same_start_is_the_spectral_networks():
    weights = spectral_weights(DEEP, SEEDS, torch.float64)
    untrained = {"epochs": 1, "batch_size": 60, "optimizer": "sgd", "lr": 0.0}
    spectral = fit(network(DEEP, EIGENVALUES), toy(60, (6,), 3), **untrained, **DOUBLE)
    for r in range(3):
        for name, layer in spectral.run(r).named_children():
            if isinstance(layer, SpectralLinear):
                torch.testing.assert_close(weights[f"{name}.weight"][r], layer.weight, rtol=1e-14, atol=0)
    nets = compare(DEEP, toy(60, (6,), 3), sets=[EIGENVALUES, SAME_START, SUBSET], **untrained, **DOUBLE)
    one, same, other = (compact(nets[which]) for which in nets)
    torch.testing.assert_close(one, same, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(one, other, atol=1e-3)


def test_runs_of_one_seed_see_the_samples_in_one_order(monkeypatch):
    seen, gather = [], _loop._gather
    monkeypatch.setattr(_loop, "_gather", lambda x, rows, memory: seen.append(rows) or gather(x, rows, memory))
    compare([6, 3], toy(20, (6,), 3), sets=[EIGENVALUES, SUBSET], epochs=2, batch_size=10, **DOUBLE)
    first, second = seen[:4], seen[4:]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("which", [EIGENVALUES, WEIGHTS])
def test_the_compact_weights_are_the_product(which):
    trained = fit(network(DEEP, which), toy(60, (6,), 3), epochs=2, batch_size=20, **DOUBLE)
    found = compact(trained)
    assert found.shape == (3, 3, 6)
    for r in range(3):
        first, second, third = (trained.run(r).get_submodule(f"layer{k}").weight for k in (1, 2, 3))
        torch.testing.assert_close(found[r], third @ second @ first, rtol=1e-12, atol=1e-14)


def test_a_nonlinear_network_has_no_compact_weights():
    model = network(DEEP, EIGENVALUES, activation=["linear", "relu"])
    trained = fit(model, toy(60, (6,), 3), epochs=1, batch_size=20, **DOUBLE)
    with pytest.raises(ValueError, match=r"(?s)is still .*ReLU.*only a linear one"):
        compact(trained)
    assert isinstance(trained.run(0), nn.Sequential)


def test_unknown_sets_are_named():
    with pytest.raises(ValueError, match=r"'eigenvectors' is no set.*eigenvalues; random subset; all weights"):
        network(DEEP, "eigenvectors")
    with pytest.raises(ValueError, match="no set"):
        compare(DEEP, toy(20, (6,), 3), sets=["weights"], seeds=SEEDS, epochs=1)
