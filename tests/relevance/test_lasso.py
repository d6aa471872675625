"""Well-known scores: what the libraries are asked for."""

from dataclasses import replace

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from spectral_lens.datasets import synthetic
from spectral_lens.relevance.baselines import lasso


def test_the_lasso_is_scikit_learns_for_each_run():
    data = synthetic.linked(200, seeds=(1, 2), separated=2, partners=0, spurious=3, dtype=torch.float64)
    found = lasso(data, strength=0.1)
    for r in range(2):
        model = LogisticRegression(l1_ratio=1, C=0.1, solver="liblinear", random_state=0)
        coefficients = model.fit(data.x[r].numpy(), data.y[r].numpy()).coef_[0]
        torch.testing.assert_close(found[r], torch.from_numpy(abs(coefficients)))
    torch.testing.assert_close(lasso(data.run(1), strength=0.1), found[1])


def test_the_lasso_tells_two_classes_apart():
    data = synthetic.linked(50, separated=1, partners=0, spurious=1)
    three = replace(data, y=torch.arange(50) % 3, labels=("a", "b", "c"))
    with pytest.raises(ValueError, match="3 classes"):
        lasso(three)
