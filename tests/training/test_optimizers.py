"""The side-by-side optimisers against torch's, one run at a time, and against their first steps in closed form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oracles import OPTIMIZERS as TORCHS
from spectral_lens.training.optimizers import OPTIMIZERS

RATES = [[0.1], [1e-3], [2.0]]


def gradients(steps, *, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    every = scale * torch.randn(steps, 3, 5, generator=generator, dtype=torch.float64)
    every[:, :, 3] = 0  # an entry that never moves
    every[steps // 2 :, :, 4] = 0  # and one whose gradient ends
    return every


def moved(name, start, lr, every):
    theta = start.clone()
    optimizer = OPTIMIZERS[name](theta, torch.tensor(lr, dtype=theta.dtype))
    memory = torch.empty_like(theta)  # as in a training: every step's gradient comes in the same memory
    for gradient in every:
        optimizer.update(memory.copy_(gradient))
    return theta


@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(deadline=None, derandomize=True, max_examples=8)
@given(seed=st.integers(0, 999), scale=st.sampled_from([1e-9, 1e-4, 1.0, 1e6]))
def test_each_row_moves_as_in_torch(name, seed, scale):
    start = gradients(1, seed=seed + 1)[0]
    every = gradients(40, seed=seed, scale=scale)
    theta = moved(name, start, RATES, every)
    for r in range(3):
        own = torch.nn.Parameter(start[r].clone())
        step = TORCHS[name]([own], lr=RATES[r][0])
        for gradient in every[:, r]:
            own.grad = gradient.clone()
            step.step()
        torch.testing.assert_close(theta[r], own.detach(), rtol=1e-12, atol=1e-12)
    assert torch.equal(theta[:, 3], start[:, 3])


def test_first_step_in_closed_form():
    g = torch.tensor([[2.0, -0.5]], dtype=torch.float64)
    start = torch.ones(1, 2, dtype=torch.float64)
    lr = [[0.1]]
    adam = moved("adam", start, lr, g[None])
    torch.testing.assert_close(adam, 1 - 0.1 * g / (g.abs() + 1e-8), rtol=1e-14, atol=1e-14)
    adamax = moved("adamax", start, lr, g[None])
    torch.testing.assert_close(adamax, 1 - 0.1 * g / (g.abs() + 1e-8), rtol=1e-14, atol=1e-14)
    assert torch.equal(moved("sgd", start, lr, g[None]), 1 - 0.1 * g)


def test_second_step_of_adamax_remembers_the_largest_gradient():
    every = torch.tensor([[[4.0]], [[1.0]]], dtype=torch.float64)
    start = torch.zeros(1, 1, dtype=torch.float64)
    first = -0.1
    m, u = 0.9 * 0.1 * 4 + 0.1 * 1, 0.999 * 4
    expected = first - 0.1 * m / (1 - 0.9**2) / u
    assert moved("adamax", start, [[0.1]], every).item() == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_non_finite_row_leaves_the_others_alone(name):
    every = gradients(7)
    start = gradients(1, seed=5)[0]
    clean = moved(name, start, RATES, every)
    every[3:, 1] = float("nan")
    theta = moved(name, start, RATES, every)
    assert theta[1].isnan().any()
    assert torch.equal(theta[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_its_state_is_all_that_it_remembers(name):
    every, start = gradients(9), gradients(1, seed=5)[0]
    lr = torch.tensor(RATES, dtype=torch.float64)
    theta = start.clone()
    first = OPTIMIZERS[name](theta, lr)
    for gradient in every[:4]:
        first.update(gradient.clone())
    second = OPTIMIZERS[name](theta, lr)
    assert second.state.keys() == first.state.keys()
    for key, value in first.state.items():
        second.state[key].copy_(value)
    for gradient in every[4:]:
        second.update(gradient.clone())
    assert torch.equal(theta, moved(name, start, RATES, every))
