"""Layer-wise relevance propagation against matrices written out, and against zennit."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import jacrev

from spectral_lens._runtime import conv_backward
from spectral_lens.datasets import vision
from spectral_lens.explain import lrp as rules_of
from spectral_lens.explain.lrp import box, composite, epsilon, flat, gamma, lrp, rewritten, signed_gamma, weighted, zero
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import fold, spectralize

pytestmark = pytest.mark.usefixtures("double")


def cnn(*, bias=True):
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, bias=bias), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(3, 4, (2, 3), stride=(1, 2), bias=bias), nn.ReLU(), nn.AvgPool2d((2, 1)),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 6, bias=bias), nn.ReLU(), nn.Linear(6, 5, bias=bias),
    ).eval()  # fmt: skip


def deep():
    return mlp([7, 6, 5, 4, 3], activation=["relu", "linear", "relu"]).eval()


X = {cnn: (2, 6, 7), deep: (7,)}


def images(make, n=3):
    return torch.rand(n, *X[make])


# ---- every layer as a matrix, every rule as a formula


def matrix(layer, a):
    """Weights (out, in) and bias (out) of a linear or convolutional layer for one input of that shape."""
    b = layer(torch.zeros_like(a)[None])[0].flatten()
    return jacrev(lambda u: layer(u[None])[0].flatten())(a).flatten(1), b


def contributions(layer, rule, a):
    """What each input adds to each output's sum, (out, in), and the sum."""
    w, b = matrix(layer, a)
    x, z = a.flatten(), w @ a.flatten() + b
    up, down = w + rule.amount * w.clamp(min=0), w + rule.amount * w.clamp(max=0)
    b_up, b_down = b + rule.amount * b.clamp(min=0), b + rule.amount * b.clamp(max=0)
    if rule.name in ("zero", "epsilon"):
        parts, extra = w * x, b
    elif rule.name == "gamma":
        parts, extra = up * x, b_up
    elif rule.name == "signed gamma":
        high = (z > 0)[:, None]
        parts = torch.where(x > 0, torch.where(high, up, down), torch.where(high, down, up)) * x
        extra = torch.where(z > 0, b_up, b_down)
    elif rule.name == "box":
        parts, extra = w * x - rule.low[0] * w.clamp(min=0) - rule.high[0] * w.clamp(max=0), 0
    else:
        parts, extra = (w != 0).double(), 0
    total = parts.sum(1) + (extra if rule.bias else 0)
    if rule.name == "epsilon":
        total = total + rule.amount * torch.where(total < 0, -1.0, 1.0)
    return parts, total


def pooled(layer, a, relevance, pooling):
    """Relevance of one image through a pooling layer: to the winner, or in proportion to the inputs."""
    out = torch.zeros_like(a)
    size = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
    for c, i, j in torch.cartesian_prod(*(torch.arange(k) for k in relevance.shape)).tolist():
        rows, columns = slice(i * size[0], (i + 1) * size[0]), slice(j * size[1], (j + 1) * size[1])
        window = a[c, rows, columns]
        if isinstance(layer, nn.MaxPool2d) and pooling == "winner":
            share = (window == window.max()).double() if window.max() != 0 else 0 * window
        else:
            share = window / window.sum() if window.sum() != 0 else 0 * window
        out[c, rows, columns] += share * relevance[c, i, j]
    return out


def by_hand(model, x, chosen, *, pooling="winner"):
    rules, found = iter(reversed(chosen)), []
    for image in x:
        met = [image]
        for layer in model:
            met.append(layer(met[-1][None])[0])
        rows = []
        for k in range(len(met[-1])):
            relevance = torch.zeros_like(met[-1])
            relevance[k], rules = met[-1][k], iter(reversed(chosen))
            for layer, a in zip(reversed(model), reversed(met[:-1]), strict=True):
                if hasattr(layer, "weight"):
                    parts, total = contributions(layer, next(rules), a)
                    ratio = torch.where(total == 0, 0, relevance.flatten() / total)
                    relevance = (parts.T @ ratio).view_as(a)
                elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
                    relevance = pooled(layer, a, relevance, pooling)
                else:
                    relevance = relevance.reshape(a.shape)
            rows.append(relevance)
        found.append(torch.stack(rows))
    return torch.stack(found).detach()


