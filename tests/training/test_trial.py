"""What fit trains is the model's own, whatever layers it has; or it is refused by name before anything is computed."""

import copy
import warnings
from math import inf, nan

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from experiments import DOUBLE, TIGHT
from oracles import data_set, measured, toy, train_alone
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit, predict
from spectral_lens.training._run import Run
from spectral_lens.training._trial import _equal

pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch says it once in a process

DATA = toy(23, (5,), 3)


class Made(nn.Module):
    """A network of two layers whose forward pass is the given function of them."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def chain(*layers, before=5, after=4):
    return nn.Sequential(nn.Linear(5, before), *layers, nn.Linear(after, 3))


def twice(layer):
    return chain(layer, nn.Linear(4, 4), layer, before=4)


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


def as_images(*layers, outputs):
    return nn.Sequential(nn.Unflatten(1, (1, 5, 1)), *layers, nn.Flatten(), nn.Linear(outputs, 3))


def normalised(norm, **options):
    return chain(norm(4, **options), nn.ReLU(), before=4)


def attention():
    layer = nn.TransformerEncoderLayer(5, 1, 7, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Unflatten(1, (1, 5)), layer, nn.Flatten(), nn.Linear(5, 3))


def shifting(self, x):
    return self.b(x.sub_(0.5) @ self.a.weight.mT)


TRAINED = {  # what a user may write and torch trains: so does fit
    "functional": lambda: Made(lambda self, x: self.b(F.relu(self.a(x)))),
    "writes to its input": lambda: Made(shifting),
    "in place": lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 3)),
    "dropout that drops nothing": lambda: Made(lambda self, x: self.b(self.d(self.a(x))), d=nn.Dropout(0.0)),
    "the same in a chain": lambda: chain(nn.Dropout(0.0), nn.Dropout1d(0.0), before=4),
    "batch norm": lambda: normalised(nn.BatchNorm1d),
    "batch norm without statistics": lambda: normalised(nn.BatchNorm1d, track_running_stats=False),
    "batch norm without parameters": lambda: normalised(nn.BatchNorm1d, affine=False, momentum=0.7),
    "layer norm": lambda: normalised(nn.LayerNorm),
    "group norm": lambda: chain(nn.GroupNorm(2, 4), nn.Tanh(), before=4),
    "instance norm": lambda: as_images(nn.InstanceNorm2d(1, affine=True, track_running_stats=True), outputs=5),
    "convolutions": lambda: as_images(SpectralConv2d(1, 2, (3, 1)), nn.Tanh(), nn.Conv2d(2, 3, (2, 1)), outputs=6),
    "dilated": lambda: as_images(nn.Conv2d(1, 2, (2, 1), dilation=(3, 1)), nn.Tanh(), outputs=4),
    "attention": attention,
    "weight_norm": lambda: chain(parametrizations.weight_norm(nn.Linear(4, 4)), before=4),
    "orthogonal": lambda: chain(nn.Tanh(), parametrizations.orthogonal(nn.Linear(4, 4)), before=4),
    "a subclass": lambda: chain(Doubled(4, 4), before=4),
    "one layer without parameters in two places": lambda: twice(nn.Tanh()),
}


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("samples", [20, 22])  # the last batch has eight, or two
def test_what_torch_trains_is_trained_the_same(name, samples):
    model, data = TRAINED[name]().double(), toy(samples, (5,), 3)
    # not Adam: a bias before a norm has a gradient of rounding only, which Adam would turn into steps of any sign
    options = {"epochs": 2, "batch_size": 10, "lr": 0.1, "optimizer": "sgd", "reinitialize": False}
    before, x = copy.deepcopy(model.state_dict()), data.x.clone()
    trained = fit(model, data, seeds=(3, 4), **options, **DOUBLE)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    for r, seed in enumerate((3, 4)):
        alone = train_alone(Copying(model), data=data, seed=seed, **options)[0].own
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(trained.state[key][r], value, rtol=1e-9, atol=1e-9)
        if name != "batch norm without statistics":
            torch.testing.assert_close(predict(trained, x)[r], alone(x.clone()).detach(), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(trained.run(r)(x.clone()), alone(x.clone()), rtol=1e-9, atol=1e-9)
    assert torch.equal(data.x, x)
    weights = [key for key, parameter in model.named_parameters() if parameter.requires_grad and parameter.ndim > 1]
    assert not any(torch.equal(trained.state[key][0], before[key]) for key in weights)


class Copying(nn.Module):
    """The network for the oracle, which derives by its inputs, so that nothing may be written to them."""

    def __init__(self, own):
        super().__init__()
        self.own = own

    def forward(self, x):
        return self.own(x.clone())


def hooked(register):
    model = mlp([5, 4, 3])
    getattr(model.layer2, register)(lambda *_: None)
    return model


def instance():
    model = mlp([5, 4, 3])
    model.layer2.forward = lambda x: 2 * F.linear(x, model.layer2.weight)
    return model


def pruned():
    model = chain(before=4)
    prune.l1_unstructured(model[1], "weight", 3)
    return model


def older():
    with warnings.catch_warnings(action="ignore"):
        return chain(nn.Tanh(), nn.utils.weight_norm(nn.Linear(4, 4)), before=4)


def tied(as_memory):
    model = chain(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), before=4)
    model[3].weight = nn.Parameter(model[1].weight.data.mT) if as_memory else model[1].weight
    return model


class Counts(nn.Module):
    """Exchanges a buffer where it should write to it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(5, 3)
        self.register_buffer("mean", torch.zeros(3))

    def forward(self, x):
        out = self.a(x)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * out.detach().mean(0)
        return out - self.mean


