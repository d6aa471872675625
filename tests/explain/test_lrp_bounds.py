"""The closed form of each layer's norm against its columns written out, and the product against sigma_1."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from spectral_lens.explain.lrp import lrp, weighted
from spectral_lens.explain.lrp_bounds import column_norm, contributions, layer_norms, product_bound
from spectral_lens.explain.quality import redistribution
from spectral_lens.explain.rules import (
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
from spectral_lens.operators.spectra import sigma

# rules are tried at inputs and outputs of any sign here
pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:relevance is enlarged")]


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def linear(bias):
    return nn.Linear(7, 5, bias=bias).eval()


def convolution(bias):
    return nn.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=1, bias=bias).eval()


SHAPE = {linear: (7,), convolution: (2, 4, 5)}


def matrix(layer, shape):
    """The layer's weights, (out, in), and its bias, (out), read off its outputs."""
    b = layer(torch.zeros(1, *shape)).flatten()
    return (layer(torch.eye(math.prod(shape)).view(-1, *shape)).flatten(1) - b).mT.detach(), b.detach()


# ---- what speaks for a sum and what against it


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [linear, convolution])
def test_contributions_are_the_terms_of_each_sign(make, bias, counted):
    layer, x = make(bias), torch.randn(4, *SHAPE[make])
    w, b = matrix(layer, SHAPE[make])
    terms = torch.cat([w * x.flatten(1)[:, None], counted * b.expand(4, 1, -1).mT], 2)
    positive, negative = contributions(layer, x, bias=counted)["0"]
    assert_close(positive, terms.clamp(min=0).sum(2))
    assert_close(negative, -terms.clamp(max=0).sum(2))
    assert (negative > 0).any()


def test_contributions_make_up_each_layers_own_output():
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 5)
    ).eval()  # fmt: skip
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    x = torch.randn(4, 2, 6, 7)
    found = contributions(model, x)
    assert list(found) == weighted(model) == ["0", "5"]
    for (positive, negative), output in zip(found.values(), (model[:2](x), model(x)), strict=True):
        assert_close(positive - negative, output.flatten(1).detach())


# ---- the norm of a column


def test_the_norm_in_closed_form():
    positive, amount = torch.rand(3, 8) + 0.1, 0.37
    c = torch.rand(3, 8)
    assert_close(column_norm(positive, c * positive, amount), 1 + 2 * c / (1 - c + amount))


def test_known_norms():
    def norm(positive, negative, amount):
        return column_norm(torch.tensor([positive]), torch.tensor([negative]), amount).item()

    assert norm(3.0, 1.0, 0.0) == 2
    assert norm(3.0, 1.0, 1.0) == pytest.approx(1.4)
    assert norm(1.0, 3.0, 0.5) == 3  # a sum that stays negative
    assert norm(2.0, 0.0, 0.5) == 1
    assert norm(1.0, 1.0, 0.0) == math.inf


def columns(layer, x, rule):
    """The layer's redistribution, one row of inputs for each output, from LRP on that layer alone."""
    model = nn.Sequential(layer, nn.Flatten()).eval()
    return lrp(model, x, rules=rule).flatten(2) / model(x).detach().unsqueeze(2)


@pytest.mark.parametrize("rule", [zero(), gamma(0.25), gamma(3.0)], ids=str)
@pytest.mark.parametrize("make", [linear, convolution])
def test_it_is_the_norm_of_the_column_written_out(make, rule):
    layer, x = make(False), torch.rand(4, *SHAPE[make])
    expected = columns(layer, x, rule).abs().sum(2)
    assert_close(column_norm(*contributions(layer, x)["0"], rule.column_gamma), expected, 1e-9)


@pytest.mark.parametrize("amount", [0.0, 0.25, 3.0])
def test_it_is_the_norm_of_the_rules_formula(amount):
    layer, x = linear(False), torch.rand(4, 7)
    raised = (layer.weight + amount * layer.weight.clamp(min=0)).detach() * x[:, None]
    expected = raised.abs().sum(2) / raised.sum(2).abs()
    assert_close(column_norm(*contributions(layer, x)["0"], amount), expected, 1e-9)


def test_inputs_of_any_sign_under_the_rule_zero():
    layer, x = convolution(False), torch.randn(4, 2, 4, 5)
    expected = columns(layer, x, zero()).abs().sum(2)
    assert_close(column_norm(*contributions(layer, x)["0"], 0.0), expected, 1e-9)


