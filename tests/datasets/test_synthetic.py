"""The Gaussian sets against their closed forms. Tolerances are 5 standard errors of the statistic that is compared."""

import math

import pytest
import torch

from oracles import even
from spectral_lens.datasets import fingerprint, synthetic

N = 40_001
FIVE = 5.0


def moments(x, y, label):
    part = x[y == label].double()
    return part.mean(0), part.std(0), len(part)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_independent_has_the_means_and_spreads_it_names(dtype):
    data = synthetic.independent(N, seeds=3, inputs=17, relevant=7, spread=0.3, largest=0.9, dtype=dtype)
    assert data.x.dtype == data.truth["distance"].dtype == dtype
    assert data.x.shape == (N, 17)
    distance = data.truth["distance"].double()
    (m0, s0, n0), (m1, s1, n1) = (moments(data.x, data.y, k) for k in (0, 1))
    assert (n0, n1) == (20_001, 20_000)
    error = 0.3 * math.sqrt(1 / n0 + 1 / n1)
    assert ((m1 - m0).abs() - distance).abs().max() < FIVE * error
    assert (m0 + m1).abs().max() < FIVE * error  # the means lie symmetric about zero
    for spread in (s0, s1):
        assert (spread - 0.3).abs().max() < FIVE * 0.3 / math.sqrt(2 * n1)
    assert int((distance > 0).sum()) == 7
    assert distance.max() < 0.9


def test_independent_components_are_independent_and_gaussian():
    data = synthetic.independent(N, seeds=1)
    side = 2.0 * data.y - 1
    sign = (data.x * side[:, None]).mean(0).sign()
    z = (data.x - side[:, None] * sign * data.truth["distance"] / 2) / 0.5
    correlation = torch.corrcoef(z.T) - torch.eye(20)
    assert correlation.abs().max() < FIVE / math.sqrt(N)
    assert ((z**3).mean(0)).abs().max() < FIVE * math.sqrt(15 / N)  # variance of z^3 is 15
    assert ((z**4).mean(0) - 3).abs().max() < FIVE * math.sqrt(96 / N)  # variance of z^4 is 105 - 9


def test_defaults_are_the_papers():
    data = synthetic.independent(101)
    assert data.x.shape == (101, 20)
    assert int((data.truth["distance"] > 0).sum()) == 11
    other = synthetic.correlated(101)
    assert other.x.shape == (101, 10)
    expected = torch.tensor([0.7, 0.7, 0.8, 0.8, 0.4, 0.4, 0.6, 0.6, 0.0, 0.0])
    assert torch.equal(other.truth["p"], expected)


def test_distances_and_places_are_uniform_over_the_runs():
    runs = 2000
    distance = synthetic.independent(1, seeds=range(runs), largest=1.4).truth["distance"].double()
    assert distance.shape == (runs, 20)
    drawn = distance[distance > 0]
    assert len(drawn) == 11 * runs
    assert drawn.mean().item() == pytest.approx(0.7, abs=FIVE * 1.4 / math.sqrt(12 * len(drawn)))
    ordered = drawn.sort().values / 1.4
    steps = torch.arange(1, len(ordered) + 1) / len(ordered)
    assert (ordered - steps).abs().max() < 1.95 / math.sqrt(len(ordered))  # Kolmogorov and Smirnov, 0.1%
    share = (distance > 0).double().mean(0)
    assert (share - 0.55).abs().max() < FIVE * math.sqrt(0.55 * 0.45 / runs)


