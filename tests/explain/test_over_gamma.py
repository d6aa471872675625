"""LRP over gamma: the paper's rule where it may be used, the generalised one where not."""

import pytest
import torch
from torch import nn

from spectral_lens.explain.comparison import spectral, target_maps
from spectral_lens.explain.lrp import AssumptionWarning, composite, gamma, generalised_gamma, lrp, zero
from spectral_lens.explain.over_gamma import over_gamma

pytestmark = pytest.mark.usefixtures("double")
GAMMAS = [0.0, 0.3, 2.0]


def network():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 9, 5), nn.ReLU(), nn.Linear(5, 4)
    ).eval()


@pytest.mark.parametrize(("shift", "rule", "name"), [(0, gamma, "gamma"), (-2, generalised_gamma, "generalised gamma")])
@pytest.mark.parametrize("outputs", [None, [3, 1]])
def test_each_setting_is_lrp_with_that_rule(shift, rule, name, outputs):
    model, x, target = network(), torch.rand(6, 2, 5, 5) + shift, torch.tensor([0, 1, 1, 0, 1, 0])
    found = over_gamma(model, x, GAMMAS, target, outputs=outputs, threshold=0.2)
    E = [
        lrp(model, x, rules=composite(model, first=rule(g), inner=rule(g), last=zero()), outputs=outputs)
        for g in GAMMAS
    ]
    assert found.rule == name
    torch.testing.assert_close(found.maps, target_maps(E, target))
    for measure, values in spectral(E, threshold=0.2).items():
        torch.testing.assert_close(found.measures[measure], values)


def test_the_advice_names_the_layers_and_is_one_line():
    model, x = network(), torch.rand(6, 2, 5, 5) - 2
    with pytest.warns(AssumptionWarning, match=r" in 0") as caught:
        lrp(model, x, rules=composite(model, first=gamma(0.3), inner=gamma(0.3), last=zero()))
    found = over_gamma(model, x, GAMMAS, torch.zeros(6, dtype=torch.int64))
    assert found.advice == " ".join(str(caught[0].message).split())
    assert over_gamma(model, x.abs(), GAMMAS, torch.zeros(6, dtype=torch.int64)).advice == ""


def test_what_lrp_refuses_is_refused():
    target = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"no rule for 1 \(Tanh\)"):
        over_gamma(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)).eval(), torch.rand(2, 3), [0.1], target)
    with pytest.raises(ValueError, match="gammas is empty"):
        over_gamma(nn.Linear(3, 2).eval(), torch.rand(2, 3), [], target)
