"""Metrics of explanations on matrices whose spectra are known, and the products that never form them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from spectral_lens.explain import lrp, quality
from spectral_lens.explain.gradients import gradient_x_input
from spectral_lens.explain.quality import decompose, entropy, redistribution, ssm, stability
from spectral_lens.operators.golub_kahan import spectral_norm
from spectral_lens.operators.hutchinson import frobenius_norm
from spectral_lens.operators.spectra import sensitivity, sigma

# rules are tried at inputs and outputs of any sign here
pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:relevance is enlarged")]


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


# ---- the matrix


def test_sensitivity_of_many_entries_in_single_precision():
    R = torch.randn(1, 10, 2_000_000, dtype=torch.float32)
    torch.testing.assert_close(sensitivity(R).double(), sensitivity(R.double()), rtol=1e-4, atol=0)


def test_columns_sum_to_one():
    R, mask = redistribution(torch.randn(3, 4, 2, 5))
    assert R.shape == (3, 4, 10)
    assert mask.all()
    assert_close(R.sum(2), torch.ones(3, 4), 1e-10)


def test_columns_can_be_divided_by_the_outputs():
    relevance, f = torch.randn(3, 4, 5), torch.randn(3, 4)
    assert_close(redistribution(relevance, by=f).R, relevance / f[:, :, None])


def test_small_columns_are_left_out():
    relevance = torch.tensor([[[3.0, 1.0], [-0.5, 0.1], [0.3, 0.05], [1.0, -1.0]]])  # sums 4, -0.4, 0.35, 0
    assert redistribution(relevance).mask.tolist() == [[True, True, True, False]]
    R, mask = redistribution(relevance, threshold=0.1)
    assert mask.tolist() == [[True, True, False, False]]
    assert R[0].tolist() == [[0.75, 0.25], pytest.approx([1.25, -0.25]), [0, 0], [0, 0]]


def test_the_threshold_is_a_share_of_each_samples_largest_sum_by_size():
    sums = torch.tensor([[-8.0, 1.0, 0.999, -1.0], [-8e-5, 1e-5, 1.1e-5, 0.9e-5]])
    expected = [[True, True, False, True], [True, True, True, False]]  # what stands at the threshold stays
    share = torch.tensor([0.75, 0.25])
    assert redistribution(sums.unsqueeze(2) * share, threshold=0.125).mask.tolist() == expected
    R, mask = redistribution(torch.rand(2, 4, 5), by=sums, threshold=0.125)
    assert mask.tolist() == expected
    assert not R[~mask].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"threshold": -0.1}, "threshold=-0.1"),
        ({"relevance": torch.full((1, 2, 3), float("inf"))}, "NaN or infinite"),
        ({"relevance": torch.tensor([[[1.0, 2.0]], [[1.0, -1.0]]])}, r"samples \[1\]"),
    ],
)
def test_what_cannot_be_divided_is_named(change, said):
    with pytest.raises(ValueError, match=said):
        redistribution(**({"relevance": torch.randn(1, 2, 3)} | change))


# ---- the metrics


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4), (1, 5)])
def test_singular_values_are_torchs(shape):
    R = torch.randn(5, *shape)
    expected = torch.linalg.svdvals(R)
    assert_close(sigma(R), expected, 1e-7)
    assert_close(stability(R), 1 / expected[:, 0])
    assert_close(sensitivity(R), expected.square().sum(1).sqrt())
    assert_close(ssm(R), expected.square().sum(1).sqrt() / expected[:, 0])


def test_known_spectra():
    Q = torch.linalg.qr(torch.randn(9, 4)).Q.mT
    assert_close(ssm(Q), torch.tensor(2.0))  # orthogonal rows: as sensitive as four outputs can be
    assert_close(ssm(torch.outer(torch.randn(4), torch.randn(9))), torch.tensor(1.0), 1e-7)
    uniform = torch.full((4, 9), 1 / 9)
    assert_close(ssm(uniform), torch.tensor(1.0), 1e-7)
    assert_close(stability(uniform), torch.tensor(math.sqrt(9 / 4)))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**30), st.floats(1e-3, 1e3))
def test_bounds_and_scale(outputs, inputs, seed, scale):
    draw = torch.Generator().manual_seed(seed)
    R = torch.randn(outputs, inputs, generator=draw, dtype=torch.float64)
    z = torch.randn(outputs, generator=draw, dtype=torch.float64)
    assert 1 - 1e-7 <= float(ssm(R)) <= math.sqrt(min(outputs, inputs)) + 1e-9
    assert float((z @ R).norm()) <= float(sigma(R)[0] * z.norm()) * (1 + 1e-9)
    assert float(ssm(scale * R)) == pytest.approx(float(ssm(R)), rel=1e-6)


def test_a_zero_column_changes_nothing():
    R = torch.randn(2, 3, 8)
    wider = torch.cat([R, torch.zeros(2, 2, 8)], 1)
    assert_close(ssm(wider), ssm(R))
    assert_close(sigma(wider)[:, :3], sigma(R), 1e-7)


def test_entropy():
    assert float(entropy(torch.ones(7))) == pytest.approx(math.log(7))
    assert float(entropy(torch.tensor([0.0, -2.0, 0.0]))) == 0
    p = torch.rand(4, 6)
    expected = torch.distributions.Categorical(probs=p).entropy()
    signs = torch.randint(0, 2, (4, 6)) * 2.0 - 1.0
    assert_close(entropy(3 * p * signs), expected)
    with pytest.raises(ValueError, match="zero everywhere"):
        entropy(torch.zeros(2, 3))


def test_singular_heat_maps_add_up():
    R, z = torch.randn(3, 4, 9), torch.randn(3, 4)
    maps = decompose(R, z)
    assert maps.shape == (3, 4, 9)
    assert_close(maps.sum(1), torch.einsum("nkd,nk->nd", R, z), 1e-12)
    overlap = maps @ maps.mT
    assert_close(overlap, torch.diag_embed(overlap.diagonal(dim1=1, dim2=2)), 1e-10)
    v = torch.linalg.svd(R).U  # along the first right singular vector only the first map is there
    first = decompose(R, v[:, :, 0])
    assert_close(first[:, 0].norm(dim=1), sigma(R)[:, 0])
    assert first[:, 1:].abs().max() < 1e-12


def test_measures_by_name():
    R = torch.randn(5, 4, 9)
    found = quality.spectral_measures(R)
    assert list(found) == ["stability", "sensitivity", "SSM"]
    for value, measure in zip(found.values(), (stability, sensitivity, ssm), strict=True):
        assert_close(value, measure(R))


def test_no_question_is_amplified_by_more_than_the_largest_singular_value():
    R, z = torch.randn(5, 4, 9), torch.randn(3, 5, 4)
    found = quality.amplification(R, z)
    for s in range(3):
        for n in range(5):
            expected = (z[s, n] @ R[n]).norm() / z[s, n].norm() / torch.linalg.svdvals(R[n])[0]
            assert float(found[s, n]) == pytest.approx(float(expected))
    first = torch.linalg.svd(R).U[:, :, 0].unsqueeze(0)
    assert_close(quality.amplification(R, first), torch.ones(1, 5), 1e-9)


def test_an_expanded_explanation_is_the_whole_and_its_terms():
    R, z = torch.randn(3, 4, 9), torch.randn(3, 4)
    found = quality.expanded(R, z)
    assert_close(found[:, 0], torch.einsum("nkd,nk->nd", R, z))
    assert torch.equal(found[:, 1:], decompose(R, z))


def test_the_leading_share_is_the_inverse_square_of_ssm():
    R = torch.randn(3, 4, 9)
    s = torch.linalg.svdvals(R)
    assert_close(quality.leading_share(R), s[:, 0].square() / s.square().sum(1), 1e-9)
    assert_close(quality.leading_share(R), ssm(R) ** -2, 1e-9)


# ---- what is no matrix, no map and no number

MATRIX = {"ssm": ssm, "stability": stability, "measures": quality.spectral_measures, "share": quality.leading_share}
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", MATRIX)
@pytest.mark.parametrize(
    ("R", "said"),
    [
        (torch.rand(40, 10, 1, 8, 7), r"R is \(40, 10, 1, 8, 7\): .* flattened first, E\.flatten\(2\)"),
        (torch.rand(4, 10, 8, 7), r"R is \(4, 10, 8, 7\)"),
        (torch.rand(7), r"R is \(7,\)"),
        (torch.tensor(2.0), r"R is \(\)"),
        (torch.rand(2, 0, 3), "nothing is in it"),
        (torch.stack([torch.ones(2, 3), torch.zeros(2, 3)]), "zero everywhere"),
        (torch.tensor([[1.0, NAN]]), "R holds NaN or infinite"),
        (torch.tensor([[1.0, INF]]), "R holds NaN or infinite"),
    ],
)
def test_measures_of_what_is_no_redistribution_matrix(name, R, said):
    with pytest.raises(ValueError, match=said):
        MATRIX[name](R)


@pytest.mark.parametrize("name", [*MATRIX, "entropy", "redistribution"])
@pytest.mark.parametrize("values", [np.ones((2, 3, 4)), torch.ones(2, 3, 4, dtype=torch.int64), 1.0])
def test_what_is_no_floating_tensor(name, values):
    with pytest.raises(TypeError, match=r"must be a floating tensor|Type-check error"):
        (MATRIX | {"entropy": entropy, "redistribution": redistribution})[name](values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_single(dtype):
    E = (100 * torch.rand(2, 3, 900)).to(dtype)  # its sums are beyond float16
    torch.testing.assert_close(redistribution(E).R, redistribution(E.float()).R)
    torch.testing.assert_close(ssm(E), ssm(E.float()))
    torch.testing.assert_close(entropy(E), entropy(E.float()))


@pytest.mark.parametrize(
    ("relevance", "by", "said"),
    [
        (torch.rand(3, 4), None, r"the relevance is \(3, 4\): \(n, k, \*d\) is needed"),
        (torch.tensor(1.0), None, r"the relevance is \(\)"),
        (torch.rand(3, 0, 4), None, "nothing is in it"),
        (torch.rand(3, 4, 5), torch.rand(3, 5), r"by is \(3, 5\): it must hold a number for each map, \(3, 4\)"),
        (torch.rand(3, 4, 5), torch.rand(4), r"by is \(4,\)"),
        (torch.rand(3, 4, 5), torch.full((3, 4), NAN), "by holds NaN"),
        (torch.full((3, 4, 5), NAN), None, "the relevance holds NaN"),
    ],
)
def test_what_cannot_be_redistributed(relevance, by, said):
    with pytest.raises(ValueError, match=said):
        redistribution(relevance, by=by)


@pytest.mark.parametrize("shape", [(2, 3, 1, 8), (2, 3, 1, 8, 8), ()])
def test_the_entropy_of_maps_that_are_not_flattened(shape):
    with pytest.raises(ValueError, match=r"flatten them, E\.flatten\(2\)"):
        entropy(torch.rand(shape))


@pytest.mark.parametrize("function", [decompose, quality.expanded])
@pytest.mark.parametrize(("R", "z"), [((3, 4, 9), (4,)), ((3, 4, 9), (4, 3)), ((3, 4, 1, 9), (3, 4)), ((4, 9), (4,))])
def test_questions_that_do_not_fit(function, R, z):
    with pytest.raises(ValueError, match=r"they must be \(n, k, d\) and \(n, k\)"):
        function(torch.rand(R), torch.rand(z))


def test_a_question_that_asks_nothing():
    with pytest.raises(ValueError, match="none of them zero"):
        quality.amplification(torch.rand(2, 3, 4), torch.zeros(1, 2, 3))
    with pytest.raises(ValueError, match="none of them zero"):
        quality.amplification(torch.rand(2, 3, 4), torch.rand(2, 3))


# ---- without forming the matrix


def network(outputs=11, *, bias=True):
    return nn.Sequential(
        nn.Conv2d(1, 7, 3, bias=bias), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(28, 17, bias=bias),
        nn.ReLU(), nn.Linear(17, outputs, bias=bias),
    ).eval()  # fmt: skip


def both(model, x, rules, threshold=0.0):
    """R formed, and the operator that stands for it."""
    formed = redistribution(lrp.lrp(model, x, rules=rules), threshold=threshold)
    forward = lrp.rewritten(model, rules=rules)
    return formed, quality.redistribution_operator(
        lambda factor: forward(x, factor), torch.ones_like(x), threshold=threshold
    )


RULES = [[lrp.zero()] * 3, [lrp.gamma(0.3)] * 3, [lrp.box(0.0, 1.0), lrp.gamma(0.3), lrp.zero()]]


@pytest.mark.parametrize("rules", RULES, ids=["zero", "gamma", "box"])
def test_products_are_those_of_the_matrix(rules):
    (R, mask), operator = both(network(), torch.rand(4, 1, 6, 7), rules, threshold=0.2)
    assert operator.shape == R.shape == (4, 11, 42)
    assert not mask.all()
    z, u, block = torch.randn(4, 11), torch.randn(4, 42), torch.randn(4, 42, 3)
    assert_close(operator.mT @ z, torch.einsum("nkd,nk->nd", R, z), 1e-10)
    assert_close(operator @ u, torch.einsum("nkd,nd->nk", R, u), 1e-10)
    assert_close(operator @ block, R @ block, 1e-10)
    assert_close(operator.to_dense(), R, 1e-10)
    assert not operator.to_dense()[~mask].any()


def test_the_sums_are_those_of_the_relevance_wherever_it_is_taken():
    W, at = torch.rand(4, 6), torch.randn(3, 6)
    operator = quality.redistribution_operator(lambda z: z @ W.mT, at)
    assert_close(operator.to_dense(), (W / W.sum(1, keepdim=True)).expand(3, -1, -1))


def test_gradient_times_input_is_one_of_them():
    model, x = network(), torch.rand(3, 1, 6, 7)
    operator = quality.redistribution_operator(lambda factor: model(x * factor), torch.ones_like(x))
    R, z = redistribution(gradient_x_input(model, x)).R, torch.randn(3, 11)
    assert_close(operator.mT @ z, torch.einsum("nkd,nk->nd", R, z), 1e-10)


@pytest.mark.parametrize("seed", range(50))
def test_estimates_are_within_their_errors(seed):
    torch.manual_seed(seed)
    (R, _), operator = both(network(23), torch.rand(3, 1, 6, 7), RULES[seed % 3], threshold=0.05)
    draw = torch.Generator().manual_seed(seed)
    first = spectral_norm(operator, tolerance=0.01, generator=draw)
    true = sigma(R)[:, 0]
    assert (first.value <= true * (1 + 1e-9)).all()
    assert (true - first.value <= first.error + 1e-9 * true).all()
    assert (first.error <= 0.01 * first.value).all()


def test_the_norms_error_is_a_standard_error():
    far = []
    for seed in range(50):
        torch.manual_seed(seed)
        (R, _), operator = both(network(23), torch.rand(3, 1, 6, 7), RULES[seed % 3], threshold=0.05)
        norm = frobenius_norm(operator, draws=6, generator=torch.Generator().manual_seed(seed))
        far.append((norm.value - sensitivity(R)).abs() / (norm.error + 1e-9 * sensitivity(R)))
    assert (torch.cat(far) < 2.57).double().mean() > 0.88  # Student's t with five degrees of freedom: 95%


def test_with_enough_products_the_estimates_are_exact():
    (R, _), operator = both(network(5), torch.rand(3, 1, 6, 7), RULES[1])
    first = spectral_norm(operator, tolerance=0.0, generator=torch.Generator().manual_seed(1))
    assert_close(first.value, sigma(R)[:, 0], 1e-10)
    norm = frobenius_norm(operator, draws=5, generator=torch.Generator().manual_seed(1))
    assert_close(norm.value, sensitivity(R), 1e-10)
    assert norm.error.max() < 1e-10


def test_the_same_generator_gives_the_same_estimate():
    _, operator = both(network(), torch.rand(2, 1, 6, 7), RULES[0])
    one, two = (frobenius_norm(operator, draws=3, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one.value, two.value)
    with pytest.raises(ValueError, match="draws=1"):
        frobenius_norm(operator, draws=1)


def test_one_output_and_one_input():
    linear = nn.Linear(1, 1, bias=False).eval()
    (R, _), operator = both(linear, torch.rand(2, 1), lrp.zero())
    assert R.tolist() == [[[1.0]], [[1.0]]]
    assert spectral_norm(operator).value.tolist() == pytest.approx([1, 1])
    assert quality.ssm(R).tolist() == pytest.approx([1, 1])
