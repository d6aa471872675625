"""The figures of spectra show what they are given."""

import numpy as np
import pytest
import torch

from spectral_lens.figures import stability as figures


def test_densities_have_points_of_their_own():
    series = {"one": (torch.arange(3.0), torch.rand(3)), "other": (torch.arange(5.0), torch.rand(5))}
    axis = figures.densities(series, xlabel="eigenvalue", logy=True, floor=1e-3).axes[0]
    for line, (at, values) in zip(axis.lines, series.values(), strict=True):
        assert line.get_xdata() == pytest.approx(at.numpy())
        assert line.get_ydata() == pytest.approx(values.numpy())
    assert axis.get_yscale() == "log"
    assert axis.get_ylim()[0] == pytest.approx(1e-3)


def test_a_law_lies_over_the_histogram_of_its_name():
    at = torch.linspace(0, 3, 7)
    drawn = figures.against_law({"a": torch.rand(50), "b": torch.rand(60)}, {"b": (at, at**2)}, xlabel="s", bins=11)
    assert [len(axis.lines) for axis in drawn.axes] == [0, 1]
    assert drawn.axes[1].lines[0].get_ydata() == pytest.approx((at**2).numpy())
    for axis in drawn.axes:
        assert sum(bar.get_height() * bar.get_width() for bar in axis.patches) == pytest.approx(1)


def test_clouds_have_a_dot_for_each_sample_and_their_bound():
    panels = {"MLP": (torch.rand(9), torch.rand(9)), "CNN": (torch.rand(7), torch.rand(7))}
    drawn = figures.clouds(panels, xlabel="H", ylabel="kappa", bound={"CNN": (torch.arange(3.0), torch.ones(3))})
    assert [len(axis.collections[0].get_offsets()) for axis in drawn.axes] == [9, 7]
    assert [len(axis.lines) for axis in drawn.axes] == [0, 1]


def test_ranges_are_the_quantiles():
    values = torch.rand(400, dtype=torch.float64)
    axis = figures.ranges(
        {"MNIST": {"MLP": values}, "CIFAR": {"MLP": values + 1}}, ylabel="H", level={"CIFAR": 2.0}
    ).axes[0]
    first, third = np.quantile(values, (0.25, 0.75))
    for k, bar in enumerate(axis.patches):
        assert bar.get_y() == pytest.approx(first + k)
        assert bar.get_height() == pytest.approx(third - first)
    assert [text.get_text() for text in axis.get_xticklabels()] == ["MNIST", "CIFAR"]


def test_intervals_have_a_row_for_each_name():
    series = {"all": {"H": (0.5, 0.2, 0.7), "SSM": (-0.1, -0.3, 0.2)}, "within": {"SSM": (0.0, -0.2, 0.1)}}
    axis = figures.intervals(series, xlabel="correlation").axes[0]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["H", "SSM"]
    marks = {line.get_label(): line for line in axis.lines if not line.get_label().startswith("_")}
    assert marks["all"].get_xdata() == pytest.approx([0.5, -0.1])
    assert np.round(marks["within"].get_ydata()) == pytest.approx([1])
    assert [segment[:, 0].tolist() for segment in axis.collections[0].get_segments()] == [[0.2, 0.7], [-0.3, 0.2]]
