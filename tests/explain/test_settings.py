"""What measures say over the settings: against SciPy, plain loops, and curves whose answer is seen."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from spectral_lens.explain import settings
from spectral_lens.explain.comparison import BETTER

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("sign", [1, -1])
def test_the_best_setting_has_the_best_median(sign):
    values = torch.randn(7, 5)
    medians = [float(np.median(values[:, k])) for k in range(5)]
    value, k = settings.best(values, sign=sign)
    assert value == (max(medians) if sign == 1 else min(medians))
    assert medians[k] == value


def test_a_peak_is_above_one_and_an_end_below():
    curves = torch.tensor([[1.0, 4.0, 3.0, 2.0], [5.0, 4.0, 3.0, 2.0], [2.0, 3.0, 4.0, 5.0], [2.0, 2.0, 2.0, 2.0]])
    assert settings.sweet_spot(curves).tolist() == [2.0, 0.8, 0.8, 1.0]
    assert settings.sweet_spot(curves[0]).item() == 2.0
    with pytest.raises(ValueError, match="2 settings"):
        settings.sweet_spot(torch.rand(3, 2))


def test_a_trade_off_needs_both_measures():
    grid, up = [0.0, 0.1, 10.0, 100.0], torch.tensor([1.0, 2.0, 7.0, 9.0])
    assert settings.trade_off(grid, up, -up).item() == 1
    assert settings.trade_off(grid, up, up).item() == -1
    bent = torch.tensor([1.0, 2.0, 9.0, 7.0])
    pairs = settings.trade_off(grid, torch.stack([up, bent, up]), torch.stack([-up, -up, -bent]))
    assert pairs.tolist() == pytest.approx([1.0, 0.8, 0.8])
    with pytest.raises(ValueError, match="3 settings for 4 points"):
        settings.trade_off(grid[:3], up, up)


def test_agreement_is_the_mean_of_scipys_tables():
    parts = [{name: torch.randn(6, points) for name in BETTER} for points in (4, 3)]
    tables = []
    for n in range(6):
        columns = [sign * torch.cat([part[name][n] for part in parts]) for name, sign in BETTER.items()]
        tables.append(spearmanr(torch.stack(columns, 1).numpy()).statistic)
    np.testing.assert_allclose(settings.agreement(parts), np.mean(tables, axis=0), atol=1e-12)


def test_samples_without_an_order_are_left_out_of_the_agreement():
    part = {name: torch.randn(2, 5) for name in BETTER}
    part["entropy"][1] = 3.0
    alone = settings.agreement([{name: values[:1] for name, values in part.items()}])
    both = settings.agreement([part])
    torch.testing.assert_close(both[-1], alone[-1])
    assert not torch.allclose(both[0, 1], alone[0, 1])