def remembering(self, x):
    """Keeps what it has once seen outside of its parameters."""
    if not hasattr(self, "kept"):
        self.kept = self.a.weight.detach().clone()
    return self.b(F.linear(x, self.kept))


BRANCH = "no branches on values"
REFUSED = {
    "GRU": (
        lambda: Made(lambda s, x: s.b(s.r(x.unsqueeze(2))[0][:, -1]), r=nn.GRU(1, 4, batch_first=True)),
        r"r \(GRU\)",
    ),
    "functional dropout": (lambda: Made(lambda s, x: s.b(F.dropout(s.a(x), 0.5, s.training))), r"the model \(Made\)"),
    "the same in a chain": (lambda: nn.Sequential(nn.Tanh(), Made(lambda s, x: F.dropout(s.b(s.a(x))))), r"1 \(Made\)"),
    "dropout in a block": (lambda: Made(lambda s, x: s.b(s.d(s.a(x))), d=nn.Dropout(0.3)), "Made draws its dropout"),
    "noise": (lambda: Made(lambda s, x: s.b(s.a(x + torch.randn_like(x)))), r"the model \(Made\)"),
    "a branch": (lambda: Made(lambda s, x: s.b(s.a(x) if x.sum() > 0 else -s.a(x))), rf"the model \(Made\).*{BRANCH}"),
    "a number": (
        lambda: Made(lambda s, x: s.b(s.a(x)) * float(s.a.weight.detach().max())),
        rf"the model \(Made\).*{BRANCH}",
    ),
    "momentum=None": (lambda: normalised(nn.BatchNorm1d, momentum=None), r"1 \(BatchNorm1d\)"),
    "spectral_norm": (
        lambda: chain(parametrizations.spectral_norm(nn.Linear(4, 4)), before=4),
        r"1\.param.*SpectralNorm",
    ),
    "RReLU": (lambda: chain(nn.RReLU(), before=4), r"1 \(RReLU\)"),
    "a shared norm": (lambda: twice(nn.BatchNorm1d(4, affine=False)), r"1 \(BatchNorm1d\)"),
    "a tuple": (lambda: Made(lambda s, x: (s.b(s.a(x)), x)), "returns a tuple"),
    "a dictionary": (lambda: Made(lambda s, x: {"out": s.b(s.a(x))}), "returns a dict"),
    "classes": (lambda: Made(lambda s, x: s.b(s.a(x)).argmax(1)), r"torch.int64 \(2,\) of 2 samples"),
    "one number for all": (lambda: Made(lambda s, x: s.b(s.a(x)).mean()), r"float64 \(\) of 2 samples"),
    "too few outputs": (lambda: mlp([5, 4, 2]), "3 classes, but the model's outputs are"),
    "other inputs": (lambda: mlp([6, 4, 3]), r"a sample of toy, \(5,\), does not fit the model"),
    "cut off": (lambda: Made(lambda s, x: s.b(s.a(x)).detach()), "no output depends on a parameter"),
    "forward hook": (lambda: hooked("register_forward_hook"), r"layer2 \(Linear\) has hooks"),
    "hook before": (lambda: hooked("register_forward_pre_hook"), r"layer2 \(Linear\) has hooks"),
    "backward hook": (lambda: hooked("register_full_backward_hook"), r"layer2 \(Linear\) has hooks"),
    "pruned": (pruned, r"1 \(Linear\) has a weight that a hook computes"),
    "the older weight_norm": (older, r"2 \(Linear\) has a weight that a hook computes"),
    "a forward pass of its own": (instance, r"layer2 \(Linear\) has a forward of its own"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"0 \(LazyLinear\) does not know its shape"),
    "one parameter twice": (lambda: tied(as_memory=False), r"3.weight and 1.weight are one parameter"),
    "one memory twice": (lambda: tied(as_memory=True), r"3.weight and 1.weight are one parameter"),
    "another buffer": (Counts, "the buffer mean: not the same"),
    "remembers": (lambda: Made(remembering), "outputs of Made: not the same|Made"),
}