SOME = [zero(), zero(bias=False), epsilon(0.3), epsilon(0.2, bias=False), gamma(0.4), gamma(0.7, bias=False),
        signed_gamma(0.4), signed_gamma(0.25, bias=False)]  # fmt: skip


def assert_close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


@pytest.mark.parametrize("rule", SOME, ids=str)
@pytest.mark.parametrize("make", [cnn, deep])
def test_a_rule_is_its_formula(make, rule):
    model, x = make(), images(make)
    assert_close(lrp(model, x, rules=rule), by_hand(model, x, [rule] * len(weighted(model))))


@pytest.mark.parametrize("rule", [gamma(0.3), signed_gamma(0.3), epsilon(0.1)], ids=str)
def test_inputs_of_any_sign(rule):
    model, x = deep(), torch.randn(4, 7)
    assert_close(lrp(model, x, rules=rule), by_hand(model, x, [rule] * 4))


@pytest.mark.parametrize("first", [box(-0.2, 1.3), flat()], ids=str)
@pytest.mark.parametrize("make", [cnn, deep])
@pytest.mark.parametrize("pooling", ["winner", "average"])
def test_a_composite(make, first, pooling):
    model, x = make(), images(make)
    chosen = composite(model, first=first, inner=gamma(0.25), last=zero())
    assert len(chosen) == len(weighted(model))
    assert (chosen[0], chosen[1], chosen[-1]) == (first, gamma(0.25), zero())
    assert_close(lrp(model, x, rules=chosen, pooling=pooling), by_hand(model, x, chosen, pooling=pooling))


def test_pooling_makes_a_difference():
    model, x = cnn(), images(cnn)
    winner, average = (lrp(model, x, rules=gamma(0.1), pooling=pooling) for pooling in ("winner", "average"))
    assert (winner - average).abs().max() > 1e-3 * winner.abs().max()


@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 9])
def test_chunks_and_selections(chunk):
    model, x = cnn(), images(cnn)
    whole = lrp(model, x, rules=gamma(0.2))
    assert_close(lrp(model, x, rules=gamma(0.2), chunk=chunk), whole)
    assert_close(lrp(model, x, rules=gamma(0.2), outputs=[3, 0], chunk=chunk), whole[:, [3, 0]])
    maps = torch.randn(2, 5)
    assert_close(
        lrp(model, x, rules=gamma(0.2), outputs=maps, chunk=chunk), torch.einsum("ko,no...->nk...", maps, whole)
    )


# ---- would these tests see an error?

