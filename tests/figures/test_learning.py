"""Weights, accuracies and gains: the numbers drawn against the data."""

import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from drawn import bars, by_label, halves, legend_of, panels, shaded
from spectral_lens import figures


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


@pytest.mark.parametrize(
    ("split", "stretches"),
    [(5, [(4.5, 10.5)]), ([3, 7], [(2.5, 6.5)]), ([9, 2, 4], [(1.5, 3.5), (8.5, 10.5)]), ([], [])],
)
def test_expansion(split, stretches):
    vectors = {name: torch.randn(11, dtype=torch.float64) for name in ("input", "coefficients", "output")}
    axes = panels(figures.expansion(vectors, split=split), 3)
    for axis, (title, values) in zip(axes, vectors.items(), strict=True):
        assert axis.get_title(loc="left") == title
        assert [bar.get_height() for bar in bars(axis)] == values.tolist()
        assert [bar.get_x() + bar.get_width() / 2 for bar in bars(axis)] == pytest.approx(range(11))
        assert shaded(axis) == stretches
        (zero,) = axis.lines
        assert list(zero.get_ydata()) == [0, 0]
        assert axis.get_xlim() == axes[0].get_xlim()
    assert [axis.get_xlabel() for axis in axes] == ["", "", "node"]


def normal(n, *, mean=0.0, sd=1.0):
    return mean + sd * torch.randn(n, dtype=torch.float64)


def test_weights_are_densities_of_all_of_them():
    sets = {"all weights": normal(301, sd=2).view(43, 7), "eigenvalues": normal(97)}
    sets["all weights"][0, 0] = 300.0  # far outside: not shown, but counted
    (axis,) = panels(figures.weights({"layer 2": sets}, xlabel="size", bins=13), 1)
    assert (axis.get_title(loc="left"), axis.get_xlabel()) == ("layer 2", "size")

    pooled = torch.cat([each.flatten() for each in sets.values()])
    low, high = (float(pooled.quantile(q)) for q in (0.005, 0.995))
    ends = low - 0.05 * (high - low), high + 0.05 * (high - low)
    assert axis.get_xlim() == pytest.approx(ends)
    width = (ends[1] - ends[0]) / 13
    for label, each in sets.items():
        line = by_label(axis)[label]
        assert line.get_drawstyle() == "steps-post"
        for k in range(13):
            start = ends[0] + k * width
            share = ((each >= start) & (each < start + width)).double().mean()
            x, y = line.get_data()
            assert y[np.isclose(x, start)].tolist() == pytest.approx([float(share) / width])
        assert to_hex(line.get_color()).upper() == figures.COLOURS[label]
    assert axis.get_ylim() == pytest.approx((0, 1.05 * max(y.max() for y in (li.get_ydata() for li in axis.lines))))


def test_weights_have_one_look_per_label_in_all_panels():
    labels = ["eigenvalues", "random subset", "all weights", "eigenvalues and eigenvectors", "none of these"]
    first = {label: normal(97) for label in labels}
    second = {label: normal(89) for label in reversed(labels[1:])}
    figure = figures.weights({"one": first, "two": second})
    left, right = panels(figure, 2)
    assert legend_of(figure) == labels
    assert len({line.get_linestyle() + str(line._dash_pattern) for line in left.lines}) == len(labels)
    for label in second:
        one, two = by_label(left)[label], by_label(right)[label]
        assert (one.get_color(), one._dash_pattern) == (two.get_color(), two._dash_pattern)


def peaks(axis):
    low, high = axis.get_xlim()
    return sorted(max(y for x, y in zip(*li.get_data(), strict=True) if low <= x < high) for li in axis.lines)


@pytest.mark.parametrize("at", [-1.5, 0.1, 1.4])
def test_a_spike_does_not_flatten_three_sets(at):
    sets = {"all weights": normal(1009), "eigenvalues": normal(907, sd=0.8), "random subset": normal(811)}
    sets["random subset"][:700] = at
    (axis,) = panels(figures.weights({"": sets}, bins=41), 1)
    *_, second, first = peaks(axis)
    assert first > 1.6 * second
    assert axis.get_ylim() == pytest.approx((0, 1.6 * second))
    (note,) = axis.texts
    assert note.get_text() == f"up to {first:.3g}"


def test_what_is_not_far_higher_is_shown_whole():
    calm = {"a": normal(1009), "b": normal(907, sd=0.9), "c": normal(811, sd=0.8)}
    spiky = {"a": normal(1009), "b": torch.full((5,), 0.25)}  # two only
    for sets in (calm, spiky):
        (axis,) = panels(figures.weights({"": sets}, bins=17), 1)
        assert axis.get_ylim() == pytest.approx((0, 1.05 * peaks(axis)[-1]))
        assert not axis.texts


def test_weights_that_are_all_the_same():
    (axis,) = panels(figures.weights({"": {"a": torch.ones(7), "b": torch.ones(3, 2), "c": torch.ones(5)}}, bins=3), 1)
    assert axis.get_xlim() == (0.5, 1.5)
    assert peaks(axis) == pytest.approx([3, 3, 3])


