"""Prices on the Jacobian's spectrum against the Jacobian written out, one run at a time."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import nn

from oracles import toy
from spectral_lens.datasets import synthetic
from spectral_lens.nn.gates import StochasticGates
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import Step, fit
from spectral_lens.training._batched import forward
from spectral_lens.training._parameters import stack
from spectral_lens.training.penalties import JacobianNorm, LargestSingularValue, OpenGates, SpectralEntropy

pytestmark = pytest.mark.usefixtures("double")

RUNS = 3
PENALTIES = [
    JacobianNorm(1.0),
    JacobianNorm(1.0, 3),
    LargestSingularValue(1.0),
    SpectralEntropy(1.0),
    SpectralEntropy(1.0, True),
]


def dense():
    return mlp([7, 6, 5, 4], activation=["tanh", "relu"], spectral=1), (7,)


def convolutional():
    return nn.Sequential(nn.Conv2d(2, 3, 2), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6, 4)), (2, 3, 6)


def one_output():
    return mlp([5, 3, 1], activation="tanh"), (5,)


def fewer_inputs():
    return mlp([2, 6, 5], activation="tanh"), (2,)


NETWORKS = [dense, convolutional, one_output, fewer_inputs]


def drawing(*seeds):
    """Uniform numbers, a stream for each run."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda shape: torch.stack([torch.rand(shape[1:], generator=each) for each in generators])


