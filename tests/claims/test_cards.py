"""Cards say what the verdict says, in enough digits to judge by."""

import math
import re
from pathlib import Path
from typing import get_args

import pytest

from spectral_lens.claims import Judgement, Measured, Verdict, card, judge
from spectral_lens.claims.cards import accepted, here, number, printed, replication, with_interval, worst
from spectral_lens.claims.statistics import UnitMean, estimate
from toy_ledger import claim

SHEET = Path(__file__).parents[2] / "book" / "_static" / "custom.css"


def rows(of, measured):
    return dict(re.findall(r'<tr><th scope="row">([^<]*)</th><td>(.*?)</td></tr>', card(of, measured)))


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (0.98123, 0.0057, "0.9812"),
        (0.98123, 0.057, "0.981"),
        (12.3456, 1.7, "12.3"),
        (1234.6, 21.0, "1235"),
        (1234.6, 2100.0, "1235"),
        (0.98123, math.inf, "0.981"),
        (0.98123, 0.0, "0.981"),
        (1.23456e-9, 1e-10, "1.23e-09"),
        (-0.00123, 0.00045, "-0.00123"),
        (0.00012, 2.5e-5, "0.000120"),  # six digits after the point are the most
        (0.00012, 2.5e-6, "0.00012"),
    ],
)
def test_a_number_has_the_digits_of_its_uncertainty(value, scale, text):
    assert number(value, scale) == text


def test_the_interval_of_two_ends_is_told_apart_from_the_bound():
    """.9641 and .965 would be one number with three digits."""
    found = estimate([0.9641, 0.9643, 0.9642])
    text = with_interval(found, "run")
    low, high = (float(each) for each in re.search(r"interval (\S+) to ([^,]+),", text).groups())
    assert (low, high) == pytest.approx((found.low, found.high), abs=(found.high - found.low) / 20)
    assert text.endswith("3 runs)")
    assert with_interval(UnitMean(1.0, -math.inf, math.inf, math.nan, 1), "image") == "1 (one image, no interval)"


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (None, "nothing is judged"),
        ((None, 1e-12), "at most 1e-12"),
        ((0.0, None), "at least 0"),
        ((0.78, 0.88), "0.78 to 0.88"),
        ((None, 1.000001), "at most 1.000001"),
    ],
)
def test_bounds_in_words(bounds, text):
    assert accepted(bounds) == text


def test_a_card_says_what_is_judged_and_how(tmp_path):
    of = claim(
        tmp_path, claim="a < b & c", accept=[0.5, None], reading="ours",
        printed={"text": "1", "mean": 1, "sd": 1, "n": 9},
        history=[{"date": "2026-02-03", "change": "the bar came after a look"}],
    )  # fmt: skip
    measured = Measured.of("a.b", [0.0, 1.0, 2.0], "paper")
    judged, found = judge(of, measured), rows(of, measured)
    assert found["claim"] == "a &lt; b &amp; c"
    assert found["paper"] == "1 (p. 1)"
    assert found["measure"] == "its size, for each run"
    assert found["reading"] == "ours"
    assert found["accepted"] == "at least 0.5: it is said to be"
    assert found["here"] == "1.0 (95% interval -1.5 to 3.5, 3 runs)"
    assert found["history"] == "2026-02-03: the bar came after a look"
    assert found["verdict"] == f"undecided: {judged.why}"
    low, high = judged.predicted
    assert f"{low:.1f} to {high:.1f}" in found["replication"]
    assert found["replication"].endswith("so it does")
    far = rows(of, Measured.of("a.b", [9.0, 9.1], "paper"))
    assert far["replication"].endswith("it does not")
    assert 'class="claim claim-undecided"' in card(of, measured)
    assert 'class="claim claim-reproduced-in-another-reading"' in card(of, Measured.of("a.b", [0.9, 0.91], "paper"))


def test_a_plain_claim_has_a_short_card(tmp_path):
    found = rows(claim(tmp_path), Measured.of("a.b", [0.1, 0.1], "paper"))
    assert list(found) == ["claim", "paper", "measure", "accepted", "here", "verdict"]
    assert found["here"] == "0.1 (95% interval 0.1 to 0.1, 2 runs)"
    unjudged = rows(claim(tmp_path, accept=None), Measured.of("a.b", [0.1], "paper"))
    assert (unjudged["accepted"], unjudged["verdict"]) == ("it is said to be", "no criterion")


