"""Layer-wise relevance propagation against matrices written out, and against zennit."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import jacrev

import lrp_oracle
from layered_models import REPARAMETRISED
from oracles import drawn
from spectral_lens._runtime import conv_backward
from spectral_lens.datasets import vision
from spectral_lens.explain import _propagation as propagation
from spectral_lens.explain import lrp as lrp_module
from spectral_lens.explain import rules as rules_of
from spectral_lens.explain._propagation import Propagation
from spectral_lens.explain.gradients import gradient_x_input
from spectral_lens.explain.lrp import composite, lrp, rewritten, weighted
from spectral_lens.explain.rules import (
    Layer,
    alpha_beta,
    box,
    epsilon,
    flat,
    gamma,
    generalised_gamma,
    w_square,
    z_plus,
    zero,
)
from spectral_lens.nn.layers import Dense, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.piecewise_linear import Interpreter, piecewise_linear
from spectral_lens.nn.plain import as_plain
from spectral_lens.nn.rewriting import fold, spectralize

# rules are tried at inputs and outputs of any sign here
pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:relevance is enlarged")]


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


# ---- whole networks against matrices


SOME = [zero(), zero(bias=False), epsilon(0.3), epsilon(0.2, bias=False), gamma(0.4), gamma(0.7, bias=False),
        generalised_gamma(0.4), generalised_gamma(0.25, bias=False), alpha_beta(2.0, 1.0),
        alpha_beta(1.5, 0.5, bias=False), z_plus(), zero(stabiliser=0.1), gamma(0.4, stabiliser=0.2)]  # fmt: skip


def assert_close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


@pytest.mark.parametrize("rule", SOME, ids=str)
@pytest.mark.parametrize("make", [cnn, deep])
def test_a_rule_is_its_formula(make, rule):
    model, x = make(), images(make)
    assert_close(lrp(model, x, rules=rule), lrp_oracle.lrp(model, x, [rule] * len(weighted(model))))


@pytest.mark.parametrize(
    "rule", [gamma(0.3), generalised_gamma(0.3), epsilon(0.1), alpha_beta(2.0, 1.0), z_plus(bias=False)], ids=str
)
def test_inputs_of_any_sign(rule):
    model, x = deep(), torch.randn(4, 7)
    assert_close(lrp(model, x, rules=rule), lrp_oracle.lrp(model, x, [rule] * 4))


@pytest.mark.parametrize("first", [box(-0.2, 1.3), flat(), w_square()], ids=str)
@pytest.mark.parametrize("make", [cnn, deep])
@pytest.mark.parametrize("pooling", ["winner", "average"])
def test_a_composite(make, first, pooling):
    model, x = make(), images(make)
    chosen = composite(model, first=first, inner=gamma(0.25), last=zero())
    assert len(chosen) == len(weighted(model))
    assert (chosen[0], chosen[1], chosen[-1]) == (first, gamma(0.25), zero())
    assert_close(lrp(model, x, rules=chosen, pooling=pooling), lrp_oracle.lrp(model, x, chosen, pooling=pooling))


@pytest.mark.parametrize(("count", "names"), [(1, ["flat"]), (2, ["flat", "zero"]), (3, ["flat", "gamma", "zero"])])
def test_a_composite_of_few_layers_keeps_its_ends(count, names):
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(count)])
    found = composite(model, first=flat(), inner=gamma(0.25), last=zero())
    assert [rule.name for rule in found] == names


def test_pooling_makes_a_difference():
    model, x = cnn(), images(cnn)
    winner, average = (lrp(model, x, rules=gamma(0.1), pooling=pooling) for pooling in ("winner", "average"))
    assert (winner - average).abs().max() > 1e-3 * winner.abs().max()


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.MaxPool2d((2, 3), stride=(2, 1)),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d((3, 2), stride=(1, 3), padding=(1, 0), ceil_mode=True),
    ],
    ids=str,
)
def test_an_average_shares_by_size_in_every_kind_of_window(pool):
    """R_j = sum_k a_j / (sum of the window k) R_k, where the pooled values have the relevance R_k = w_k z_k."""
    x = torch.rand(2, 1, 5, 7)
    pooled = pool(x)
    layers = pool, nn.Flatten(), nn.Linear(pooled[0].numel(), 3, bias=False)
    model = nn.Sequential(*layers).eval()
    found, expected = lrp(model, x, rules=zero(), pooling="average"), torch.zeros(2, 3, 5, 7)
    R = (model[2].weight * pooled.flatten(1).unsqueeze(1)).detach().view(2, 3, *pooled.shape[2:])
    (height, width), (down, right), (above, before) = (
        each if isinstance(each, tuple) else (each, each) for each in (pool.kernel_size, pool.stride, pool.padding)
    )
    for i in range(R.shape[2]):
        for j in range(R.shape[3]):
            top, left = i * down - above, j * right - before
            window = slice(max(0, top), top + height), slice(max(0, left), left + width)
            for n in range(2):
                a = x[n, 0][window]
                expected[n][:, *window] += R[n, :, i, j].view(3, 1, 1) * a / a.sum()
    assert_close(found.squeeze(2), expected)


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

SEEN, PASSING, TRANSPOSED = propagation.layer_of, propagation._passing, conv_backward._Transposed.forward
BY_SIGN = Layer.by_sign


def with_bias(bias):
    return lambda layer, a, **given: SEEN(layer, a, **given | {"with_bias": bias})


PLANTED = {
    "the sign of gamma": (rules_of, "_raised", lambda v, amount: v - amount * v.clamp(min=0)),
    "gamma for the other sign": (rules_of, "_raised", lambda v, amount: v + amount * v.clamp(max=0)),
    "the stabiliser's sign at negative sums": (rules_of, "stabilised", lambda d, amount: d + amount),
    "no stabiliser": (propagation, "stabilised", lambda d, amount: d),
    "signs of inputs forgotten": (Layer, "by_sign", lambda layer, w, _, b: layer.affine(layer.a, w, b)),
    "signs of inputs exchanged": (Layer, "by_sign", lambda layer, w, v, b: BY_SIGN(layer, v, w, b)),
    "a bias forgotten": (propagation, "layer_of", with_bias(False)),
    "a bias too much": (propagation, "layer_of", with_bias(True)),
    "denominators exchanged": (propagation, "_passing", lambda z, terms, *rest: PASSING(z, [(t, z) for t, _ in terms])),
    "a term forgotten": (propagation, "_passing", lambda z, terms, *rest: PASSING(z, terms[:1], *rest)),
    "no denominator": (propagation, "_passing", lambda z, terms, *rest: terms[0][0] + (z - terms[0][0]).detach()),
    "pooling exchanged": (Propagation, "_averaged", lambda run, node, axes: Interpreter.run_node(run, node)),
    "kernels turned once too often": (
        conv_backward._Transposed, "forward", staticmethod(lambda y, w, *form: TRANSPOSED(y, w.flip(2, 3), *form))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_error_is_seen(monkeypatch, name):
    monkeypatch.setattr(*PLANTED[name])
    with pytest.raises(AssertionError):
        compare_all()


def compare_all():
    for rule in SOME:
        test_a_rule_is_its_formula(cnn, rule)
    test_inputs_of_any_sign(alpha_beta(2.0, 1.0))
    test_a_composite(cnn, box(-0.2, 1.3), "average")


def test_without_one_there_is_nothing_to_see():
    compare_all()


# ---- what relevance must be


@pytest.mark.parametrize("pooling", ["winner", "average"])
@pytest.mark.parametrize("rule", [zero(), gamma(0.3), generalised_gamma(2.0)], ids=str)
def test_without_biases_relevance_is_conserved(rule, pooling):
    model, x = cnn(bias=False), images(cnn)
    assert_close(lrp(model, x, rules=rule, pooling=pooling).flatten(2).sum(2), model(x).detach())


@pytest.mark.parametrize("make", [cnn, deep])
def test_values_stay_the_models(make):
    model, x = make(), images(make)
    chosen = composite(model, first=box(0.0, 1.0), inner=generalised_gamma(0.5), last=epsilon(0.3))
    forward = rewritten(model, rules=chosen, pooling="average")
    assert_close(forward(x, torch.ones_like(x)), model(x), 1e-13)


def test_the_ends_of_gamma():
    model, x = cnn(), images(cnn)
    assert_close(lrp(model, x, rules=gamma(0.0)), lrp(model, x, rules=zero()))
    positive = cnn()
    positive.load_state_dict({name: value.clamp(min=0) for name, value in model.state_dict().items()})
    first = composite(model, first=gamma(1e9), inner=zero(), last=zero())
    expected, found = (lrp_oracle.shares(*each, x[0]) for each in ((zero(), positive[0]), (first[0], model[0])))
    active = expected.any(1)
    torch.testing.assert_close(found[active], expected[active], rtol=0, atol=1e-8)
    assert_close(lrp(model, x, rules=first)[:1], lrp_oracle.lrp(model, x[:1], first))


def test_plain_and_generalised_gamma_agree_where_nothing_is_negative():
    model = deep()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    x = torch.rand(3, 7)
    assert_close(lrp(model, x, rules=gamma(0.6)), lrp(model, x, rules=generalised_gamma(0.6)))


# ---- peers


TINY = 1e-14


def zennits(rule):
    """The rule of zennit that is to agree."""
    from zennit import rules as peer

    match rule.name:
        case "zero":
            return peer.Epsilon(TINY)
        case "epsilon":
            return peer.Epsilon(rule.amount)
        case "generalised_gamma":
            return peer.Gamma(rule.amount, TINY)
        case "alpha_beta":
            return peer.AlphaBeta(rule.alpha, rule.beta, rule.stabiliser or TINY)
        case "w_square":
            return peer.WSquare(TINY, zero_params="bias")
        case "flat":
            return peer.Flat(TINY)
    return peer.ZBox(*rule.low, *rule.high, TINY)


@pytest.mark.parametrize("first", [box(0.0, 1.0), flat(), w_square(), generalised_gamma(0.25)], ids=str)
@pytest.mark.parametrize(
    "inner",
    [generalised_gamma(0.25), epsilon(0.5), z_plus(), alpha_beta(2.0, 1.0), alpha_beta(1.75, 0.75, stabiliser=1e-3)],
    ids=str,
)
def test_zennit_agrees(first, inner):
    vision.torchvision()
    pytest.importorskip("zennit")
    from zennit.attribution import Gradient
    from zennit.composites import NameMapComposite
    from zennit.rules import Norm

    model, x = cnn(), images(cnn)
    chosen = composite(model, first=first, inner=inner, last=zero())
    names = [([name], zennits(rule)) for name, rule in zip(weighted(model), chosen, strict=True)]
    names += [([name], Norm(TINY)) for name, layer in model.named_children() if isinstance(layer, nn.AvgPool2d)]
    expected = []
    for pick in torch.eye(5):
        with Gradient(model=model, composite=NameMapComposite(names)) as attribute:
            expected.append(attribute(x.clone(), lambda out, pick=pick: out.detach() * pick)[1])
    assert_close(lrp(model, x, rules=chosen), torch.stack(expected, 1), 1e-8)


def captums(rule):
    from captum.attr._utils import lrp_rules as peer

    if rule.name == "gamma":
        return peer.GammaRule(gamma=rule.amount)
    return peer.Alpha1_Beta0_Rule() if rule == z_plus() else peer.EpsilonRule(epsilon=getattr(rule, "amount", TINY))


@pytest.mark.parametrize("rule", [gamma(0.3), z_plus(), epsilon(0.2)], ids=str)
def test_captum_agrees(rule):
    # without biases: captum leaves them as they are, where here they are one more input
    pytest.importorskip("captum")
    from captum.attr import LRP

    layers = nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4, bias=False)
    model, x = nn.Sequential(*layers).eval(), torch.rand(3, 6)
    expected = []
    for k in range(4):
        model[0].rule, model[2].rule = captums(rule), captums(zero())  # captum takes them off again
        expected.append(LRP(model).attribute(x.clone().requires_grad_(), target=k).detach())
    assert_close(lrp(model, x, rules=[rule, zero()]), torch.stack(expected, 1), 1e-7)


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
        (mlp([4, 5, 3], activation="tanh").double().eval(), r"no rule for tanh1 \(Tanh\)"),
        (nn.Sequential(nn.Linear(4, 3), nn.Softmax(1), nn.GELU()).double().eval(), r"1 \(Softmax\), 2 \(GELU\)"),
        (mlp([4, 5, 3]), "training mode.*eval"),
    ],
)
def test_what_has_no_rule_is_named(model, said):
    with pytest.raises(ValueError, match=said):
        lrp(model, torch.rand(2, 4), rules=zero())


def test_parameters_outside_of_layers_pass_relevance_as_constants_do():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.shift, self.layer = nn.Parameter(torch.rand(4)), nn.Parameter(torch.rand(4)), deep()

        def forward(self, x):
            return self.layer(torch.cat([self.scale * x[:, :4] + self.shift, x[:, 4:]], 1))

    model, x = Scaled().eval(), torch.rand(3, 7)
    found = lrp(model, x, rules=gamma(0.4))
    assert not found.requires_grad
    assert_close(lrp(model, x, rules=zero()), gradient_x_input(model, x))
    seen = torch.cat([model.scale * x[:, :4] + model.shift, x[:, 4:]], 1).detach()
    share = torch.cat([model.scale * x[:, :4] / seen[:, :4], torch.ones(3, 3)], 1).detach()
    assert_close(found, share[:, None] * lrp(model.layer, seen, rules=gamma(0.4)))


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


# ---- which layer has which rule


class Nested(nn.Module):
    """Convolutions in a part of their own, then a dense and a spectral layer."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.ReLU(), nn.Flatten())
        self.hidden, self.relu, self.head = Dense(8, 6), nn.ReLU(), SpectralLinear(6, 5)

    def forward(self, x):
        return self.head(self.relu(self.hidden(self.features(x))))