@pytest.fixture
def steps(monkeypatch):
    """The steps that trainings do."""
    done, step = [], Run.step
    monkeypatch.setattr(Run, "step", lambda *args: done.append(args) or step(*args))
    return done


@pytest.mark.parametrize("reinitialize", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_side_by_side_is_refused_by_name(steps, name, reinitialize):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        fit(make(), DATA, seeds=(1, 2), epochs=1, batch_size=8, reinitialize=reinitialize, **DOUBLE)
    assert not steps


@pytest.mark.parametrize("name", ["weight_norm", "orthogonal"])
def test_initial_values_that_cannot_be_drawn_are_not_left_as_they_are(steps, name):
    with pytest.raises(ValueError, match="reparametrised layer cannot draw initial values; pass reinitialize=False"):
        fit(TRAINED[name](), DATA, seeds=(1, 2), epochs=1, **DOUBLE)
    assert not steps


def test_what_depends_on_its_batch_is_not_validated(steps):
    model = TRAINED["batch norm without statistics"]()
    with pytest.raises(ValueError, match=r"1 \(BatchNorm1d\) has no running statistics"):
        fit(model, DATA, validation=DATA, seeds=(1, 2), epochs=1, **DOUBLE)
    assert not steps


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_a_quantity_is_one_output(steps, loss):
    with pytest.raises(ValueError, match=r"toy has one value a sample, but the model's outputs are \(2,\)"):
        fit(mlp([5, 4, 2]), measured(20, (5,)), seeds=(1, 2), epochs=1, loss=loss, **DOUBLE)
    assert not steps
    flat = Made(lambda self, x: self.b(self.a(x)).sum(1))
    assert fit(flat, measured(20, (5,)), seeds=(1, 2), epochs=1, loss=loss, **DOUBLE).failed == {}


def test_one_image_may_be_left_over_where_it_can_be_normalised(steps):
    images = toy(33, (1, 4, 4))
    options = {"seeds": (1, 2), "epochs": 1, "batch_size": 16, "optimizer": "sgd", **DOUBLE}
    dense = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"batch_size=16 leaves a last batch of one sample, which 2 \(BatchNorm1d\)"):
        fit(dense, images, **options)
    assert not steps
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2))
    trained = fit(conv, images, **options)
    alone, _ = train_alone(conv, data=images, seed=2, epochs=1, batch_size=16, optimizer="sgd")
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(trained.state[key][1], value, **TIGHT)


