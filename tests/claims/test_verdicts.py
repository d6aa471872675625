"""Verdicts: of theorems by every value, of measurements by intervals, of several readings by the one as printed."""

import math

import numpy as np
import pytest

from spectral_lens import claims
from spectral_lens.claims import Measured, headline, headlines, judge
from spectral_lens.claims.statistics import bootstrapped, estimate, prediction
from toy_ledger import ENTRY, claim, ledger

WIDE, TIGHT = [0.0, 1.0, 2.0], [0.99, 1.0, 1.01]


def verdict(of, values, profile="paper", **more):
    return judge(of, Measured.of("a.b", values, profile, **more)).verdict


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("identity", [0.5], "identity holds"),
        ("bound", [0.5, 1.0], "bound holds"),
        ("bound", [-9.0, math.nextafter(1, 2)], "not reproduced"),  # though their mean is below one
        ("identity", [2.0, 0.0], "not reproduced"),
    ],
)
@pytest.mark.parametrize("profile", ["paper", "quick", "custom"])
def test_every_value_meets_a_theorem_in_any_profile(tmp_path, kind, values, expected, profile):
    assert verdict(claim(tmp_path, kind=kind), values, profile) == expected


@pytest.mark.parametrize(
    ("accept", "values", "expected"),
    [
        ([0.5, None], TIGHT, "reproduced"),
        ([0.5, None], WIDE, "undecided"),
        ([1.1, None], TIGHT, "not reproduced"),
        ([1.1, None], WIDE, "undecided"),
        ([9.0, None], WIDE, "not reproduced"),
        ([None, 1.5], TIGHT, "reproduced"),
        ([0.9, 1.1], TIGHT, "reproduced"),
        ([0.9, 1.1], WIDE, "undecided"),
        ([0.5, None], [1.0], "undecided"),
        (None, TIGHT, "no criterion"),
    ],
)
def test_a_measurement_is_judged_by_its_interval(tmp_path, accept, values, expected):
    of = claim(tmp_path, accept=accept)
    assert verdict(of, values) == expected
    for profile in ("quick", "custom"):
        assert verdict(of, values, profile) == ("no criterion" if accept is None else "quick only")


@pytest.mark.parametrize("of", [c for c in claims.load().values() if c.accept], ids=lambda claim: claim.id)
def test_every_criterion_of_the_ledger_can_fail(of):
    """Beyond each bound by the smallest step, and by a larger one; on it the claim holds."""
    for bound, outwards in ((of.accept[0], -math.inf), (of.accept[1], math.inf)):
        if bound is not None:
            numbers = (bound, math.nextafter(bound, outwards), bound + math.copysign(max(abs(bound), 1), outwards))
            groups = [{"a": [each] * 3, "b": [bound] * 3} for each in numbers]
            found = [judge(of, Measured.of(of.id, each, "paper", revision=of.revision)).verdict for each in groups]
            assert found[0] in ("identity holds", "bound holds", "reproduced", "reproduced in another reading")
            assert found[1:] == ["not reproduced"] * 2


def test_an_undecided_claim_says_how_many_units_would_decide(tmp_path):
    of = claim(tmp_path, accept=[0.5, None])
    judged = judge(of, Measured.of("a.b", WIDE, "paper"))
    assert judged.why == f"{judged.needs} runs would decide, if mean and scatter stayed"
    for n, decides in ((judged.needs, True), (judged.needs - 1, False)):
        sd = np.std(WIDE, ddof=1)
        z = np.random.default_rng(0).normal(size=n)
        values = 1 + sd * (z - z.mean()) / z.std(ddof=1)
        assert (verdict(of, values.tolist()) == "reproduced") is decides
    one = judge(of, Measured.of("a.b", [1.0], "paper"))
    assert (one.needs, one.why) == (None, "one run says nothing of the scatter")
    on_the_end = judge(claim(tmp_path, accept=[1.0, None]), Measured.of("a.b", WIDE, "paper"))
    assert (on_the_end.needs, "no number of units" in on_the_end.why) == (None, True)


def test_at_every_group(tmp_path):
    of = claim(tmp_path, accept=[0.5, None], estimator="every")
    assert verdict(of, {"a": TIGHT, "b": TIGHT}) == "reproduced"
    for others, expected, deciding in (
        ({"b": WIDE}, "undecided", "b"),
        ({"b": WIDE, "c": [0.1, 0.11, 0.12]}, "not reproduced", "c"),
        ({"b": [0.7, 0.71, 0.72]}, "reproduced", "b"),  # the nearest to the end
        ({"b": [0.51, 0.511, 0.512], "c": WIDE}, "undecided", "c"),  # though another one is nearer
        ({"b": [-3.0, 0.0, 2.0], "c": [0.4, 0.41, 0.42]}, "not reproduced", "c"),
    ):
        judged = judge(of, Measured.of("a.b", {"a": TIGHT} | others, "paper"))
        assert (judged.verdict, judged.deciding) == (expected, deciding)
        assert judged.found == estimate(({"a": TIGHT} | others)[deciding])
    both = judge(of, Measured.of("a.b", {"a": WIDE, "b": [0.0, 1.0, 1.2, 2.0, 2.2]}, "paper"))
    each = [judge(of, Measured.of("a.b", {"x": v}, "paper")).needs for v in (WIDE, [0.0, 1.0, 1.2, 2.0, 2.2])]
    assert both.needs == max(each)