def test_signs_are_fair():
    data = synthetic.independent(4, seeds=range(500), inputs=5, relevant=5, spread=1e-6)
    top = torch.stack([x[y == 1][0] for x, y in zip(data.x, data.y, strict=True)])
    share = (top > 0).double().mean().item()
    assert share == pytest.approx(0.5, abs=FIVE * 0.5 / math.sqrt(2500))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_correlated_follows_equation_2(dtype):
    p = (0.35, 0.9, 0.0, 1.0, 0.6)
    data = synthetic.correlated(N, seeds=2, p=p, noise=2, dtype=dtype)
    assert data.x.dtype == dtype
    assert data.x.shape == (N, 14)
    first, second = data.x[:, 0:10:2], data.x[:, 1:10:2]
    assert torch.equal(first.abs(), second.abs())
    zero, one = data.y == 0, data.y == 1
    assert torch.equal(first[zero], second[zero])
    n1 = int(one.sum())
    turned = (first[one] == -second[one]).double().mean(0)
    for found, q in zip(turned.tolist(), p, strict=True):
        assert found == pytest.approx(q, abs=FIVE * math.sqrt(q * (1 - q) / n1) + 1e-12)
    # Corr(x_2n, x_2n+1) is 1 - 2 p_n in class 1; between pairs, and with the noise, nothing.
    correlation = torch.corrcoef(data.x[one].T.double())
    expected = torch.eye(14, dtype=torch.float64)
    for k, q in enumerate(p):
        expected[2 * k, 2 * k + 1] = expected[2 * k + 1, 2 * k] = 1 - 2 * q
    assert (correlation - expected).abs().max() < FIVE * 1.5 / math.sqrt(n1)
    # No component alone tells the class.
    (m0, s0, n0), (m1, s1, _) = (moments(data.x, data.y, k) for k in (0, 1))
    assert max(m0.abs().max(), m1.abs().max()) < FIVE / math.sqrt(n1)
    assert max((s0 - 1).abs().max(), (s1 - 1).abs().max()) < FIVE / math.sqrt(2 * n1)
    assert n0 - n1 == 1


def test_flips_of_different_pairs_are_independent():
    data = synthetic.correlated(N, seeds=5, p=(0.5, 0.3, 0.8))
    one = data.y == 1
    turned = (data.x[one, 0:6:2] != data.x[one, 1:6:2]).double()
    off = torch.corrcoef(turned.T) - torch.eye(3)
    assert off.abs().max() < FIVE / math.sqrt(int(one.sum()))


MAKERS = [synthetic.independent, synthetic.correlated, synthetic.linked, synthetic.redundant]


def test_linked_components_have_the_moments_it_names():
    data = synthetic.linked(
        N, seeds=4, separated=5, partners=7, spurious=3, spread=0.3, distances=(0.2, 0.9), correlation=-0.6,
        dtype=torch.float64,
    )  # fmt: skip
    distance, relevant = data.truth["distance"], data.truth["relevant"]
    assert relevant.tolist() == [1.0] * 12 + [0.0] * 3
    assert ((distance[:5] >= 0.2) & (distance[:5] <= 0.9)).all()
    assert distance[5:].abs().max() == 0
    (m0, s0, n0), (m1, s1, n1) = (moments(data.x, data.y, k) for k in (0, 1))
    assert (n0, n1) == (20_001, 20_000)
    assert (m0 + m1).abs().max() < FIVE * 0.3 * math.sqrt(1 / n0 + 1 / n1)  # the means lie symmetric about zero
    error = 0.3 * math.sqrt(1 / n0 + 1 / n1)
    assert (m1 - m0 - distance).abs().max() < FIVE * error
    for spread in (s0, s1):
        assert (spread - 0.3).abs().max() < FIVE * 0.3 / math.sqrt(2 * n1)
    expected = torch.eye(15)
    for j in range(7):
        expected[j % 5, 5 + j] = expected[5 + j, j % 5] = -0.6
    expected[5, 10] = expected[10, 5] = expected[6, 11] = expected[11, 6] = 0.36  # two partners of one component
    for label in (0, 1):
        found = torch.corrcoef(data.x[data.y == label].T)
        assert (found - expected).abs().max() < FIVE / math.sqrt(n1)