def step_of(make, *, samples=3, draw=None, seed=0, dtype=torch.float64):
    """A step of all runs, and the parameters that it depends on."""
    model, shape = make()
    model = model.to(dtype)
    state = {name: 2 * value for name, value in stack(model, range(RUNS)).items()}
    state = {name: value.requires_grad_() for name, value in state.items()}
    x = torch.randn(RUNS, samples, *shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()
    out = forward(model, state, x)
    return model, Step(state, x, out, draw or drawing(*range(RUNS)))


def written_out(model, step):
    """J of each run and sample, (r, b, k, d), in which derivatives can be taken, from torch.func."""

    def one(own, sample):
        return torch.func.functional_call(model, own, (sample.unsqueeze(0),))[0]

    rows = [
        torch.stack(
            [
                torch.func.jacrev(lambda s, own=own: one(own, s))(sample).reshape(-1, sample.numel())
                for sample in step.x[r]
            ]
        )
        for r, own in enumerate({name: value[r] for name, value in step.state.items()} for r in range(RUNS))
    ]
    return torch.stack(rows)


def entropy(J):
    """-tr P log P, by the singular values, which must not coincide or vanish here."""
    s = torch.linalg.svdvals(J)
    p = s.square() / s.square().sum(-1, keepdim=True)
    return -(p * p.log()).sum(-1)


def slopes(value, step):
    return torch.autograd.grad(value.sum(), list(step.state.values()), retain_graph=True, materialize_grads=True)


def assert_same(found, expected, step, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    pairs = list(zip(slopes(found, step), slopes(expected, step), strict=True))
    assert any((other != 0).any() for _, other in pairs) or step.out.shape[2] == 1
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# ---- values and gradients


@pytest.mark.parametrize("make", NETWORKS)
def test_as_many_projections_as_outputs_are_the_norm(make):
    model, step = step_of(make, draw=lambda shape: pytest.fail("nothing needs to be drawn"))
    J = written_out(model, step)
    assert_same(JacobianNorm(1.0, step.out.shape[2])(step), J.square().sum((2, 3)).mean(1), step)


@pytest.mark.parametrize("make", NETWORKS)
def test_enough_steps_give_the_largest_singular_value(make):
    model, step = step_of(make)
    first = torch.linalg.svdvals(written_out(model, step))[..., 0]
    assert_same(LargestSingularValue(1.0, 9)(step), first.square().mean(1), step, 1e-8)


@pytest.mark.parametrize("make", NETWORKS)
def test_the_entropy_is_that_of_the_singular_values(make):
    model, step = step_of(make)
    assert_same(SpectralEntropy(1.0)(step), -entropy(written_out(model, step)).mean(1), step, 1e-9)


def test_the_random_directions_are_orthonormal():
    model, step = step_of(dense)
    J = written_out(model, step)
    u = torch.special.ndtri(drawing(*range(RUNS))((RUNS, 3, 4, 2)))
    Q = torch.linalg.qr(u).Q
    expected = 4 / 2 * (J.mT @ Q).square().sum((2, 3))
    torch.testing.assert_close(JacobianNorm(1.0, 2).of(step), expected)
    step = Step(step.state, step.x, step.out, drawing(*range(RUNS)))
    u = torch.special.ndtri(drawing(*range(RUNS))((RUNS, 3, 4, 1)))
    expected = 4 * (J.mT @ (u / u.norm(dim=2, keepdim=True))).square().sum((2, 3))
    torch.testing.assert_close(JacobianNorm(1.0).of(step), expected)


@pytest.mark.parametrize("projections", [1, 3])
def test_the_expected_projection_is_the_norm(projections):
    model, _ = step_of(dense)
    draws = 3000
    x = torch.randn(RUNS, 1, 7)
    state = {name: value.requires_grad_() for name, value in stack(model, range(RUNS)).items()}
    many = x.expand(RUNS, draws, 7).contiguous().requires_grad_()
    found = JacobianNorm(1.0, projections).of(Step(state, many, forward(model, state, many), drawing(5, 6, 7)))
    J = written_out(model, Step(state, x, forward(model, state, x), drawing(0)))[:, 0]
    off = (found.mean(1) - J.square().sum((1, 2))) / (found.std(1) / math.sqrt(draws))
    assert off.abs().max() < 4
    assert (found.std(1) > 1e-3 * found.mean(1)).all()


@pytest.mark.parametrize("make", [dense, convolutional])
def test_the_power_iteration_comes_from_below_and_nearer(make):
    model, step = step_of(make)
    first = torch.linalg.svdvals(written_out(model, step))[..., 0].square()
    before = torch.zeros_like(first)
    for steps in range(4):
        step = Step(step.state, step.x, step.out, drawing(*range(RUNS)))
        found = LargestSingularValue(1.0, steps).of(step)
        assert (found <= first * (1 + 1e-9)).all()
        assert (found >= before * (1 - 1e-9)).all()
        before = found
    torch.testing.assert_close(before, first)


@pytest.mark.parametrize("make", [dense, fewer_inputs])
def test_the_sampled_gradient_is_right_on_average(make):
    """Over all the signs that there are."""
    _, step = step_of(make)
    outputs = step.out.shape[2]
    exact = SpectralEntropy(1.0)
    expected = slopes(exact(step), step)
    total = [torch.zeros_like(each) for each in expected]
    apart = 0.0
    for number in range(2**outputs):
        uniform = torch.tensor([0.25 + 0.5 * (number >> k & 1) for k in range(outputs)])
        sampled = Step(step.state, step.x, step.out, lambda shape, uniform=uniform: uniform.expand(shape))
        found = SpectralEntropy(1.0, sampled=True)(sampled)
        torch.testing.assert_close(found, exact(step))
        gradients = slopes(found, step)
        apart = max(apart, float((gradients[0] - expected[0]).abs().max()))
        total = [one + each / 2**outputs for one, each in zip(total, gradients, strict=True)]
    assert apart > 1e-3
    for one, each in zip(total, expected, strict=True):
        torch.testing.assert_close(one, each, rtol=1e-9, atol=1e-9)


# ---- special Jacobians


def linear(weight):
    """A step of a network that is this matrix, (r, k, d)."""
    weight = weight.clone().requires_grad_()
    x = torch.randn(len(weight), 2, weight.shape[2], dtype=weight.dtype).requires_grad_()
    return weight, Step({"weight": weight}, x, x @ weight.mT, drawing(*range(len(weight))))


def test_the_entropys_gradient_where_singular_values_coincide():
    Q = torch.linalg.qr(torch.randn(6, 4)).Q.mT
    weight, step = linear(torch.stack([2.0 * Q, torch.diag(torch.tensor([1.0, 1, 1, 3])) @ Q]))
    value = SpectralEntropy(1.0)(step)
    (slope,) = torch.autograd.grad(value.sum(), weight)
    assert value[0].item() == pytest.approx(-math.log(4))
    assert slope[0].abs().max() < 1e-12  # the entropy is at its largest
    p = torch.tensor([1.0, 1, 1, 9]) / 12
    H = -(p * p.log()).sum()
    diagonal = 2 * (p.log() + H) * torch.tensor([1.0, 1, 1, 3]) / 12  # -dH/ds = 2 s (log p + H) / sum s^2
    torch.testing.assert_close(slope[1] @ Q.mT, torch.diag(diagonal))


@pytest.mark.parametrize("sampled", [False, True])
def test_the_entropy_of_a_jacobian_of_low_rank(sampled):
    u, v = torch.randn(2, 5, 1), torch.randn(2, 1, 7)
    weight, step = linear(torch.stack([u[0] @ v[0], u[0] @ v[0] + u[1] @ v[1]]))
    value = SpectralEntropy(1.0, sampled)(step)
    assert value[0].abs() < 1e-12
    s = torch.linalg.svdvals(weight.detach()[1])[:2]
    p = s.square() / s.square().sum()
    assert value[1].item() == pytest.approx(float((p * p.log()).sum()))
    (slope,) = torch.autograd.grad(value.sum(), weight)
    assert slope.isfinite().all()
    assert slope[0].abs().max() < 1e-10


@pytest.mark.parametrize("penalty", [*PENALTIES, LargestSingularValue(1.0, 0)], ids=repr)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_dead_network_has_no_penalty(penalty, dtype):
    weight, step = linear(torch.zeros(2, 4, 6, dtype=dtype))
    value = penalty(step)
    assert value.dtype == dtype
    assert value.abs().max() == 0
    (slope,) = torch.autograd.grad(2.0**64 * value.sum(), weight, materialize_grads=True)
    assert slope.abs().max() == 0


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1.0, 1e6])
def test_every_scale_in_single_precision(penalty, scale):
    """Gradients are multiplied by 2^64 on their way."""
    weight = scale * torch.randn(2, 4, 6)
    one, step = linear(weight)
    two, single = linear(weight.float())
    single = Step(single.state, single.x, single.out, lambda shape: step.draw(shape).float())
    expected, found = penalty(Step(step.state, step.x, step.out, drawing(0, 1))), penalty(single)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=0)
    (expected,) = torch.autograd.grad(expected.sum(), one)
    (found,) = torch.autograd.grad(2.0**64 * found.sum(), two)
    assert found.isfinite().all()
    torch.testing.assert_close(found.double() / 2.0**64, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_the_power_iteration_ends_where_nothing_is_left():
    """Of rank two after the first step: what follows would be rounding errors."""
    s = torch.tensor([2.0, 1.0])
    U, V = torch.linalg.qr(torch.randn(6, 2)).Q, torch.linalg.qr(torch.randn(9, 2)).Q
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        _, step = linear((U * s @ V.mT).to(dtype).expand(2, -1, -1))
        step = Step(step.state, step.x, step.out, lambda shape, own=step, t=dtype: own.draw(shape).to(t))
        torch.testing.assert_close(
            LargestSingularValue(1.0, 5).of(step).double(), torch.full((2, 2), 4.0), rtol=tolerance, atol=0
        )


# ---- strengths


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_each_run_has_its_strength(penalty):
    _, step = step_of(dense)
    strengths = (0.5, 0.0, 2.0)
    once = type(penalty)(1.0, *list(vars(penalty).values())[1:])(step)
    step = Step(step.state, step.x, step.out, drawing(*range(RUNS)))
    several = type(penalty)(strengths, *list(vars(penalty).values())[1:])(step)
    torch.testing.assert_close(several, torch.tensor(strengths) * once)
    assert type(penalty)(list(strengths)).strength == strengths


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_each_run_is_the_run_alone(penalty):
    model, step = step_of(dense)
    together = penalty(step)
    for r in range(RUNS):
        state = {name: value[r : r + 1] for name, value in step.state.items()}
        x = step.x.detach()[r : r + 1].requires_grad_()
        alone = penalty(Step(state, x, forward(model, state, x), drawing(r)))
        torch.testing.assert_close(together[r], alone[0])


def test_what_a_checkpoint_knows_it_by():
    assert repr(JacobianNorm([0.5, 1.0], 2)) == "JacobianNorm(strength=(0.5, 1.0), projections=2)"
    assert repr(LargestSingularValue(1.0)) == "LargestSingularValue(strength=1.0, steps=2)"
    assert repr(SpectralEntropy(0.1)) == "SpectralEntropy(strength=0.1, sampled=False)"
    assert len({JacobianNorm([1.0, 2.0]), JacobianNorm((1.0, 2.0))}) == 1


@pytest.mark.parametrize("kind", [JacobianNorm, LargestSingularValue, SpectralEntropy])
@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf, [], [1.0, -0.1]])
def test_bad_strengths(kind, strength):
    with pytest.raises(ValueError, match="strength="):
        kind(strength)


