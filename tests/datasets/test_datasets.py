"""The common form of all data sets, and the sets of images."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from IPython.core.formatters import format_display_data
from IPython.core.interactiveshell import InteractiveShell

from spectral_lens.datasets import DataSet, fingerprint


def make(n=13, shape=(3, 2, 5), classes=4, runs=None, seed=3, **changes) -> DataSet:
    g = torch.Generator().manual_seed(seed)
    lead = (n,) if runs is None else (runs, n)
    parts = {
        "name": "toy",
        "x": torch.randn(*lead, *shape, generator=g),
        "y": (torch.arange(n) % classes).expand(lead).clone(),
        "inputs": tuple(f"i{k}" for k in range(int(np.prod(shape)))),
        "unit": "m",
        "edition": "complete",
        "sha256": "ab" * 32,
        "provenance": "Made for a test",
        "runs": runs,
    }
    return DataSet(**(parts | changes))


def test_sizes_and_defaults():
    one, many = make(), make(runs=7, labels=("a", "b", "c", "d", "e"))
    assert (one.samples, one.dim, one.classes, one.labels, dict(one.truth)) == (13, 30, 4, ("0", "1", "2", "3"), {})
    assert (many.samples, many.dim, many.classes, many.runs) == (13, 30, 5, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ("a",)}, "1 names for 30 inputs"),
        ({"y": torch.zeros(12, dtype=torch.int64)}, "shapes"),
        ({"y": torch.zeros(13)}, "needs `quantity`"),
        ({"y": torch.zeros(13), "quantity": "length, m", "labels": ("a",)}, "needs both"),
        ({"quantity": "length, m"}, "needs `quantity`"),
        ({"y": torch.zeros(13, dtype=torch.int32)}, "int64 or floating"),
        ({"y": torch.full((13,), torch.nan), "quantity": "length, m"}, "y holds NaN"),
        ({"x": torch.zeros(13, 30, dtype=torch.int32)}, "floating"),
        ({"x": torch.zeros(13)}, "shapes"),
        ({"x": torch.zeros(0, 30), "y": torch.zeros(0, dtype=torch.int64)}, "empty"),
        ({"y": torch.full((13,), -1)}, "classes must be"),
        ({"labels": ("a", "b", "c")}, "classes must be 0 ... 2, found 0 ... 3"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_quantity_takes_the_place_of_classes():
    data = make(y=torch.linspace(-1, 1, 13), quantity="length, m")
    assert (data.classes, data.labels, data.quantity) == (0, (), "length, m")
    assert "30 inputs, length, m" in repr(data)
    assert data.to(dtype=torch.float64).y.dtype == torch.float64
    first, second = data.split(0.5)
    assert torch.cat([first.y, second.y]).sort().values.tolist() == data.y.tolist()
    with pytest.raises(ValueError, match="no classes to select"):
        data.select([0])


def test_wrong_number_of_runs_is_refused():
    with pytest.raises(ValueError, match="5 runs are announced, but x holds 7"):
        dataclasses.replace(make(runs=7), runs=5)
    with pytest.raises(ValueError, match=r"\(r, n, \*d\) and \(r, n\)"):
        dataclasses.replace(make(), runs=13)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_values_that_are_not_finite_are_refused(bad, dtype):
    x = torch.zeros(13, 3, 2, 5, dtype=dtype)
    make(x=x)
    x[11, 2, 1, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        make(x=x)


def test_sets_cannot_be_changed():
    truth = {"p": torch.ones(30)}
    data = make(truth=truth)
    truth["q"] = torch.ones(1)
    assert set(data.truth) == {"p"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"
    with pytest.raises(TypeError):
        data.truth["q"] = torch.ones(1)


def test_to_changes_values_and_truth_but_not_classes():
    data = make(truth={"p": torch.ones(30)}).to("cpu", torch.float64)
    assert (data.x.dtype, data.truth["p"].dtype, data.y.dtype) == (torch.float64, torch.float64, torch.int64)
    with pytest.raises(ValueError, match="no floating type"):
        data.to(dtype=torch.int32)


@pytest.mark.parametrize("runs", [None, 3])
def test_flat_follows_the_order_of_the_names(runs):
    data = make(runs=runs)
    flat = data.flat()
    assert flat.x.shape == (*data.y.shape, 30)
    assert torch.equal(flat.x[..., 2 * 10 + 1 * 5 + 4], data.x[..., 2, 1, 4])


@pytest.mark.parametrize("runs", [None, 3])
def test_take_and_split_share_out_the_samples(runs):
    data = make(n=23, runs=runs)
    assert torch.equal(data.take(5).x, data.x[:5] if runs is None else data.x[:, :5])
    first, second = data.split(0.7, seed=5)
    assert (first.samples, second.samples) == (16, 7)
    along = data.y.ndim - 1

    def rows(part):  # samples, with their classes, in an order of their own
        return sorted(zip(part.x.sum((-3, -2, -1)).flatten().tolist(), part.y.flatten().tolist(), strict=True))

    both = dataclasses.replace(data, x=torch.cat([first.x, second.x], along), y=torch.cat([first.y, second.y], along))
    assert rows(both) == rows(data)
    assert not torch.equal(both.x, data.x)
    assert torch.equal(data.split(0.7, seed=5)[0].x, first.x)
    assert not torch.equal(data.split(0.7, seed=6)[0].x, first.x)
    assert "70% of the samples, drawn with seed 5" in first.provenance
    assert first.sha256 == data.sha256


@pytest.mark.parametrize(("fraction", "count"), [(0.65, 15), (0.62, 14), (0.3, 7)])  # of 23: 14.95, 14.26 and 6.9
def test_a_fraction_is_rounded_to_samples(fraction, count):
    data = make(n=23)
    first, second = data.split(fraction)
    assert (first.samples, second.samples) == (count, 23 - count)
    assert data.parts(fraction, seeds=(1, 2)).samples == count
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([first.x, second.x]), data.x[order])
    assert torch.equal(torch.cat([first.y, second.y]), data.y[order])


@pytest.mark.parametrize("fraction", [0.0, 1.0, 0.01, 0.99, -0.5, 1.5])
def test_split_leaves_no_part_empty(fraction):
    with pytest.raises(ValueError, match="leaves one part empty"):
        make().split(fraction)


@pytest.mark.parametrize("n", [0, 14, -1])
def test_take_needs_as_many_samples(n):
    with pytest.raises(ValueError, match="has 13 samples"):
        make().take(n)


def test_select_relabels_in_the_order_given():
    data = make(n=13, classes=4, labels=("north", "east", "south", "west"))
    part = data.select([3, 1])
    rows = [i for i in range(13) if i % 4 in (3, 1)]
    assert torch.equal(part.x, torch.stack([data.x[i] for i in rows]))
    assert part.y.tolist() == [{3: 0, 1: 1}[i % 4] for i in rows]
    assert (part.labels, part.classes) == (("west", "east"), 2)
    assert part.provenance.endswith("classes west and east only")
    assert (part.sha256, part.edition) == (data.sha256, data.edition)


def test_select_works_for_each_run_and_needs_equal_numbers():
    data = make(runs=3)
    part = data.select([2, 0])
    for r in range(3):
        alone = data.run(r).select([2, 0])
        assert torch.equal(part.x[r], alone.x)
        assert torch.equal(part.y[r], alone.y)
    y = data.y.clone()
    y[1, 0] = 1
    with pytest.raises(ValueError, match="the runs hold"):
        dataclasses.replace(data, y=y).select([0, 2])


@pytest.mark.parametrize("classes", [[], [1, 1], [7], [-1, 0]])
def test_select_names_what_is_there(classes):
    with pytest.raises(ValueError, match=r"has the classes \[0, 1, 2, 3\]"):
        make().select(classes)


def test_run_gives_one_run_with_its_truth():
    data = make(runs=3, truth={"distance": torch.arange(90.0).reshape(3, 30), "p": torch.ones(30)})
    one = data.run(2)
    assert one.runs is None
    assert torch.equal(one.x, data.x[2])
    assert torch.equal(one.truth["distance"], torch.arange(60.0, 90.0))
    assert torch.equal(one.truth["p"], torch.ones(30))
    assert make().run(4).runs is None
    with pytest.raises(ValueError, match=r"runs 0 ... 2, not 3"):
        data.run(3)


def test_per_run_puts_a_run_axis_in_front_without_a_copy():
    shared, own = make(), make(runs=3)
    x, y = shared.per_run(4)
    assert (x.shape, y.shape) == ((4, *shared.x.shape), (4, *shared.y.shape))
    for r in range(4):
        assert torch.equal(x[r], shared.x)
        assert torch.equal(y[r], shared.y)
    assert (x.data_ptr(), y.data_ptr()) == (shared.x.data_ptr(), shared.y.data_ptr())
    x, y = own.per_run(3)
    assert x is own.x
    assert y is own.y
    with pytest.raises(ValueError, match="toy holds one set for each of 3 runs, but there are 4 runs"):
        own.per_run(4)


def test_fingerprint_is_the_hash_of_the_bytes():
    a, b = torch.arange(15.0).reshape(3, 5), np.arange(7, dtype=np.int16)
    expected = hashlib.sha256(a.numpy().tobytes() + b.tobytes()).hexdigest()
    assert fingerprint(a, b) == expected
    assert fingerprint(a.T.contiguous().T, b[::1]) == expected
    assert fingerprint(a.to(torch.bfloat16)) != fingerprint(a)


def test_notebook_shows_the_provenance_and_the_record_gets_the_hash():
    InteractiveShell.instance()
    data = make(provenance="Made <here>")
    shown, metadata = format_display_data(data)
    assert "Made <here>" in shown["text/plain"]
    assert "Made &lt;here&gt;" in shown["text/html"]
    assert metadata["spectral_lens"] == {"data": {"name": "toy", "edition": "complete", "sha256": "ab" * 32}}
    InteractiveShell.clear_instance()


def test_parts_are_each_runs_own_draw():
    data = make(n=20, truth={"p": torch.zeros(30)})
    parts = data.parts(0.35, seeds=(4, 9, 4))
    assert (parts.runs, parts.samples, dict(parts.truth)) == (3, 7, {})
    for r, seed in enumerate((4, 9, 4)):
        rows = torch.randperm(20, generator=torch.Generator().manual_seed(seed))[:7]
        assert torch.equal(parts.x[r], data.x[rows])
        assert torch.equal(parts.y[r], data.y[rows])
    assert not torch.equal(parts.x[0], parts.x[1])


@pytest.mark.parametrize(("runs", "fraction"), [(None, 0.0), (None, 1.1), (None, 0.001), (2, 0.5)])
def test_parts_that_cannot_be_are_refused(runs, fraction):
    with pytest.raises(ValueError, match="of one set for all runs"):
        make(runs=runs).parts(fraction, seeds=(1, 2))


@pytest.mark.parametrize("runs", [None, 3])
def test_columns_are_the_chosen_inputs(runs):
    data = make(runs=runs, truth={"distance": torch.arange(30.0)})
    flat = data.flat()
    few = data.columns(torch.tensor([7, 2, 29]))
    assert few.inputs == ("i7", "i2", "i29")
    assert few.runs == runs
    assert torch.equal(few.x, flat.x[..., [7, 2, 29]])
    assert few.truth["distance"].tolist() == [7, 2, 29]
    own = data.columns(torch.tensor([[7, 2], [0, 1], [5, 5]]))
    assert (own.runs, own.dim, dict(own.truth)) == (3, 2, {})
    for r, places in enumerate(([7, 2], [0, 1], [5, 5])):
        assert torch.equal(own.x[r], data.run(r).flat().x[:, places])
        assert torch.equal(own.y[r], data.run(r).y)


@pytest.mark.parametrize(
    ("runs", "chosen"),
    [(None, torch.tensor([30])), (None, torch.tensor([-1])), (3, torch.zeros(2, 4, dtype=torch.int64)),
     (None, torch.zeros(0, dtype=torch.int64)), (None, torch.zeros(1, 1, 1, dtype=torch.int64))],
)  # fmt: skip
def test_columns_that_are_not_there_are_refused(runs, chosen):
    with pytest.raises(ValueError, match="places"):
        make(runs=runs).columns(chosen)
