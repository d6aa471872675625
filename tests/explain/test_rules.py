"""Every rule on every kind of layer, against the layer's dense matrix and the rule's formula."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from torch import nn

import lrp_oracle
import oracles
from spectral_lens.explain.lrp import lrp
from spectral_lens.explain.rules import (
    Layer,
    Rule,
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
from spectral_lens.nn.layers import Dense, SpectralConv2d, SpectralLinear

# rules are tried at inputs and outputs of any sign here
pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:relevance is enlarged")]

LAYERS = {
    "Linear": (lambda bias: nn.Linear(7, 5, bias=bias), (7,)),
    "Dense": (lambda bias: Dense(6, 4, bias=bias), (6,)),
    "SpectralLinear": (lambda bias: SpectralLinear(5, 8, bias=bias), (5,)),
    "Conv2d": (lambda bias: nn.Conv2d(3, 4, (2, 3), bias=bias), (3, 4, 5)),
    "Conv2d, stride and padding": (
        lambda bias: nn.Conv2d(2, 5, (3, 2), stride=(2, 3), padding=(1, 2), bias=bias), (2, 6, 5)
    ),
    "Conv2d, groups and dilation": (
        lambda bias: nn.Conv2d(4, 6, (2, 3), groups=2, dilation=(3, 1), padding=1, bias=bias), (4, 5, 3)
    ),
    "SpectralConv2d": (lambda bias: SpectralConv2d(2, 3, (3, 2), padding=(0, 1), bias=bias), (2, 5, 4)),
    "SpectralConv2d, all at once": (
        lambda bias: SpectralConv2d(
            6, 4, (2, 3), stride=(1, 2), padding=(1, 0), groups=2, dilation=(2, 1), bias=bias
        ), (6, 3, 7)
    ),
}  # fmt: skip
INNER = [zero(), zero(bias=False), epsilon(0.3), epsilon(0.2, bias=False), gamma(0.4), gamma(2.5, bias=False),
         generalised_gamma(0.4), generalised_gamma(1.5, bias=False), alpha_beta(2.0, 1.0),
         alpha_beta(1.25, 0.25, bias=False), z_plus(), z_plus(bias=False)]  # fmt: skip
FIRST = [box(-1.5, 1.25), w_square(), w_square(bias=True), flat()]
STABILISED = [zero(stabiliser=0.3), epsilon(0.2, stabiliser=0.1), gamma(0.4, stabiliser=0.2),
              generalised_gamma(0.4, stabiliser=0.2), alpha_beta(2.0, 1.0, stabiliser=0.5), z_plus(stabiliser=0.5),
              box(-1.5, 1.25, stabiliser=0.2), w_square(stabiliser=0.2), flat(stabiliser=0.2)]  # fmt: skip


def made(name, bias):
    """The layer with random parameters as a model, and inputs of any sign within [-1.5, 1.25]."""
    make, shape = LAYERS[name]
    return nn.Sequential(oracles.drawn(make(bias)), nn.Flatten()).eval(), 2.75 * torch.rand(3, *shape) - 1.5


def assert_close(found, expected, tolerance=1e-11):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


# ---- the product of rules, layers and biases


@pytest.mark.parametrize("rule", [*INNER, *FIRST, *STABILISED], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_rule_is_its_formula(name, bias, rule):
    model, x = made(name, bias)
    expected = []
    for image in x:
        share = lrp_oracle.shares(rule, model[0], image)
        outputs = lrp_oracle.matrix(model[0], tuple(image.shape)) @ image.numpy().ravel()
        outputs = outputs + lrp_oracle.bias(model[0], len(outputs))
        expected.append(torch.from_numpy(share * outputs[:, None]))
    found = lrp(model, x, rules=rule)
    assert found.shape == (3, len(outputs), *x.shape[1:])
    assert_close(found.flatten(2), torch.stack(expected))


@pytest.mark.parametrize("name", LAYERS)
def test_the_matrix_of_the_formula_is_the_layer(name):
    model, x = made(name, True)
    w = torch.from_numpy(lrp_oracle.matrix(model[0], tuple(x.shape[1:])))
    b = torch.from_numpy(lrp_oracle.bias(model[0], len(w)))
    assert_close(model(x).detach(), x.flatten(1) @ w.mT + b)


LOW, HIGH = (-1.6, -2.0, -1.5), (1.3, 2.0, 1.25)


@pytest.mark.parametrize("bounds", [(LOW, HIGH), (-1.5, 1.25)], ids=str)
def test_a_box_has_bounds_for_each_channel(bounds):
    model, x = made("Conv2d", True)
    rule = box(*bounds)
    share = torch.stack([torch.from_numpy(lrp_oracle.shares(rule, model[0], image)) for image in x])
    assert_close(lrp(model, x, rules=rule).flatten(2), share * model(x).detach().unsqueeze(2))


def test_one_number_is_the_same_number_for_each_channel():
    model, x = made("Conv2d", True)
    one = lrp(model, x, rules=box(-1.5, 1.25))
    assert torch.equal(one, lrp(model, x, rules=box([-1.5] * 3, [1.25] * 3)))
    channels = lrp(model, x, rules=box(LOW, HIGH))
    assert (channels - lrp(model, x, rules=box(LOW[::-1], HIGH[::-1]))).abs().max() > 1e-3 * channels.abs().max()


def test_bounds_that_are_no_channels_are_refused():
    model, x = made("Conv2d", True)
    with pytest.raises(ValueError, match=r"box: 2 bounds for 3 channels"):
        lrp(model, x, rules=box([-1.5, -1.5], [1.25, 1.25]))


# ---- conservation


@pytest.mark.parametrize("rule", [rule for rule in [*INNER, *FIRST] if rule.name != "epsilon"], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_without_biases_every_rule_conserves(name, rule):
    model, x = made(name, False)
    found, outputs = lrp(model, x, rules=rule).flatten(2), model(x).detach()
    if rule.name == "alpha_beta":  # a window of padding and little else may lack one sign
        w = torch.from_numpy(lrp_oracle.matrix(model[0], tuple(x.shape[1:])))
        c = w * x.flatten(1).unsqueeze(1)
        outputs = outputs * (rule.alpha * (c > 0).any(2) - rule.beta * (c < 0).any(2))
    assert_close(found.sum(2), outputs)


@pytest.mark.parametrize("rule", [zero(), gamma(0.4), generalised_gamma(0.4)], ids=str)
def test_a_bias_keeps_its_share(rule):
    model, x = made("Linear", True)
    found = lrp(model, x, rules=rule)
    one_more = nn.Linear(8, 5, bias=False).eval()
    with torch.no_grad():
        one_more.weight.copy_(torch.cat([model[0].weight, model[0].bias[:, None]], 1))
    whole = lrp(one_more, torch.cat([x, torch.ones(3, 1)], 1), rules=rule)
    assert_close(found, whole[..., :7])
    assert (whole[..., 7].abs() > 1e-6).all()


# ---- zero in the denominator


@pytest.mark.parametrize("rule", INNER, ids=str)
def test_a_sum_of_nothing_passes_nothing(rule):
    layer = nn.Linear(3, 2, bias=False).eval()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, -1.0]]))
    found = lrp(layer, torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), rules=rule)
    assert not found[0, 0].any()
    assert not found[1].any()
    assert found[0, 1].any()
    assert found.isfinite().all()


def test_contributions_that_cancel():
    layer, x = nn.Linear(2, 1, bias=False).eval(), torch.tensor([[3.0, 2.0]])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[2.0, -3.0]]))
    assert lrp(layer, x, rules=zero()).tolist() == [[[6.0, -6.0]]]  # the gradient times the input
    assert not lrp(layer, x, rules=epsilon(0.0)).any()
    assert not lrp(layer, x, rules=epsilon(0.1)).any()


def test_the_stabiliser_of_zero_is_epsilon():
    model, x = made("Conv2d", True)
    assert torch.equal(lrp(model, x, rules=zero(stabiliser=0.25)), lrp(model, x, rules=epsilon(0.25)))


# ---- limits


def test_gamma_goes_from_zero_to_z_plus():
    model, x = made("Conv2d", False)
    x = x.abs()
    assert_close(lrp(model, x, rules=gamma(0.0)), lrp(model, x, rules=zero()))
    assert_close(lrp(model, x, rules=gamma(1e10)), lrp(model, x, rules=z_plus()), 1e-8)


def test_gamma_and_generalised_gamma_agree_where_nothing_is_negative():
    layer, x = nn.Linear(7, 5).eval(), torch.rand(3, 7)
    with torch.no_grad():
        layer.bias.fill_(10.0)
    assert_close(lrp(layer, x, rules=gamma(0.6)), lrp(layer, x, rules=generalised_gamma(0.6)))


# ---- a rule of your own


class Absolute(Rule):
    def terms(self, layer):
        total = layer.affine(layer.a.abs(), layer.w.abs(), None)
        return [(total, total)]


@pytest.mark.parametrize("name", LAYERS)
def test_a_rule_in_four_lines(name):
    model, x = made(name, True)
    found, outputs = lrp(model, x, rules=Absolute()), model(x).detach()
    w = lrp_oracle.matrix(model[0], tuple(x.shape[1:]))
    size = [np.abs(w * image.numpy().ravel()) for image in x]
    share = np.stack([lrp_oracle.over(each, each.sum(1), 0.0) for each in size])
    assert_close(found.flatten(2), outputs.unsqueeze(2) * torch.from_numpy(share))


def test_a_rule_must_say_its_terms():
    with pytest.raises(TypeError, match="terms"):
        Rule()


def test_a_rule_that_needs_the_input_must_say_so():
    class Ones(Rule):
        def terms(self, layer):
            return [(layer.affine(layer.ones, layer.w, None), layer.z)]

    with pytest.raises(ValueError, match="first_only = True"):
        lrp(nn.Linear(3, 2).eval(), torch.rand(1, 3), rules=Ones())


@pytest.mark.parametrize("terms", [lambda z: [], lambda z: [(z.sum(1), z)], lambda z: [(z, z[:, :1])]])
def test_terms_of_another_shape_are_refused(terms):
    class Wrong(Rule):
        def terms(self, layer):
            return terms(layer.z)

    with pytest.raises(ValueError, match=r"Wrong: terms are pairs.*\(4, 2\)"):
        lrp(nn.Linear(3, 2).eval(), torch.rand(4, 3), rules=Wrong())


# ---- rules as values


@pytest.mark.parametrize(
    "make",
    [
        lambda: gamma(-0.1),
        lambda: generalised_gamma(-0.1),
        lambda: epsilon(float("nan")),
        lambda: zero(stabiliser=-1.0),
        lambda: gamma(0.1, stabiliser=-1.0),
    ],
)
def test_negative_amounts_are_refused(make):
    with pytest.raises(ValueError, match="must not be negative"):
        make()


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), ((0.0, 1.0), (1.0, 1.0)), ((0.0, 0.0), (1.0,)), (0.0, (1.0, 1.0))]
)
def test_bounds_that_do_not_fit_are_refused(low, high):
    with pytest.raises(ValueError, match="a lower and a higher bound"):
        box(low, high)


@pytest.mark.parametrize(("alpha", "beta"), [(2.0, 0.5), (2.0, 1.001), (0.5, -0.5), (float("nan"), 0.0)])
def test_alpha_and_beta_that_do_not_conserve_are_refused(alpha, beta):
    with pytest.raises(ValueError, match="alpha - beta must be 1"):
        alpha_beta(alpha, beta)


def test_rules_are_plain_values():
    assert gamma(0.3) == gamma(0.3) != gamma(0.3, bias=False)
    assert gamma(0.3) != generalised_gamma(0.3)
    assert len({box(0.0, 1.0), box([0.0], [1.0]), flat(), flat()}) == 2
    with pytest.raises(FrozenInstanceError):
        gamma(0.3).amount = 0.4


def test_what_a_rule_sees():
    a, w, b = torch.randn(4, 7), torch.randn(5, 7), torch.randn(5)
    layer = Layer(nn.functional.linear, a, w, b)
    without = Layer(nn.functional.linear, a, w, b, with_bias=False)
    assert layer.z is layer.output
    assert_close(layer.output, a @ w.mT + b)
    assert_close(without.output, a @ w.mT + b)
    assert_close(without.z, a @ w.mT)
    assert_close(layer.positive + layer.negative, layer.z)
    assert_close(without.positive + without.negative, without.z)