def test_a_partner_without_correlation_does_not_matter():
    data = synthetic.linked(51, separated=2, partners=2, spurious=1, correlation=0.0)
    assert data.truth["relevant"].tolist() == [1, 1, 0, 0, 0]
    alone = synthetic.linked(51, separated=2, partners=1, spurious=0, distances=(0.0, 0.0))
    assert alone.truth["relevant"].tolist() == [0, 0, 0]


def test_the_default_is_the_papers_hundred_features():
    data = synthetic.linked(11)
    assert data.dim == 100
    assert int(data.truth["relevant"].sum()) == 40


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.95, 1.0])
def test_redundant_components_follow_the_first(correlation):
    data = synthetic.redundant(N, seeds=6, inputs=6, correlation=correlation, dtype=torch.float64)
    first, rest = data.x[:, 0].contiguous(), data.x[:, 1:]
    quarter = torch.bucketize(first, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), right=True)
    assert torch.equal(data.y, quarter % 2)
    assert abs(first.mean() - 0.5) < FIVE / math.sqrt(12 * N)
    slope = torch.stack([torch.cov(torch.stack([first, each]))[0, 1] for each in rest.T]) * 12  # a_i c
    assert ((slope > 0.5 * correlation - 0.05) & (slope < 1.5 * correlation + 0.05)).all()
    if correlation > 0.3:
        c = correlation**2
        variance = (slope / correlation) ** 2 * (1 + c) / 24 + (1 - c) / 24
        torch.testing.assert_close(rest.var(0), variance, rtol=0.05, atol=0)
    assert data.truth["first"].tolist() == [1, 0, 0, 0, 0, 0]


def test_distances_of_linked_components_are_uniform():
    data = synthetic.linked(2, separated=3001, partners=0, spurious=0, distances=(0.4, 1.1), dtype=torch.float64)
    assert even(data.truth["distance"], 0.4, 1.1)


def test_factors_and_shifts_of_redundant_components_are_uniform():
    x = synthetic.redundant(3, inputs=3001, correlation=1.0, dtype=torch.float64).x  # x_i = a_i x_0 + e_i
    a = (x[1, 1:] - x[0, 1:]) / (x[1, 0] - x[0, 0])
    e = x[0, 1:] - a * x[0, 0]
    torch.testing.assert_close(x[2, 1:], a * x[2, 0] + e)
    assert even(a, 0.5, 1.5)
    assert even(e, -0.5, 0.5)
    assert abs(torch.corrcoef(torch.stack([a, e]))[0, 1]) < FIVE / math.sqrt(3000)


@pytest.mark.parametrize("c", [0.3, 0.7])
def test_redundant_components_share_what_belongs_to_the_sample(c):
    data = synthetic.redundant(N, seeds=2, inputs=6, correlation=c, dtype=torch.float64)
    found = torch.cov(data.x.T)
    a = 12 * found[0, 1:] / c
    scale = c**2 / 12 + (1 - c**2) / 24  # of b x_0: (E b^2) / 3 - c^2 / 4
    expected = a * a.unsqueeze(1) * scale + (1 - c**2) / 24
    torch.testing.assert_close(found[1:, 1:], expected, rtol=0.05, atol=0)
    assert even(data.x[:, 0], 0, 1)


def test_perfectly_redundant_components_are_all_the_same():
    data = synthetic.redundant(501, correlation=1.0, dtype=torch.float64)
    assert torch.corrcoef(data.x.T).min() > 1 - 1e-9


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_depends_on_its_own_seed_only(make, dtype):
    seeds = [11, 4, 11, 903]
    together = make(1001, seeds=seeds, dtype=dtype)
    assert together.runs == 4
    assert together.x.shape[:2] == together.y.shape == (4, 1001)
    torch.manual_seed(77)  # the global state has no say
    for r, seed in enumerate(seeds):
        alone = make(1001, seeds=seed, dtype=dtype)
        of_one = make(1001, seeds=[seed], dtype=dtype)
        run = together.run(r)
        for other in (alone, of_one.run(0)):
            assert torch.equal(run.x, other.x)
            assert torch.equal(run.y, other.y)
            assert all(torch.equal(run.truth[key], other.truth[key]) for key in other.truth)
        assert alone.runs is None
        assert alone.sha256 == fingerprint(alone.x, alone.y)
    assert not torch.equal(together.x[0], together.x[1])
    assert not torch.equal(together.y[0], together.y[1])
    assert together.sha256 == fingerprint(together.x, together.y)


