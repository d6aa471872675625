"""Entropy, index and bounds on matrices whose spectra are known, and on networks small enough to write out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectral_lens.explain import quality
from spectral_lens.nn.mlp import mlp
from spectral_lens.operators.spectra import attribution_condition, effective_rank, spectral_entropy
from spectral_lens.stability.bounds import (
    Bound,
    condition_bound,
    forward_ratios,
    forward_sensitivity,
    kernel_perturbation,
    kernel_size,
    norm_refinement,
    quality_bound,
    typical_sensitivity,
)
from spectral_lens.stability.index import gmsi

pytestmark = pytest.mark.usefixtures("double")


EXACT = 1 + 1e-9


many = settings(deadline=None, derandomize=True, max_examples=60)


seeds = st.integers(0, 2**30)


def normal(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spectrum_of(seed, count, spread):
    """Singular values over some orders of magnitude, a few of them zero, one at least not."""
    s = (spread * normal(count, seed=seed)).exp() * (normal(count, seed=seed + 1) > -1)
    return torch.where(s.amax() > 0, s, torch.ones_like(s))


spectra = st.builds(spectrum_of, seeds, st.integers(1, 9), st.floats(0, 4))


def test_entropy_of_known_matrices():
    identity = torch.linalg.svdvals(torch.eye(5))
    assert float(spectral_entropy(identity)) == pytest.approx(math.log(5))
    assert float(effective_rank(identity)) == pytest.approx(5)
    assert float(attribution_condition(identity)) == pytest.approx(1)
    one = torch.linalg.svdvals(torch.outer(torch.randn(5), torch.randn(7)))
    assert float(spectral_entropy(one)) == pytest.approx(0, abs=1e-12)
    assert float(effective_rank(one)) == pytest.approx(1)
    assert float(attribution_condition(one)) == pytest.approx(math.sqrt(5))
    assert float(spectral_entropy(torch.tensor([3.0, 1.0]))) == pytest.approx(
        -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    )
    assert float(attribution_condition(torch.tensor([1.0, 7.0, 5.0]))) == pytest.approx(math.sqrt(3 * 49 / 75))


def test_entropy_is_that_of_the_probabilities():
    s = torch.rand(4, 3, 6)
    expected = torch.distributions.Categorical(probs=s.square()).entropy()
    torch.testing.assert_close(spectral_entropy(s), expected)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1.0, 1e170, 1e300])
def test_no_scale_matters(scale):
    s = torch.tensor([3.0, 2.0, 0.0, 0.1])
    for function in (spectral_entropy, effective_rank, attribution_condition):
        torch.testing.assert_close(function(scale * s), function(s))


def test_spectra_without_a_shape():
    s = torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    for function, known in ((spectral_entropy, 0), (effective_rank, 1), (attribution_condition, math.sqrt(2))):
        assert function(s)[0].isnan()
        assert float(function(s)[1]) == pytest.approx(known)
        assert function(torch.zeros(0, 3)).shape == (0,)
        assert float(function(torch.tensor([4.0]))) == pytest.approx(known if known != math.sqrt(2) else 1)
        with pytest.raises(ValueError, match="at least one"):
            function(torch.zeros(3, 0))
        for bad in (math.nan, math.inf):
            with pytest.raises(ValueError, match="NaN or infinite"):
                function(torch.tensor([1.0, bad]))


@many
@given(spectra)
def test_ranges(s):
    H, kappa = float(spectral_entropy(s)), float(attribution_condition(s))
    rank = int((s > 0).sum())
    assert -1e-12 <= H <= math.log(rank) + 1e-12
    assert 1 - 1e-12 <= kappa <= math.sqrt(len(s)) + 1e-12
    assert float(spectral_entropy(torch.cat([s, torch.zeros(2)]))) == pytest.approx(H)


def holds(sides):
    assert isinstance(sides, Bound)
    return bool((sides.ratio <= EXACT).all())


def test_the_ratio():
    sides = Bound(torch.tensor([1.0, 0.0, 3.0, 0.0, 1.0]), torch.tensor([2.0, 1.0, 2.0, 0.0, 0.0]))
    assert sides.ratio.tolist() == [0.5, 0, 1.5, 0, math.inf]


def jacobian_of(model, x):
    return torch.func.vmap(torch.func.jacrev(lambda one: model(one.unsqueeze(0))[0]))(x).detach()


@many
@given(seeds, st.sampled_from(["relu", "tanh"]))
def test_forward_sensitivity(seed, activation):
    torch.manual_seed(seed)
    model = mlp([6, 9, 5, 3], activation=activation, spectral=0).double().eval()
    x = normal(7, 6, seed=seed)
    J = jacobian_of(model, x)
    shift = 1e-6 * normal(7, 6, seed=seed + 1)
    norms = torch.linalg.svdvals(J)[:, 0]
    assert (forward_sensitivity(model, x, shift, index=norms).ratio <= 1 + 1e-3).all()
    assert (forward_sensitivity(model, x, shift, index=float(norms.max())).ratio <= 1 + 1e-3).all()
    steepest = 1e-6 * torch.linalg.svd(J).Vh[:, 0]
    sides = forward_sensitivity(model, x, steepest, index=norms)
    alive = norms > 0
    assert (sides.ratio[alive] > 1 - 1e-3).all()  # the bound is attained
    assert (forward_sensitivity(model, x, steepest, index=0.9 * norms).ratio[alive] > 1.1).all()
    torch.testing.assert_close(sides.lhs, (model(x + steepest) - model(x)).detach().norm(dim=1), rtol=1e-9, atol=0)
    torch.testing.assert_close(sides.rhs, 1e-6 * norms, rtol=1e-9, atol=0)  # far below the absolute tolerance


def test_the_forward_ratio_of_many_directions():
    model, x = mlp([6, 9, 5, 3], spectral=0).double().eval(), normal(7, 6, seed=1)
    along = normal(4, 7, 6, seed=2)
    along = along / along.norm(dim=2, keepdim=True)
    found = forward_ratios(model, x, along, lengths=[0.01, 2], index=0.7)
    for s, size in enumerate((0.01, 2)):
        moved = torch.stack([(model(x + size * each) - model(x)).detach().norm(dim=1) for each in along])
        torch.testing.assert_close(found[:, s], moved.amax(0) / (0.7 * size))
    for factor in (2, 0.5):
        with pytest.raises(ValueError, match="of length one"):
            forward_ratios(model, x, factor * along, lengths=[0.1], index=1.0)
    for directions, lengths in ((along[:0], [0.1]), (along, [])):
        with pytest.raises(ValueError, match="at least one direction"):
            forward_ratios(model, x, directions, lengths=lengths, index=1.0)


@many
@given(spectra)
def test_the_entropys_bounds(s):
    H = float(spectral_entropy(s))
    refinement = norm_refinement(s)
    assert holds(refinement)
    torch.testing.assert_close(refinement.lhs, s.square().sum())
    torch.testing.assert_close(refinement.rhs, math.exp(H) * s.max().square())
    assert holds(condition_bound(s))
    torch.testing.assert_close(condition_bound(s).rhs, attribution_condition(s))
    typical = typical_sensitivity(s, inputs=len(s) + 3)
    assert holds(typical)
    torch.testing.assert_close(typical.rhs * (len(s) + 3), refinement.rhs)


def test_the_entropys_bounds_are_attained_by_flat_spectra_only():
    flat, bent = torch.tensor([2.0, 2.0, 2.0, 0.0]), torch.tensor([2.0, 1.9, 2.0, 0.0])
    for bound in (norm_refinement, condition_bound, lambda s: typical_sensitivity(s, inputs=9)):
        assert float(bound(flat).ratio) == pytest.approx(1)
        assert float(bound(bent).ratio) < 1 - 1e-4


def test_a_planted_error_breaks_the_refinement():
    """With s for s^2 in the probabilities, as the effective rank has it elsewhere, the bound would still hold; with
    their squares, or logarithms to base 10, it does not."""
    s = torch.tensor([1.0, 0.9, 0.8])
    lhs = norm_refinement(s).lhs
    p = s.pow(4) / s.pow(4).sum()
    wrong = -(p * p.log()).sum()
    assert lhs > (wrong / math.log(10)).exp() * s[0].square()
    assert lhs > torch.exp(spectral_entropy(s) / math.log(10)) * s[0].square()


def test_the_typical_sensitivity_is_that_of_random_directions():
    J = torch.randn(4, 11)
    u = torch.randn(200_000, 11)
    found = (u / u.norm(dim=1, keepdim=True) @ J.mT).square().sum(1)
    lhs = typical_sensitivity(torch.linalg.svdvals(J), inputs=11).lhs
    assert abs(float(found.mean() - lhs)) < 4 * float(found.std()) / math.sqrt(len(u))
    with pytest.raises(ValueError, match="inputs=3"):
        typical_sensitivity(torch.ones(4), inputs=3)


@many
@given(seeds, st.integers(1, 6), st.integers(1, 9))
def test_the_quality_of_explanations_is_below_the_entropy(seed, outputs, inputs):
    R = quality.redistribution(normal(3, outputs, inputs, seed=seed).exp()).R
    sides = quality_bound(R)
    assert (sides.ratio <= 1 + 1e-6).all()
    torch.testing.assert_close(sides.lhs, quality.ssm(R).square())
    s = torch.linalg.svdvals(R)
    torch.testing.assert_close(sides.rhs, spectral_entropy(s).exp(), rtol=1e-6, atol=0)


def kernel_of(seed, samples, rank):
    G = normal(samples, rank, seed=seed)
    return G @ G.mT


@many
@given(seeds, st.integers(1, 8), st.integers(1, 9), st.floats(1e-6, 10))
def test_weyl(seed, samples, rank, size):
    K = kernel_of(seed, samples, rank)
    change = normal(samples, samples, seed=seed + 1)
    sides = kernel_perturbation(K, K + size * (change + change.mT))
    assert sides.lhs <= sides.rhs * EXACT + 1e-12 * K.norm()
    torch.testing.assert_close(sides.rhs, torch.linalg.matrix_norm(size * (change + change.mT), 2))
    shifted = kernel_perturbation(K, K + size * torch.eye(samples))
    torch.testing.assert_close(shifted.lhs, torch.tensor(size), rtol=1e-6, atol=1e-12 * float(K.norm()))
    torch.testing.assert_close(shifted.rhs, torch.tensor(size))
    torch.testing.assert_close(kernel_perturbation(K + size * torch.eye(samples), K).lhs, shifted.lhs)


def test_weyls_bound_is_attained_where_one_eigenvalue_alone_moves():
    for moved in ([3.0, 2.0, -4.0], [11.0, 2.0, 1.0]):
        K, changed = torch.diag(torch.tensor([3.0, 2.0, 1.0])), torch.diag(torch.tensor(moved))
        sides = kernel_perturbation(torch.stack([K, 2 * K]), torch.stack([changed, 2 * K]))
        size = float((torch.tensor(moved) - K.diagonal()).abs().max())
        assert sides.lhs.tolist() == pytest.approx([size, 0])
        assert sides.rhs.tolist() == pytest.approx([size, 0])
        both = kernel_perturbation(K, changed + torch.diag(torch.tensor([0.0, 0.5, 0.0])))
        assert float(both.rhs) == pytest.approx(size), "the largest of the changes, not their sum"


def test_symmetric_is_meant_in_the_unit_of_the_matrix():
    K, lean = 1e-6 * (torch.eye(3) + 1), torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert kernel_perturbation(K, K + 1e-11 * lean).lhs < 1e-10
    with pytest.raises(ValueError, match="changed is not symmetric"):
        kernel_perturbation(K, K + 1e-9 * lean)


def test_kernels_side_by_side_and_kernels_that_are_none():
    K = torch.stack([kernel_of(k, 4, 3) for k in range(2)])
    assert kernel_perturbation(K, 1.1 * K).lhs.shape == (2,)
    with pytest.raises(ValueError, match="changed is not symmetric"):
        kernel_perturbation(K, K + torch.triu(torch.ones(4, 4)))
    with pytest.raises(ValueError, match="K is not symmetric, or not finite"):
        kernel_perturbation(K * math.nan, K)
    with pytest.raises(ValueError, match="not empty"):
        kernel_perturbation(torch.zeros(0, 0), torch.zeros(0, 0))


@many
@given(seeds, st.integers(1, 6), st.integers(1, 4), st.integers(1, 9))
def test_the_kernels_size(seed, samples, outputs, parameters):
    G = normal(samples, outputs, parameters, seed=seed)
    K = G.flatten(0, 1) @ G.flatten(0, 1).mT
    norms = torch.linalg.matrix_norm(G, 2)
    sides = kernel_size(K, norms)
    assert holds(sides)
    torch.testing.assert_close(sides.lhs, torch.linalg.matrix_norm(G.flatten(0, 1), 2).square() / samples)
    torch.testing.assert_close(sides.rhs, norms.square().sum() / samples)
    index = gmsi(norms, norms, kernel=sides.lhs, curvature=0.0)
    assert index.kernel <= index.parameters.sup * EXACT
    assert index.value == pytest.approx(index.jacobian.sup)


def test_the_kernels_size_is_attained_by_equal_samples():
    G = torch.randn(1, 3, 5).expand(4, 3, 5)
    K = G.flatten(0, 1) @ G.flatten(0, 1).mT
    assert float(kernel_size(K, torch.linalg.matrix_norm(G, 2)).ratio) == pytest.approx(1)
    with pytest.raises(ValueError, match="12 rows does not belong to 5 samples"):
        kernel_size(K, torch.ones(5))
    with pytest.raises(ValueError, match="0 samples"):
        kernel_size(K, torch.zeros(0))


def test_a_function_that_writes_to_its_inputs_changes_none():
    x, shift = normal(4, 3, seed=1), normal(4, 3, seed=2)
    before = x.clone()
    found = forward_sensitivity(lambda z: z.mul_(2), x, shift, index=2.0)
    assert torch.equal(x, before)
    torch.testing.assert_close(found.lhs, found.rhs)


def test_a_matrix_may_have_as_many_singular_values_as_inputs():
    s = torch.tensor([3.0, 2.0, 1.0])
    found = typical_sensitivity(s, inputs=3)
    assert float(found.lhs) == pytest.approx(14 / 3)
    with pytest.raises(ValueError, match="inputs=2"):
        typical_sensitivity(s, inputs=2)


def test_spectra_side_by_side_have_the_bounds_of_each():
    s = normal(5, 3, seed=4).abs()
    for bound in (norm_refinement, condition_bound, lambda each: typical_sensitivity(each, inputs=3)):
        found, alone = bound(s), [bound(each) for each in s]
        for side in ("lhs", "rhs"):
            torch.testing.assert_close(getattr(found, side), torch.stack([getattr(each, side) for each in alone]))
    with pytest.raises(ValueError, match="inputs=3: a matrix with 4 singular values"):
        typical_sensitivity(normal(2, 4, seed=4).abs(), inputs=3)
