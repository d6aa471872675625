"""Shapley values for all outputs, against counting over all orders, closed forms and the axioms."""

import itertools
import math
import warnings

import pytest
import torch
from torch import nn

from spectral_lens.explain import shapley
from spectral_lens.explain.gradients import integrated_gradients
from spectral_lens.explain.shapley import deep_shap
from spectral_lens.nn.mlp import mlp

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def game(players=4, outputs=3):
    return nn.Sequential(nn.Linear(players, 7), nn.Tanh(), nn.Linear(7, outputs)).eval()


def by_orders(model, x, baseline, members):
    """What joining adds, averaged over every order of the players."""
    total, count = 0, 0
    for order in itertools.permutations(range(len(members))):
        there, found = baseline.expand_as(x).clone(), torch.zeros(len(x), len(members), model(x).shape[1])
        before = model(there)
        for player in order:
            there[:, members[player]] = x[:, members[player]]
            now = model(there)
            found[:, player], before = now - before, now
        total, count = total + found, count + 1
    return (total / count).mT.detach()


def test_exact_values_are_the_mean_over_all_orders():
    model, x, baseline = game(), torch.randn(5, 4), torch.randn(4)
    members = [[k] for k in range(4)]
    assert_close(shapley.exact(model, x, baseline=baseline, chunk=7), by_orders(model, x, baseline, members))


def test_groups_are_players():
    model, x, groups = game(5), torch.randn(3, 5), torch.tensor([1, 0, 1, 2, 0])
    expected = by_orders(model, x, torch.zeros(5), [[1, 4], [0, 2], [3]])[:, :, groups] / torch.tensor([2, 2, 2, 1, 2])
    assert_close(shapley.exact(model, x, groups=groups), expected)


@pytest.mark.parametrize("permutations", [1, 6])
def test_samples_add_up_whatever_their_number(permutations):
    model, x, baseline = game(), torch.randn(5, 4), torch.randn(5, 4)
    found = shapley.sampled(
        model, x, baseline=baseline, permutations=permutations, generator=torch.Generator().manual_seed(2), chunk=9
    )
    assert_close(found.sum(2), (model(x) - model(baseline)).detach())


def test_players_at_the_baseline_earn_nothing_and_cost_nothing():
    model, x, rows = game(5), torch.randn(3, 5), []
    x[0, [1, 4]], x[1], x[2, 0] = 0, 0, 0  # player 1 of the first sample, all of the second, half of player 0
    groups = torch.tensor([0, 1, 0, 2, 1])
    model.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    found = shapley.sampled(model, x, groups=groups, permutations=2, generator=torch.Generator().manual_seed(3))
    assert sum(rows) == 2 * 2 + 2 * (3 + 1 + 4)  # two tries with two samples
    draw, expected = torch.Generator().manual_seed(3), torch.zeros(3, 3, 5)
    for order in (torch.randperm(3, generator=draw) for _ in range(2)):
        there = torch.zeros_like(x)
        for player in order:
            before, mine = model(there).detach(), groups == player
            there[:, mine] = x[:, mine]
            expected += (model(there).detach() - before).unsqueeze(2) * mine / mine.sum() / 2
    assert_close(found, expected)
    assert not found[1].any()


def test_samples_are_the_orders_that_the_generator_draws():
    model, x = game(), torch.randn(3, 4)
    draw, expected = torch.Generator().manual_seed(5), 0
    for _ in range(3):
        there = torch.zeros(3, 4)
        found, before = torch.zeros(3, 3, 4), model(there)
        for player in torch.randperm(4, generator=draw).tolist():
            there[:, player] = x[:, player]
            now = model(there)
            found[:, :, player], before = now - before, now
        expected = expected + found.detach() / 3
    found = shapley.sampled(model, x, permutations=3, generator=torch.Generator().manual_seed(5))
    assert_close(found, expected)


def test_the_largest_game_is_still_played(monkeypatch):
    assert shapley.LARGEST == 20
    monkeypatch.setattr(shapley, "LARGEST", 4)
    assert shapley.exact(game(4), torch.rand(1, 4)).shape == (1, 3, 4)
    with pytest.raises(ValueError, match="5 players"):
        shapley.exact(game(5), torch.rand(1, 5))