FOUR = [box(0.0, 1.0), gamma(0.3), epsilon(0.2), zero()]  # of features.0, features.2, hidden, head


@pytest.mark.parametrize(
    "rules",
    [
        dict(zip(("features.0", "features.2", "hidden", "head"), FOUR, strict=True)),
        {"features.0": FOUR[0], "feat*": FOUR[1], "h?d*": FOUR[2], "*": FOUR[3]},
        {0: FOUR[0], nn.Conv2d: FOUR[1], nn.Linear: FOUR[2], SpectralLinear: FOUR[3]},
        {-1: FOUR[3], -4: FOUR[0], Dense: FOUR[2], nn.Module: FOUR[1]},
        [(slice(None, 1), FOUR[0]), (slice(2, 3), FOUR[2]), ("head", FOUR[3]), (slice(None), FOUR[1])],
        tuple(FOUR),
    ],
    ids=["names", "patterns", "types", "from the end", "slices", "in order"],
)
def test_rules_by_name_type_and_position(rules):
    model, x = Nested().eval(), torch.rand(3, 2, 4, 4)
    flattened = nn.Sequential(*model.features, model.hidden, model.relu, model.head).eval()
    assert_close(lrp(model, x, rules=rules), lrp_oracle.lrp(flattened, x, FOUR))


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"layer5": zero(), "*": zero()}, r"'layer5' fits none of the layers.*: layer1 \(SpectralLinear\), layer2"),
        ({nn.Conv2d: zero()}, "Conv2d'> fits none"),
        ({4: zero()}, "selector 4 fits none"),
        ({-5: zero()}, "selector -5 fits none"),
        ([(slice(4, None), zero())], r"slice\(4, None, None\) fits none"),
        ({"*": gamma(0.1), "layer1": zero()}, "earlier selectors take all layers that 'layer1' fits"),
        ({"layer[12]": zero()}, r"the layers layer3, layer4 have no rule: add \('\*', rule\)"),
        ([(0, zero()), zero()], "all rules, or all pairs"),
        ([(0.5, zero())], "0.5 selects no layers"),
        ({}, "0 rules for 4 layers"),
    ],
)
def test_wrong_selectors(rules, said):
    with pytest.raises(ValueError, match=said):
        lrp_module.assigned(piecewise_linear(deep()), rules)


