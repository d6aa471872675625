"""Where the marks of a drawing stand, against the numbers that they stand for."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
import toy_claims

from spectral_lens.book import scorecard_picture as picture
from spectral_lens.claims.ledger import Printed

NONE = Printed("large")


class Drawing:
    """The parts of a drawing by class, and what stands where on its axis."""

    def __init__(self, claim, *readings, **options):
        pairs = [(each.measured, each.judged) for each in readings]
        self.axis = picture.axis(claim, pairs)
        self.text = picture.draw(claim, self.axis, *(pairs[0] if pairs else ()), **options)
        self.root = ET.fromstring(self.text)

    def all(self, kind):
        return [each for each in self.root.iter() if kind in each.get("class", "").split()]

    def one(self, kind):
        (found,) = self.all(kind)
        return found

    def place(self, value):
        """Where a value stands, by the axis's two ends alone."""
        low, high = self.axis[:2]
        share = math.log(value / low) / math.log(high / low) if self.axis.log else (value - low) / (high - low)
        return picture.EDGE + share * (picture.WIDTH - 2 * picture.EDGE)


def line(path):
    """The two ends of a horizontal line."""
    left, right = re.match(r"M([\d.]+) [\d.]+H([\d.]+)", path.get("d")).groups()
    return float(left), float(right)


def middle(mark):
    return float(re.match(r"translate\(([\d.]+) ", mark.get("transform"))[1])


def test_marks_stand_where_their_numbers_are():
    claim, values = toy_claims.claim(), [0.80, 0.82, 0.84, 0.86]
    drawn = Drawing(claim, toy_claims.reading(claim, values))
    assert not drawn.axis.log
    half = 3.18245 * math.sqrt((2 * 0.03**2 + 2 * 0.01**2) / 3) / math.sqrt(4)
    assert middle(drawn.one("mark")) == pytest.approx(drawn.place(0.83), abs=0.06)
    assert line(drawn.one("interval")) == pytest.approx((drawn.place(0.83 - half), drawn.place(0.83 + half)), abs=0.1)
    assert line(drawn.one("spread")) == pytest.approx((drawn.place(0.80), drawn.place(0.84)), abs=0.06)
    mean = drawn.one("mean").get("d")
    assert float(mean[1:].split()[0]) == pytest.approx(drawn.place(0.82), abs=0.06)
    band = drawn.one("band")
    assert float(band.get("x")) == pytest.approx(drawn.place(0.78), abs=0.06)
    assert float(band.get("x")) + float(band.get("width")) == pytest.approx(drawn.place(0.88), abs=0.11)
    dots = [float(x) for x in re.findall(r"M([\d.]+) [\d.]+h0", drawn.one("units").get("d"))]
    assert dots == pytest.approx([drawn.place(value) for value in values], abs=0.3)
    assert drawn.root.get("class") == "lens-picture lens-reproduced"
    assert "0.78 to 0.88" in drawn.root.get("aria-label")
    assert {text.text for text in drawn.one("ticks")} >= {"0.78", "0.88"}


@pytest.mark.parametrize(
    ("accept", "left", "right"), [((0.5, None), 0.5, None), ((None, 0.5), None, 0.5), ((0.4, 0.5), 0.4, 0.5)]
)
def test_an_open_range_reaches_the_drawing_s_edge(accept, left, right):
    claim = toy_claims.claim(accept=accept, printed=NONE)
    drawn = Drawing(claim, toy_claims.reading(claim, [0.1, 0.2, 0.9]))
    band = drawn.one("band")
    x, end = float(band.get("x")), float(band.get("x")) + float(band.get("width"))
    assert x == pytest.approx(0 if left is None else drawn.place(left), abs=0.06)
    assert end == pytest.approx(picture.WIDTH if right is None else drawn.place(right), abs=0.11)
    assert len(drawn.all("end")) == 2 - (None in accept)
    assert drawn.all("paper") == [], "the paper prints no number"


def test_a_single_number_is_hollow_and_has_no_interval():
    claim = toy_claims.claim()
    drawn = Drawing(claim, toy_claims.reading(claim, [0.83]))
    assert drawn.one("mark").get("class") == "mark hollow"
    assert middle(drawn.one("mark")) == pytest.approx(drawn.place(0.83), abs=0.06)
    assert drawn.all("interval") == drawn.all("units") == []


def test_every_group_has_its_line_and_the_deciding_one_is_marked():
    claim = toy_claims.claim(accept=(0.0, None), printed=NONE, estimator="every", kind="comparison", nothing=-0.01)
    groups = {"N2 = 20": [0.2, 0.3, 0.25], "N2 = 80": [0.01, 0.02, 0.03], "N2 = 160": [0.4, 0.5, 0.45]}
    drawn = Drawing(claim, toy_claims.reading(claim, groups))
    assert len(drawn.all("interval")) == 3
    (deciding,) = drawn.all("here")
    assert deciding[0].text.startswith("N2 = 80: 0.020 (95% interval")
    assert [group[0].text.split(":")[0] for group in drawn.all("group")] == ["N2 = 20", "N2 = 160"]
    assert [middle(mark) for mark in drawn.all("mark")] == pytest.approx(
        [drawn.place(mean) for mean in (0.25, 0.02, 0.45)], abs=0.06
    )
    heights = [float(re.match(r"M[\d.]+ ([\d.]+)", each.get("d"))[1]) for each in drawn.all("interval")]
    assert heights == sorted(set(heights))
    assert float(drawn.one("nothing").get("d")[1:].split()[0]) == pytest.approx(drawn.place(-0.01), abs=0.06)