@pytest.mark.parametrize("estimator", ["every", "peak"])
def test_numbers_of_an_earlier_estimator_are_not_judged(tmp_path, estimator):
    """A smallest gain, or a best over the better end, that an old record holds as one list."""
    of = claim(tmp_path, accept=[0.5, None], estimator=estimator)
    judged = judge(of, Measured.of("a.b", TIGHT, "paper"))
    assert (judged.verdict, judged.needs) == ("undecided", None)
    assert "earlier estimator" in judged.why
    of = claim(tmp_path, accept=[0.5, None], revision=2)
    assert verdict(of, TIGHT) == "undecided"
    assert verdict(of, TIGHT, revision=2) == "reproduced"


def test_old_records_with_a_mean_alone(tmp_path):
    of = claim(tmp_path, accept=[0.97, None])
    old = {"id": "a.b", "value": 0.98, "sd": 0.01, "n": 10, "profile": "paper"}
    assert judge(of, Measured.read(old)).verdict == "reproduced"
    assert judge(of, Measured.read(old | {"n": 4})).verdict == "undecided"
    assert judge(of, Measured.read(old | {"n": 1, "sd": None})).verdict == "undecided"
    assert judge(claim(tmp_path, kind="bound"), Measured.read(old)).verdict == "bound holds"


def test_images_are_resampled(tmp_path):
    values = np.random.default_rng(3).exponential(1, 40).tolist()
    of = claim(tmp_path, unit="image")
    judged = judge(of, Measured.of("a.b", values, "paper"))
    assert judged == judge(of, Measured.of("a.b", values, "paper")), "the same numbers, the same verdict"
    assert judged.found.low != estimate(values).low
    other = bootstrapped(values, seed=1)
    assert judged.found.low == pytest.approx(other.low, abs=0.1 * (other.high - other.low))
    assert judge(of, Measured.of("a.b", [0.3], "paper")).why == "one image says nothing of the scatter"


def test_the_mean_of_a_replication_is_predicted_where_the_paper_prints_enough(tmp_path):
    printed = {"text": "0.1 +- 0.2", "mean": 0.1, "sd": 0.2, "n": 10}
    of = claim(tmp_path, printed=printed)
    assert judge(of, Measured.of("a.b", TIGHT, "paper")).predicted == prediction(0.1, 0.2, 10, 3)
    for less in ({"sd": None}, {"n": None}, {"n": 1}):
        assert judge(claim(tmp_path, printed=printed | less), Measured.of("a.b", TIGHT, "paper")).predicted is None
    assert judge(of, Measured.of("a.b", {"a": TIGHT, "b": TIGHT}, "paper")).predicted is None


def test_a_reading_that_is_not_the_printed_one(tmp_path):
    of, other = claim(tmp_path, accept=[0.5, None]), claim(tmp_path, accept=[0.5, None], reading="the authors' code")
    assert verdict(of, TIGHT, reading="ours") == "reproduced in another reading"
    assert verdict(of, WIDE, reading="ours") == "undecided"
    assert verdict(other, TIGHT) == "reproduced in another reading"
    assert verdict(other, TIGHT, reading="as printed") == "reproduced"


@pytest.mark.parametrize(
    ("printed", "ours", "expected"),
    [
        (TIGHT, TIGHT, "reproduced"),
        (TIGHT, WIDE, "reproduced"),
        (WIDE, TIGHT, "reproduced in another reading"),
        ([0.1, 0.11, 0.12], TIGHT, "reproduced in another reading"),
        ([0.1, 0.11, 0.12], WIDE, "not reproduced"),
        (WIDE, [0.1, 0.11, 0.12], "undecided"),
        (None, [0.1, 0.11, 0.12], "not reproduced"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_the_headline_is_that_of_the_printed_reading(tmp_path, printed, ours, expected, order):
    of = claim(tmp_path, accept=[0.5, None])
    measured = [Measured.of("a.b", ours, "paper", reading="ours")]
    if printed:
        measured.append(Measured.of("a.b", printed, "paper"))
    found = headlines({"a.b": of}, [*measured[::order], Measured.of("no.claim", [1.0], "paper")])
    assert {id: judged.verdict for id, (_, judged) in found.items()} == {"a.b": expected}
    with pytest.raises(ValueError, match="nothing to judge"):
        headline([])


def test_a_changed_ledger_changes_the_verdict_and_not_the_data(tmp_path):
    measured = Measured.of("a.b", TIGHT, "paper")
    path = ledger(tmp_path, ENTRY | {"accept": [0.5, None]})
    assert judge(claims.load(path)["a.b"], measured).verdict == "reproduced"
    ledger(tmp_path, ENTRY | {"accept": [1.5, None]})
    assert judge(claims.load(path)["a.b"], measured).verdict == "not reproduced"
