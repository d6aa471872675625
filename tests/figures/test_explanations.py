"""Figures of explanations: what they show against the numbers."""

import numpy as np
import pytest
import torch
from scipy.stats import binom

from drawn import filled
from spectral_lens.figures import explanations


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


def pictures(figure):
    return [[image.get_array() for image in axis.images] for axis in figure.axes]


def test_each_row_of_heat_maps_has_one_scale_and_zero_in_its_middle():
    rows = {"a": torch.randn(3, 4, 5), "b": 10 * torch.randn(3, 4, 5)}
    figure = explanations.heat_maps(rows, ["x", "y", "z"])
    for axes, maps in zip((figure.axes[:3], figure.axes[3:]), rows.values(), strict=True):
        for axis, values in zip(axes, maps, strict=True):
            (image,) = axis.images
            assert image.get_clim() == pytest.approx((-float(maps.abs().max()), float(maps.abs().max())))
            np.testing.assert_array_equal(image.get_array(), values)


def test_each_heat_map_may_have_its_own_scale():
    maps = torch.stack([torch.ones(2, 3), 7 * torch.ones(2, 3)])
    figure = explanations.heat_maps({"a": maps}, ["x", "y"], each=True)
    assert [axis.images[0].get_clim()[1] for axis in figure.axes] == [1, 7]


def test_an_empty_heat_map_is_white():
    (axis,) = explanations.heat_maps({"a": torch.zeros(1, 2, 3)}, ["x"]).axes
    assert axis.images[0].get_clim() == (-1, 1)


def test_channels_of_heat_maps_are_added_and_images_come_first():
    maps, images = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    figure = explanations.heat_maps({"a": maps}, ["x", "y"], images=images)
    shown = pictures(figure)
    np.testing.assert_array_equal(shown[0][0], images[0].permute(1, 2, 0))
    torch.testing.assert_close(torch.as_tensor(shown[3][0]), maps[1].sum(0))


@pytest.mark.parametrize("size", [1, 2])
def test_explanations_become_pictures_of_added_squares(size):
    values = torch.randn(2, 3 * 4 * 6)
    found = explanations.pooled(values, (3, 4, 6), size=size)
    assert found.shape == (2, 4 // size, 6 // size)
    planes = values.view(2, 3, 4, 6)
    for i in range(4 // size):
        for j in range(6 // size):
            square = planes[:, :, i * size : (i + 1) * size, j * size : (j + 1) * size]
            torch.testing.assert_close(found[:, i, j], square.sum((1, 2, 3)))


def test_spectra_are_relative_to_the_largest():
    values = torch.tensor([[4.0, 2.0, 1.0], [8.0, 4.0, 4.0], [2.0, 1.0, 0.0]])
    (axis,) = explanations.spectra({"a": values}).axes
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [1, 0.5, 0.25])
    assert axis.lines[0].get_xdata().tolist() == [1, 2, 3]


def test_spectra_show_the_middle_half_of_the_samples():
    values = torch.rand(5, 4, dtype=torch.float64).sort(1, descending=True).values
    (axis,) = explanations.spectra({"a": values}).axes
    low, high = filled(axis.collections[0])
    relative = (values / values[:, :1]).sort(0).values  # of five, the second and the fourth
    assert low == pytest.approx(relative[1].tolist())
    assert high == pytest.approx(relative[3].tolist())


def test_medians_have_the_same_interval_each_time_and_it_holds_the_median():
    values = torch.rand(40, 3)
    once, again = (explanations.medians([0, 1, 2], {"m": {"a": values}}, xlabel="x", columns=1) for _ in range(2))
    for figure in (once, again):
        np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), np.median(values.numpy(), axis=0))
    one, two = (figure.axes[0].collections[0].get_paths()[0].vertices for figure in (once, again))
    np.testing.assert_array_equal(one, two)
    low, high = one[:, 1].min(), one[:, 1].max()
    assert low <= float(values.median(0).values.min()) <= float(values.median(0).values.max()) <= high


