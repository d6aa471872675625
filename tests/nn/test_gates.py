"""Random gates on the inputs, and a training that pays for the open ones."""

import math

import pytest
import torch
from torch import nn

from oracles import data_set
from spectral_lens.nn.gates import GATES, HardConcreteGates, StochasticGates, inside
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit
from spectral_lens.training._batched import forward
from spectral_lens.training._parameters import stack
from spectral_lens.training.penalties import OpenGates, Step

DOUBLE = {"dtype": torch.float64, "device": "cpu"}


def uniform(*shape, seed=0):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", GATES)
def test_the_probability_is_that_of_the_gates(kind):
    gates = GATES[kind](5).double()
    location = torch.tensor([-1.3, -0.2, 0.0, 0.4, 1.1], dtype=torch.float64)
    drawn = gates.gate(location, uniform(200_000, 5))
    assert drawn.min() == 0
    assert drawn.max() == 1
    found = (drawn > 0).double().mean(0)
    torch.testing.assert_close(found, gates.probability(location), atol=4 * 0.5 / math.sqrt(200_000), rtol=0)


def test_the_price_is_the_expected_number_of_open_gates():
    """Phi(mu / sigma), and the probability that a stretched concrete variable is positive, gate by gate."""
    location = 3 * uniform(2, 5) - 1.2
    step = Step({"gates.location": location}, uniform(2, 3, 5), uniform(2, 3, 1, seed=1), uniform)
    open_by_kind = {
        "stochastic": lambda mu: (1 + math.erf(mu / 0.5 / math.sqrt(2))) / 2,
        "hard concrete": lambda log_alpha: 1 / (1 + math.exp(2 / 3 * math.log(0.1 / 1.1) - log_alpha)),
    }
    assert open_by_kind.keys() == GATES.keys()
    for kind, chance in open_by_kind.items():
        expected = [0.3 * sum(chance(each) for each in row) for row in location.tolist()]
        assert OpenGates(GATES[kind](5), 0.3)(step).tolist() == pytest.approx(expected, rel=1e-7)


def test_a_gate_starts_and_rests_between_closed_and_open():
    location = torch.tensor([-9.0, -0.25, 0.0, 0.25, 9.0], dtype=torch.float64)
    stochastic, concrete = StochasticGates(5).double(), HardConcreteGates(5).double()
    assert stochastic.location.tolist() == [0.5] * 5
    assert concrete.location.tolist() == [0.0] * 5
    assert stochastic.gate(location, None).tolist() == [0, 0, 0, 0.25, 1]
    found = concrete.gate(location, None)
    assert found[[0, -1]].tolist() == [0, 1]
    torch.testing.assert_close(found[1:4], 1.2 * location[1:4].sigmoid() - 0.1, rtol=0, atol=1e-15)
    for gates in (stochastic, concrete):
        with torch.no_grad():
            gates.location.copy_(location)
        x = uniform(3, 5)
        assert torch.equal(gates.eval()(x), x * gates.gate(location, None))