def test_where_nothing_is_found_is_shown_unless_it_presses_the_rest_together():
    claim = toy_claims.claim(accept=(None, 0.03), printed=NONE, nothing=0.04)
    drawn = Drawing(claim, toy_claims.reading(claim, [0.010, 0.011]))
    assert float(drawn.one("nothing").get("d")[1:].split()[0]) == pytest.approx(drawn.place(0.04), abs=0.06)
    claim = toy_claims.claim(accept=(None, 0.03), printed=NONE, nothing=1.0)
    drawn = Drawing(claim, toy_claims.reading(claim, [0.010, 0.011]))
    assert drawn.all("nothing") == []
    assert drawn.axis.high < 0.1


def test_numbers_far_apart_stand_on_a_logarithmic_axis():
    claim = toy_claims.claim(accept=(None, 0.02), printed=NONE)
    drawn = Drawing(claim, toy_claims.reading(claim, [1.7e-4, 1.8e-4, 1.9e-4]))
    assert drawn.axis.log
    assert middle(drawn.one("mark")) == pytest.approx(drawn.place(1.8e-4), abs=0.06)
    assert float(drawn.one("band").get("width")) == pytest.approx(drawn.place(0.02), abs=0.06)


@pytest.mark.parametrize(("values", "side"), [([50.0, 51.0, 52.0], 1), ([-52.0, -51.0, -50.0], -1)])
def test_what_is_far_outside_is_an_arrow_at_its_side(values, side):
    claim = toy_claims.claim(printed=NONE)
    drawn = Drawing(claim, toy_claims.reading(claim, values))
    assert drawn.all("mark") == []
    x = float(drawn.one("beyond").get("d")[1:].split()[0])
    assert (x > picture.WIDTH / 2) == (side > 0)
    assert drawn.axis.low < 0.78 < 0.88 < drawn.axis.high
    assert drawn.place(0.88) - drawn.place(0.78) > 24, "the range can still be seen"


def test_a_very_wide_interval_ends_in_arrows():
    claim = toy_claims.claim(accept=(None, 0.15), printed=NONE)
    drawn = Drawing(claim, toy_claims.reading(claim, [0.15, 0.17]))  # +- 0.127
    left, right = line(drawn.one("interval"))
    assert (left, right) == (picture.EDGE, picture.WIDTH - picture.EDGE)
    assert drawn.one("interval").get("d").count("l") == 2
    assert middle(drawn.one("mark")) == pytest.approx(drawn.place(0.16), abs=0.06)


def test_a_theorem_is_its_worst_value_below_the_bound():
    claim = toy_claims.claim(kind="identity", accept=(None, 1e-12), printed=Printed("0"))
    drawn = Drawing(claim, toy_claims.reading(claim, [1e-16, 3e-15, 0.0]))
    assert drawn.axis.log
    assert middle(drawn.one("mark")) == pytest.approx(drawn.place(3e-15), abs=0.06)
    assert drawn.all("interval") == drawn.all("units") == []
    exact = Drawing(claim, toy_claims.reading(claim, [0.0]))
    assert middle(exact.one("mark")) == picture.EDGE, "zero has no logarithm"
    ratio = toy_claims.claim(kind="bound", accept=(None, 1.0), printed=Printed("<= 1"))
    drawn = Drawing(ratio, toy_claims.reading(ratio, [0.3, 0.7]))
    assert (drawn.axis.log, drawn.axis.low < 0) == (False, True)
    assert middle(drawn.one("mark")) == pytest.approx(drawn.place(0.7), abs=0.06)


def test_what_nobody_measured_shows_paper_and_range_alone():
    drawn = Drawing(toy_claims.claim())
    assert drawn.root.get("class") == "lens-picture"
    assert drawn.all("here") == drawn.all("mark") == []
    assert len(drawn.all("band")) == len(drawn.all("paper")) == 1
    assert Drawing(toy_claims.claim(), paper=False).all("paper") == []


def test_verdicts_have_shapes_of_their_own():
    shapes = set(picture.GLYPHS.values())
    assert len(shapes) == len(picture.GLYPHS) == 6
    assert picture.legend().count("<li>") == 7


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5], [0.0], [1e9, 2e9], [-3.0, 5.0, 0.1]])
@pytest.mark.parametrize("accept", [None, (0.0, None), (None, -1e-9), (1.0, 1.0)])
@pytest.mark.parametrize("printed", [NONE, Printed("0", 0.0), Printed("5", 5.0, 1e-6, 3)])
def test_any_numbers_give_a_drawing_inside_its_frame(values, accept, printed):
    claim = toy_claims.claim(accept=accept, printed=printed)
    drawn = Drawing(claim, toy_claims.reading(claim, values))
    assert drawn.axis.low < drawn.axis.high
    assert "nan" not in drawn.text.replace("lens-", "")
    assert "inf" not in drawn.text
    for mark in drawn.all("mark"):
        assert picture.EDGE <= middle(mark) <= picture.WIDTH - picture.EDGE
