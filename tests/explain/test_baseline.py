"""The input from which an explanation starts: any number or array that fits, in the precision of the inputs."""

import numpy as np
import pytest
import torch
from torch import nn

from spectral_lens.explain._baseline import baseline_for
from spectral_lens.explain.gradients import integrated_gradients
from spectral_lens.explain.matrix_free import of_mean_gradient, straight

MODEL = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(60, 5)).eval()
X = torch.randn(3, 2, 6, 7, generator=torch.Generator().manual_seed(0))
SHAPE = 1, 2, 1, 1
BASELINES = [
    0.25, np.float64(0.25), torch.tensor(0.25), torch.full((2, 6, 7), 0.25).double(), np.full(SHAPE, 0.25),
    torch.full(SHAPE, 0.25, requires_grad=True), torch.full(SHAPE, 0.25).half(),
]  # fmt: skip


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda each: type(each).__name__)
def test_a_baseline_of_another_precision_or_shape(baseline):
    whole = 0.25 * torch.ones_like(X)
    assert torch.equal(baseline_for(X, baseline).expand_as(X), whole)
    found = integrated_gradients(MODEL, X, baseline=baseline)
    assert found.dtype == X.dtype
    assert not found.requires_grad
    torch.testing.assert_close(found, integrated_gradients(MODEL, X, baseline=whole))
    torch.testing.assert_close(straight(X, baseline=baseline), straight(X, baseline=whole))
    R = of_mean_gradient(MODEL, X, straight(X), baseline=baseline)
    torch.testing.assert_close(R.to_dense(), of_mean_gradient(MODEL, X, straight(X), baseline=whole).to_dense())


@pytest.mark.parametrize(
    ("baseline", "said"),
    [(torch.zeros(3), "must be a number, or fit inputs"), (torch.zeros(4, 3, 2, 6, 7), "fit"), (float("nan"), "NaN")],
)
def test_a_baseline_that_does_not_fit_is_refused(baseline, said):
    with pytest.raises(ValueError, match=said):
        integrated_gradients(MODEL, X, baseline=baseline)