LAYER, PASSING, TRANSPOSED = rules_of._layer, rules_of._passing, conv_backward._Transposed.forward
PLANTED = {
    "the sign of gamma": ("_raised", lambda v, amount: None if v is None else v - amount * v.clamp(min=0)),
    "gamma for the other sign": ("_raised", lambda v, amount: None if v is None else v + amount * v.clamp(max=0)),
    "a bias forgotten": ("_layer", lambda layer, rule, a, f: LAYER(layer, replace(rule, bias=False), a, f)),
    "a bias too much": ("_layer", lambda layer, rule, a, f: LAYER(layer, replace(rule, bias=True), a, f)),
    "denominators swapped": ("_passing", lambda z, zt, denominator=None: PASSING(z, zt, z)),
    "no denominator": ("_passing", lambda z, zt, denominator=None: zt + (z - zt).detach()),
    "pooling swapped": ("_averaged", lambda layer, a: layer(a)),
    "kernels turned once too often": ("forward", staticmethod(lambda y, w, *form: TRANSPOSED(y, w.flip(2, 3), *form))),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_seen(monkeypatch, name):
    where, wrong = PLANTED[name]
    monkeypatch.setattr(conv_backward._Transposed if where == "forward" else rules_of, where, wrong)
    with pytest.raises(AssertionError):
        compare_all()


def compare_all():
    for rule in SOME:
        test_a_rule_is_its_formula(cnn, rule)
    test_a_composite(cnn, box(-0.2, 1.3), "average")


def test_without_one_there_is_nothing_to_see():
    compare_all()


# ---- what relevance must be


@pytest.mark.parametrize("pooling", ["winner", "average"])
@pytest.mark.parametrize("rule", [zero(), gamma(0.3), signed_gamma(2.0)], ids=str)
def test_without_biases_relevance_is_conserved(rule, pooling):
    model, x = cnn(bias=False), images(cnn)
    assert_close(lrp(model, x, rules=rule, pooling=pooling).flatten(2).sum(2), model(x).detach())


@pytest.mark.parametrize("make", [cnn, deep])
def test_values_stay_the_models(make):
    model, x = make(), images(make)
    chosen = composite(model, first=box(0.0, 1.0), inner=signed_gamma(0.5), last=epsilon(0.3))
    forward = rewritten(model, rules=chosen, pooling="average")
    assert_close(forward(x, torch.ones_like(x)), model(x), 1e-13)


def test_the_ends_of_gamma():
    model, x = cnn(), images(cnn)
    assert_close(lrp(model, x, rules=gamma(0.0)), lrp(model, x, rules=zero()))
    positive = cnn()
    positive.load_state_dict({name: value.clamp(min=0) for name, value in model.state_dict().items()})
    first = composite(model, first=gamma(1e9), inner=zero(), last=zero())
    parts, total = contributions(positive[0], zero(), x[0])
    by_rule, sums = contributions(model[0], first[0], x[0])
    active = total > 0
    assert_close((by_rule / sums[:, None])[active], (parts / total[:, None])[active], 1e-8)
    assert_close(lrp(model, x, rules=first)[:1], by_hand(model, x[:1], first))


def test_plain_and_signed_gamma_agree_where_nothing_is_negative():
    model = deep()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    x = torch.rand(3, 7)
    assert_close(lrp(model, x, rules=gamma(0.6)), lrp(model, x, rules=signed_gamma(0.6)))


# ---- peers


def peer(model, x, chosen):
    vision.torchvision()
    from zennit.attribution import Gradient
    from zennit.composites import NameMapComposite
    from zennit.rules import Epsilon, Flat, Gamma, Norm, ZBox

    tiny = 1e-14
    kinds = {"epsilon": lambda r: Epsilon(r.amount), "zero": lambda r: Epsilon(tiny), "flat": lambda r: Flat(tiny),
             "signed gamma": lambda r: Gamma(r.amount, tiny),
             "box": lambda r: ZBox(*r.low, *r.high, tiny)}  # fmt: skip
    names = [([name], kinds[rule.name](rule)) for name, rule in zip(weighted(model), chosen, strict=True)]
    names += [([name], Norm(tiny)) for name, layer in model.named_children() if isinstance(layer, nn.AvgPool2d)]
    found = []
    for k in range(5):
        with Gradient(model=model, composite=NameMapComposite(names)) as attribute:
            pick = torch.zeros(5).index_fill_(0, torch.tensor([k]), 1)
            found.append(attribute(x.clone(), lambda out, pick=pick: out.detach() * pick)[1])
    return torch.stack(found, 1)


@pytest.mark.parametrize("first", [box(0.0, 1.0), flat(), signed_gamma(0.25)], ids=str)
@pytest.mark.parametrize("inner", [signed_gamma(0.25), epsilon(0.5)], ids=str)
def test_zennit_agrees(first, inner):
    model, x = cnn(), images(cnn)
    chosen = composite(model, first=first, inner=inner, last=zero())
    assert_close(lrp(model, x, rules=chosen), peer(model, x, chosen), 1e-8)


def test_captum_agrees_on_the_plain_gamma_rule():
    from captum.attr import LRP
    from captum.attr._utils.lrp_rules import EpsilonRule, GammaRule

    # without biases: captum leaves them as they are, where here they are one more input
    layers = nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False)
    model, x = nn.Sequential(*layers).eval(), torch.rand(3, 6)
    expected = []
    for k in range(4):
        model[0].rule, model[2].rule = GammaRule(gamma=0.3), EpsilonRule(epsilon=1e-14)  # captum takes them off again
        expected.append(LRP(model).attribute(x.clone().requires_grad_(), target=k).detach())
    expected = torch.stack(expected, 1)
    assert_close(lrp(model, x, rules=[gamma(0.3), zero()]), expected, 1e-7)


# ---- networks