def test_twenty_five_orders_by_default():
    model, rows = game(), []
    model.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
    shapley.sampled(model, torch.rand(2, 4) + 1)
    assert sum(rows) == 2 * 2 + 25 * 2 * (4 + 1)  # two tries with two samples


def test_samples_converge():
    model, x = game(), torch.randn(2, 4)
    exact, error = shapley.exact(model, x), []
    for count in (30, 3000):
        found = shapley.sampled(model, x, permutations=count, generator=torch.Generator().manual_seed(0))
        error.append((found - exact).square().mean().sqrt().item())
    assert error[1] < error[0] * 3 / math.sqrt(100)


def test_axioms():
    """A player that changes nothing gets nothing, two that do the same get the same, and games add."""

    class Game(nn.Module):
        def forward(self, x):
            first = x[:, 0] * x[:, 1] + (x[:, 0] + x[:, 1]).square()
            second = x[:, 3].sin()
            return torch.stack([first, second, first + 2 * second], 1)

    x = torch.ones(1, 4) * 0.7
    found = shapley.exact(Game().eval(), x)[0]
    assert found[:, 2].abs().max() < 1e-15
    torch.testing.assert_close(found[0, 0], found[0, 1])
    assert_close(found[2], found[0] + 2 * found[1])


def test_a_linear_model_in_closed_form():
    layer, x, baseline = nn.Linear(6, 3).eval(), torch.randn(4, 6), torch.randn(6)
    expected = ((x - baseline)[:, None] * layer.weight).detach()
    assert_close(shapley.exact(layer, x, baseline=baseline), expected)
    assert_close(shapley.sampled(layer, x, baseline=baseline, permutations=1), expected)
    assert_close(integrated_gradients(layer, x, baseline=baseline, steps=3), expected)


def test_selected_outputs_and_readouts():
    model, x, maps = game(), torch.randn(3, 4), torch.randn(2, 3)
    whole = shapley.exact(model, x)
    assert_close(shapley.exact(model, x, outputs=[2, 0]), whole[:, [2, 0]])
    assert_close(shapley.exact(model, x, outputs=maps), torch.einsum("ko,nod->nkd", maps, whole))


def test_patches():
    expected = torch.tensor([[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]])
    assert torch.equal(shapley.patches((3, 5), 2), expected)
    assert torch.equal(shapley.patches((4, 3, 5), 2), expected.expand(4, 3, 5))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: shapley.exact(game(21), torch.rand(1, 21)), r"21 players.*shapley\.sampled"),
        (
            lambda: shapley.exact(game(), torch.rand(1, 4), groups=torch.tensor([0, 2, 2, 0])),
            r"without gaps, found \[0, 2\]",
        ),
        (lambda: shapley.sampled(game(), torch.rand(1, 4), permutations=0), "permutations=0"),
        (lambda: shapley.sampled(game(), torch.rand(1, 4), chunk=0), "chunk=0"),
        (lambda: shapley.patches((5,), 2), "height, width"),
        (lambda: shapley.exact(game().train(), torch.rand(1, 4)), "training mode"),
    ],
)
def test_wrong_games_are_named(call, said):
    with pytest.raises(ValueError, match=said):
        call()


# ---- shap's DeepExplainer


def test_deep_shap_of_a_linear_network_is_known():
    net = mlp([5, 3], init="giambagli")
    x, background = torch.randn(4, 5), torch.randn(7, 5)
    found = deep_shap(net, x, background=background)
    expected = net.layer1.weight * (x - background.mean(0)).unsqueeze(1)
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-4, atol=1e-5)


def test_deep_shap_adds_up_to_the_outputs():
    net = nn.Sequential(*mlp([6, 5, 4, 2], spectral=1))
    x, background = torch.randn(3, 6), torch.randn(8, 6)
    found = deep_shap(net, x, background=background)
    torch.testing.assert_close(
        found.sum(-1).double(), (net(x) - net(background).mean(0)).detach(), rtol=1e-4, atol=1e-4
    )
    assert isinstance(net[1], type(mlp([6, 5, 2]).layer1))  # the network given is left as it was


