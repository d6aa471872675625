"""All runs in one forward pass against each run's own module."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call

import oracles
from spectral_lens.dense import dense
from spectral_lens.layers import SpectralConv2d, SpectralLinear
from spectral_lens.networks import forward, mlp, stack


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


SEEDS = (4, 1, 9)


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


MODELS = {
    "dense": (lambda: mlp([5, 7, 4, 3], activation=["tanh", "relu"], spectral=2), (5,)),
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
}


def start(model):
    """The stacked state of three different copies, in float64."""
    return stack(model.double(), SEEDS)


@pytest.mark.parametrize("name", MODELS)
def test_each_run_is_its_own_module(name):
    make, shape = MODELS[name]
    model = make().eval()
    state = start(model)
    x = inputs(3, 4, *shape)
    out = forward(model, state, x)
    for r in range(3):
        alone = functional_call(model, {key: value[r] for key, value in state.items()}, (x[r],))
        assert_close(out[r], alone)
    assert not torch.allclose(out[0], out[1])


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_each_runs_own(name):
    make, shape = MODELS[name]
    model = make().eval()
    state = start(model)
    x = inputs(3, 4, *shape).requires_grad_()
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
    state = stack(model, SEEDS, redraw=False)
    for key, value in before.items():
        assert torch.equal(state[key], value.expand(3, *value.shape))
    state["layer1.psi"].zero_()
    assert torch.equal(model.layer1.psi, before["layer1.psi"])  # copies, no views


@pytest.mark.parametrize("redraw", [True, False])
def test_torchs_random_state_is_left_alone(redraw):
    torch.manual_seed(5)
    model = mlp([4, 3, 2], batch_norm=True, dropout=0.5)
    before = torch.get_rng_state()
    stack(model, SEEDS, redraw=redraw)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_mlp_is_what_its_arguments_say():
    model = mlp([6, 5, 4, 3], activation=["tanh", "linear"], spectral=2, init="giambagli", batch_norm=True, dropout=0.2)
    kinds = [(name, type(layer)) for name, layer in model.named_children()]
    assert kinds == [
        ("flatten", nn.Flatten),
        ("layer1", SpectralLinear),
        ("tanh1", nn.Tanh),
        ("norm1", nn.BatchNorm1d),
        ("dropout1", nn.Dropout),
        ("layer2", SpectralLinear),
        ("linear2", nn.Identity),
        ("layer3", nn.Linear),
    ]
    assert model.layer1.psi.shape == (5, 6)
    assert model.layer2.init == "giambagli"
    assert model.dropout1.p == 0.2
    assert model(torch.randn(7, 2, 3)).shape == (7, 3)
    assert [type(layer) for layer in mlp([3, 2], spectral=0)] == [nn.Flatten, nn.Linear]
    assert isinstance(mlp([3, 4, 2]).layer1, SpectralLinear)
    assert isinstance(mlp([3, 4, 2]).layer2, nn.Linear)
    assert isinstance(mlp([3, 4, 2]).relu1, nn.ReLU)


def test_an_mlp_computes_what_its_weights_say():
    model = mlp([5, 4, 3], activation="tanh").double()
    first, second = model.layer1, model.layer2
    with torch.no_grad():
        first.lam_out.copy_(inputs(4))
    x = inputs(2, 5)
    w = oracles.weight(first.lam_in, first.lam_out, first.psi)
    assert_close(model(x), torch.tanh(x @ w.T + first.bias) @ second.weight.T + second.bias)


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ([5], {}, "inputs and the outputs"),
        ([], {}, "inputs and the outputs"),
        ([5, 4, 3], {"activation": "sine"}, "sine"),
        ([5, 4, 3], {"activation": ["relu", "tanh"]}, "1 of"),
        ([5, 4, 4, 3], {"activation": ["relu"]}, "2 of"),
        ([5, 4, 3], {"spectral": 3}, "between 0 and the 2"),
        ([5, 4, 3], {"spectral": -1}, "between 0 and the 2"),
        ([5, 4, 3], {"init": "he"}, "he"),
        ([5, 0, 3], {}, "at least one"),
        ([5, 4, 3], {"dropout": 1.5}, "between 0 and 1"),
    ],
)
def test_wrong_networks(sizes, options, message):
    with pytest.raises(ValueError, match=message):
        mlp(sizes, **options)


def test_the_product_of_all_runs_has_the_right_gradient():
    x, weight, bias = (inputs(*shape, seed=9).requires_grad_() for shape in [(2, 3, 4), (2, 5, 4), (2, 5)])
    assert torch.autograd.gradcheck(dense, (x, weight, bias))
    assert torch.autograd.gradcheck(lambda x, w: dense(x, w, None), (x, weight))
