"""Where the marks of a sweep's figure stand, against the numbers that they stand for."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import pytest
import toy_sweeps as toy

from spectral_lens import claims
from spectral_lens.book.scorecard_picture import GLYPHS
from spectral_lens.book.sweeps import cells, picture, scale
from spectral_lens.book.sweeps.picture import Mark, Series
from spectral_lens.claims.statistics import estimate

CLAIM = dataclasses.replace(claims.load()[toy.DISTANCE], accept=(0.4, 0.8))
UNITS = {0.1: [0.30, 0.31, 0.32], 0.2: [0.5, 0.55, 0.6], 0.3: [0.78, 0.82, 0.81], 0.4: [0.6]}
TOP, BOTTOM = 8.0, picture.HEIGHT - 46


class Drawing:
    """The parts by class."""

    def __init__(self, text):
        self.text, self.root = text, ET.fromstring(text)

    def all(self, kind):
        return [each for each in self.root.iter() if kind in each.get("class", "").split()]


def settings(units=UNITS, claim=CLAIM):
    of = toy.gathered(*(({"lr": lr}, [toy.distance(*each)]) for lr, each in units.items()))
    return cells.cells(of, claim, claim.reading)


def drawn(*series):
    return Drawing(picture.draw("lr", list(UNITS), series, "what <it> shows"))


def one(found):
    return Series("", [Mark(cell.values["lr"], cell.number, cell) for cell in found])


def height(found, value):
    axis = scale.of_values(found)
    return BOTTOM + (value - axis.low) / (axis.high - axis.low) * (TOP - BOTTOM)


def middle(mark):
    x, y = re.match(r"translate\(([\d.]+) ([\d.]+)\)", mark.get("transform")).groups()
    return float(x), float(y)


def test_marks_intervals_and_range_stand_where_their_numbers_are():
    found = settings()
    drawing = drawn(one(found))
    across = scale.along(list(UNITS), 56.0, picture.WIDTH - 10)
    assert [middle(mark) for mark in drawing.all("mark")] == [
        (pytest.approx(across.at(lr), abs=0.06), pytest.approx(height(found, sum(each) / len(each)), abs=0.06))
        for lr, each in UNITS.items()
    ]
    for path, (lr, each) in zip(drawing.all("interval"), UNITS.items(), strict=False):
        x, low, high = map(float, re.match(r"M([\d.]+) ([\d.]+)V([\d.]+)", path.get("d")).groups())
        mean = estimate(each)
        assert (x, low, high) == pytest.approx(
            (across.at(lr), height(found, mean.low), height(found, mean.high)), abs=0.06
        )
    assert len(drawing.all("interval")) == 3, "one unit has none"
    (band,) = drawing.all("band")
    assert float(band.get("y")) == pytest.approx(height(found, 0.8), abs=0.06)
    assert float(band.get("height")) == pytest.approx(height(found, 0.4) - height(found, 0.8), abs=0.06)


def test_shapes_say_where_the_interval_lies_and_colours_too_where_there_is_one_series():
    drawing = drawn(one(settings()))
    kinds = ["not-reproduced", "reproduced", "undecided", "undecided"]
    assert [each.get("class") for each in drawing.all("point")] == [f"point lens-{kind}" for kind in kinds]
    shapes = [ET.tostring(mark[0], encoding="unicode") for mark in drawing.all("mark")]
    assert len(set(shapes)) == 3
    assert GLYPHS["reproduced"] == '<circle r="4.2"/>'
    assert [mark.get("class") for mark in drawing.all("mark")] == ["mark"] * 3 + ["mark hollow"]
    assert drawing.root.get("aria-label") == "what <it> shows"


def test_series_stand_side_by_side_each_in_its_own_colour():
    found = settings()
    drawing = drawn(*(one(found)._replace(name=name) for name in "abc"))
    assert [each.get("class") for each in drawing.all("series")] == [f"series series-{k}" for k in range(3)]
    xs = [middle(mark)[0] for mark in drawing.all("mark")]
    assert xs[0] < xs[4] < xs[8] < xs[1]
    assert {each.get("class") for each in drawing.all("point")} == {"point"}
    assert len(drawing.all("line")) == 3
    assert [title.text for title in drawing.root.iter() if title.tag.endswith("title")][2].startswith("a, 0.1, 0.310 (")


def test_names_are_not_joined_by_a_line_and_long_ones_do_not_run_into_each_other():
    names = [f"a rather long name {k}" for k in range(12)]
    of = toy.gathered(*(({"source": name}, [toy.distance(0.5, 0.6)]) for name in names))
    found = cells.cells(of, CLAIM, CLAIM.reading)
    series = Series("", [Mark(cell.values["source"], cell.number, cell) for cell in found])
    drawing = Drawing(picture.draw("source", names, [series], ""))
    assert drawing.all("line") == []
    texts = [each for each in drawing.root.iter() if each.tag.endswith("text") and each.text.startswith("a ra")]
    assert 2 <= len(texts) < 6


@pytest.mark.parametrize("units", [{0.1: [0.0]}, {0.1: [-1.0, 1.0], 0.2: [1e9, 2e9]}, {0.1: [1e-9, 1e-9], 0.2: [0.5]}])
@pytest.mark.parametrize("accept", [None, (0.0, None), (None, -1e-9), (1.0, 1.0)])
def test_any_numbers_give_a_drawing_inside_its_frame(units, accept):
    found = settings(units, dataclasses.replace(CLAIM, accept=accept))
    text = picture.draw("lr", list(units), [one(found)], "")
    assert not re.search(r"\b(nan|inf)\b", text)
    for mark in Drawing(text).all("mark"):
        x, y = middle(mark)
        assert 0 < x < picture.WIDTH
        assert TOP <= y <= BOTTOM
