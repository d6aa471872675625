"""All runs in one forward pass against each run's own module."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

import oracles
from spectral_lens.nn import rewriting
from spectral_lens.nn.layers import Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import retract
from spectral_lens.training import _batched
from spectral_lens.training._batched import forward
from spectral_lens.training._fused import dense
from spectral_lens.training._parameters import stack


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


SEEDS = (4, 1, 9)


exact = settings(deadline=None, derandomize=True, max_examples=25)


def assert_close(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def inputs(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Skip(nn.Module):
    """No Sequential, so it goes through vmap."""

    def __init__(self):
        super().__init__()
        self.a, self.b = SpectralLinear(5, 5), nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.tensor([1.5]))

    def forward(self, x):
        return self.scale * self.b(x + self.a(x).tanh())


class ConvSkip(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = SpectralConv2d(2, 2, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(2)

    def forward(self, x):
        return x + self.norm(self.a(x)).relu()


class Squared(nn.Linear):
    def forward(self, x):
        return super().forward(x) ** 2


# consecutive dense layers, wide in the middle, and how many times some of them stand together
CHAINS = {
    "plain": (lambda: nn.Sequential(nn.Linear(6, 17), nn.Linear(17, 13), nn.Linear(13, 3)), 1),
    "plain, no bias": (lambda: nn.Sequential(nn.Linear(6, 17, bias=False), Dense(17, 4, bias=False)), 1),
    "spectral": (lambda: mlp([6, 17, 13, 3], activation="linear", spectral=3, init="giambagli"), 1),
    "mixed": (
        lambda: nn.Sequential(
            SpectralLinear(6, 17, bias=False), nn.Linear(17, 13), Dense(13, 11, bias=False), SpectralLinear(11, 3)
        ),
        1,
    ),
    "bias in the first": (
        lambda: nn.Sequential(Dense(6, 17), nn.Identity(), SpectralLinear(17, 3, bias=False), nn.Identity()),
        1,
    ),
    "bias in the last": (
        lambda: nn.Sequential(nn.Linear(6, 17, bias=False), SpectralLinear(17, 13, bias=False), nn.Linear(13, 2)),
        1,
    ),
    "activations between": (
        lambda: mlp([6, 17, 4, 15, 3], activation=["linear", "tanh", "linear"], spectral=3, init="giambagli"),
        2,
    ),
    "an activation behind": (lambda: nn.Sequential(SpectralLinear(6, 17), nn.Linear(17, 4), nn.ReLU()), 1),
    "nested": (
        lambda: nn.Sequential(
            nn.Identity(),
            nn.Sequential(SpectralLinear(6, 17), nn.Sequential(nn.Linear(17, 13), nn.Identity()), nn.Linear(13, 4)),
            nn.Sequential(nn.Sigmoid(), nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 3))),
        ),
        1,
    ),
}


MODELS = {
    "dense": (lambda: mlp([5, 7, 4, 3], activation=["tanh", "relu"], spectral=2), (5,)),
    "dense, bounded": (lambda: mlp([5, 4, 2], output="tanh"), (5,)),
    "dense, images": (lambda: mlp([6, 4, 3], batch_norm=True), (1, 2, 3)),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.GELU(), SpectralLinear(4, 3, bias=False)), (5,)),
    "sequences": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ELU(), nn.Flatten(), SpectralLinear(8, 3)), (2, 5)),
    "custom": (Skip, (5,)),
    "custom inside": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Sequential(nn.Tanh(), Skip()), nn.PReLU()), (4,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Softmax(-1)), (4,)),
    "flatten in part": (
        lambda: nn.Sequential(nn.Flatten(1, 2), nn.Linear(3, 4), nn.Flatten(), nn.Linear(24, 2)),
        (2, 3, 3),
    ),
    "subclass": (lambda: nn.Sequential(Squared(5, 4), nn.ReLU(), nn.Linear(4, 3)), (5,)),
    "conv": (
        lambda: nn.Sequential(
            SpectralConv2d(2, 4, 3, stride=2, groups=2),
            nn.ReLU(),
            nn.Conv2d(4, 3, (1, 2), padding="same", dilation=2, padding_mode="circular"),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6, 2),
        ),
        (2, 9, 5),
    ),
    "conv, custom": (
        lambda: nn.Sequential(ConvSkip(), nn.Dropout(0.3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(8, 3)),
        (2, 4, 5),
    ),
} | {f"products, {name}": (make, (6,)) for name, (make, _) in CHAINS.items()}


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
    out = forward(model, state, x, workspace={})
    expected = torch.stack([functional_call(model, {k: v[r] for k, v in state.items()}, (x[r],)) for r in range(2)])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    g = torch.randn_like(out)
    grads = [torch.autograd.grad(each, list(state.values()), g) for each in (out, expected)]
    for found, wanted in zip(*grads, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-11)


def test_an_activation_may_stand_in_two_places():
    tanh = nn.Tanh()
    model = nn.Sequential(nn.Linear(4, 5), tanh, nn.Linear(5, 3), tanh)
    state = start(model)
    x = inputs(3, 2, 4)
    out = forward(model, state, x)
    assert out.abs().max() <= 1
    assert_close(out[0], functional_call(model, {key: value[0] for key, value in state.items()}, (x[0],)))


def test_what_would_be_shared_is_refused():
    layer, tied = nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    for model in (nn.Sequential(layer, nn.Tanh(), layer), tied):
        with pytest.raises(ValueError, match="one parameter"):
            stack(model, SEEDS)


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


def test_without_redraw_every_copy_is_the_model():
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


def test_the_product_of_all_runs_has_the_right_gradient():
    x, weight, bias = (inputs(*shape, seed=9).requires_grad_() for shape in [(2, 3, 4), (2, 5, 4), (2, 5)])
    assert torch.autograd.gradcheck(dense, (x, weight, bias))
    assert torch.autograd.gradcheck(lambda x, w: dense(x, w, None), (x, weight))


widths = st.lists(st.integers(1, 8), min_size=2, max_size=6)


@exact
@given(widths, st.integers(1, 5), st.integers(0, 2**31))
def test_giambaglis_augmented_matrices_are_the_network(sizes, samples, seed):
    model = mlp(sizes, activation="linear", spectral=len(sizes) - 1, init="giambagli", bias=False).double()
    layers = [layer for layer in model if isinstance(layer, SpectralLinear)]
    with torch.no_grad():
        for k, layer in enumerate(layers):
            layer.psi += inputs(*layer.psi.shape, seed=seed + k)
            layer.lam_out += inputs(*layer.lam_out.shape, seed=seed - k)
    x = inputs(samples, sizes[0], seed=seed)
    first, *hidden, last = oracles.augmented(x, [(layer.lam_in, layer.lam_out, layer.psi) for layer in layers])
    assert_close(first, x * layers[0].lam_in, 1e-10)
    for layer, activities in zip(layers, [*hidden, last], strict=True):
        x = layer(x)
        assert_close(activities, x, 1e-10)
    assert_close(last, model(inputs(samples, sizes[0], seed=seed)), 1e-10)


def randomised(model, seed=0):
    """The model in float64, no parameter at a special value."""
    with torch.no_grad():
        for k, parameter in enumerate(model.double().parameters()):
            parameter.copy_(inputs(*parameter.shape, seed=seed + k) / 2)
    return model


def direct(layer):
    """The layer's weight in direct space."""
    if isinstance(layer, SpectralLinear):
        return oracles.weight(layer.lam_in, layer.lam_out, layer.psi)
    return layer.weight


