"""What is read off products against the matrices that they stand for, written out."""

import pytest
import torch
from torch import nn

from spectral_lens.explain import matrix_free
from spectral_lens.explain.gradients import integrated_gradients, smoothgrad
from spectral_lens.explain.lrp import gamma, lrp
from spectral_lens.explain.quality import redistribution, spectral_measures
from spectral_lens.operators.golub_kahan import spectral_norm
from spectral_lens.operators.hutchinson import frobenius_norm
from spectral_lens.operators.linear import LinearOperator

# rules are tried at inputs and outputs of any sign here
pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:relevance is enlarged")]


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(48, 6, bias=False)
    ).eval()  # fmt: skip


def assert_stands_for(operator, R, mask):
    n, k, d = R.shape
    z, u = torch.randn(n, k), torch.randn(n, d)
    assert operator.shape == R.shape
    assert torch.equal(operator @ torch.ones(n, d) != 0, mask)
    torch.testing.assert_close(operator.mT @ z, torch.einsum("nkd,nk->nd", R, z), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(operator @ u, torch.einsum("nkd,nd->nk", R, u), rtol=1e-9, atol=1e-11)


def test_lrp_of_some_outputs_and_of_those_above_a_share():
    model, x = network(), torch.rand(3, 1, 5, 6)
    R = redistribution(lrp(model, x, rules=gamma(0.3)), threshold=0.2)
    assert not R.mask.all()
    assert_stands_for(matrix_free.of_lrp(model, x, rules=gamma(0.3), threshold=0.2), *R)
    some = redistribution(lrp(model, x, rules=gamma(0.3), outputs=[4, 1]))
    assert_stands_for(matrix_free.of_lrp(model, x, rules=gamma(0.3), outputs=[4, 1]), *some)


def test_straight_points_make_integrated_gradients():
    model, x, black = network(), torch.rand(3, 1, 5, 6), torch.full((1, 1, 5, 6), -0.4)
    points = matrix_free.straight(x, baseline=black, steps=7)
    assert points.shape == (7, 3, 1, 5, 6)
    torch.testing.assert_close(points[-1], x)
    torch.testing.assert_close(points[0], black + (x - black) / 7)
    operator = matrix_free.of_mean_gradient(model, x, points, baseline=black)
    assert_stands_for(operator, *redistribution(integrated_gradients(model, x, baseline=black, steps=7)))


def test_noisy_points_make_smoothgrad():
    model, x = network(), torch.rand(3, 1, 5, 6)
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    points = matrix_free.noisy(x, 0.2, samples=4, generator=draws[0])
    E = smoothgrad(model, x, sigma=0.2, samples=4, generator=draws[1], times_input=True)
    assert_stands_for(matrix_free.of_mean_gradient(model, x, points), *redistribution(E))
    few = redistribution(E, threshold=0.3)
    assert not few.mask.all()
    assert_stands_for(matrix_free.of_mean_gradient(model, x, points, threshold=0.3), *few)
    with pytest.raises(ValueError, match="must be"):
        matrix_free.of_mean_gradient(model, x[:2], points)


def test_measures_at_each_setting_are_those_of_the_matrices():
    model, x, target = network(), torch.rand(5, 1, 5, 6), torch.tensor([5, 0, 1, 2, 3])
    gammas = [0.1, 1.0]
    methods = [lambda part, generator, g=g: matrix_free.of_lrp(model, part, rules=gamma(g)) for g in gammas]
    found, maps = matrix_free.measured(methods, x, target, chunk=2, draws=6, seed=1)
    assert maps.shape == (2, 5, 30)
    for k, g in enumerate(gammas):
        R = redistribution(lrp(model, x, rules=gamma(g))).R
        torch.testing.assert_close(maps[k], R[torch.arange(5), target])
        for name, exact in spectral_measures(R).items():
            off = (found[name][:, k] / exact - 1).abs()
            assert (off <= found["error"][:, k] + 1e-9).all()
            assert off.max() < 0.02  # six draws span all six outputs, so only sigma_1's tolerance is left


def test_the_error_is_what_both_estimates_claim_together():
    A = torch.randn(3, 8, 13)
    products = (lambda u: torch.einsum("nkd,nd->nk", A, u)), (lambda z: torch.einsum("nkd,nk->nd", A, z))
    R = LinearOperator((3, 8, 13), *products, dtype=A.dtype)
    found, _ = matrix_free.measured([lambda *_: R], torch.rand(3, 13), torch.arange(3), chunk=3, draws=4, seed=6)
    draw = torch.Generator().manual_seed(6)
    first = spectral_norm(R, generator=draw)
    norm = frobenius_norm(R, draws=4, generator=draw)
    error = first.error / first.value + norm.error / norm.value
    assert (norm.error > 0).all()
    assert (first.error > 0).all()
    expected = {
        "stability": 1 / first.value, "sensitivity": norm.value, "SSM": norm.value / first.value, "error": error
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name][:, 0], values)


def test_every_setting_sees_the_same_draws():
    model, x, target = network(), torch.rand(3, 1, 5, 6), torch.tensor([5, 0, 1])
    seen = []

    def method(part, generator):
        seen.append(matrix_free.noisy(part, 0.1, generator=generator) - part)
        return matrix_free.of_mean_gradient(model, part, part + seen[-1])

    found, _ = matrix_free.measured([method, method], x, target, chunk=2, draws=2, seed=7)
    torch.testing.assert_close(seen[0], seen[2])
    torch.testing.assert_close(seen[1], seen[3])
    torch.testing.assert_close(found["SSM"][:, 0], found["SSM"][:, 1])


@pytest.mark.parametrize(
    ("change", "said"), [({"chunk": 0}, "chunk=0"), ({"target": torch.tensor([1])}, "for each of 2 samples")]
)
def test_what_does_not_fit_is_named_before_any_product(change, said):
    def method(part, generator):
        raise AssertionError("computed")

    given = {"target": torch.tensor([1, 2]), "chunk": 1, "draws": 2, "seed": 0} | change
    with pytest.raises(ValueError, match=said):
        matrix_free.measured([method], torch.rand(2, 3), **given)
