"""The contest of methods shows what it is given."""

import numpy as np
import pytest
import torch

from drawn import halves, panels
from spectral_lens import intervals
from spectral_lens.figures import selection as figures


def test_a_contest_has_a_panel_for_each_set_and_a_mark_for_each_method():
    counts = {"digits": [3, 6], "stars": [2, 4, 8]}
    results = {
        name: {method: torch.rand(5, len(each)) + 0.1 for method in ("spectral", "random", "other")}
        for name, each in counts.items()
    }
    drawn = figures.contest(counts, results, ylabels={"digits": "accuracy", "stars": "error"})
    for axis, (name, methods) in zip(drawn.axes, results.items(), strict=True):
        assert axis.get_title("left") == name
        assert [text.get_text() for text in axis.get_xticklabels()] == [str(count) for count in counts[name]]
        assert axis.get_yscale() == ("log" if name == "stars" else "linear")
        for container, values in zip(axis.containers, methods.values(), strict=True):
            line = container.lines[0]
            assert line.get_ydata() == pytest.approx(values.mean(0).tolist())
            assert halves(container) == pytest.approx(values.std(0).tolist(), rel=1e-5)
        places = np.stack([container.lines[0].get_xdata() for container in axis.containers])
        assert places == pytest.approx(np.arange(len(counts[name])) + 0.7 / 3 * np.array([[-1], [0], [1]]))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["spectral", "random", "other"]


def test_shares_stand_with_their_intervals_in_a_row_for_each_method():
    share, low, high = np.array([[0.0, 0.25, 1.0], [0.0, 0.125, 0.5], [0.5, 0.5, 1.0]])
    drawn = figures.shares(
        {
            "spectral": np.stack([share, low, high]),
            "LASSO": torch.full((3, 3), 0.5),
        },
        names=["mass", "age", "distance"],
        ylabel="share of the folds",
    )
    above, below = panels(drawn, 2)
    assert [axis.get_title("left") for axis in (above, below)] == ["spectral", "LASSO"]
    assert [text.get_text() for text in below.get_xticklabels()] == ["mass", "age", "distance"]
    line, _, (bars,) = above.containers[0].lines
    assert line.get_ydata().tolist() == share.tolist()
    assert [[low, high] for (_, low), (_, high) in bars.get_segments()] == [[0, 0.5], [0.125, 0.5], [0.5, 1]]
    assert below.get_ylabel() == "share of the folds"
    assert below.containers[0].lines[0].get_ydata().tolist() == [0.5] * 3


def test_shares_need_a_name_for_each_input():
    with pytest.raises(ValueError, match=r"shares \(3, 4\) for 2 names"):
        figures.shares({"LASSO": np.ones((3, 4))}, names=["a", "b"], ylabel="")


def test_steadiness_stands_with_its_interval_in_a_panel_for_each_set():
    found = {
        "digits": {"spectral": intervals.Interval(0.5, 0.25, 0.625), "LASSO": intervals.Interval(1.0, 1.0, 1.0)},
        "stars": {"spectral": intervals.Interval(0.0, -0.125, 0.125), "LASSO": intervals.Interval(0.75, 0.5, 1.0)},
    }
    drawn = figures.steadiness(found, xlabel="steadiness")
    for axis, (name, methods) in zip(panels(drawn, 2), found.items(), strict=True):
        assert axis.get_title("left") == name
        for k, (container, (value, low, high)) in enumerate(zip(axis.containers, methods.values(), strict=True)):
            line, _, (bar,) = container.lines
            assert line.get_xydata().tolist() == [[value, k]]
            assert bar.get_segments()[0].tolist() == [[low, k], [high, k]]
    left, right = drawn.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["spectral", "LASSO"]
    assert left.yaxis_inverted()
    assert right.get_xlabel() == "steadiness"


def test_control_shows_means_with_intervals_beside_what_is_allowed():
    draw = torch.Generator().manual_seed(0)
    found = {method: tuple(torch.rand(5, 3, generator=draw) for _ in range(2)) for method in ("spectral", "LASSO")}
    drawn = figures.control([0.05, 0.1, 0.2], found)
    for side, axis in enumerate(panels(drawn, 2)):
        assert [text.get_text() for text in axis.get_xticklabels()] == ["0.05", "0.1", "0.2"]
        for k, (container, pair) in enumerate(zip(axis.containers, found.values(), strict=True)):
            mean, low, high = intervals.of_mean(pair[side].numpy())
            line, _, (bars,) = container.lines
            assert line.get_ydata() == pytest.approx(mean)
            assert line.get_xdata() == pytest.approx(np.arange(3) + (-0.15, 0.15)[k])
            ends = np.array([[segment[0][1], segment[1][1]] for segment in bars.get_segments()])
            assert ends == pytest.approx(np.stack([low, high], 1))
    allowed = [line for line in drawn.axes[0].lines if len(line.get_xdata()) == 2]
    assert [line.get_ydata().tolist() for line in allowed] == [[share, share] for share in (0.05, 0.1, 0.2)]
    assert [line.get_xdata().mean() for line in allowed] == [0, 1, 2]
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["spectral", "LASSO"]