def test_other_bad_options():
    with pytest.raises(ValueError, match="projections=0"):
        JacobianNorm(1.0, 0)
    with pytest.raises(ValueError, match="steps=-1"):
        LargestSingularValue(1.0, -1)
    _, step = step_of(dense)
    with pytest.raises(ValueError, match="only 4 outputs"):
        JacobianNorm(1.0, 5)(step)
    with pytest.raises(ValueError, match="2 values for 3 runs"):
        SpectralEntropy((1.0, 2.0))(step)


# ---- in a loop of one's own


def normed():
    return nn.Sequential(nn.Linear(7, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 4)), (7,)


def recurrent():
    """What fit cannot train side by side."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.r, self.f = nn.RNN(2, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, x):
            out = self.f(self.r(x)[0][:, -1])
            return out if float(out.detach().sum()) < 1e9 else -out

    return Recurrent(), (3, 2)


def in_place():
    return nn.Sequential(nn.LeakyReLU(0.1, inplace=True), nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)), (5,)


OWN = [*NETWORKS, normed, recurrent, in_place]


def jacobians(model, x):
    """J of each sample, (n, k, d), by autograd, one output at a time; a norm takes the batch's statistics."""
    x = x.detach().clone().requires_grad_()
    out = model(x.clone()).flatten(1)
    rows = [torch.autograd.grad(column.sum(), x, create_graph=True)[0].flatten(1) for column in out.unbind(1)]
    return torch.stack(rows, 1)


