"""Columns and bounds written out entry by entry."""

import pytest
import torch
from torch import nn

from spectral_lens.explain import norms
from spectral_lens.explain.lrp import AssumptionWarning, gamma, lrp
from spectral_lens.nn.convnets import cnn

# rules are tried at inputs and outputs of any sign here
pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:relevance is enlarged")]


def test_the_norm_of_each_column_of_a_step():
    layer, a, g = nn.Linear(5, 3, bias=False), torch.rand(2, 5), 0.4
    found = norms.step_norms(layer, a, rule=gamma(g))
    for n in range(2):
        for k in range(3):
            w = layer.weight[k].detach()
            parts = a[n] * (w + g * w.clamp(min=0))
            assert float(found[n, k]) == pytest.approx(float((parts / parts.sum()).abs().sum()))


def test_the_closed_form_holds_in_every_layer_and_fails_for_another_rule():
    model = cnn((1, 9, 8), 5, blocks=[[(3, 3, 1)], [(8, 3, 1)]], bias=False).double().eval()
    x, gammas = torch.rand(4, 1, 9, 8), [0.0, 0.1, 3.0]
    found = norms.formula_deviations(model, x, gammas=gammas)
    assert found.shape == (3, 3)
    assert found.max() < 1e-9
    other = norms.formula_deviations(model, x, gammas=gammas, rule=lambda g: gamma(2 * g + 0.5))
    assert other.min() > 1e-3


@pytest.mark.parametrize("least", [1e-6, 0.02, 0.4])
def test_deviations_are_the_largest_over_the_active_nodes_of_each_sample(least):
    """Of a rule with twice the gamma, so that there is something to measure; the samples are of all sizes."""
    model = nn.Sequential(nn.Linear(6, 9, bias=False), nn.ReLU(), nn.Linear(9, 5, bias=False)).eval()
    x, gammas, expected = torch.tensor([1.0, 1e-3, 50.0, 1e-7]).unsqueeze(1) * torch.rand(4, 6), [0.3, 2.0], []
    for weight, a in ((model[0].weight, x), (model[2].weight, model[:2](x))):
        terms = (weight * a.unsqueeze(1)).detach()
        p, n = terms.clamp(min=0).sum(2), -terms.clamp(max=0).sum(2)
        rows = []
        for g in gammas:
            formula, other = (((1 + each) * p + n) / ((1 + each) * p - n) for each in (g, 2 * g))
            rows.append(
                max(
                    float((other[s, k] / formula[s, k] - 1).abs())
                    for s in range(4)
                    for k in range(len(weight))
                    if p[s, k] - n[s, k] > least * p[s].max()
                )
            )
        expected.append(rows)
    found = norms.formula_deviations(model, x, gammas=gammas, rule=lambda g: gamma(2 * g), least=least)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-8, atol=0)


def test_a_model_with_biases_and_a_silent_layer_are_refused():
    x = torch.rand(2, 4)
    with pytest.raises(ValueError, match="biases"):
        norms.formula_deviations(nn.Sequential(nn.Linear(4, 3)).eval(), x, gammas=[0.1])
    unused = nn.Sequential(nn.Linear(4, 3)).eval()
    nn.init.zeros_(unused[0].bias)
    with pytest.raises(ValueError, match="biases"):
        norms.formula_deviations(unused, x, gammas=[0.1])
    silent = nn.Sequential(nn.Linear(4, 3, bias=False)).eval()
    nn.init.constant_(silent[0].weight, -1.0)
    with pytest.raises(ValueError, match="layer 0 is active"):
        norms.formula_deviations(silent, x, gammas=[0.1])


def test_upper_bounds_are_torchs_norms_and_hold():
    R, mask = torch.randn(6, 4, 9), torch.rand(6, 4) < 0.7
    mask[:, 0] = True
    R = R * mask.unsqueeze(2)
    found = norms.upper_bounds(R, mask)
    columns = R.mT  # d x k, as in the papers
    one, infinite = (torch.linalg.matrix_norm(columns, ord=o) for o in (1, float("inf")))
    expected = [
        torch.linalg.matrix_norm(columns, ord=2), torch.linalg.matrix_norm(columns),
        (one * infinite).sqrt(), mask.sum(1).sqrt() * one,
    ]  # fmt: skip
    for value, norm in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(value, norm)
        assert (value >= expected[0] * (1 - 1e-9)).all()


def test_the_enlargement_of_two_layers_written_out():
    """Rule gamma in the first, whose nodes may be negative, rule 0 in the last."""
    first, last, g = nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False), 0.7
    x = torch.rand(5, 4)
    terms = first.weight.detach() * x.unsqueeze(1)
    raised = terms + g * terms.clamp(min=0)
    shares = raised / raised.sum(2, keepdim=True)
    handed = last.weight.detach() * terms.sum(2).unsqueeze(1)  # (n, k, nodes)
    expected = (handed @ shares).abs().max() / handed.sum(2).abs().max()
    assert norms.enlargement(nn.Sequential(first, last).eval(), x, gamma(g)) == pytest.approx(float(expected))


@pytest.mark.filterwarnings("error:relevance is enlarged")
def test_norms_of_what_a_rule_enlarges_come_without_a_warning():
    layer = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.99]]))
    with pytest.warns(AssumptionWarning, match="in 0"):
        lrp(nn.Sequential(layer).eval(), torch.ones(1, 2), rules=gamma(1.0))
    assert float(norms.step_norms(layer, torch.ones(1, 2), rule=gamma(1.0))) == pytest.approx(399)
    assert norms.enlargement(nn.Sequential(layer).eval(), torch.ones(1, 2), gamma(1.0)) == pytest.approx(200)