def test_free():
    def runs(r, points):
        return torch.rand(r, points, dtype=torch.float64)

    data = {
        "MNIST": {
            "eigenvalues": (torch.tensor([310, 910, 5000]), runs(3, 3)),
            "all weights": (torch.tensor([4000, 900_000]), runs(5, 2)),
        },
        "digits": {"all weights": (torch.tensor([700, 2500, 2900, 8000]), runs(7, 4))},
        "one run": {"random subset": (torch.tensor([20, 30]), runs(1, 2))},
    }
    figure = figures.free(data)
    axes = panels(figure, 3)
    assert legend_of(figure) == ["eigenvalues", "all weights", "random subset"]
    assert [axis.get_ylabel() for axis in axes] == ["test accuracy", "", ""]
    markers = {}
    for axis, (title, series) in zip(axes, data.items(), strict=True):
        assert axis.get_title(loc="left") == title
        assert axis.get_xscale() == "log"
        assert axis.get_xlabel() == "free parameters"
        for container, (label, (counts, values)) in zip(axis.containers, series.items(), strict=True):
            line = container.lines[0]
            assert container.get_label() == label
            assert line.get_xdata().tolist() == counts.tolist()
            assert line.get_ydata().tolist() == pytest.approx(values.mean(0).tolist())
            assert line.get_linestyle() == "-"
            sd = values.std(0) if len(values) > 1 else torch.zeros(2)
            assert halves(container) == pytest.approx(sd.tolist())
            assert to_hex(line.get_color()).upper() == figures.COLOURS[label]
            assert markers.setdefault(label, line.get_marker()) == line.get_marker()
    assert len(set(markers.values())) == 3


@pytest.mark.parametrize("largest", [105, 190, 350, 800, 1900, 2900, 9000, 11_000, 10**5, 10**7])
def test_free_parameters_can_be_read_off(largest):
    """At least two numbers on the axis, also in the narrowest panels."""
    counts = torch.tensor([100.0, largest])
    series = {"eigenvalues": (counts, torch.rand(3, 2))}
    for axis in panels(figures.free({"a": series, "b": series, "c": series}), 3):
        low, high = axis.get_xlim()
        assert sum(low <= at <= high for at in axis.get_xticks()) >= 2


# ---- gains

T = {3: 4.302653, 5: 2.776445}  # 97.5% quantile of Student's t with r - 1 degrees of freedom, from a printed table


@pytest.mark.parametrize("logx", [False, True])
def test_gains(logx):
    x = [10, 20, 40, 1000]
    series = {"eigenvalues": normal(20).view(5, 4), "random subset": normal(12).view(3, 4)}
    shown = {label: (x, values) for label, values in series.items()}
    figure = figures.gains(shown, xlabel="samples", ylabel="gain", logx=logx)
    (axis,) = panels(figure, 1)
    assert legend_of(figure) == list(series)
    assert axis.get_xscale() == ("log" if logx else "linear")
    zero = axis.lines[0]
    assert (list(zero.get_ydata()), zero.get_linestyle()) == ([0, 0], "-")

    places, looks = [], set()
    for container, (label, values) in zip(axis.containers, series.items(), strict=True):
        mean = container.lines[0]
        r = len(values)
        assert container.get_label() == label
        assert mean.get_ydata().tolist() == pytest.approx(values.mean(0).tolist())
        assert halves(container) == pytest.approx([T[r] * float(sd) / math.sqrt(r) for sd in values.std(0)], rel=1e-6)
        places.append(mean.get_xdata())
        looks.add((mean.get_marker(), mean.get_color()))
    assert len(looks) == 2
    middle = np.sqrt(places[0] * places[1]) if logx else (places[0] + places[1]) / 2
    assert middle.tolist() == pytest.approx(x)
    assert (places[0] < places[1]).all()
    assert (places[1][:-1] < places[0][1:]).all()

    clouds = [c for c in axis.collections if len(c.get_offsets()) > 1]
    for cloud, values, at in zip(clouds, series.values(), places, strict=True):
        across, up = cloud.get_offsets().T
        assert sorted(up.tolist()) == pytest.approx(sorted(values.flatten().tolist()))
        assert up.reshape(values.shape)[:, 2].tolist() == pytest.approx(values[:, 2].tolist())
        assert (np.abs(across.reshape(values.shape) - at) < np.abs(places[1] - places[0])).all()


@pytest.mark.parametrize("logx", [False, True])
def test_gains_at_one_place_and_of_one_run(logx):
    one = torch.tensor([3.0]), torch.tensor([[0.5]])
    figure = figures.gains({"a": one}, xlabel="x", ylabel="y", logx=logx)
    (axis,) = panels(figure, 1)
    assert axis.get_xticks().tolist() == [3]
    assert axis.get_xlim() == pytest.approx((3 / math.e, 3 * math.e) if logx else (2, 4))
    (container,) = axis.containers
    assert container.lines[0].get_ydata().tolist() == [0.5]
    assert not container.has_yerr


def test_gains_with_places_of_their_own():
    series = {"a": ([10, 40], normal(6).view(3, 2)), "b": ([40, 90, 200], normal(9).view(3, 3))}
    (axis,) = panels(figures.gains(series, xlabel="x", ylabel="y", logx=True), 1)
    first, second = (container.lines[0].get_xdata() for container in axis.containers)
    assert [round(math.log(place / at), 1) for place, at in zip(first, [10, 40], strict=True)] == [-0.1, -0.1]
    assert [round(math.log(place / at), 1) for place, at in zip(second, [40, 90, 200], strict=True)] == [0.1, 0.1, 0.1]


def test_many_long_labels_stay_inside():
    names = [f"a rather long name of series number {k}" for k in range(5)]
    figure = figures.gains({name: ([1, 2, 3], torch.randn(3, 3)) for name in names}, xlabel="x", ylabel="y")
    panels(figure, 1)
    assert legend_of(figure) == names