def plain_algebra(penalty, J):
    s = torch.linalg.svdvals(J)
    if isinstance(penalty, JacobianNorm):
        return penalty.strength * s.square().sum(1).mean()
    if isinstance(penalty, LargestSingularValue):
        return penalty.strength * s[:, 0].square().mean()
    p = s.square() / s.square().sum(1, keepdim=True)
    return penalty.strength * (p * p.log()).sum(1).mean()


def exact(outputs):
    return [JacobianNorm(0.3, outputs), LargestSingularValue(0.3, 9), SpectralEntropy(0.3)]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", OWN)
def test_of_a_model_it_is_a_number_with_the_derivatives_of_plain_algebra(make, training):
    torch.manual_seed(3)
    model, shape = make()
    model.train(training)
    x = torch.randn(5, *shape)
    kept, before = x.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for penalty in exact(model(x.clone()).shape[1]):
        if make is normed and training and isinstance(penalty, LargestSingularValue):
            continue  # the samples depend on each other, and J^T v is no product of one sample's
        model.load_state_dict(before)
        found = penalty(model, x)
        assert found.shape == ()
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        expected = plain_algebra(penalty, jacobians(model, x))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        slopes = (
            torch.autograd.grad(each, parameters, allow_unused=True, materialize_grads=True)
            for each in (found, expected)
        )
        for one, other in zip(*slopes, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)
    assert torch.equal(x, kept)
    assert not x.requires_grad
    assert all(parameter.grad is None for parameter in parameters)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_of_a_model_it_is_that_of_a_run_alone(penalty):
    model, step = step_of(dense)
    for r in range(RUNS):
        state = {name: value[r : r + 1] for name, value in step.state.items()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(state[name][0])
        x = step.x.detach()[r : r + 1].requires_grad_()
        alone = penalty(Step(state, x, forward(model, state, x), drawing(r)))
        found = penalty(model, x[0].detach(), generator=torch.Generator().manual_seed(r))
        torch.testing.assert_close(found, alone[0])


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_inputs_may_hang_on_a_graph(penalty):
    """Then what they were computed from is moved, too; finite differences say how."""
    model, _ = dense()
    encoder, raw = nn.Linear(3, 7), torch.randn(4, 3)

    def value():
        return penalty(model, encoder(raw).tanh(), generator=torch.Generator().manual_seed(5))

    (slope,) = torch.autograd.grad(value(), encoder.bias)
    if getattr(penalty, "sampled", False):
        return  # right on average only
    with torch.no_grad():
        for i in range(7):
            ends = []
            for shift in (1e-5, -2e-5):
                encoder.bias[i] += shift
                ends.append(value().item())
            encoder.bias[i] += 1e-5
            assert slope[i].item() == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-8)


def test_a_leaf_that_asks_for_gradients_and_a_loss_behind_it():
    model, x = dense()[0], torch.randn(4, 7, requires_grad=True)
    (model(x).square().mean() + JacobianNorm(0.1, 4)(model, x)).backward()
    assert x.grad is not None
    with torch.no_grad():
        value = JacobianNorm(0.1, 4)(model, x)
    assert not value.requires_grad
    torch.testing.assert_close(value, JacobianNorm(0.1, 4)(model, x).detach())


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_a_loop_of_ones_own_lowers_what_is_penalised(penalty):
    data, ends = toy(60, (6,), 3), []
    for strength in (0.0, 1.0):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 3))
        optimizer, draw = torch.optim.Adam(model.parameters(), lr=0.02), torch.Generator().manual_seed(2)
        own = type(penalty)(strength, *list(vars(penalty).values())[1:])
        for _ in range(40):
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(data.x), data.y) + own(model, data.x, generator=draw)).backward()
            optimizer.step()
        measure = next(each for each in exact(3) if type(each) is type(penalty))
        ends.append(measure(model, data.x).item())
    assert ends[1] < ends[0] - 0.1 * abs(ends[0])


