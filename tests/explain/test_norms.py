"""Columns and bounds written out entry by entry."""

import pytest
import torch
from torch import nn

from spectral_lens.explain import norms
from spectral_lens.explain.lrp import gamma
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
