"""Comparisons of trainings, against loops, closed forms and scipy."""

import math

import pytest
import torch
from scipy import stats

from oracles import toy
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import accuracy, fit
from spectral_lens.training.comparison import confined, moved, paired_distance, paired_test, sweep, weight_distance
from spectral_lens.training.subsets import (
    EIGENVALUES,
    SAME_START,
    SPECTRAL,
    SUBSET,
    WEIGHTS,
    compare,
    random_mask,
    spectral_weights,
    trainable_network,
)

OPTIONS = {"seeds": (7, 2, 11), "epochs": 2, "batch_size": 9, "lr": 0.03, "dtype": torch.float64, "device": "cpu"}
NETS = [(6, 3), (6, 5, 3), (6, 4, 2, 3)]


@pytest.fixture(scope="module")
def data():
    return toy(40, (6,), 3), toy(31, (6,), 3, seed=1)


# ---- a sweep over architectures


@pytest.fixture(scope="module")
def swept(data):
    return sweep([*NETS, NETS[0]], *data, sets=[EIGENVALUES, SUBSET, SPECTRAL], keep=[list(NETS[1])], **OPTIONS)


def test_a_sweep_is_the_loop(swept, data):
    train, test = data
    assert swept.architectures == tuple(NETS)
    for k, sizes in enumerate(NETS):
        for name, net in compare(sizes, train, sets=[EIGENVALUES, SUBSET, SPECTRAL], **OPTIONS).items():
            assert torch.equal(swept.accuracy[name][:, k], accuracy(net, test))


def test_what_each_set_may_move(swept):
    assert swept.free[EIGENVALUES].tolist() == [6 + 3, 5 + 3, 4 + 2 + 3]
    assert swept.free[SUBSET].tolist() == swept.free[EIGENVALUES].tolist()
    assert swept.free[SPECTRAL].tolist() == [9 + 18, 8 + 30 + 15, 9 + 24 + 8 + 6]


def test_only_what_was_asked_for_is_kept(swept, data):
    assert list(swept.kept) == [NETS[1]]
    assert list(swept.kept[NETS[1]]) == [EIGENVALUES, SUBSET, SPECTRAL]
    assert torch.equal(accuracy(swept.kept[NETS[1]][SUBSET], data[1]), swept.accuracy[SUBSET][:, 1])


def test_some_architectures_in_their_order(swept):
    found = swept.at([NETS[2], list(NETS[0])])
    assert found.architectures == (NETS[2], NETS[0])
    assert torch.equal(found.accuracy[SUBSET], swept.accuracy[SUBSET][:, [2, 0]])
    assert found.free[SPECTRAL].tolist() == [9 + 24 + 8 + 6, 27]
    assert found.kept is swept.kept
    with pytest.raises(ValueError, match=r"not trained: \[\(6, 1, 3\)\]"):
        swept.at([(6, 1, 3)])


def test_nothing_to_sweep(data):
    with pytest.raises(ValueError, match="an architecture at least"):
        sweep([], *data, **OPTIONS)
    with pytest.raises(ValueError, match=r"\[\(6, 2, 3\)\] to keep are not trained"):
        sweep(NETS, *data, keep=[(6, 2, 3), NETS[0]], **OPTIONS)


# ---- a random subset in some layers


@pytest.mark.parametrize("layers", [["layer1"], ["layer2", "layer3"]])
def test_confined_trains_as_many_weights_as_eigenvalues_there(data, layers):
    trained = confined([6, 5, 4, 3], data[0], layers=layers, **OPTIONS)
    changed = moved(trained)
    assert sum(changed[f"{name}.weight"].flatten(1).sum(1) for name in layers).tolist() == [12, 12, 12]
    assert not any(each.any() for name, each in changed.items() if name.split(".")[0] not in layers)
    masks = [changed[f"{layers[0]}.weight"][r] for r in range(3)]
    assert not torch.equal(masks[0], masks[1])


def test_confined_to_what_is_not_there(data):
    with pytest.raises(ValueError, match=r"no layers with weights: flatten, layer4; there are layer1, layer2\.$"):
        confined([6, 5, 3], data[0], layers=["layer4", "layer1", "flatten"], **OPTIONS)
    with pytest.raises(ValueError, match="count=9 is not between 1 and the 3 trainable"):
        confined([6, 5, 1, 3], data[0], layers=["layer3"], **OPTIONS)