def test_data_may_hang_on_a_graph():
    x, y = DATA.x.clone().requires_grad_(), DATA.y
    hanging = data_set(2 * x, y)
    options = {"seeds": (1, 2), "epochs": 2, "batch_size": 8, **DOUBLE}
    found, expected = (fit(mlp([5, 4, 3]), each, **options) for each in (hanging, data_set(2 * DATA.x, y)))
    assert all(torch.equal(value, expected.state[key]) for key, value in found.state.items())
    assert x.grad is None
    quantity = data_set(DATA.x, x.sum(1))
    trained = fit(mlp([5, 4, 1]), quantity, loss="mse", validation=quantity, **options)
    assert not any(value.requires_grad for value in (*trained.state.values(), *trained.history.values()))


def test_gradients_and_flags_stay_as_they_were():
    model = mlp([5, 4, 3])
    model.layer1.lam_in.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    flags = [parameter.requires_grad for parameter in model.parameters()]
    trained = fit(model, DATA, seeds=(1, 2), epochs=1, batch_size=8, **DOUBLE)
    assert all((parameter.grad == 1).all() for parameter in model.parameters())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert [parameter.requires_grad for parameter in trained.model.parameters()] == flags
    assert all(parameter.grad is None for parameter in trained.model.parameters())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("optimizer", ["adam", "adamax", "sgd"])
def test_the_precision_is_the_one_asked_for(double, kind, optimizer):
    """Whatever the data's, the model's and torch's default one is."""
    data = toy(20, (5,), 3, dtype=torch.float64).to(dtype=kind)
    model = nn.Sequential(SpectralLinear(5, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Dropout(0.3), nn.Linear(4, 3)).to(kind)
    options = {"seeds": (1, 2), "epochs": 2, "batch_size": 8, "optimizer": optimizer, "device": "cpu", "decay": 0.5}
    found = fit(model, data, validation=data, **options)
    torch.set_default_dtype(torch.float32)
    again = fit(model, data, validation=data, **options)
    for key, value in found.state.items():
        assert torch.equal(value, again.state[key])
        assert value.dtype == (torch.float32 if value.is_floating_point() else torch.int64)
    assert torch.equal(found.history["loss"], again.history["loss"])
    assert predict(found, data.x).dtype == torch.float32


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        ([1.0, 1e-4], [1.0, 0.0], True),  # rounding, which is measured by the largest number
        ([-9.0, 0.15], [-9.0, 0.0], True),
        ([1.0, 0.03], [1.0, 0.0], False),
        ([1.03, 0.0], [1.0, 0.0], True),  # twice the tolerance: relative to each, and to the largest
        ([1.04, 0.0], [1.0, 0.0], False),
        ([], [], True),
        ([nan, -inf, 1.0, 1e-4], [nan, -inf, 1.0, 0.0], True),
        ([nan, 0.03, 1.0], [nan, 0.0, 1.0], False),
    ],
)
def test_equal_but_for_rounding(found, expected, same):
    """A fourth root of the precision, .0186 in float32."""
    if same:
        _equal(torch.tensor(found), torch.tensor(expected), "outputs")
    else:
        with pytest.raises(ValueError, match="outputs: not the same for many runs"):
            _equal(torch.tensor(found), torch.tensor(expected), "outputs")


def test_the_trial_draws_nothing_that_counts():
    model, before = Made(lambda s, x: s.b(s.a(x + torch.randn_like(x)))), torch.get_rng_state()
    with pytest.raises(ValueError, match="Made"):
        fit(model, DATA, seeds=(1, 2), epochs=1, **DOUBLE)
    assert torch.equal(torch.get_rng_state(), before)