@pytest.mark.parametrize("make", [linear, convolution])
def test_a_bias_is_one_more_input_or_none(make):
    layer, x = make(True), torch.rand(4, *SHAPE[make])
    inputs = columns(layer, x, gamma(0.4))
    norm = column_norm(*contributions(layer, x)["0"], 0.4)
    assert_close(norm, inputs.abs().sum(2) + (1 - inputs.sum(2)).abs(), 1e-9)
    without = column_norm(*contributions(layer, x, bias=False)["0"], 0.4)
    assert_close(without, columns(layer, x, gamma(0.4, bias=False)).abs().sum(2), 1e-9)


# ---- the norm of a layer


def network(*, hidden=11, bias=False):
    return nn.Sequential(
        nn.Conv2d(2, 5, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(20, hidden, bias=bias),
        nn.ReLU(), nn.Linear(hidden, 7, bias=bias),
    ).eval()  # fmt: skip


def images(n=3):
    return torch.rand(n, 2, 6, 7)


def by_hand(model, x, rules, mask):
    """The largest column of each layer among the active ones, among the kept ones at the outputs."""
    norms, rules = {}, iter(rules)
    for name, layer in model.named_children():
        before, x = x, layer(x).detach()
        if hasattr(layer, "weight"):
            inputs = columns(layer, before, next(rules))
            sizes = inputs.abs().sum(2) + (1 - inputs.sum(2)).abs()
            reached = mask if layer is model[-1] else x.flatten(1) > 0
            norms[name] = torch.where(reached, sizes, 0).amax(1)
    return norms


RULES = [[zero()] * 3, [gamma(0.4)] * 3, [gamma(2.0), gamma(0.1), zero()],
         [gamma(0.3, bias=False), zero(bias=False), gamma(0.2)]]  # fmt: skip


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rules", RULES, ids=range(4))
def test_a_layers_norm_is_its_largest_column(rules, bias):
    model, x = network(bias=bias), images()
    mask = torch.rand(3, 7) < 0.5
    mask[:, 2] = True
    expected = by_hand(model, x, rules, mask)
    found = layer_norms(model, x, rules=rules, mask=mask)
    assert list(found) == ["0", "4", "6"]
    for name, norm in found.items():
        assert_close(norm, expected[name], 1e-9)


def test_what_is_kept_counts_at_the_outputs_only():
    model, x = network(hidden=7), images()
    every = layer_norms(model, x, rules=gamma(0.2))
    all_of_them = layer_norms(model, x, rules=gamma(0.2), mask=torch.ones(3, 7, dtype=torch.bool))
    largest = columns(model[6], model[:6](x).detach(), gamma(0.2)).abs().sum(2).argmax(1)
    without_it = layer_norms(model, x, rules=gamma(0.2), mask=torch.arange(7) != largest[:, None])
    for name in ("0", "4"):
        assert torch.equal(every[name], without_it[name])
    assert torch.equal(every["6"], all_of_them["6"])
    assert (without_it["6"] < every["6"]).all()


class Written(nn.Module):
    """The same two layers with ReLU as a function, with a sum beside it, and without."""

    def __init__(self, kind):
        super().__init__()
        self.one, self.two, self.kind = nn.Linear(6, 9, bias=False), nn.Linear(9, 5, bias=False), kind

    def forward(self, x):
        hidden = self.one(x)
        if self.kind == "sum":
            return self.two(torch.relu(hidden) + hidden)
        return self.two(BETWEEN[self.kind](hidden))


STOPPING = {
    "function": torch.relu,
    "functional": nn.functional.relu,
    "method": lambda h: h.relu(),
    "in place": lambda h: h.relu_(),
}
BETWEEN = STOPPING | {"none": lambda h: h}


@pytest.mark.parametrize("kind", [*BETWEEN, "sum"])
def test_columns_count_unless_a_relu_stops_them(kind):
    model, x = Written(kind).eval(), torch.rand(4, 6)
    sizes = columns(model.one, x, zero()).abs().sum(2)
    stopped = (model.one(x) <= 0) & (kind in STOPPING)
    assert_close(layer_norms(model, x, rules=zero())["one"], sizes.masked_fill(stopped, 0).amax(1), 1e-9)


@pytest.mark.parametrize(
    "rule",
    [epsilon(0.1), generalised_gamma(0.2), z_plus(), alpha_beta(2.0, 1.0), box(0.0, 1.0), flat(), w_square(),
     zero(stabiliser=1e-6), gamma(0.2, stabiliser=1e-6)],
    ids=str,
)  # fmt: skip
def test_other_rules_are_refused(rule):
    with pytest.raises(ValueError, match=rf"no closed form is proven for the rule {rule.name}\("):
        layer_norms(network(), images(), rules=[rule, zero(), zero()])


def test_a_rule_of_your_own_is_refused_until_it_says_its_gamma():
    class Mine(Rule):
        def terms(self, layer):
            return [(layer.z, layer.z)]

    class Proven(Mine):
        column_gamma = 0.0

    with pytest.raises(ValueError, match=r"proven for the rule .*Mine"):
        layer_norms(network(), images(), rules=Mine())
    model, x = network(), images()
    found, expected = (layer_norms(model, x, rules=rule) for rule in (Proven(), zero()))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_rules_by_name():
    model, x = network(), images()
    found = layer_norms(model, x, rules={"0": gamma(0.4), "*": zero()})
    expected = layer_norms(model, x, rules=[gamma(0.4), zero(), zero()])
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_gamma_is_refused_where_inputs_are_negative():
    with pytest.raises(ValueError, match="not negative: 0 has others"):
        layer_norms(network(), -images(), rules=[gamma(0.3), zero(), zero()])
    one = images()
    one[1, 0, 2, 3] = -0.01
    with pytest.raises(ValueError, match="not negative: 0 has others"):
        layer_norms(network(), one, rules=[gamma(0.3), zero(), zero()])
    model, x = network(), -images()
    found, expected = (layer_norms(model, x, rules=rule) for rule in (gamma(0.0), zero()))
    assert all(torch.equal(found[name], expected[name]) for name in expected), "without gamma nothing is favoured"


def test_a_sum_that_cancels_stops_at_the_relu_and_what_is_not_reached_does_not_amplify():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 3, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.0], [3.0, -1.0]]))
        model[2].weight.copy_(torch.tensor([[1.0, 2.0], [1.0, -2.0], [0.5, 1.0]]))
    mask = torch.tensor([[True, True, True], [False, False, False]])
    found = layer_norms(model, torch.ones(2, 2), rules=zero(), mask=mask)
    assert found["0"].tolist() == [2, 2]  # (3 + 1) / (3 - 1), the other sum is zero
    assert found["2"].tolist() == [1, 1]


