"""Relevance in closed form, and accuracy by count against a loop over runs, counts and samples."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from experiments import TIGHT, doubles, untrained
from oracles import toy
from spectral_lens.nn.layers import SpectralConv2d, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import spectralize
from spectral_lens.relevance import scores as module
from spectral_lens.relevance.scores import (
    normalised,
    of_inputs,
    overall,
    pair_difference,
    pearson,
    random_ranking,
    ranking,
    relevance,
    sparsity,
)
from spectral_lens.training import fit


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


def test_by_hand():
    psi = doubles([3.0, 1.0, 0.0], [4.0, -2.0, 0.0])
    assert torch.allclose(relevance(doubles(-2.0, 1.0, 7.0), psi), doubles(10.0, math.sqrt(5), 0.0), **TIGHT)


def test_of_a_convolution_by_hand():
    psi = torch.zeros(2, 3, 2, 1, dtype=torch.float64)
    psi[0, 0, 1, 0], psi[1, 0, 0, 0], psi[1, 1, 1, 0] = 3, -4, 2
    assert torch.allclose(relevance(doubles(0.5, -3.0, 1.0), psi), doubles(2.5, 6.0, 0.0), **TIGHT)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(
    lead=st.sampled_from([(), (2,), (5,)]),
    outputs=st.integers(1, 6),
    inputs=st.integers(1, 6),
    kernel=st.sampled_from([(), (1, 1), (3, 2)]),
    seed=st.integers(0, 999),
)
def test_it_is_the_norm_of_the_weights_of_an_input(lead, outputs, inputs, kernel, seed):
    generator = torch.Generator().manual_seed(seed)
    lam_in = torch.randn(*lead, inputs, generator=generator, dtype=torch.float64)
    psi = torch.randn(*lead, outputs, inputs, *kernel, generator=generator, dtype=torch.float64)
    found = relevance(lam_in, psi)
    assert found.shape == lam_in.shape
    for r in range(math.prod(lead)):
        for i in range(inputs):
            value = lam_in.view(-1, inputs)[r, i]
            weights = (value * psi.reshape(-1, *psi.shape[len(lead) :])[r, :, i]).flatten()
            expected = math.sqrt(sum(float(w) ** 2 for w in weights))
            assert float(found.view(-1, inputs)[r, i]) == pytest.approx(expected, rel=1e-12)


def test_scaling_the_pair_against_each_other_changes_nothing():
    psi, lam_in = torch.randn(4, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    factor = doubles(0.1, -2.0, 30.0)
    torch.testing.assert_close(relevance(lam_in / factor, psi * factor), relevance(lam_in, psi), **TIGHT)


@pytest.mark.parametrize(
    ("lam_in", "psi"),
    [((3,), (3, 2)), ((3,), (3,)), ((2, 3), (2, 3)), ((2, 3), (2, 4, 5)), ((4,), (6, 2, 3, 3))],
)
def test_a_psi_that_does_not_fit(lam_in, psi):
    with pytest.raises(ValueError, match="has no axis of"):
        relevance(torch.ones(lam_in), torch.ones(psi))


def test_of_all_runs_and_of_one():
    model = mlp([5, 4, 3], init="giambagli", spectral=2)
    trained = untrained(model)
    found = of_inputs(trained)
    assert found.shape == (2, 5)
    for r in range(2):
        layer = trained.run(r).layer1
        expected = (layer.lam_in * layer.psi).norm(dim=0).detach()
        torch.testing.assert_close(found[r], expected, **TIGHT)
        torch.testing.assert_close(of_inputs(trained.run(r)), found[r], **TIGHT)
    assert not torch.allclose(found[0], found[1])
    assert not found.requires_grad


def test_of_the_channels_of_a_nested_network():
    inner = nn.Sequential(nn.Identity(), SpectralConv2d(3, 4, (2, 3)))
    model = nn.Sequential(nn.Sequential(inner, nn.ReLU()), nn.Flatten(), nn.Linear(8, 2))
    trained = untrained(model)
    found = of_inputs(trained)
    assert found.shape == (2, 3)
    psi = trained.state["0.0.1.psi"]
    torch.testing.assert_close(found, psi.square().sum((1, 3, 4)).sqrt(), **TIGHT)


def test_of_a_single_layer():
    layer = SpectralLinear(4, 3)
    torch.testing.assert_close(of_inputs(layer), layer.psi.detach().norm(dim=0))


def test_a_spectralized_network_has_the_norms_of_its_weights():
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    torch.testing.assert_close(of_inputs(spectralize(model)), model[0].weight.detach().norm(dim=0))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(3, 2), SpectralLinear(2, 2)), "first layer, 0, is not spectral: see spectralize"),
        (nn.Linear(3, 2), "Linear, is not spectral"),
        (nn.Sequential(nn.BatchNorm1d(3), SpectralLinear(3, 2)), "0, is not spectral"),
        (nn.Sequential(nn.ReLU()), "no layer with weights"),
    ],
)
def test_a_network_that_does_not_start_spectral(model, message):
    with pytest.raises(ValueError, match=message):
        of_inputs(model)


def test_normalised_by_the_largest():
    scores = doubles([1.0, 4.0, 2.0], [0.3, 0.1, 0.2])
    found = normalised(scores)
    torch.testing.assert_close(found, doubles([0.25, 1.0, 0.5], [1.0, 1 / 3, 2 / 3]), **TIGHT)
    torch.testing.assert_close(normalised(scores[1]), found[1], **TIGHT)


def test_normalised_scores_that_are_zero_or_negative():
    assert normalised(doubles([0.0, 0.0], [2.0, -1.0])).tolist() == [[0, 0], [1, -0.5]]
    for scores in ([-1.0, -2.0], [0.0, -1.0]):
        with pytest.raises(ValueError, match="no score is positive"):
            normalised(doubles(scores))


def test_nan_has_no_rank():
    with pytest.raises(ValueError, match="NaN, which has no rank"):
        ranking(doubles([1.0, math.nan], [1.0, 2.0]))


@pytest.mark.parametrize(
    ("explained", "said"),
    [
        (torch.rand(3, 4), r"\(3, 4\): \(n, k, \*d\) is needed"),
        (torch.rand(3, 0, 4), "none of them empty"),
        (torch.tensor([[[1.0, math.nan]]]), "NaN or infinite"),
        (torch.tensor([[[1.0, -math.inf]]]), "NaN or infinite"),
    ],
)
def test_explanations_without_a_score(explained, said):
    with pytest.raises(ValueError, match=said):
        overall(explained)


def test_explanations_in_half_precision_are_averaged_in_single():
    explained = 300 * torch.rand(40, 10, 7).half()
    torch.testing.assert_close(overall(explained), overall(explained.float()))
    assert overall(torch.zeros(2, 3, 4)).tolist() == [0] * 4


def test_pairs_that_are_silent_are_alike():
    assert pair_difference(doubles([0.0, 0.0, 1.0, 3.0])).item() == 0.5
    for scores in ([1.0, 2.0, 3.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="must come in pairs, none of them negative"):
            pair_difference(doubles(scores))


def test_ranking_keeps_the_order_of_equals():
    assert ranking(doubles([1, 5, 1, 7, 5, 1], [0, 0, 0, 0, 0, 0])).tolist() == [[3, 1, 4, 0, 2, 5], [0, 1, 2, 3, 4, 5]]
    tied = torch.zeros(1000)
    tied[7] = 1
    assert ranking(tied).tolist() == [7, *range(7), *range(8, 1000)]


def test_sparsity_counts_below_the_threshold():
    scores = doubles([10.0, 0.1, 0.0999, 0.0, 5.0], [1.0, 1.0, 1.0, 1.0, 1.0])
    assert sparsity(scores).tolist() == pytest.approx([0.4, 0.0])  # the threshold itself counts as relevant
    assert sparsity(scores, threshold=0.6).tolist() == pytest.approx([0.8, 0.0])
    assert float(sparsity(scores[0])) == pytest.approx(0.4)
    assert sparsity(1000 * scores).tolist() == sparsity(scores).tolist()
    assert sparsity(doubles([0.0, 0.0, 0.0], [0.0, 2.0, 3.0])).tolist() == pytest.approx([1, 1 / 3])


def test_pearson_against_torchs():
    a, b = torch.randn(3, 7), torch.randn(7)
    found = pearson(a, b)
    for r in range(3):
        torch.testing.assert_close(found[r], torch.corrcoef(torch.stack([a[r], b]).double())[0, 1], **TIGHT)
    torch.testing.assert_close(pearson(a, -3 * a + 5), -torch.ones(3, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert float(pearson(a[0], b)) == pytest.approx(float(found[0]))


def test_pair_difference_by_hand():
    scores = doubles([1.0, 3.0, 2.0, 2.0], [4.0, 1.0, 0.0, 5.0])
    expected = [(2 / 2 + 0) / 2, (3 / 2.5 + 5 / 2.5) / 2]
    assert pair_difference(scores).tolist() == pytest.approx(expected)
    assert float(pair_difference(scores[0])) == pytest.approx(expected[0])


@pytest.fixture(scope="module")
def trained():
    options = {"epochs": 12, "batch_size": 10, "lr": 0.02, "dtype": torch.float64, "device": "cpu"}
    return fit(mlp([6, 5, 3], activation="tanh", batch_norm=True), toy(60, (6,), 3), seeds=[2, 9], **options)


def test_overall_is_the_mean_size_over_samples_and_outputs():
    explained = torch.tensor([[[1.0, -2.0, 0.0], [3.0, 0.0, -1.0]], [[0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(overall(explained), torch.tensor([4.0, 6.0, 2.0]) / 6)
    image = explained.unflatten(2, (3, 1))
    torch.testing.assert_close(overall(image), overall(explained))


@pytest.mark.parametrize("shape", [(5, 7), (2, 5, 7), (2, 5, 7, 3, 2)])
def test_relevance_in_blocks_is_the_norm(monkeypatch, shape):
    psi = torch.randn(shape, dtype=torch.float64)
    lam = torch.randn(shape[:1] + shape[2:3] if len(shape) > 2 else shape[1:], dtype=torch.float64)
    axes = (0,) if len(shape) == 2 else (1, *range(3, len(shape)))
    expected = lam.abs() * torch.linalg.vector_norm(psi, dim=axes)
    for block in (1, 40, 10**6):
        monkeypatch.setattr(module, "_BLOCK", block)
        torch.testing.assert_close(relevance(lam, psi), expected, rtol=1e-12, atol=0)


def test_random_rankings_belong_to_their_seeds():
    found = random_ranking(7, [4, 9, 4])
    assert (found.sort(1).values == torch.arange(7)).all()
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(random_ranking(7, [9]), found[1:2])


def test_random_rankings_put_each_input_everywhere():
    first = random_ranking(3, range(600))[:, 0].bincount()
    assert (first > 150).all()  # 200 expected of each, with a standard deviation of 12
