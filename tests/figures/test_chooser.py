"""The page on which a reader chooses: which row is seen, its colours, and that it needs nothing from outside."""

import base64
import io
import re

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from spectral_lens.figures import chooser


def chosen():
    maps = {"whole": torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), "term <1>": torch.zeros(2, 2)}
    rows = {(image, amount): maps for image in ("three", "five") for amount in ("0", "1")}
    images = {"three": torch.zeros(1, 2, 2), "five": torch.rand(3, 2, 2)}
    return chooser.chooser(rows, names=("image", "γ"), images=images, identifier="one")._repr_html_()


def test_a_chooser_shows_one_row_and_hides_the_others():
    rows = re.findall(r'<div data-first="(\w+)" data-second="(\w+)"( hidden)?>', chosen())
    assert rows == [("three", "0", ""), ("three", "1", " hidden"), ("five", "0", " hidden"), ("five", "1", " hidden")]
    assert re.findall(r"<option>(\w+)</option>", chosen()) == ["three", "five", "0", "1"]


def test_the_maps_of_a_chooser_are_red_for_and_blue_against():
    data = re.findall(r"base64,([^\"]+)\"", chosen())[1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)
    (r, _, b), (r2, _, b2) = picture[0, 0], picture[1, 0]
    assert r > b + 50
    assert b2 > r2 + 50
    assert picture[0, 1].min() > 240  # zero is white


def test_a_chooser_fetches_nothing_and_escapes_its_texts():
    page = chosen()
    assert "http" not in page
    assert "term &lt;1&gt;" in page
    assert "<1>" not in page
    assert len(repr(chooser.Chooser(page))) < 40


def drawn(page):
    data = re.findall(r"base64,([^\"]+)\"", page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB")).astype(int) for each in data]


def test_pictures_are_ink_on_white_or_in_colour_and_maps_are_on_one_scale():
    ink, colours = torch.tensor([[[0.0, 0.25], [1.0, 0.5]]]), torch.rand(3, 2, 2, generator=torch.manual_seed(0))
    maps = {"whole": torch.tensor([[4.0, 0.0], [-1.0, 2.0]]), "part": torch.tensor([[1.0, -8.0], [0.0, -2.0]])}
    rows = {("three", "0"): maps, ("five", "0"): {"whole": maps["whole"]}}
    page = chooser.chooser(rows, names=("image", "γ"), images={"three": ink, "five": colours}, identifier="one")
    three, whole, part, five, alone = drawn(page._repr_html_())
    np.testing.assert_allclose(three, 255 * (1 - ink[0]).unsqueeze(2).expand(2, 2, 3), atol=2)
    np.testing.assert_allclose(five, 255 * colours.permute(1, 2, 0), atol=2)
    for picture, values, largest in ((whole, maps["whole"], 8), (part, maps["part"], 8), (alone, maps["whole"], 4)):
        expected = 255 * colormaps["RdBu_r"](((values / largest + 1) / 2).numpy())[..., :3]
        np.testing.assert_allclose(picture, expected, atol=2)