# ---- layers that are not what their type says


class Called(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.last = layer, nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.relu(self.layer(x)))


@pytest.mark.parametrize("change", REPARAMETRISED)
def test_reparametrised_layers_are_explained_with_the_weight_that_they_have(change):
    model = Called(REPARAMETRISED[change](nn.Linear(5, 4))).eval()
    x = torch.rand(3, 5)
    assert_close(lrp(model, x, rules=zero()), gradient_x_input(model, x))
    plain = Called(as_plain(model.layer)).eval()
    plain.last = model.last
    assert_close(lrp(model, x, rules=gamma(0.3)), lrp(plain, x, rules=gamma(0.3)))


@pytest.mark.parametrize("name", ["layer", "last", ""])
def test_hooks_that_change_outputs_are_refused_and_others_are_not(name):
    model, x = Called(nn.Linear(5, 4)).eval(), torch.rand(3, 5)
    expected, seen = lrp(model, x, rules=zero()), []
    part = model.get_submodule(name)
    part.register_forward_hook(lambda module, args, out: seen.append(out))
    if name:  # in a container a hook is followed like all else
        assert_close(lrp(model, x, rules=zero()), expected)
    part.register_forward_hook(lambda module, args, out: 3 * out)
    if name:
        with pytest.raises(ValueError, match=f"does not give its own outputs: {name} has hooks"):
            lrp(model, x, rules=zero())