@pytest.fixture
def explainer():
    """shap's class, which warns of its colour maps and progress bars when it is imported first."""
    with warnings.catch_warnings(action="ignore"):
        import shap

    return shap.DeepExplainer


def test_deep_shap_says_where_its_values_do_not_add_up(monkeypatch, explainer):
    """shap's own check is on; and outputs far smaller than its tolerance are checked as well."""
    net, x, background = game(), torch.randn(3, 4), torch.randn(5, 4)
    right = explainer.shap_values
    monkeypatch.setattr(explainer, "shap_values", lambda *given, **options: 1.5 * right(*given, **options))
    for scale in (1, 1e-5):
        net[2].weight.data *= scale
        with pytest.raises(ValueError, match=r"values do not add up to the model's outputs: .* is missing"):
            deep_shap(net, x, background=background)
    seen = {}
    monkeypatch.setattr(
        explainer, "shap_values", lambda *given, **options: seen.update(options) or right(*given, **options)
    )
    deep_shap(net, x, background=background)
    assert seen.get("check_additivity", True)

    def wrong(*given, **options):
        raise AssertionError("The SHAP explanations do not sum up")

    monkeypatch.setattr(explainer, "shap_values", wrong)
    with pytest.raises(ValueError, match="not those of this model: The SHAP explanations do not sum up"):
        deep_shap(net, x, background=background)


@pytest.mark.parametrize(("factor", "right"), [(1.009, True), (1.011, False), (0.991, True), (0.989, False)])
@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_deep_shap_may_miss_a_hundredth(monkeypatch, explainer, factor, right, scale):
    """Of a linear network, whose values are exact, the sums miss what they are multiplied by."""
    net, x, background = nn.Sequential(nn.Linear(4, 3, bias=False)).eval(), torch.randn(3, 4), torch.randn(5, 4)
    net[0].weight.data *= scale
    values = net[0].weight.detach() * (x - background.mean(0)).unsqueeze(1)
    given = (factor * values).movedim(1, -1).numpy()
    monkeypatch.setattr(explainer, "shap_values", lambda *arguments, **options: given)
    if right:
        torch.testing.assert_close(deep_shap(net, x, background=background), factor * values)
    else:
        with pytest.raises(ValueError, match="is missing"):
            deep_shap(net, x, background=background)


@pytest.mark.parametrize(
    ("x", "background", "said"),
    [
        (torch.ones(2, 4), torch.ones(3, 5), r"background \(3, 5\) must hold samples like x"),
        (torch.ones(2, 4), torch.full((3, 4), float("nan")), "NaN or infinite"),
        (torch.full((2, 4), float("inf")), torch.ones(3, 4), "NaN or infinite"),
        (torch.ones(2, 4), torch.ones(0, 4), r"\(0, 4\): floating inputs"),
    ],
)
def test_deep_shap_of_samples_that_do_not_fit(x, background, said):
    with pytest.raises(ValueError, match=said):
        deep_shap(game(), x.double(), background=background.double())


def test_deep_shap_of_one_output_and_of_samples_of_the_background():
    net, background = game(outputs=1), torch.randn(5, 4)
    found = deep_shap(net, background, background=background)
    assert found.shape == (5, 1, 4)
    single = deep_shap(net, background[:1], background=background[:1])
    assert single.abs().max() == 0


@pytest.mark.parametrize(
    "method", [shapley.exact, lambda *a, **k: shapley.sampled(*a, permutations=3, generator=seeded(), **k)]
)
def test_one_output_of_each_sample(method):
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double().eval()
    x, target = torch.rand(4, 5, dtype=torch.float64), torch.tensor([2, 0, 0, 1])
    whole = method(model, x)
    torch.testing.assert_close(method(model, x, target=target, chunk=3), whole[torch.arange(4), target].unsqueeze(1))
    torch.testing.assert_close(
        method(model, x, target=target, baseline=0.5),
        method(model, x, baseline=torch.full((5,), 0.5))[torch.arange(4), target].unsqueeze(1),
    )
    with pytest.raises(ValueError, match="give one of the two"):
        method(model, x, target=target, outputs=[0])
    with pytest.raises(ValueError, match="for 4 samples"):
        method(model, x, target=target[:3])


def seeded():
    return torch.Generator().manual_seed(5)
