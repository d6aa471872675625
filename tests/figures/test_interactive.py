"""The drawings that a reader can look into hold the numbers that they are given, and stand by themselves."""

import re
from xml.etree import ElementTree

import pytest
import torch

from spectral_lens.figures import interactive
from spectral_lens.figures.style import BLUE, RED

WAVE = torch.linspace(4000, 4123, 42, dtype=torch.float64)  # one each 3 Angstrom
BANDS = {"b": (4033.5, 4062.0), "a": (3990.0, 4006.125), "far": (5000.0, 5100.0)}


def scores(*runs, d=42, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.rand(r, d, generator=draw, dtype=torch.float64) for r in runs]


def tree(wave=WAVE, settings=None, bands=BANDS):
    """The drawing's page, which is well-formed, as a tree."""
    if settings is None:
        settings = dict(zip(("L2", "L1"), scores(3, 2), strict=True))
    return ElementTree.fromstring(interactive.over_wavelength(wave, settings, bands=bands)._repr_html_())


def windows(page, kind):
    return [each for each in page.iter("svg") if each.get("class") == kind]


def strokes(path):
    """The strokes that a pen draws along the path, as (x, from y, to y): M is absolute, m and v are relative."""
    x = y = 0
    found = []
    for command, numbers in re.findall(r"([Mmv])([^Mmv]*)", path):
        values = [int(number) for number in re.findall(r"-?\d+", numbers)]
        if command == "M":
            x, y = values
        elif command == "m":
            x, y = x + values[0], y + values[1]
        else:
            found.append((x, y, y + values[0]))
            y += values[0]
    return found


def test_the_strokes_are_the_mean_relevance_of_the_runs():
    settings = dict(zip(("L2", "L1, early"), scores(3, 2), strict=True))
    settings["L1, early"][:, 7] = 0.0001  # less than the drawing keeps
    page = tree(settings=settings)
    for panel, values, colour in zip(windows(page, "panel"), settings.values(), (BLUE, RED), strict=True):
        path = panel.find("path")
        assert path.get("stroke") == colour
        drawn = {x / 10: (-up / 1000, down) for x, up, down in strokes(path.get("d"))}
        expected = {w: m for w, m in zip(WAVE.tolist(), values.mean(0).tolist(), strict=True) if m > 0.0005}
        assert list(drawn) == pytest.approx(list(expected))
        assert [up for up, _ in drawn.values()] == pytest.approx(list(expected.values()), abs=5.01e-4)
        assert {down for _, down in drawn.values()} == {0}
        low, bottom, width, height = map(float, panel.get("viewBox").split())
        assert (low, low + width) == pytest.approx((39987.7, 41242.3))  # a hundredth more on each side
        assert (bottom, height) == (-1000, 1000)
    assert len(drawn) == 41


def test_bands_are_named_stripes_where_they_belong():
    (stripes,) = windows(tree(), "bands")
    drawn = {r.find("title").text: (float(r.get("x")), float(r.get("width"))) for r in stripes.findall("rect")}
    assert drawn == {"b": (40335, 285), "a": (39900, 161.25)}, "the band that lies elsewhere is not drawn"
    assert stripes.get("viewBox").split()[::2] == windows(tree(), "panel")[0].get("viewBox").split()[::2]


def wavelength(share):
    """What stands at that share of the width: the view is a hundredth wider than the wavelengths on each side."""
    return 3998.77 + float(share.removesuffix("%")) / 100 * 125.46


def test_names_and_ticks_stand_at_their_wavelengths():
    page = tree()
    names, ticks = (next(g for g in page.iter("g") if g.get("class") == kind) for kind in ("names", "ticks"))
    drawn = {each.find("text").text: wavelength(each.get("x")) for each in names}
    assert drawn == pytest.approx({"a": 3998.77, "b": 4033.5}, abs=0.01)
    assert [t.text for t in ticks] == ["4000", "4020", "4040", "4060", "4080", "4100", "4120"]
    assert [wavelength(t.get("x")) for t in ticks] == pytest.approx([float(t.text) for t in ticks], abs=0.01)


def test_crowded_names_make_room():
    crowd = {f"n{k}": (4000.0 + k, 4000.5 + k) for k in range(100)}
    names = [t.text for g in tree(bands=crowd).iter("g") if g.get("class") == "names" for t in g.iter("text")]
    assert names == [f"n{k}" for k in range(0, 100, 4)]  # 4 Angstrom are 3.2 of 100, 3 are 2.4: too few


def test_the_alternative_text_says_where_relevance_is_highest():
    (values,) = scores(1)
    values *= 0.3
    values[0, 12], values[0, 30] = 0.8, 0.4
    page = tree(settings={"L2": values})
    assert page.find("svg").get("role") == "img"
    assert page.find("svg").get("aria-label") == (
        "Relevance over wavelength, 4000.0 to 4123.0 Å, mean over the runs. L2: highest 0.800 at 4036.0 Å (in b); "
        "2 of 42 wavelengths have at least half of that."
    )


def test_the_same_numbers_make_the_same_page_without_identifiers():
    settings = dict(zip(("L2", "L1"), scores(3, 2), strict=True))
    first, second = (interactive.over_wavelength(WAVE, settings, bands=BANDS) for _ in range(2))
    other = interactive.over_wavelength(WAVE, {name: each / 2 for name, each in settings.items()}, bands=BANDS)
    assert first == second
    assert first.page != other.page
    assert repr(first) == repr(other) == "Relevance over wavelength, mean over the runs: L2; L1"
    assert not re.search(r"\sid=|<script|https?:", first.page)


def test_names_are_text_and_no_markup():
    odd = "<b>&\"'"
    page = tree(settings={odd: scores(2)[0]}, bands={odd: (4010.0, 4120.0)})
    assert [each.text for each in page.iter("text")].count(odd) == 2
    assert [each.text for each in page.iter("title")] == [odd]
    assert odd in page.find("svg").get("aria-label")


def test_a_whole_library_stays_small():
    many = dict(zip("abc", scores(2, 2, 2, d=4287), strict=True))
    assert len(interactive.over_wavelength(3525 + 0.9 * torch.arange(4287), many, bands=BANDS).page) < 200_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {"good": torch.zeros(2, 42), "bad": torch.zeros(2, 41)}}, r"bad: .*\(runs, 42\), not \(2, 41\)"),
        ({"settings": {"good": torch.zeros(2, 42), "bad": torch.zeros(42)}}, r"bad: .* not \(42,\)"),
        ({"settings": {"none": torch.zeros(0, 42)}}, r"none: .* not \(0, 42\)"),
        ({"settings": {}}, "scores is empty"),
        ({"settings": {"L2": torch.full((2, 42), 1.01)}}, "L2: scores must lie between 0 and 1"),
        ({"settings": {"L2": -torch.ones(2, 42)}}, "between 0 and 1"),
        ({"settings": {"L2": torch.full((2, 42), torch.nan)}}, "between 0 and 1"),
        ({"wave": WAVE.flip(0)}, "must be two or more that rise"),
        ({"wave": 4000 + 0.01 * torch.arange(42)}, "must be two or more that rise"),
        ({"wave": torch.cat([WAVE[:-1], torch.tensor([torch.inf])])}, "must be two or more that rise"),
        ({"wave": WAVE[:1], "settings": {"L2": torch.zeros(2, 1)}}, "must be two or more that rise"),
        ({"bands": {"back": (4100.0, 4050.0)}}, "band back has no width: 4100.0 to 4050.0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        tree(**changes)
