"""The numbers of many networks are those of each, asked one by one."""

from functools import partial

import pytest
import torch

from spectral_lens.datasets import images
from spectral_lens.explain.lrp import composite, gamma, zero
from spectral_lens.nn.mlp import mlp
from spectral_lens.stability.adversarial import fgsm, margin
from spectral_lens.stability.assessment import assess, diagnoses
from spectral_lens.stability.diagnostics import diagnose
from spectral_lens.training import fit

pytestmark = pytest.mark.usefixtures("double")

RULES = partial(composite, first=gamma(0.1), inner=gamma(0.1), last=zero())


def test_each_network_by_itself():
    train, test = (part.flat().to(dtype=torch.float64) for part in images.digits())
    test, few = test.take(83), test.take(7)
    trained = fit(mlp([64, 9, 10], spectral=0), train, seeds=[3, 8, 4], epochs=2, batch_size=50, dtype=torch.float64)
    noise = 0.1 * torch.randn(few.x.shape, generator=torch.Generator().manual_seed(0))
    options = {"noise": noise, "rules": RULES, "seed": 5}
    found = assess(trained, test, few, attack=partial(fgsm, radius=0.1), **options)
    for r in range(3):
        net = trained.run(r).eval()
        numbers = diagnose(net, few, noise=noise, rules=RULES(net), generator=torch.Generator().manual_seed(5))
        for name, value in numbers._asdict().items():
            assert float(found[name][r]) == pytest.approx(value)
        assert float(found["accuracy"][r]) == pytest.approx(float((net(test.x).argmax(1) == test.y).sum()) / 83)
        moved = fgsm(net, test.x, test.y, radius=0.1)
        assert float(found["robust"][r]) == pytest.approx(float((net(moved).argmax(1) == test.y).sum()) / 83)
        x = few.x.clone().requires_grad_()
        m = margin(net(x), few.y)
        (slope,) = torch.autograd.grad(m.sum(), x)
        away = sorted((-m / slope.abs().sum(1)).tolist())
        assert float(found["distance"][r]) == pytest.approx(away[3])
    assert all(values.dtype == torch.float64 and values.shape == (3,) for values in found.values())
    assert set(found) == {"accuracy", "robust", "distance"} | set(diagnoses([trained.run(0)], few, **options))


def test_no_network_to_diagnose():
    few = images.digits()[1].take(3)
    with pytest.raises(ValueError, match="no network"):
        diagnoses([], few, noise=few.x, rules=RULES, seed=0)
