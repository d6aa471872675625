"""What the figures show: the numbers in them against the data, computed by hand."""

import math

import numpy as np
import pytest
import torch

from drawn import by_label, filled, panels
from spectral_lens import figures


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


def test_all_names_are_there():
    assert all(hasattr(figures, name) for name in figures.__all__)
    assert figures.__doc__.startswith("The look of all figures")


@pytest.mark.parametrize(("split", "borders"), [(3, [2.5]), ([3, 5], [2.5, 4.5]), ((6, 1, 4), [0.5, 3.5, 5.5])])
def test_matrices_are_parted_at_every_split(split, borders):
    first, second, bar = panels(figures.matrices({"A": torch.randn(7, 7), "B": torch.randn(7, 7)}, split=split), 3)
    for axis in (first, second):
        lines = [line.get_data() for line in axis.lines]
        assert [float(y[0]) for x, y in lines if x[0] != x[1]] == borders
        assert [float(x[0]) for x, y in lines if y[0] != y[1]] == borders
    assert not bar.images


@pytest.mark.parametrize(("points", "every"), [(1, None), (7, None), (20, None), (21, 0.06), (53, 0.06)])
def test_bands_mark_every_point_of_few(points, every):
    (axis,) = panels(figures.bands(range(1, points + 1), {"a": torch.randn(3, points)}, xlabel="x", ylabel="y"), 1)
    assert by_label(axis)["a"].get_markevery() == every


def test_bands_show_mean_and_deviation():
    values = torch.tensor([[1.0, 2.0, 4.0], [3.0, 2.0, 9.0]], dtype=torch.float64)
    (axis,) = panels(figures.bands([1, 10, 100], {"a": values}, xlabel="x", ylabel="y", logx=True), 1)
    assert by_label(axis)["a"].get_ydata().tolist() == [2.0, 2.0, 6.5]
    (band,) = axis.collections
    low, high = band.get_datalim(axis.transData).intervaly
    assert (low, high) == pytest.approx((2 - math.sqrt(2), 6.5 + 2.5 * math.sqrt(2)))
    assert axis.get_xscale() == "log"
    assert axis.get_xticks().tolist() == [1, 10, 100]


def test_matrices_share_one_scale_with_zero_in_its_middle():
    values = {"A": torch.randn(5, 5), "B": -4 - torch.rand(5, 5)}
    *axes, _ = panels(figures.matrices(values, split=2), 3)
    limit = -float(values["B"].min())
    for axis, each in zip(axes, values.values(), strict=True):
        (image,) = axis.images
        assert image.get_clim() == pytest.approx((-limit, limit))
        np.testing.assert_array_equal(image.get_array(), each)


@pytest.mark.parametrize("log", [False, True])
def test_curves_have_their_points_and_a_prediction_its_dots(log):
    x = torch.linspace(1, 3, 9, dtype=torch.float64)
    series = {"a": x**2, "b": 1 / x}
    points = {"a": (x[4], x[4] ** 2), "b": (x[2], torch.tensor(0.7))}
    (axis,) = panels(figures.curves(x, series, points=points, xlabel="s", ylabel="price", log=log), 1)
    for line, dot, (label, values) in zip(axis.lines[::2], axis.lines[1::2], series.items(), strict=True):
        assert line.get_label() == label
        assert line.get_xdata().tolist() == x.tolist()
        assert line.get_ydata().tolist() == values.tolist()
        assert [*dot.get_xdata(), *dot.get_ydata()] == pytest.approx([float(each) for each in points[label]])
        assert dot.get_color() == line.get_color()
    assert (axis.get_xscale(), axis.get_yscale()) == (("log",) * 2 if log else ("linear",) * 2)
    (axis,) = panels(figures.predicted(x, x**2 + 0.1, x**2, xlabel="x", ylabel="y"), 1)
    for label, values in (("predicted", x**2), ("measured", x**2 + 0.1)):
        assert by_label(axis)[label].get_xdata().tolist() == x.tolist()
        assert by_label(axis)[label].get_ydata().tolist() == values.tolist()
    assert by_label(axis)["measured"].get_linestyle() == "None"


def test_bands_of_one_run_have_no_width_and_those_of_more_a_deviation_on_each_side():
    series = {"many": torch.rand(5, 4, dtype=torch.float64), "one": torch.rand(1, 4, dtype=torch.float64)}
    (axis,) = panels(figures.bands([1, 3, 4, 9], series, xlabel="x", ylabel="y"), 1)
    for band, values in zip(axis.collections, series.values(), strict=True):
        sd = values.std(0) if len(values) > 1 else 0
        low, high = filled(band)
        assert low == pytest.approx((values.mean(0) - sd).tolist())
        assert high == pytest.approx((values.mean(0) + sd).tolist())


def test_bands_may_have_a_level_and_marks():
    look = {"marks": {"here": 2.5}, "level": (0.5, 0.125, "all of them"), "logy": True, "xlabel": "x", "ylabel": "y"}
    (axis,) = panels(figures.bands([1, 2, 4], {"a": torch.rand(5, 3) + 0.1}, **look), 1)
    assert set(by_label(axis)["all of them"].get_ydata()) == {0.5}
    (span,) = axis.patches
    assert (span.get_y(), span.get_height()) == pytest.approx((0.375, 0.25))
    assert [set(line.get_xdata()) for line in axis.lines if line.get_linestyle() == ":"] == [{2.5}]
    assert [(text.get_text(), text.xy[0]) for text in axis.texts] == [("here", 2.5)]
    assert axis.get_yscale() == "log"


def test_a_histogram_counts_the_inputs_of_a_run():
    scores = {"L1": torch.rand(3, 43, dtype=torch.float64), "L2": torch.rand(5, 41, dtype=torch.float64)}
    scores["L1"][:, 5], scores["L1"][1, :9] = 1.0, 0.0  # the ends belong to the outermost bins
    axes = panels(figures.histogram(scores), 2)
    for axis, values in zip(axes, scores.values(), strict=True):
        heights, edges, _ = axis.patches[0].get_data()
        assert edges.tolist() == pytest.approx([k / 40 for k in range(41)])
        bins = (40 * values).floor().clamp(max=39)
        assert heights.tolist() == pytest.approx([float((bins == k).sum()) / len(values) for k in range(40)])
        assert heights.sum() == pytest.approx(values.shape[1])
        assert axis.get_yscale() == "log"
    assert [axis.get_ylabel() for axis in axes] == ["inputs per run", ""]


def test_the_dashed_line_is_the_best_proportionality():
    truth = {"L1": torch.rand(3, 7, dtype=torch.float64), "L2": 4 * torch.rand(5, 6, dtype=torch.float64)}
    shown = {label: (each, 0.3 * each + 0.1 * torch.rand(each.shape).double()) for label, each in truth.items()}
    axes = panels(figures.against(shown, xlabel="distance"), 2)
    for axis, (x, y) in zip(axes, shown.values(), strict=True):
        dots = axis.collections[0].get_offsets()
        np.testing.assert_allclose(dots, torch.stack([x.flatten(), y.flatten()], 1))
        (slope,) = np.linalg.lstsq(x.numpy().reshape(-1, 1), y.numpy().ravel())[0]
        (line,) = axis.lines
        assert line.get_xdata() == pytest.approx([0, float(x.max())])
        assert line.get_ydata() == pytest.approx([0, slope * float(x.max())])
