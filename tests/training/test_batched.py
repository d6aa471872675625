"""All runs in one forward pass against each run's own module."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from spectral_lens.nn import rewriting
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import _batched
from spectral_lens.training._batched import forward
from spectral_lens.training._parameters import stack
from toy_networks import CHAINS, MODELS, ROWS, SEEDS, ConvSkip, assert_close, in_a_row, inputs


def start(model):
    """The stacked state of three different copies, in float64, no parameter at a special value."""
    state = stack(model.double(), SEEDS)
    for k, (name, _) in enumerate(model.named_parameters()):
        state[name] += 0.3 * inputs(*state[name].shape, seed=k)
    return state


@pytest.mark.parametrize("samples", [2, 40])  # few and many: a product of layers pays with many only
@pytest.mark.parametrize("name", MODELS)
def test_each_run_is_its_own_module(name, samples):
    make, shape = MODELS[name]
    model = make().eval()
    state = start(model)
    x = inputs(3, samples, *shape)
    out = forward(model, state, x)
    for r in range(3):
        alone = functional_call(model, {key: value[r] for key, value in state.items()}, (x[r],))
        assert_close(out[r], alone)
    assert not torch.allclose(out[0], out[1])


@pytest.mark.parametrize("samples", [2, 40])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_each_runs_own(name, samples):
    make, shape = MODELS[name]
    model = make().eval()
    state = start(model)
    x = inputs(3, samples, *shape).requires_grad_()
    trained = {key: state[key].requires_grad_() for key, _ in model.named_parameters()}
    forward(model, state, x).square().sum().backward()
    for r in range(3):
        own = {key: value[r].detach().clone().requires_grad_(key in trained) for key, value in state.items()}
        mine = x[r].detach().clone().requires_grad_()
        functional_call(model, own, (mine,)).square().sum().backward()
        assert_close(x.grad[r], mine.grad)
        for key, value in own.items():
            if value.grad is not None:
                assert_close(trained[key].grad[r], value.grad)
        assert all(own[key].grad is not None for key in trained)


@pytest.mark.parametrize("name", CHAINS)
def test_layers_are_multiplied_where_many_samples_pay_for_it(name, monkeypatch):
    make, together = CHAINS[name]
    model, product, calls = make(), rewriting.product, []
    monkeypatch.setattr(_batched, "product", lambda owns: calls.append(len(owns)) or product(owns))
    state = start(model)
    forward(model, state, inputs(3, 2, 6))
    assert calls == []
    forward(model, state, inputs(3, 40, 6))
    assert len(calls) == together
    assert min(calls) > 1


@pytest.mark.parametrize(
    ("layers", "samples", "one"),
    [
        ([nn.Linear(2, 1000), nn.Linear(1000, 3)], 10_000, True),  # wide in the middle
        ([nn.Linear(1000, 2), nn.Linear(2, 1000)], 10**9, False),  # narrow in the middle
        ([nn.Linear(30, 30), nn.Linear(30, 30)], 1, False),  # as many products for the matrix as for 30 samples
        ([nn.Linear(30, 30), nn.Linear(30, 30)], 30, False),
        ([nn.Linear(30, 30), nn.Linear(30, 30)], 31, True),
        ([SpectralLinear(30, 30), nn.Linear(30, 30)], 60, False),  # twice as many through eigenvalues
        ([SpectralLinear(30, 30), nn.Linear(30, 30)], 61, True),
        ([nn.Linear(30, 30), SpectralLinear(30, 30)], 31, True),  # but the last weight is there
        ([nn.Linear(5, 70), SpectralLinear(70, 60), nn.Linear(60, 1)], 3, True),  # one output: one row to multiply
    ],
)
def test_one_matrix_is_cheaper_with_many_samples_and_a_wide_middle(layers, samples, one):
    assert _batched._one_is_cheaper(layers, samples) == one


@settings(deadline=None, derandomize=True, max_examples=25)
@given(ROWS, st.integers(1, 30), st.integers(0, 2**31))
def test_any_layers_in_a_row_are_their_module(row, samples, seed):
    model = in_a_row(row, seed)
    x = inputs(1, samples, model[0].in_features)
    assert_close(forward(model, stack(model, [0], reinitialize=False), x)[0], model(x[0]), 1e-10)


def test_a_sequential_that_does_nothing():
    model = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Identity()))
    state, x = start(model), inputs(3, 2, 4)
    assert torch.equal(forward(model, state, x), forward(model[:1], state, x))


@pytest.mark.parametrize("samples", [_batched._FEW, _batched._FEW + 1])
@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_few_samples_and_many_go_the_same_way(samples, activation):
    model = mlp(
        [6, 5, 4], activation=activation, spectral=2, init="giambagli", train={"lam_in", "lam_out", "psi"}
    ).double()
    state = {name: value.requires_grad_() for name, value in stack(model, [3, 8]).items()}
    x = torch.randn(2, samples, 6, dtype=torch.float64)
    out = forward(model, state, x, buffers={})
    expected = torch.stack([functional_call(model, {k: v[r] for k, v in state.items()}, (x[r],)) for r in range(2)])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    g = torch.randn_like(out)
    grads = [torch.autograd.grad(each, list(state.values()), g) for each in (out, expected)]
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    "samples", [4, 40]
)  # with few, batches are as large as weights; with many, rows are multiplied
def test_layers_of_one_size_have_buffers_of_their_own(samples):
    one, two, three = (SpectralLinear(4, 4, train={"lam_in", "lam_out", "psi"}) for _ in range(3))
    model = nn.Sequential(
        nn.Linear(4, 4), nn.Tanh(), one, nn.Tanh(), nn.Linear(4, 4), two, nn.Tanh(), nn.Linear(4, 4), three, nn.ReLU(),
        nn.Linear(4, 4),
    )  # fmt: skip
    state = {name: value.requires_grad_() for name, value in start(model).items()}
    buffers = {}
    for step in range(2):  # the second in the first one's memory
        x, g = inputs(3, samples, 4, seed=step).requires_grad_(), inputs(3, samples, 4, seed=9)
        expected = torch.stack([functional_call(model, {k: v[r] for k, v in state.items()}, (x[r],)) for r in range(3)])
        wanted = torch.autograd.grad(expected, [x, *state.values()], g)
        out = forward(model, state, x, buffers=buffers)
        assert_close(out, expected)
        for found, each in zip(torch.autograd.grad(out, [x, *state.values()], g), wanted, strict=True):
            assert_close(found, each, 1e-11)


def test_an_activation_may_stand_in_two_places():
    tanh = nn.Tanh()
    model = nn.Sequential(nn.Linear(4, 5), tanh, nn.Linear(5, 3), tanh)
    state = start(model)
    x = inputs(3, 2, 4)
    out = forward(model, state, x)
    assert out.abs().max() <= 1
    assert_close(out[0], functional_call(model, {key: value[0] for key, value in state.items()}, (x[0],)))


def test_batch_norm_counts_each_runs_own_samples():
    for model, shape in [(mlp([5, 4, 3], batch_norm=True), (5,)), (nn.Sequential(ConvSkip()), (2, 4, 5))]:
        state = start(model.train())
        alone = []
        for r in range(3):
            own = copy.deepcopy(model)
            own.load_state_dict({key: value[r] for key, value in state.items()})
            alone.append(own)
        for step in range(3):
            x = (1 + step) * inputs(3, 6, *shape, seed=step)
            out = forward(model, state, x)
            for r, own in enumerate(alone):
                assert_close(out[r], own(x[r]))
        for r, own in enumerate(alone):
            for key, value in own.state_dict().items():
                assert_close(state[key][r], value)
        changed = [key for key in state if key.endswith("running_mean")]
        assert changed
        assert not torch.allclose(state[changed[0]][0], state[changed[0]][1])


def test_dropout_keeps_where_the_draw_is_large_enough():
    model = nn.Sequential(nn.Dropout(0.25)).train()
    uniform = torch.tensor([[[0.0, 0.2499, 0.25], [0.9, 0.1, 0.5]]], dtype=torch.float64)
    x = inputs(1, 2, 3)
    expected = torch.zeros_like(x)
    for place in [(0, 0, 2), (0, 1, 0), (0, 1, 2)]:
        expected[place] = x[place] / 0.75
    assert_close(forward(model, {}, x, draw=lambda shape: uniform.view(shape)), expected)
    model.eval()
    assert torch.equal(forward(model, {}, x), x)


def test_dropout_in_training_needs_a_draw():
    model = mlp([4, 3, 2], dropout=0.5).train()
    with pytest.raises(ValueError, match="draw"):
        forward(model, stack(model, SEEDS), torch.zeros(3, 2, 4))


def test_dropout_that_cannot_be_drawn_run_by_run_is_refused():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5))

        def forward(self, x):
            return self.inner(x)

    for model in (nn.Sequential(Hidden()), nn.Sequential(nn.Linear(4, 3), nn.AlphaDropout(0.5))):
        state = stack(model, SEEDS)
        with pytest.raises(ValueError, match="dropout"):
            forward(model.train(), state, torch.zeros(3, 2, 4), draw=torch.zeros)
        assert forward(model.eval(), state, torch.zeros(3, 2, 4)).shape == (3, 2, 3)