def test_spectral_layers_are_the_layers_that_they_stand_for():
    model, x = cnn(), images(cnn)
    spectral = spectralize(model)
    with torch.no_grad():
        for name, parameter in spectral.named_parameters():
            if "lam" in name:
                parameter.uniform_(0.5, 1.5)
    for rule in (gamma(0.2), epsilon(0.1), flat()):
        chosen = composite(model, first=rule, inner=gamma(0.3), last=zero())
        assert_close(lrp(spectral, x, rules=chosen), lrp(fold(spectral), x, rules=chosen))


class Block(nn.Module):
    """A residual block with two paths that are put side by side, as ResNets and SqueezeNets have them."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 3, 1)
        self.norm, self.last = nn.BatchNorm2d(2), nn.Linear(5, 4)

    def forward(self, x):
        same = torch.relu(self.norm(self.one(x)) + x)
        both = torch.cat([same, torch.nn.functional.relu(self.two(same))], 1)
        return self.last(torch.nn.functional.adaptive_avg_pool2d(both, 1).flatten(1))


def block():
    model = Block()
    model.norm.running_mean.uniform_(-1, 1)
    model.norm.running_var.uniform_(0.5, 2)
    return model.eval()


def test_sums_concatenations_and_batch_normalisation():
    model, x = block(), torch.rand(3, 2, 4, 5)
    assert weighted(model) == ["one", "two", "last"]
    found = lrp(model, x, rules=zero())
    slopes = torch.stack([jacrev(lambda u: model(u[None])[0])(image) for image in x])
    assert_close(found, (slopes * x[:, None]).detach())  # the rule 0 is gradient times input
    assert_close(rewritten(model, rules=gamma(0.5))(x, torch.ones_like(x)), model(x), 1e-13)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    lrp(model, x, rules=gamma(0.5))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_batch_normalisation_is_part_of_its_layer():
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).eval()
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    scale = (model[1].weight / (model[1].running_var + model[1].eps).sqrt()).detach()
    plain = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    with torch.no_grad():
        plain[0].weight.copy_(scale[:, None] * model[0].weight)
        plain[0].bias.copy_(scale * (model[0].bias - model[1].running_mean) + model[1].bias)
        plain[2].load_state_dict(model[3].state_dict())
    x = torch.rand(3, 4)
    assert_close(lrp(model, x, rules=gamma(0.4)), lrp(plain, x, rules=gamma(0.4)))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (mlp([4, 5, 3], activation="tanh").eval(), r"no rule for tanh1 \(Tanh\)"),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.GELU()).eval(), r"1 \(Softmax\), 2 \(GELU\)"),
        (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3)).eval(), r"2 \(BatchNorm1d\)"),
        (mlp([4, 5, 3]), "training mode.*eval"),
    ],
)
def test_what_has_no_rule_is_named(model, said):
    with pytest.raises(ValueError, match=said):
        lrp(model, torch.rand(2, 4), rules=zero())


def test_what_cannot_be_followed_is_said():
    class Fork(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match="Fork cannot be followed layer by layer"):
        lrp(Fork().eval(), torch.rand(2, 4), rules=zero())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rules": [zero(), zero()]}, r"2 rules for 4 layers with weights: layer1, layer2, layer3, layer4"),
        ({"rules": [zero(), box(0.0, 1.0), zero(), zero()]}, "layer2: the rule 'box' is for layers that see the input"),
        ({"rules": [zero(), flat(), zero(), zero()]}, "layer2: the rule 'flat'"),
        ({"rules": zero(), "pooling": "sum"}, "pooling='sum' is unknown"),
        ({"rules": zero(), "outputs": [0, 3]}, r"outputs \[3\] do not exist: the model has 3"),
        ({"rules": zero(), "outputs": torch.rand(2, 4)}, r"read-out is \(2, 4\)"),
        ({"rules": zero(), "chunk": 0}, "chunk=0"),
    ],
)
def test_wrong_arguments(options, said):
    with pytest.raises(ValueError, match=said):
        lrp(deep(), torch.rand(2, 7), **options)


@pytest.mark.parametrize("make", [lambda: gamma(-0.1), lambda: epsilon(float("nan")), lambda: box(1.0, 1.0)])
def test_wrong_rules(make):
    with pytest.raises(ValueError, match=r"must not be negative|lower and a higher"):
        make()


def test_rules_are_plain_values():
    assert gamma(0.3) == rules_of.gamma(0.3) != gamma(0.3, bias=False)