@pytest.mark.parametrize("name", CHAINS)
def test_a_retracted_network_has_the_same_outputs(name):
    make, together = CHAINS[name]
    model = randomised(make())
    before = copy.deepcopy(model)
    one, x = retract(model), inputs(11, 6)
    assert_close(one(x), model(x), 1e-10)
    merged = [layer for layer in one.modules() if type(layer) is nn.Linear]
    if name == "nested":  # a Sequential in between keeps its own layer
        assert [(layer.in_features, layer.out_features) for layer in merged] == [(17, 13), (13, 4), (4, 3)]
    else:
        assert len(merged) == together
        assert not any(type(layer) in (Dense, SpectralLinear) for layer in one.modules())
    assert not any(type(layer) is nn.Identity for layer in one.modules())
    assert str(model) == str(before)  # the model itself is left alone
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in before.parameters()]


@exact
@given(
    widths,
    st.lists(st.sampled_from([nn.Linear, Dense, SpectralLinear]), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.integers(1, 30),
    st.integers(0, 2**31),
)
def test_any_layers_in_a_row_are_the_product_of_their_weights(sizes, kinds, biases, samples, seed):
    layers = [
        kind(before, after, bias=bias)
        for kind, bias, before, after in zip(kinds, biases, sizes[:-1], sizes[1:], strict=False)
    ]
    model = randomised(nn.Sequential(*layers), seed)
    x = inputs(1, samples, sizes[0], seed=seed)
    assert_close(forward(model, stack(model, [0], reinitialize=False), x)[0], model(x[0]), 1e-10)
    (one,) = retract(model)
    assert_close(one(x[0]), model(x[0]), 1e-10)
    if len(layers) > 1:
        assert type(one) is nn.Linear
        assert_close(one.weight, torch.linalg.multi_dot([direct(layer) for layer in reversed(layers)]), 1e-10)
        assert (one.bias is not None) == any(biases[: len(layers)])
        if one.bias is not None:
            assert_close(one.bias, model(torch.zeros(sizes[0], dtype=torch.float64)), 1e-10)