def test_a_wrong_number_of_rules_is_refused():
    with pytest.raises(ValueError, match="2 rules for 3 layers with weights: 0, 4, 6"):
        layer_norms(network(), images(), rules=[zero(), zero()])


# ---- the product


def test_the_product_in_closed_form():
    norms = {"one": torch.tensor([2.0, 3.0]), "two": torch.tensor([5.0, 7.0])}
    assert_close(product_bound(norms, 9), torch.tensor([30.0, 63.0]))
    assert_close(product_bound(norms, torch.tensor([4.0, 9.0])), torch.tensor([20.0, 63.0]))


def test_one_input_that_all_outputs_repeat_reaches_the_bound():
    model, x = nn.Linear(1, 7, bias=False).eval(), torch.rand(2, 1)
    bound = product_bound(layer_norms(model, x, rules=zero()), 7)
    assert_close(bound, torch.full((2,), math.sqrt(7)))
    assert_close(sigma(redistribution(lrp(model, x, rules=zero())).R)[:, 0], bound)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.integers(0, 2**30), st.tuples(*[st.floats(0, 3)] * 3), st.sampled_from([0.0, 0.05, 0.3]))
def test_the_product_is_never_below_the_largest_singular_value(seed, amounts, threshold):
    torch.manual_seed(seed)
    model, x, rules = network(), images(2), [gamma(amount) for amount in amounts]
    relevance = lrp(model, x, rules=rules)
    assume((relevance.flatten(2).sum(2) != 0).any(1).all())
    R, mask = redistribution(relevance, threshold=threshold)
    bound = product_bound(layer_norms(model, x, rules=rules, mask=mask), mask.sum(1).double())
    assert (sigma(R)[:, 0] <= bound * (1 + 1e-6)).all()


@pytest.mark.parametrize("times", [2, 3])
def test_layers_that_are_called_again_are_named(times):
    """Their contributions are those of each call: no single pair of sums stands for them."""
    one, relu = nn.Linear(5, 5), nn.ReLU()
    model = nn.Sequential(*[one, relu] * times, nn.Linear(5, 2)).eval()
    for measure in (contributions, lambda *given: layer_norms(*given, rules=zero())):
        with pytest.raises(ValueError, match=r"^0 is called more than once"):
            measure(model, torch.rand(3, 5))
