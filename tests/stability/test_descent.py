"""The critical step of quadratic functions whose curvature is known."""

import math

import pytest
import torch

from spectral_lens.stability.descent import critical_step, observed_critical_step

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize("guess", [1e-5, 0.3, 1e4])
def test_the_critical_step(guess):
    Q = torch.linalg.qr(torch.randn(6, 6)).Q
    H = Q @ torch.diag(torch.tensor([7.0, 5.0, 1.0, 0.3, 0.01, 0.0])) @ Q.mT
    shift = torch.randn(6)
    found = observed_critical_step(lambda at: H @ (at - shift), torch.randn(6), guess=guess)
    assert found * 7 / 2 == pytest.approx(1, abs=5e-3)
    assert critical_step(7.0) == 2 / 7


def test_the_critical_step_in_single_precision_and_of_matrices():
    H = torch.diag(torch.tensor([3.0, 2.9, 0.1], dtype=torch.float32))
    found = observed_critical_step(lambda at: H @ at, torch.randn(3, 2, dtype=torch.float32), guess=1.0)
    assert found * 3 / 2 == pytest.approx(1, abs=1e-2)


def test_the_critical_step_from_a_start_that_hardly_sees_the_steepest_direction():
    H = torch.diag(torch.tensor([7.0, 1.0]))
    found = observed_critical_step(lambda at: H @ at, torch.tensor([1e-3, 10.0]), guess=0.1, steps=60)
    assert found * 7 / 2 == pytest.approx(1, abs=5e-3)


def test_no_critical_step():
    with pytest.raises(ValueError, match="diverges at no step"):
        observed_critical_step(lambda at: 0 * at, torch.ones(2), guess=1.0, steps=4)
    with pytest.raises(ValueError, match="diverges at every step"):
        observed_critical_step(lambda at: -at, torch.ones(2), guess=1.0, steps=4)
    for options in ({"guess": 0.0}, {"guess": 1.0, "steps": 1}, {"guess": 1.0, "precision": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            observed_critical_step(lambda at: at, torch.ones(2), **options)
    for curvature in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="must be positive"):
            critical_step(curvature)