def test_a_norm_along_another_axis_is_refused():
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model[1].running_mean.normal_()
    with pytest.raises(ValueError, match="a normalisation along another axis"):
        lrp(model.eval(), torch.rand(3, 4, 5), rules=zero())


def test_one_layer_with_two_norms():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.BatchNorm2d(2)
            self.out = nn.Linear(32, 3)

        def forward(self, x):
            h = torch.relu(self.one(self.conv(x)))
            return self.out(torch.relu(self.two(self.conv(h))).flatten(1))

    model, x = drawn(Head()), torch.rand(2, 2, 4, 4)
    assert weighted(model) == ["conv", "conv", "out"]
    assert_close(lrp(model, x, rules=zero()), gradient_x_input(model, x))
    assert_close(rewritten(model, rules=gamma(0.2))(x, torch.ones_like(x)), model(x))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "rule", [zero(bias=False), epsilon(0.1), gamma(0.3, stabiliser=1e-3), generalised_gamma(0.2), z_plus()], ids=str
)
def test_every_precision_is_kept(dtype, default, rule):
    torch.set_default_dtype(default)  # the fixture puts it back
    model = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).to(dtype).eval()
    assert lrp(model, torch.rand(3, 5, dtype=dtype), rules=rule).dtype == dtype


def test_epsilon_has_all_digits():
    w, x = torch.tensor([[1.0, -2.0], [0.5, 1.0]]), torch.tensor([[1.0, 0.7]])
    model = nn.Sequential(nn.Linear(2, 2, bias=False)).eval()
    model[0].weight.data = w
    z = (x @ w.mT)[0]
    expected = torch.stack([x[0] * w[k] * z[k] / (z[k] + (0.1 if z[k] >= 0 else -0.1)) for k in range(2)])
    assert_close(lrp(model, x, rules=epsilon(0.1))[0], expected, 1e-15)


def test_one_output_for_each_sample():
    model, x, target = cnn(), images(cnn), torch.tensor([3, 0, 3])
    whole = lrp(model, x, rules=gamma(0.2))
    assert_close(lrp(model, x, rules=gamma(0.2), target=target), whole[[0, 1, 2], target].unsqueeze(1))


@pytest.mark.parametrize(
    ("rule", "said"),
    [(lambda: gamma("1"), "a finite number"), (lambda: gamma(None), "a finite number"),
     (lambda: gamma(float("inf")), "a finite number"), (lambda: epsilon(float("nan")), "a finite number")],
)  # fmt: skip
def test_amounts_that_are_no_numbers_are_refused(rule, said):
    with pytest.raises(ValueError, match=said):
        rule()
    assert gamma(np.float32(0.5)) == gamma(0.5)
