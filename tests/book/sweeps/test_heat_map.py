"""The map of a claim over two parameters: a cell for each setting, in colours that anybody can tell apart."""

import itertools
import re
import xml.etree.ElementTree as ET

import pytest
import toy_sweeps as toy

from spectral_lens import claims
from spectral_lens.book.sweeps import cells, heat_map
from spectral_lens.book.sweeps.points import digest

CLAIM = claims.load()[toy.DISTANCE]
LRS, SAMPLES = [0.1, 0.2, 0.3], [10, 20, 30, 40]


def luminance(colour):
    """As WCAG defines it."""
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_share_is_lighter_than_the_one_before_and_its_ink_can_be_read():
    found = [heat_map.colour(k / 100) for k in range(101)]
    lights = [luminance(ground) for ground, _ in found]
    assert all(a < b for a, b in itertools.pairwise(lights))
    for ground, ink in found:
        a, b = sorted((luminance(ground), luminance(ink)))
        assert (b + 0.05) / (a + 0.05) > 4


def test_a_cell_for_each_setting_with_number_and_mark():
    pairs = list(itertools.product(LRS, SAMPLES))[:-1]
    of = toy.gathered(*(({"lr": lr, "samples": n}, [toy.distance(lr * n / 10, lr * n / 10)]) for lr, n in pairs))
    found = cells.cells(of, CLAIM, CLAIM.reading)
    placed = {(digest(cell.values["lr"]), digest(cell.values["samples"])): cell for cell in found}
    root = ET.fromstring(heat_map.draw("lr", "samples", LRS, SAMPLES, placed, "said"))
    parts = [each for each in root.iter() if each.get("class") == "cell"]
    assert len(parts) == len(pairs)
    rect = {part[0].text.partition(":")[0]: part[1] for part in parts}
    grounds = {name: each.get("fill") for name, each in rect.items()}
    assert grounds["lr=0.1, samples=10"] == heat_map.colour(0.0)[0]
    assert grounds["lr=0.3, samples=30"] == heat_map.colour(1.0)[0]
    for part, (lr, n) in zip(sorted(parts, key=lambda part: part[0].text), sorted(pairs, key=str), strict=True):
        assert part[0].text.startswith(f"lr={lr}, samples={n}:")
        assert float(part[3].text) == pytest.approx(lr * n / 10, abs=0.006)
        assert re.match("translate", part[2].get("transform"))
    xs = [float(rect[f"lr={lr}, samples=10"].get("x")) for lr in LRS]
    ys = [float(rect[f"lr=0.1, samples={n}"].get("y")) for n in SAMPLES]
    assert xs == sorted(xs)
    assert ys == sorted(ys, reverse=True), "large values stand above"
    assert len([each for each in root.iter() if each.get("class") == "none"]) == 1


def test_equal_means_and_one_cell_are_drawn():
    of = toy.gathered(({"lr": 0.1, "samples": 1}, [toy.distance(0.5)]))
    (cell,) = cells.cells(of, CLAIM, CLAIM.reading)
    text = heat_map.draw("lr", "samples", [0.1], [1], {(digest(0.1), digest(1)): cell}, "")
    assert heat_map.colour(0.5)[0] in text