def test_both_dtypes_share_classes_and_distances():
    single, double = (synthetic.independent(51, seeds=8, dtype=d) for d in (torch.float32, torch.float64))
    assert torch.equal(single.y, double.y)
    assert torch.equal(single.truth["distance"], double.truth["distance"].float())


def test_provenance_says_what_was_drawn():
    data = synthetic.independent(51, seeds=[0, 1, 2], relevant=4)
    assert "4 of 20 relevant" in data.provenance
    assert data.provenance.endswith("seeds 0 to 2")
    assert synthetic.correlated(51, seeds=[5, 2]).provenance.endswith("seeds 5, 2")
    assert data.edition == "generated"
    assert data.labels == ("0", "1")
    assert data.inputs[19] == "x19"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples must be at least 1"),
        ({"seeds": []}, "seeds must be"),
        ({"seeds": -1}, "seeds must be"),
        ({"seeds": [0, 2**63]}, "seeds must be"),
        ({"relevant": 21}, "relevant must lie"),
        ({"spread": 0.0}, "spread must be positive"),
        ({"spread": float("nan")}, "spread must be positive"),
        ({"largest": -0.1}, "largest not negative"),
        ({"dtype": torch.float16}, "float32 or float64"),
        ({"device": "nowhere"}, "no device"),
    ],
)
def test_independent_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.independent(**{"samples": 5, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"p": (0.5, 1.1)}, "Each p is a probability"),
        ({"p": (float("nan"),)}, "Each p is a probability"),
        ({"p": (), "noise": 0}, "At least one pair"),
        ({"noise": -1}, "noise cannot be negative"),
    ],
)
def test_correlated_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        synthetic.correlated(5, **options)


def test_edges_work():
    assert synthetic.correlated(5, p=()).x.shape == (5, 2)
    assert synthetic.correlated(5, noise=0).x.shape == (5, 8)
    assert synthetic.independent(1, relevant=0).truth["distance"].abs().max() == 0


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (synthetic.linked, {"separated": 0}, "separated=0"),
        (synthetic.linked, {"partners": -1}, "partners=-1"),
        (synthetic.linked, {"spread": 0.0}, "spread must be positive"),
        (synthetic.linked, {"distances": (1.0, 0.5)}, "distances in order"),
        (synthetic.linked, {"correlation": 1.1}, "correlation=1.1"),
        (synthetic.redundant, {"inputs": 1}, "inputs=1"),
        (synthetic.redundant, {"correlation": -0.1}, "correlation=-0.1"),
    ],
)
def test_the_others_refuse_what_does_not_fit(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(5, **options)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("make", MAKERS)
def test_sets_are_the_same_on_the_gpu(make):
    data, same = (make(1001, seeds=[3, 5], device=device) for device in ("cuda", "cpu"))
    assert data.sha256 == same.sha256
    assert torch.equal(data.x.cpu(), same.x)
    assert torch.equal(data.y.cpu(), same.y)
    assert {data.x.device.type, data.y.device.type, *(t.device.type for t in data.truth.values())} == {"cuda"}
    assert torch.equal(data.x[1], make(1001, seeds=5, device="cuda").x)
    assert make is synthetic.redundant or data.y.sum().item() == 1000
    first, second = data.split()
    assert first.samples + second.samples == 1001
    assert data.select([1]).samples == 500
