"""The rewritten forward pass: what is warned about, what clips and what pools."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.explain import _propagation
from spectral_lens.explain.gradients import gradient_x_input
from spectral_lens.explain.lrp import AssumptionWarning, lrp
from spectral_lens.explain.rules import epsilon, gamma, generalised_gamma, zero

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


# ---- where a rule's assumptions do not hold


class Branch(nn.Module):
    """A branch that ends without ReLU, as residual networks have it."""

    def __init__(self):
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(torch.relu(self.branch(x) + x))


def said(model, x, **given):
    """What the warning says, "" where there is none; and the relevance."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AssumptionWarning)
        found = lrp(model, x, **given)
    return " ".join(str(each.message) for each in caught), found


def test_gamma_on_a_branch_without_relu_is_warned_about():
    model, x = Branch().eval(), torch.rand(40, 6)
    rules = {"last": zero(), "*": gamma(0.25)}
    message, found = said(model, x, rules=rules)
    assert "changes its sign, in branch: the rule divides" in message
    silent, general = said(model, x, rules={"last": zero(), "*": generalised_gamma(0.25)})
    assert silent == ""
    assert general.abs().max() < found.abs().max()


def test_gamma_at_negative_inputs_is_warned_about():
    model, x = nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 3)).eval(), torch.randn(40, 6)
    message, _ = said(model, x, rules=[gamma(3.0), zero()])
    assert "in 0: the rule" in message
    assert said(model, x.abs(), rules=[gamma(3.0), zero()])[0] == ""


def test_a_bias_left_out_that_outweighs_the_rest_is_warned_about():
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 1.0]]))
        model[2].weight.fill_(1.0)
        for shift, enlarged in ((0.5, False), (8.9, False), (9.1, True), (-0.5, False)):
            model[0].bias.fill_(shift)
            message, found = said(model, torch.tensor([[0.5, 0.5]]), rules=zero(bias=False))
            assert bool(message) == enlarged, shift
            assert_close(found.sum().view(1), torch.tensor([1 + shift]))
        model[0].bias.fill_(2.0)
        message, _ = said(model, torch.tensor([[-0.5, -0.5]]), rules=epsilon(1e-9, bias=False))
        assert "changes its sign, in 0" in message


@pytest.mark.parametrize("rectified", [True, False])
def test_the_watch_says_what_the_quotients_say(rectified):
    numbers = torch.tensor([-1e200, -30.0, -2.9, -1e-200, 0.0, 1e-200, 0.27, 0.31, 2.9, 3.3, 30.0, 1e200])
    value, below = torch.cartesian_prod(numbers, numbers).unbind(1)
    quotient, reached = value / below, value > 0 if rectified else value != 0
    expected = reached & ((quotient < 0) | (quotient > 10))  # a quotient of -0.0 is one that underflowed
    expected |= reached & (quotient == 0) & (value.sign() != below.sign())
    found = torch.stack([_propagation._beyond(*pair, rectified) > 0 for pair in zip(value, below, strict=True)])
    assert found.tolist() == expected.tolist()
    assert 0 < expected.sum() < reached.sum() < len(value)


@pytest.mark.parametrize("stabiliser", [0.0, 1e-6, 0.5])
def test_a_stabiliser_keeps_denominators_from_zero(stabiliser):
    """z = 1 - 1.5 without a ReLU, zt = (1 + g) - 1.5 with g = .5: zero."""
    model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.5]]))
    _, found = said(model, torch.ones(1, 2), rules=gamma(0.5, stabiliser=stabiliser))
    expected = torch.tensor([1.5, -1.5]) * -0.5 / stabiliser if stabiliser else torch.zeros(2)
    assert_close(found.flatten(), expected, 1e-9)


def test_where_relevance_does_not_come_nothing_is_said():
    """Units that a ReLU or max pooling with a ReLU behind it stops may have any sums."""
    for behind in ([nn.ReLU()], [nn.ReLU6()], [nn.Unflatten(1, (1, 8)), nn.MaxPool1d(2), nn.Flatten(), nn.ReLU()]):
        model = nn.Sequential(nn.Linear(6, 8), *behind, nn.LazyLinear(3)).eval()
        model(torch.rand(2, 6))
        assert said(model, torch.rand(40, 6), rules={-1: zero(), "*": gamma(2.0)})[0] == ""


# ---- what stands between layers


def test_what_clips_passes_all_relevance():
    """Where ReLU6 has reached its bound the derivative is zero, and relevance would be lost."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU6(inplace=True), nn.Linear(4, 2, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.uniform_(2, 9)
    x = torch.rand(5, 3)
    assert (model[0](x) > 6).any()
    assert_close(lrp(model, x, rules=zero()).sum(2), model(x).detach())


@pytest.mark.parametrize("pooling", ["winner", "average"])
def test_pooling_as_a_layer_and_as_a_function(pooling):
    class Functional(nn.Module):
        def __init__(self, layers):
            super().__init__()
            self.conv, self.last = layers[0], layers[4]

        def forward(self, x):
            return self.last(F.max_pool2d(F.relu(self.conv(x)), 3, stride=2, padding=1).flatten(1))

    layers = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(18, 4)).eval()
    x = torch.rand(3, 2, 5, 6)
    expected = lrp(layers, x, rules=zero(), pooling=pooling)
    assert_close(lrp(Functional(layers).eval(), x, rules=zero(), pooling=pooling), expected)


def test_pooling_with_dilation_has_no_average():
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.MaxPool2d(2, dilation=2), nn.Flatten(), nn.LazyLinear(4)).eval()
    x = torch.rand(3, 2, 5, 6)
    model(x)
    assert_close(lrp(model, x, rules=zero()), gradient_x_input(model, x))
    with pytest.raises(ValueError, match=r"1: pooling='average' knows no windows with dilation"):
        lrp(model, x, rules=zero(), pooling="average")


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_average_pooling_of_every_number_of_axes(axes, functional):
    """Windows of two, side by side: each entry's share of its window's sum, of what the maximum earns."""
    conv, pool = ((nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1], (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1])
    function, mean = (getattr(F, f"{name}_pool{axes}d") for name in ("max", "avg"))  # torch's own, of that many axes

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.pool = conv(1, 1, 1, bias=False), pool(2, dilation=(1,) * axes)
            self.last = nn.LazyLinear(3, bias=False)

        def forward(self, x):
            x = self.one(x)
            return self.last((function(x, 2, 2, 0, (1,) * axes) if functional else self.pool(x)).flatten(1))

    model, x = Model().eval(), 0.1 + torch.rand(5, 1, *(4, 6, 2)[:axes])
    model(x)
    nn.init.ones_(model.one.weight)
    earned = model.last.weight.detach() * function(x, 2).flatten(1).unsqueeze(1)
    share = earned.unflatten(2, mean(x, 2).shape[1:]) / (2**axes * mean(x, 2).unsqueeze(1))
    expected = x.unsqueeze(1) * F.interpolate(share.flatten(0, 1), scale_factor=2).unflatten(0, (5, 3))
    assert_close(lrp(model, x, rules=zero(), pooling="average"), expected)