# ---- what moved


def test_what_moved_is_what_was_free(data):
    for which in (EIGENVALUES, WEIGHTS, SUBSET):
        net = compare([6, 3], data[0], sets=[which], **OPTIONS)[which]
        changed = moved(net)
        assert set(changed) == set(net.state)
        if which == EIGENVALUES:
            assert changed["layer1.lam_in"].all()
            assert changed["layer1.lam_out"].all()
            assert not changed["layer1.psi"].any()
        elif which == WEIGHTS:
            assert changed["layer1.weight"].all()
        else:
            masks = random_mask(trainable_network([6, 3], SUBSET), 9, OPTIONS["seeds"])
            assert torch.equal(changed["layer1.weight"], masks["layer1.weight"])


def test_moved_from_a_given_start(data):
    net = compare([6, 3], data[0], sets=[SAME_START], **OPTIONS)[SAME_START]
    start = spectral_weights([6, 3], OPTIONS["seeds"], torch.float64)
    assert moved(net, start=start)["layer1.weight"].flatten(1).sum(1).tolist() == [9, 9, 9]
    assert moved(net)["layer1.weight"].all()


def test_buffers_move_too(data):
    trained = fit(mlp([6, 4, 3], batch_norm=True), data[0], **OPTIONS)
    changed = moved(trained)
    assert changed["norm1.running_mean"].all()
    assert changed["norm1.num_batches_tracked"].all()


# ---- pairs


def test_paired_test_in_closed_form():
    """With two degrees of freedom P(T > t) = 1/2 - t / (2 sqrt(2 + t^2))."""
    a = torch.tensor([[3.0, 0.0], [4.0, 1.0], [5.0, 4.0]])
    b = torch.tensor([[2.0, 1.0], [2.0, 3.0], [2.0, 2.0]])
    gain, p = paired_test(a, b)
    assert gain.dtype == torch.float64
    assert gain.tolist() == [[1, -1], [2, -2], [3, 2]]
    for k, t in enumerate([2 / math.sqrt(1 / 3), -1 / 3 / math.sqrt(13 / 3 / 3)]):
        assert float(p[k]) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), rel=1e-12)


def test_paired_test_against_scipy():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    expected = stats.ttest_rel(a.numpy(), b.numpy(), alternative="greater").pvalue
    torch.testing.assert_close(paired_test(a, b).p, torch.from_numpy(expected), rtol=1e-12, atol=0)
    assert paired_test(a[:, 0], b[:, 0]).p.shape == ()


def test_paired_test_of_little():
    assert paired_test(torch.ones(1, 2), torch.zeros(1, 2)).p.isnan().all()
    assert paired_test(torch.ones(4), torch.zeros(4)).p == 0
    assert paired_test(torch.ones(4), torch.ones(4)).p.isnan()
    with pytest.raises(ValueError, match="two equal shapes"):
        paired_test(torch.ones(4), torch.ones(4, 1))


# ---- distributions of weights


def test_weight_distance_of_as_many_is_between_the_sorted():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(3, 5, 7, generator=generator, dtype=torch.float64)
    other = torch.randn(35, generator=generator, dtype=torch.float64)
    expected = [(one.flatten().sort()[0] - other.sort()[0]).abs().mean() for one in weights]
    torch.testing.assert_close(weight_distance(weights, other), torch.stack(expected), rtol=1e-12, atol=0)


def test_weight_distance_of_a_shift_and_of_a_spread():
    zero, two = torch.zeros(1, 3), torch.tensor([-2.0, 2.0])
    assert weight_distance(zero + 0.75, torch.zeros(4, 2)).tolist() == [0.75]
    assert weight_distance(zero, two).tolist() == [2.0]
    assert weight_distance(two.expand(2, 2), two).tolist() == [0.0, 0.0]


def test_each_run_from_its_own_reference():
    weights, others = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = [weight_distance(weights[r : r + 1], others[r]).item() for r in range(3)]
    assert paired_distance(weights, others).tolist() == expected
    assert paired_distance(weights, weights + 0.5).tolist() == pytest.approx([0.5] * 3, rel=1e-12)


def test_what_was_swept_stays_as_it_is(swept):
    """A part of it is a new one."""
    with pytest.raises(AttributeError):
        swept.architectures = ()
    assert swept.at([NETS[2]]).architectures == (NETS[2],)
    assert swept.architectures == tuple(NETS)
