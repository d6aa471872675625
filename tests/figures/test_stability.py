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
    spectra = {"a": torch.rand(50, dtype=torch.float64), "b": torch.rand(60, dtype=torch.float64)}
    drawn = figures.against_law(spectra, {"b": (at, at**2)}, xlabel="s", bins=11)
    assert [len(axis.lines) for axis in drawn.axes] == [0, 1]
    assert drawn.axes[1].lines[0].get_xdata() == pytest.approx(at.numpy())
    assert drawn.axes[1].lines[0].get_ydata() == pytest.approx((at**2).numpy())
    for axis, values, end in zip(drawn.axes, spectra.values(), (float(spectra["a"].max()), 3), strict=True):
        assert sum(bar.get_height() * bar.get_width() for bar in axis.patches) == pytest.approx(1)
        expected, edges = np.histogram(values, np.linspace(0, end, 11), density=True)
        assert [bar.get_height() for bar in axis.patches] == pytest.approx(expected.tolist())
        assert [bar.get_x() for bar in axis.patches] == pytest.approx(edges[:-1].tolist())


def test_clouds_have_a_dot_for_each_sample_and_their_bound():
    panels = {"MLP": (torch.rand(9), torch.rand(9)), "CNN": (torch.rand(7), torch.rand(7))}
    drawn = figures.clouds(panels, xlabel="H", ylabel="kappa", bound={"CNN": (torch.arange(3.0), torch.ones(3))})
    assert [len(axis.collections[0].get_offsets()) for axis in drawn.axes] == [9, 7]
    assert [len(axis.lines) for axis in drawn.axes] == [0, 1]
    for axis, (x, y) in zip(drawn.axes, panels.values(), strict=True):
        np.testing.assert_allclose(axis.collections[0].get_offsets(), torch.stack([x, y], 1))
    (line,) = drawn.axes[1].lines
    assert (line.get_xdata().tolist(), line.get_ydata().tolist()) == ([0, 1, 2], [1, 1, 1])


def test_boxes_have_a_median_and_whiskers_from_5_to_95_per_cent():
    draw = torch.Generator().manual_seed(0)
    sizes = {"MNIST": {"MLP": 21, "CNN": 41}, "CIFAR": {"CNN": 61}}
    groups = {
        name: {label: torch.rand(n, generator=draw, dtype=torch.float64) for label, n in each.items()}
        for name, each in sizes.items()
    }
    axis = figures.ranges(groups, ylabel="H", level={"CIFAR": 2.0}).axes[0]
    places = {("MNIST", "MLP"): -0.175, ("MNIST", "CNN"): 0.175, ("CIFAR", "CNN"): 1.175}
    lines = [collection.get_segments()[0].tolist() for collection in axis.collections]
    for k, ((group, label), at) in enumerate(places.items()):
        values = groups[group][label].sort().values  # of 20 m + 1 values the quantiles are themselves values
        m = (len(values) - 1) // 20
        whisker, middle, bar = lines[2 * k], lines[2 * k + 1], axis.patches[k]
        assert np.ravel(whisker) == pytest.approx([at, float(values[m]), at, float(values[19 * m])])
        assert np.ravel(middle) == pytest.approx([at - 0.14, float(values[10 * m]), at + 0.14, float(values[10 * m])])
        assert (bar.get_x() + bar.get_width() / 2, bar.get_width()) == pytest.approx((at, 0.28))
        assert [bar.get_y(), bar.get_y() + bar.get_height()] == pytest.approx(
            [float(values[5 * m]), float(values[15 * m])]
        )
    assert np.ravel(lines[6]) == pytest.approx([0.55, 2, 1.45, 2])
    assert len(lines) == 7


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
    assert [segment[:, 0].tolist() for segment in axis.collections[1].get_segments()] == [[-0.2, 0.1]]
    rows = [[segment[:, 1].tolist() for segment in each.get_segments()] for each in axis.collections]
    assert rows == [[pytest.approx([at, at]) for at in each] for each in ([-0.11, 0.89], [1.11])]
    assert marks["all"].get_ydata() == pytest.approx([-0.11, 0.89])
    assert marks["within"].get_ydata() == pytest.approx([1.11])
    assert marks["within"].get_xdata() == pytest.approx([0.0])
    assert [set(line.get_xdata()) for line in axis.lines if line.get_label().startswith("_")] == [{0}]
    assert axis.yaxis_inverted()
