"""What the figures show: the numbers in them against the data, computed by hand."""

import math

import pytest
import torch

from drawn import by_label, panels
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
