"""Inputs laid out as images: which are shown and where they stand."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from drawn import panels, steps
from spectral_lens import figures


def test_examples_take_the_classes_in_turn():
    y = torch.tensor([2, 0, 0, 1, 2, 1, 0, 1])
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 2, 3, 5)  # an image's number in both channels
    found = figures.examples(x, y, 7)
    assert found.shape == (7, 3, 5)
    assert (found / 2)[:, 0, 0].tolist() == [1, 3, 0, 2, 5, 4, 6]
    with pytest.raises(ValueError, match=r"\[3, 3, 2\] images of the classes are too few to show 9"):
        figures.examples(x, y, 9)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


def areas(patches):
    """Area under each outline of a histogram."""
    found = []
    for patch in patches:
        x, y = patch.get_xy().T
        found.append(abs(float(np.sum((x[1:] - x[:-1]) * (y[1:] + y[:-1]) / 2))))
    return found


def test_distributions_have_a_panel_for_each_name_and_a_density_for_each_class():
    x, y = torch.randn(40, 7), torch.arange(40) % 2
    figure = figures.distributions(x, y, names=[f"x{k}" for k in range(7)], columns=3, bins=11)
    axes = panels(figure, 9)
    assert [axis.get_title(loc="left") for axis in axes[:7]] == [f"x{k}" for k in range(7)]
    assert [axis.axison for axis in axes] == [True] * 7 + [False] * 2
    filled = [patch for patch in axes[0].patches if patch.get_fill()]
    assert areas(filled) == pytest.approx([1, 1])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["class 0", "class 1"]


def test_each_density_is_that_of_its_input_in_its_class():
    x, y = torch.randn(50, 4, dtype=torch.float64), torch.arange(50) % 3 % 2
    x[y == 1] += torch.arange(4)
    axes = panels(figures.distributions(x, y, names=["a", "b", "c", "d"], columns=2, bins=9), 4)
    edges = np.linspace(float(x.min()), float(x.max()), 9)
    for k, axis in enumerate(axes):
        for fill in (True, False):
            outlines = [patch for patch in axis.patches if patch.get_fill() == fill]
            for c, outline in enumerate(outlines):
                expected, _ = np.histogram(x[y == c, k], edges, density=True)
                assert steps(outline, edges) == pytest.approx(expected.tolist())
            assert len(outlines) == 2


def test_a_pair_shows_each_input_and_both():
    x, y = torch.randn(1000, 4, dtype=torch.float64), torch.arange(1000) % 2
    x[:, 1] *= 3
    left, middle, right = panels(figures.pair(x, y, first=3, second=1), 3)
    assert [left.get_xlabel(), middle.get_xlabel()] == ["input 3", "input 1"]
    assert [right.get_xlabel(), right.get_ylabel()] == ["input 3", "input 1"]
    for axis, k in ((left, 3), (middle, 1)):
        for c, outline in enumerate(axis.patches):
            expected, edges = np.histogram(x[y == c, k], 50, density=True)
            assert steps(outline, edges) == pytest.approx(expected.tolist())
    for c, cloud in enumerate(right.collections):
        rows = torch.arange(c, 800, 2)  # the first 400 of each class
        assert torch.equal(torch.tensor(np.asarray(cloud.get_offsets())), x[rows][:, [3, 1]])


def test_eigenvalues_are_means_with_deviations_and_irrelevant_inputs_are_shaded():
    scores = {"L1": torch.rand(5, 6, dtype=torch.float64), "L2": torch.rand(3, 6, dtype=torch.float64)}
    relevant = torch.tensor([True, False, True, True, False, True])
    (axis,) = panels(figures.eigenvalues(scores, relevant=relevant), 1)
    for aside, container, (label, values) in zip((-0.08, 0.08), axis.containers, scores.items(), strict=True):
        assert container.lines[0].get_xdata().tolist() == pytest.approx([i + aside for i in range(6)])
        assert container.lines[0].get_ydata().tolist() == pytest.approx(values.mean(0).tolist())
        (bars,) = container.lines[2]
        lengths = [float(end[1] - start[1]) / 2 for start, end in bars.get_segments()]
        assert lengths == pytest.approx(values.std(0).tolist())
        assert to_hex(container.lines[0].get_color()).upper() == figures.COLOURS[label]
    assert [(p.get_x(), p.get_x() + p.get_width()) for p in axis.patches] == [(0.5, 1.5), (3.5, 4.5)]


@pytest.mark.parametrize("make", [torch.tensor, np.array])
def test_eigenvalues_carry_the_names_of_their_inputs(make):
    scores = {"a selector's": make([[1.0, 0.5, 0.0], [0.5, 0.5, 1.0]])}
    figure = figures.eigenvalues(scores, names=np.array(["mean radius", "texture", "x"]))
    (axis,) = panels(figure, 1)
    figure.canvas.draw()
    assert axis.get_xticks().tolist() == [0, 1, 2]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["mean radius", "texture", "x"]
    assert {label.get_rotation() for label in axis.get_xticklabels()} == {90}
    assert axis.containers[0].lines[0].get_ydata().tolist() == [0.75, 0.5, 0.5]


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ({"a": torch.rand(7)}, {}, r"the scores of 'a' are \(7,\): give \(runs, inputs\)"),
        ({"a": torch.rand(2, 7), "b": np.zeros(7)}, {}, "the scores of 'b'"),
        ({"a": torch.rand(2, 7), "b": torch.rand(2, 6)}, {}, r"the same inputs, found \[6, 7\]"),
        ({}, {}, "the same inputs"),
        ({"a": torch.rand(2, 7)}, {"names": ["x"] * 6}, "6 names for 7 inputs"),
        ({"a": torch.rand(2, 7)}, {"relevant": torch.ones(6, dtype=torch.bool)}, "relevant is"),
    ],
)
def test_eigenvalues_of_something_else(scores, options, message):
    with pytest.raises(ValueError, match=message):
        figures.eigenvalues(scores, **options)


def test_maps_share_one_scale():
    maps = {"a": torch.rand(3, 4), "b": 0.1 * torch.rand(3, 4)}
    *axes, _ = panels(figures.maps(maps), 3)
    for axis, (title, values) in zip(axes, maps.items(), strict=True):
        (image,) = axis.images
        assert axis.get_title(loc="left") == title
        assert image.get_clim() == (0, 1)
        assert np.array_equal(image.get_array(), values.numpy())


def test_masked_images_mark_ink_and_background_of_what_is_kept():
    images = torch.zeros(2, 3, 4)
    images[0, 1, 2], images[1, 0, 0] = 0.3, 1  # ink begins at a quarter
    images[1, 1, 2] = 0.2
    kept = torch.zeros(3, 4, dtype=torch.bool)
    kept[1, 2] = kept[2, 3] = True
    axes = panels(figures.masked(images, kept), 4)
    marked = [[np.asarray(cloud.get_offsets()).tolist() for cloud in axis.collections] for axis in axes[2:]]
    assert marked == [[[[3, 2]], [[2, 1]]], [[[2, 1], [3, 2]], []]]  # background, then ink, each (column, row)


def test_a_grid_adds_the_channels():
    values = torch.arange(24.0)
    assert torch.equal(figures.grid(values[:12], (3, 4)), values[:12].view(3, 4))
    expected = [[sum(4 * 3 * c + 4 * row + column for c in range(2)) for column in range(4)] for row in range(3)]
    assert figures.grid(values, (2, 3, 4)).tolist() == expected


def test_the_top_inputs_are_where_the_ranking_begins():
    order = torch.tensor([7, 2, 11, 0, 1, 3, 4, 5, 6, 8, 9, 10])
    places = figures.top(order, 2, (3, 4)).nonzero().tolist()
    assert places == [[0, 2], [1, 3]]
    assert figures.top(order, 3, (2, 2, 3)).nonzero().tolist() == [[0, 1], [0, 2], [1, 2]]