@pytest.mark.parametrize(
    ("accept", "values", "text"),
    [
        ([None, 0], [0.0], "below 0e+00"),
        ([None, 1e-6], [1e-6], "below 1e-06"),
        ([None, 1e-8], [1e-9, 3e-9, 5e-9], "below 1e-08 (3 values)"),
        ([None, 1e-8], [1e-9, 3e-5], "3e-05 (2 values)"),
        ([None, 2.0], [0.5, 1.23456789], "1.234568 (2 values)"),
        ([0.5, None], [0.7, 0.6, 0.9], "0.6 (3 values)"),
        ([0.5, 1.0], [0.7, 0.98], "0.98 (2 values)"),
    ],
)
def test_of_a_theorem_the_worst_value_is_shown(tmp_path, accept, values, text):
    of = claim(tmp_path, kind="bound", accept=accept)
    measured = Measured.of("a.b", values, "quick")
    assert here(of, measured, judge(of, measured)) == text
    assert rows(of, measured)["measure"] == "its size"


def test_of_groups_the_deciding_one_is_shown(tmp_path):
    of = claim(tmp_path, accept=[0.5, None], estimator="every")
    measured = Measured.of("a.b", {"N2 = 20": [0.9, 1.0, 1.1], "N2 = 80": [0.4, 0.8, 1.2]}, "paper")
    text = here(of, measured, judge(of, measured))
    assert text.startswith("N2 = 80: 0.80 (95% interval -0.19 to 1.79, 3 runs)")
    assert text.endswith("; 1 more further from the ends of the range")
    single = Measured.of("a.b", {"N2 = 20": [0.9, 1.0]}, "paper")
    assert here(of, single, judge(of, single)).endswith("2 runs)")


@pytest.mark.parametrize("low", [0.964999, 0.9649, 0.96, 0.965, 0.9650001])
def test_a_rounded_number_never_changes_sides(low):
    """Oracle: what is printed is inside exactly where the number is."""
    found = UnitMean(0.98, low, 0.98 + (0.98 - low), 0.01, 10)
    shown = float(re.search("interval ([0-9.]+) to", with_interval(found, "run", (0.965, None)))[1])
    assert (shown < 0.965, shown > 0.965) == (low < 0.965, low > 0.965)
    assert abs(shown - low) < 0.005


@pytest.mark.parametrize(("below", "shown"), [(4e-11, "0.39999999996"), (4e-12, "0.4")])
def test_eleven_digits_are_the_most(below, shown):
    found = UnitMean(0.5, 0.4 - below, 0.6, 0.1, 10)
    assert re.search("interval ([0-9.]+) to", with_interval(found, "run", (0.4, None)))[1] == shown


@pytest.mark.parametrize(
    ("predicted", "text"), [((0.75, 0.85), "0.750 to 0.850"), ((1.0, 3.4), "1.0 to 3.4"), ((-3.0, 17.6), "-3 to 18")]
)
def test_a_prediction_has_the_digits_of_its_width(predicted, text):
    judged = Judgement("reproduced", {"": estimate([2.0, 2.1])}, "", predicted=predicted)
    assert f"lies in {text} with 95%" in replication(judged)


def test_what_the_paper_prints_has_its_sign(tmp_path):
    assert printed(claim(tmp_path, printed="0.82 +- 0.02")) == "0.82 \u00b1 0.02"


def test_the_worst_value_is_the_one_nearest_to_an_end(tmp_path):
    both = claim(tmp_path, kind="bound", accept=[0.5, 1.5])
    assert worst(both, Measured.of("a.b", [0.7, 1.0, 1.4], "quick")) == 1.4
    assert worst(both, Measured.of("a.b", [0.7, 0.4, 1.0], "quick")) == 0.4


def test_every_verdict_has_a_colour_and_a_sign_of_its_own():
    sheet, signs = SHEET.read_text(encoding="utf-8"), {}
    for verdict in get_args(Verdict):
        (style,) = re.findall(rf"\.claim-{verdict.replace(' ', '-')}, [^{{]*\{{([^}}]*)\}}", sheet)
        assert "--lens-verdict: var(" in style
        signs[verdict] = re.search('--lens-sign: "(.)"', style)[1]
    assert len(set(signs.values())) == len(signs) == 8