def test_the_interval_holds_95_of_100_medians_of_new_draws():
    """A new draw's median is at most the k-th of n values where n/2 or more of Bin(n, k/n) are among the first k."""
    n, rank = 401, torch.randperm(401).double()
    values = torch.stack([rank, 5 - 3 * rank], 1)
    (axis,) = explanations.medians([0, 1], {"m": {"a": values}}, xlabel="x", columns=1).axes
    at_most = binom.sf(n // 2, n, np.arange(1, n + 1) / n)
    expected = [float(np.searchsorted(at_most, level)) for level in (0.025, 0.975)]  # about 200 - 20 and 200 + 20
    (first, second), (high, top) = filled(axis.collections[0])
    assert [first, high] == pytest.approx(expected, abs=2)  # 90 of 100: 3 less on each side
    assert (second, top) == pytest.approx((5 - 3 * high, 5 - 3 * first))  # the same draws for every column
    assert axis.lines[0].get_ydata().tolist() == [200, -595]


def test_another_seed_draws_another_interval_of_the_same_medians():
    values = torch.rand(40, 3, generator=torch.Generator().manual_seed(0))
    one, two = (
        explanations.medians([0, 1, 2], {"m": {"a": values}}, xlabel="x", columns=1, seed=seed).axes[0]
        for seed in (0, 8)
    )
    np.testing.assert_array_equal(one.lines[0].get_ydata(), two.lines[0].get_ydata())
    drawn, other = (axis.collections[0].get_paths()[0].vertices for axis in (one, two))
    assert not np.array_equal(drawn, other)
    np.testing.assert_allclose(drawn, other, atol=0.2)


def test_an_axis_over_decades_shows_zero_too():
    figure = explanations.medians([0, 0.01, 0.1, 1, 10], {"m": {"a": torch.rand(9, 5)}}, xlabel="x", columns=1)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0", "0.01", "0.1", "1", "10"]


@pytest.mark.parametrize(
    ("scale", "shown"), [(torch.tensor([1.0, 2.0, 9.0]), "5"), (10.0 ** torch.arange(-6, 3, 4), "")]
)
def test_a_logarithmic_panel_has_plain_numbers_where_it_has_few_decades(scale, shown):
    values = scale.expand(7, 3)
    figure = explanations.medians([0, 1, 2], {"m": {"a": values}}, xlabel="x", logy=["m"], columns=1)
    assert figure.axes[0].get_yscale() == "log"
    texts = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert (shown in texts) if shown else all("mathdefault" in text for text in texts)


def test_levels_are_lines_at_their_median():
    level = {"m": {"plain": torch.tensor([1.0, 2.0, 9.0])}}
    figure = explanations.medians([0, 1], {"m": {"a": torch.rand(5, 2)}}, xlabel="x", levels=level, columns=1)
    assert set(figure.axes[0].lines[-1].get_ydata()) == {2.0}


def test_agreement_writes_each_number():
    table = torch.tensor([[1.0, -0.25], [0.5, 1.0]])
    figure = explanations.agreement({"t": table}, ["a", "b"])
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == ["1.00", "-0.25", "0.50", "1.00"]
    assert axis.collections[0].get_clim() == (-1, 1)
    assert np.asarray(axis.collections[0].get_array()).ravel().tolist() == [1, -0.25, 0.5, 1]
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"]


def test_maps_of_images_stand_below_them():
    x, maps = 3 * torch.rand(5, 1, 3, 4) - 1, {"a": torch.randn(5, 12), "b": torch.randn(5, 12)}
    figure = explanations.of_samples(x, maps, list("vwxyz"), shown=3)
    light, *rows = np.reshape([axis.images[0].get_array() for axis in figure.axes], (3, 3, 3, 4))
    np.testing.assert_allclose(light, ((x - x.min()) / (x.max() - x.min()))[:3, 0], atol=1e-6)
    for found, expected in zip(rows, maps.values(), strict=True):
        np.testing.assert_allclose(found, expected[:3].unflatten(1, (3, 4)), atol=1e-6)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["v", "w", "x"]
    one = {name: each[:1] for name, each in maps.items()}
    assert explanations.of_samples(x[:1], one, ["v"], shown=3).get_figheight() <= 12


def test_maps_of_many_channels_stand_alone_and_an_even_image_is_dark():
    maps = {"a": torch.randn(2, 24)}
    assert len(explanations.of_samples(torch.rand(2, 2, 3, 4), maps, ["v", "w"], shown=2).axes) == 2
    even = explanations.of_samples(torch.ones(2, 1, 6, 4), maps, ["v", "w"], shown=2)
    assert not np.any(even.axes[0].images[0].get_array())


def test_maps_of_rows_are_sizes_over_the_largest_of_each_sample():
    x, maps = torch.rand(4, 6), {"a": torch.randn(4, 6), "none": torch.zeros(4, 6)}
    (axis,) = explanations.of_samples(x, maps, list("wxyz"), shown=2).axes
    sizes = maps["a"].abs() / maps["a"].abs().amax(1, keepdim=True)
    drawn = {bars.get_label(): bars[0].get_ydata() for bars in axis.containers}
    np.testing.assert_allclose(drawn["a"], sizes.mean(0), atol=1e-6)
    np.testing.assert_array_equal(drawn["none"], np.zeros(6))
