"""The figures of the stars' chapter show what they are given."""

import pytest
import torch

from spectral_lens.datasets import stars
from spectral_lens.figures import stars as figures

WAVE = torch.linspace(4000, 4400, 41, dtype=torch.float64)
BANDS = {"a": (4000.0, 4100.0), "b": (4205.0, 4295.0), "far": (5000.0, 5100.0)}


def test_spectra_stand_one_above_the_other():
    flux = torch.rand(3, 41)
    axis = figures.spectra(WAVE, {f"star {k}": flux[k] for k in range(3)}, bands=BANDS).axes[0]
    for k, line in enumerate(axis.lines):
        assert line.get_ydata() - 0.9 * (2 - k) == pytest.approx(flux[k].numpy(), abs=1e-6)
    assert [text.get_text() for text in axis.texts] == ["a", "b", "star 0", "star 1", "star 2"]
    assert len(axis.patches) == 2  # the band that lies elsewhere is not drawn
    for k, line in enumerate(axis.lines):
        assert line.get_xdata().tolist() == WAVE.tolist()
        assert axis.texts[2 + k].xy == pytest.approx((1, 0.9 * (2 - k) + float(flux[k, 21:].mean())), abs=1e-6)
    assert [text.xy[0] for text in axis.texts[:2]] == [4050, 4250]


def test_bands_are_shaded_as_far_as_the_wavelengths_reach():
    ends = {"a": (3950.0, 4100.0), "b": (4205.0, 4295.0), "c": (4390.0, 4500.0), "far": (4400.5, 4700.0)}
    axis = figures.spectra(WAVE, {"star": torch.rand(41)}, bands=ends).axes[0]
    shaded = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axis.patches]
    assert shaded == [(4000, 4100), (4205, 4295), (4390, 4400)]


def test_relevance_over_wavelength_is_the_mean_of_the_runs():
    scores = {"L1": torch.rand(4, 41), "L2": torch.rand(4, 41)}
    drawn = figures.over_wavelength(WAVE, scores, bands=BANDS)
    for axis, values in zip(drawn.axes, scores.values(), strict=True):
        tops = [segment[1, 1] for segment in axis.collections[0].get_segments()]
        assert tops == pytest.approx(values.mean(0).tolist(), abs=1e-6)
        assert [segment[:, 0].tolist() for segment in axis.collections[0].get_segments()] == [[w, w] for w in WAVE]
        assert {segment[0, 1] for segment in axis.collections[0].get_segments()} == {0}
    assert drawn.axes[0].get_ylabel() == "L1"


def test_hits_are_shares_of_relevance():
    even = torch.ones(2, 41)
    one = torch.zeros(1, 41)
    one[0, 25] = 3.0  # 4250 Angstrom
    drawn = figures.hits(WAVE, {"even": even, "one": one}, bands=BANDS)
    table = drawn.axes[0].images[0].get_array()
    assert table.tolist() == [pytest.approx([11 / 41, 9 / 41, 0]), [0, 1, 0]]
    assert [text.get_text() for text in drawn.axes[0].get_xticklabels()] == ["a", "b", "far"]


def test_hits_count_each_run_alike():
    scores = torch.zeros(3, 41)
    scores[0, 3], scores[1, 25], scores[2, [3, 40]] = 100.0, 1.0, 0.25
    table = figures.hits(WAVE, {"L1": scores}, bands=BANDS).axes[0].images[0].get_array()
    assert table.tolist() == [pytest.approx([1.5 / 3, 1 / 3, 0])]


def test_crowded_names_make_room():
    every = {band.name: (band.low, band.high) for band in stars.bands()}
    data = stars.generated(3, pixels=90)
    wave = stars.wavelengths(data)
    axis = figures.spectra(wave, {"star": data.x[0]}, bands=every).axes[0]
    names = [text.get_text() for text in axis.texts][:-1]
    assert 5 < len(names) < sum(high > 3900 and low < 5400 for low, high in every.values())