def test_stochastic_gates_are_a_clipped_normal():
    gates, location = StochasticGates(1), torch.tensor([0.3], dtype=torch.float64)
    # the median and one standard deviation above: Phi(1) = .8413447...
    found = gates.gate(location, torch.tensor([[0.5], [0.8413447460685429], [0.999]], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([[0.3], [0.8], [1.0]], dtype=torch.float64), rtol=0, atol=1e-9)


def test_hard_concrete_gates_by_hand():
    gates, location = HardConcreteGates(1), torch.tensor([0.7], dtype=torch.float64)
    s = 1 / (1 + math.exp(-(math.log(0.6 / 0.4) + 0.7) / (2 / 3)))
    found = gates.gate(location, torch.tensor([[0.6]], dtype=torch.float64)).item()
    assert found == pytest.approx(min(1, s * 1.2 - 0.1), abs=1e-12)
    assert gates.gate(location, None).item() == pytest.approx(1.2 / (1 + math.exp(-0.7)) - 0.1, abs=1e-12)


def test_the_typical_gate_is_shut_open_or_between():
    location = torch.tensor([-9.0, -0.3, 0.4, 1.0, 9.0], dtype=torch.float64)
    assert StochasticGates(5).gate(location, None).tolist() == [0, 0, 0.4, 1, 1]
    between = [1.2 / (1 + math.exp(-each)) - 0.1 for each in (-0.3, 0.4, 1.0)]
    assert HardConcreteGates(5).gate(location, None).tolist() == pytest.approx([0, *between, 1], abs=1e-12)


def test_gates_start_half_open():
    assert StochasticGates(3).location.tolist() == [0.5] * 3
    assert HardConcreteGates(3).location.tolist() == [0] * 3
    gates = StochasticGates(3)
    nn.init.zeros_(gates.location)
    gates.reset_parameters()
    assert gates.location.tolist() == [0.5] * 3


def test_the_probabilities_in_closed_form():
    location = torch.tensor([-1.3, 0.0, 0.4], dtype=torch.float64)
    normal = [(1 + math.erf(each / 0.5 / math.sqrt(2))) / 2 for each in location.tolist()]
    assert StochasticGates(3).probability(location).tolist() == pytest.approx(normal, rel=1e-9)
    # s (zeta - gamma) + gamma > 0 where s > 1/12: logit u > 2/3 logit(1/12) - log alpha
    logistic = [1 / (1 + math.exp(2 / 3 * math.log(1 / 11) - each)) for each in location.tolist()]
    assert HardConcreteGates(3).probability(location).tolist() == pytest.approx(logistic, rel=1e-9)


@pytest.mark.parametrize("kind", GATES)
def test_each_gate_of_each_sample_draws_its_own_number(kind):
    gates = GATES[kind](7).train()
    torch.manual_seed(3)
    drawn = gates(torch.ones(400, 7)).detach()
    together = torch.corrcoef(drawn.T) - torch.eye(7)
    assert together.abs().max() < 5 / math.sqrt(400)
    assert (drawn.std(0) > 0.1).all()
    torch.manual_seed(3)
    expected = gates.gate(gates.location, torch.rand(400, 7)).detach()
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("extreme", [0.0, 1 - 2**-53])
def test_the_ends_of_the_uniform_numbers_stay_finite(kind, extreme):
    gates = GATES[kind](3)
    location = torch.tensor([-2.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    drawn = gates.gate(location, torch.full((2, 3), extreme, dtype=torch.float64))
    (slope,) = torch.autograd.grad(drawn.sum(), location)
    assert drawn.isfinite().all()
    assert slope.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_move_off_their_ends_alone(dtype):
    eps = torch.finfo(dtype).eps
    within = torch.tensor([2 * eps, 1e-4, 0.5, 1 - 1e-4, 1 - 2 * eps], dtype=dtype)
    assert torch.equal(inside(within), within)
    assert inside(torch.tensor([0, eps / 2, 1], dtype=dtype)).tolist() == [eps, eps, 1 - eps]


@pytest.mark.parametrize("kind", GATES)
def test_side_by_side_gates_are_each_runs_own(kind):
    net = nn.Sequential(GATES[kind](4), nn.Linear(4, 3)).double()
    state, x, numbers = stack(net, (3, 8)), uniform(2, 5, 4), uniform(2, 5, 4, seed=1)
    state["0.location"] = uniform(2, 4, seed=2) - 0.5
    out = forward(net.train(), state, x, draw=lambda shape: numbers)
    for r in range(2):
        gated = x[r] * net[0].gate(state["0.location"][r], numbers[r])
        torch.testing.assert_close(out[r], gated @ state["1.weight"][r].T + state["1.bias"][r])
    net.eval()
    out = forward(net, state, x)
    gated = x[1] * net[0].gate(state["0.location"][1], None)
    torch.testing.assert_close(out[1], gated @ state["1.weight"][1].T + state["1.bias"][1])
    with pytest.raises(ValueError, match="gates in training mode"):
        forward(net.train(), state, x)


@pytest.mark.parametrize("kind", GATES)
def test_a_module_alone_draws_and_rests(kind):
    gates = GATES[kind](6)
    x = torch.ones(50, 6)
    assert len({tuple(row.tolist()) for row in gates.train()(x)}) > 1
    torch.testing.assert_close(gates.eval()(x), gates.gate(gates.location, None).expand(50, 6))


@pytest.mark.parametrize("kind", GATES)
def test_a_price_closes_the_gates_of_what_does_not_matter(kind):
    x = torch.randn(400, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    data = data_set(x, (x[:, 2] > 0).long())
    gates = GATES[kind](6)
    net = nn.Sequential()
    net.add_module("gates", gates)
    for name, layer in mlp([6, 16, 2], spectral=0).named_children():
        net.add_module(name, layer)
    trained = fit(net, data, seeds=(1, 2), epochs=60, batch_size=40, lr=0.02, penalty=OpenGates(gates, 0.05), **DOUBLE)
    chance = gates.probability(trained.state["gates.location"])
    assert (chance[:, 2] > 0.9).all()
    assert (chance[:, [0, 1, 3, 4, 5]] < 0.5).all()
