"""A claim of a sweep as HTML, parsed: which figure it gets, and what stands in which row."""

import itertools
import xml.etree.ElementTree as ET

import toy_sweeps as toy

from spectral_lens import claims
from spectral_lens.book.sweeps import section
from spectral_lens.book.sweeps.section import EVERYTHING, Links, Wanted
from spectral_lens.claims import Measured

CLAIM = claims.load()[toy.DISTANCE]
EVERY = claims.load()["giambagli.wide.gain"]
TABLE = Links("t.csv")


class Part:
    """What a claim's part of the page has."""

    def __init__(self, of, claim=CLAIM, chosen=EVERYTHING, links=TABLE):
        text = section.section(of, claim, claim.reading, chosen, links)
        self.root = ET.fromstring(f"<div>{text}</div>".replace("<details open>", '<details open="">'))

    def all(self, tag, kind=None):
        found = (each for each in self.root.iter() if each.tag.rpartition("}")[2] == tag)
        return [each for each in found if kind is None or kind in each.get("class", "").split()]

    @property
    def rows(self):
        return [["".join(cell.itertext()) for cell in row] for row in self.all("tr")]

    @property
    def keys(self):
        return ["".join(item.itertext()).strip() for item in self.all("li")]


def over(*points):
    return toy.gathered(*((values, [toy.distance(*units)]) for values, units in points))


def test_one_parameter_is_a_line_with_a_row_for_each_value():
    of = over(({"lr": 0.1}, [0.5, 0.52, 0.54]), ({"lr": 0.2}, [0.98, 0.981, 0.982]), ({"lr": 0.3}, [0.97]))
    links = Links("t.csv", lambda claim: f"page.html#{claim.id}", lambda point: f"{point.values['lr']}.ipynb")
    part = Part(of, links=links)
    assert part.rows == [
        ["lr", "here", "range", "record"],
        ["0.1", "0.520 (95% interval 0.470 to 0.570, 3 runs)", "outside", "notebook"],
        ["0.2", "0.9810 (95% interval 0.9785 to 0.9835, 3 runs)", "inside", "notebook"],
        ["0.3", "0.97 (one run, no interval)", "undecided", "notebook"],
    ]
    assert [each.get("class") for each in part.all("span")] == [
        "lens-verdict lens-not-reproduced", "lens-verdict lens-reproduced", "lens-verdict lens-undecided",
    ]  # fmt: skip
    assert [a.get("href") for a in part.all("a")] == [
        f"page.html#{toy.DISTANCE}",
        "0.1.ipynb",
        "0.2.ipynb",
        "0.3.ipynb",
    ]
    (svg,) = part.all("svg")
    said = svg.get("aria-label")
    assert said.startswith("Pearson correlation over the inputs over lr: 3 settings, 0.52 to 0.981; accepted at least")
    assert said.endswith("1 outside, 1 inside, 1 undecided")
    assert part.keys == []


def test_a_second_one_is_a_family_of_lines():
    of = over(*(({"lr": lr, "source": text}, [0.5]) for text in "ba" for lr in (0.1, 0.2, 0.3)))
    part = Part(of)
    assert part.keys == ["source=b", "source=a"]
    assert [len(each.findall(".//{*}g[@class='point']")) for each in part.all("g", "series")[:2]] == [3, 3]
    assert Part(of, chosen=Wanted(colour="lr")).keys == ["lr=0.1", "lr=0.2", "lr=0.3"]
    assert Part(of, chosen=Wanted(x="source")).keys == ["lr=0.1", "lr=0.2", "lr=0.3"]


def test_two_with_three_values_each_are_a_map_unless_lines_are_asked_for():
    of = over(*(({"lr": lr, "samples": n}, [lr * n]) for lr, n in itertools.product((0.1, 0.2, 0.3), (1, 2, 3))))
    assert len(Part(of).all("g", "cell")) == 9
    part = Part(of, chosen=Wanted(colour="samples"))
    assert part.all("g", "cell") == []
    assert part.keys == ["samples=1", "samples=2", "samples=3"]


def test_a_third_one_has_a_figure_for_each_value():
    grid = itertools.product((0.1, 0.2), (1, 2), ("a", "b"))
    of = over(*(({"lr": lr, "samples": n, "source": text}, [0.5]) for lr, n, text in grid))
    part = Part(of)
    assert [each.text for each in part.all("p", "lens-panel")] == ["source=a", "source=b"]
    assert len([svg for svg in part.all("svg") if svg.get("aria-label")]) == 2


def test_what_does_not_vary_is_no_axis():
    of = over(({"samples": 3, "lr": 0.1}, [0.5]), ({"samples": 3, "lr": 0.2}, [0.5]))
    (name,) = Part(of).all("text", "name")
    assert name.text == "lr"
    (name,) = Part(over(({"source": "a"}, [0.5]))).all("text", "name")
    assert name.text == "source"


def test_groups_are_lines_where_nothing_else_is():
    units = {"N = 20": [0.1, 0.2], "N = 80": [0.3, 0.31]}
    points = [({"lr": lr}, [Measured.of(EVERY.id, units, "custom")]) for lr in (0.1, 0.2)]
    assert Part(toy.gathered(*points), EVERY).keys == ["N = 20", "N = 80"]
    both = [({"lr": lr, "source": text}, each) for text in "ab" for (_, each), lr in zip(points, (1, 2), strict=True)]
    part = Part(toy.gathered(*both), EVERY)
    assert part.keys == ["source=a", "source=b"]
    assert all(row[2].startswith("N = 20: 0.1") for row in part.rows[1:])
    assert "of several groups the one worst off decides" in "".join(part.root.itertext())


def test_seeds_that_were_put_together_are_told_and_each_has_its_record():
    of = over(*(({"lr": lr, "first_seed": seed}, [0.5, 0.6]) for seed in (0, 2) for lr in (0.1, 0.2)))
    part = Part(of, links=Links("", record=lambda point: f"{point.name}.ipynb"))
    assert [row[-1] for row in part.rows[1:]] == ["0, 2", "0, 2"]
    assert "the units of up to 2 first seeds together" in "".join(part.root.itertext())


def test_a_theorem_has_its_verdict():
    claim = claims.load()["giambagli.inverse"]
    of = toy.gathered(
        *(({"lr": lr}, [Measured.of(claim.id, [value], "custom")]) for lr, value in ((1, 1e-16), (2, 0.5)))
    )
    assert [row[1:] for row in Part(of, claim).rows[1:]] == [
        ["below 1e-12", "identity holds"],
        ["0.5", "not reproduced"],
    ]


def test_a_long_table_is_folded():
    of = over(*(({"lr": float(k)}, [0.5]) for k in range(13)))
    (details,) = Part(of).all("details")
    assert details.get("open") is None
    assert Part(over(({"lr": 0.1}, [0.5]))).all("details")[0].get("open") == ""