def test_open_gates_of_a_model():
    gates = StochasticGates(5)
    model = nn.Sequential(OrderedDict(gates=gates, last=nn.Linear(5, 2)))
    found = OpenGates(gates, 0.1)(model, torch.randn(3, 5))
    expected = 0.1 * sum(0.5 * (1 + math.erf(float(mu) / 0.5 / 2**0.5)) for mu in gates.location.detach())
    assert found.item() == pytest.approx(expected)
    found.backward()
    assert (gates.location.grad > 0).all()
    with pytest.raises(ValueError, match="no layer named gates"):
        OpenGates(gates, 0.1)(nn.Linear(5, 2), torch.randn(3, 5))


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Linear(5, 2), torch.ones(3, 5, dtype=torch.uint8), r"x is torch.uint8 \(3, 5\)"),
        (nn.Linear(5, 2), torch.ones(5), r"x is torch.float32 \(5,\)"),
        (nn.Linear(5, 2), torch.ones(0, 5), r"at least one"),
        (nn.Linear(5, 2), None, "x is NoneType: penalty.model, x."),
        (nn.RNN(5, 2), torch.ones(3, 5), "one tensor"),
        (nn.Sequential(nn.Linear(5, 2), nn.Flatten(0)), torch.ones(3, 5), "one tensor"),
    ],
)
def test_what_has_no_penalty(model, x, message):
    with pytest.raises(ValueError, match=message):
        JacobianNorm(0.1)(model.float(), x)


def test_one_network_has_one_strength():
    with pytest.raises(ValueError, match="2 values for 1 runs"):
        JacobianNorm((0.1, 0.2))(nn.Linear(5, 2), torch.randn(3, 5))


# ---- training


@pytest.mark.parametrize(
    "penalty",
    [
        JacobianNorm((0.0, 0.3), 2),
        LargestSingularValue((0.0, 0.3)),
        SpectralEntropy((0.0, 1.0)),
        SpectralEntropy((0.0, 1.0), sampled=True),
    ],
    ids=repr,
)
def test_training_lowers_what_is_penalised(penalty):
    data = toy(60, (6,), 3)
    model = mlp([6, 9, 3], activation="tanh", spectral=0)
    trained = fit(
        model, data, seeds=(3, 4), epochs=25, batch_size=20, lr=0.02, penalty=penalty, dtype=torch.float64, device="cpu"
    )
    assert trained.failed == {}
    x = data.x.expand(2, -1, -1).clone().requires_grad_()
    exact = {JacobianNorm: JacobianNorm(1.0, 3), LargestSingularValue: LargestSingularValue(1.0, 2)}
    measure = exact.get(type(penalty), SpectralEntropy(1.0))
    plain, priced = measure.of(Step({}, x, forward(model, trained.state, x), drawing(0, 1))).mean(1).tolist()
    assert priced < plain - 0.1 * abs(plain)
    assert (trained.history["penalty"][:, 0] == 0).all()


def test_a_penalty_under_batch_normalisation_and_dropout_trains():
    model = mlp([6, 9, 3], spectral=0, batch_norm=True, dropout=0.2)
    options = {"seeds": (1, 2), "epochs": 2, "batch_size": 20, "dtype": torch.float64, "device": "cpu"}
    for penalty in PENALTIES:
        assert fit(model, toy(60, (6,), 3), penalty=penalty, **options).failed == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("penalty", [JacobianNorm(0.1, 2), LargestSingularValue(0.1, 2), SpectralEntropy(0.1)])
def test_a_gpu_trains_the_same(penalty):
    data = synthetic.independent(40, seeds=0, dtype=torch.float64)
    here, there = (
        fit(
            mlp([data.dim, 7, 2], spectral=0), data, seeds=[1, 2], epochs=2, batch_size=20,
            penalty=penalty, dtype=torch.float64, device=device,
        )
        for device in ("cpu", "cuda")
    )  # fmt: skip
    for name, value in here.state.items():
        torch.testing.assert_close(there.state[name].cpu(), value, rtol=1e-6, atol=1e-9)
