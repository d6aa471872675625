"""The critical step of quadratic functions whose curvature is known."""

import math

import pytest
import torch

from spectral_lens.stability.descent import _diverges, critical_step, observed_critical_step

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


@pytest.mark.parametrize("guess", [2.0**-28, 1.0, 2.0, 16.0, 2.0**30])
@pytest.mark.parametrize("unit", [2.0**-12, 1.0, 2.0**9])
def test_the_interval_is_halved_to_the_precision(guess, unit):
    """Of a single curvature the step is exact: at 2 the way is as long as ever, behind it each step is longer.

    The search ends between 2 and 2 + 2^-9, as 2^-8 is more than a thousandth of what it stands beside.
    """
    found = observed_critical_step(lambda at: at / unit, torch.ones(3), guess=guess * unit, steps=12)
    assert found == (2 + 2.0**-10) * unit


def test_each_trial_takes_its_steps():
    asked = []
    observed_critical_step(lambda at: asked.append(1) or at, torch.ones(3), guess=1.0, steps=12)
    assert len(asked) == 14 * 13  # trials: one down, three up, ten between 2 and 4; gradients: before and behind steps


def test_a_step_too_far_from_the_guess_is_not_found():
    for guess, said in ((2.0**-31, "diverges at no step"), (2.0**33, "diverges at every step")):
        with pytest.raises(ValueError, match=said):
            observed_critical_step(lambda at: at, torch.ones(3), guess=guess, steps=12)


def test_what_has_arrived_does_not_diverge():
    """Where nothing but noise is left of the gradient, it is as likely longer as shorter at the end."""
    for seed in range(6):
        draws = torch.Generator().manual_seed(seed)

        def gradient(at, draws=draws):
            return 7 * at + 1e-10 * torch.randn(3, generator=draws)

        found = observed_critical_step(gradient, torch.ones(3), guess=0.1, steps=200, precision=0.01)
        assert found == pytest.approx(2 / 7, rel=0.01)


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


@pytest.mark.parametrize(("last", "diverges"), [(1.2e-8, False), (1.8e-8, True)])
def test_what_counts_as_arrived_is_measured_by_the_first_gradient(last, diverges):
    """The root of the precision, 1.5e-8, of its length, however short the second is."""
    sizes = iter([1.0, 1e-3, 1e-9, 1e-9, last])
    assert _diverges(lambda at: torch.tensor([next(sizes)]), torch.zeros(1), 0.1, 4) is diverges
