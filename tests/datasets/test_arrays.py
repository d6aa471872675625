"""A reader's own arrays: every form gives the same set, and what is unclear is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from scipy import sparse

from spectral_lens.datasets import DataSet, fingerprint
from spectral_lens.datasets.arrays import column_names, inputs_of, targets_of
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit

NUMBERS = np.array([[0, 1, 3], [7, 2, 5]])
KINDS = ["u1", "i1", ">u2", "<i2", ">i4", "<u4", "i8", ">u8", "f2", ">f4", "<f4", ">f8", "f8", "g"]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_kind_and_byte_order(kind):
    array = NUMBERS.astype(kind)
    x = inputs_of(array)
    assert x.is_floating_point()
    assert x.tolist() == NUMBERS.tolist()
    y = targets_of(array[0], quantity="length")
    assert y.y.tolist() == NUMBERS[0].tolist()
    if array.dtype.kind == "f":
        assert targets_of(array[0]).quantity == "y"
    else:
        assert targets_of(array[0]).y.dtype == torch.int64
        assert targets_of(array[0]).y.tolist() == NUMBERS[0].tolist()


FORMS = [
    lambda a: a,
    lambda a: np.asfortranarray(a),
    lambda a: a[::-1][::-1],
    lambda a: np.repeat(a, 2, 1)[:, ::2],
    lambda a: a.tolist(),
    lambda a: tuple(map(tuple, a)),
    lambda a: list(a),
    lambda a: torch.from_numpy(a),
    lambda a: torch.from_numpy(a).T.contiguous().T,
    lambda a: [torch.from_numpy(row) for row in a],
    lambda a: torch.from_numpy(a).requires_grad_() * 1,
    lambda a: pd.DataFrame(a),
    lambda a: pd.DataFrame(a).astype("Float64"),
    lambda a: np.ma.masked_array(a, mask=np.zeros(a.shape, bool)),
]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_set(form):
    array = np.random.default_rng(0).normal(size=(7, 3))
    expected = DataSet.of(array, array[:, 0])
    found = DataSet.of(
        form(array), form(array)[:, 0] if isinstance(form(array), np.ndarray | torch.Tensor) else array[:, 0]
    )
    assert torch.equal(found.x, torch.tensor(array))
    assert torch.equal(found.y, torch.tensor(array[:, 0]))
    assert found.sha256 == expected.sha256 == fingerprint(array, np.ascontiguousarray(array[:, 0]))
    assert not found.x.requires_grad


@pytest.mark.parametrize("form", [lambda a: a, torch.from_numpy, pd.DataFrame])
def test_nobody_elses_writing_changes_it(form):
    x, y = np.ones((4, 3)), np.array([0, 1, 0, 1])
    data = DataSet.of(form(x), form(y) if form is not pd.DataFrame else pd.Series(y))
    x[:], y[:] = 7, 0
    assert (data.x == 1).all()
    assert data.y.tolist() == [0, 1, 0, 1]
    data.x.fill_(9)
    assert (x == 7).all()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    hnp.arrays(
        hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.boolean_dtypes(),
        hnp.array_shapes(min_dims=2, max_dims=4),
    )
)
def test_no_whole_number_changes(array):
    if np.abs(array.astype(object)).max() < 2**53:
        assert (inputs_of(array).numpy().astype(object) == array.astype(object)).all()


@pytest.mark.parametrize(
    ("y", "labels", "classes"),
    [
        ([0, 1, 3], ("0", "1", "2", "3"), [0, 1, 3]),
        (np.array([2, 0, 1], np.uint8), ("0", "1", "2"), [2, 0, 1]),
        (torch.tensor([1, 0, 1], dtype=torch.int8), ("0", "1"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
        (torch.tensor([True, True, True]), ("False", "True"), [1, 1, 1]),
        ([-1, 1, -1], ("-1", "1"), [0, 1, 0]),
        (["b", "a", "b"], ("a", "b"), [1, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (np.array(["b", "a", "b"], object), ("a", "b"), [1, 0, 1]),
        (pd.Series(["b", "a", "b"]), ("a", "b"), [1, 0, 1]),
        (pd.Series([1, 0, 1], dtype="Int64"), ("0", "1"), [1, 0, 1]),
        (pd.Series([True, False, True], dtype="boolean"), ("False", "True"), [1, 0, 1]),
        (pd.Series(["b", "a", "b"], dtype=pd.CategoricalDtype(["c", "b", "a"])), ("c", "b", "a"), [1, 2, 1]),
        (pd.Categorical(["b", "a", "b"], categories=["b", "a"]), ("b", "a"), [0, 1, 0]),
    ],
    ids=str,
)
def test_classes(y, labels, classes):
    data = DataSet.of(torch.rand(3, 2), y)
    assert data.labels == labels
    assert data.y.tolist() == classes
    assert data.y.dtype == torch.int64
    assert data.quantity == ""


def test_the_names_of_classes_make_parts_agree():
    labels = ("ant", "bee", "cow")
    assert targets_of(["cow", "ant"], labels=labels).y.tolist() == [2, 0]
    assert targets_of([2, 0], labels=labels).labels == labels
    assert DataSet.of(torch.rand(2, 3), [2, 0], labels=labels).classes == 3
    with pytest.raises(ValueError, match=r"y holds \['dog'\], but the labels are"):
        targets_of(["cow", "dog"], labels=labels)
    with pytest.raises(ValueError, match=r"classes must be 0 ... 2, found 0 ... 3"):
        DataSet.of(torch.rand(2, 3), [3, 0], labels=labels)


def test_a_table_keeps_its_names():
    table = pd.DataFrame({"length": [1.0, 2.0, 4.0], "width": [1, 2, 3], "old": [True, False, True]})
    data = DataSet.of(table, pd.Series([0.5, 0.25, 1.0], name="price"))
    assert data.inputs == ("length", "width", "old")
    assert data.quantity == "price"
    assert data.x.tolist() == [[1, 1, 1], [2, 2, 0], [4, 3, 1]]
    assert column_names(np.zeros((2, 3)), 3) == ("input 1", "input 2", "input 3")
    assert DataSet.of(table, [0, 1, 1], inputs=["a", "b", "c"]).inputs == ("a", "b", "c")


def test_images_and_all_else_by_default():
    data = DataSet.of(np.zeros((5, 1, 2, 3), np.uint8), [0, 1, 0, 1, 1])
    assert (data.samples, data.dim, data.classes, data.name, data.edition) == (5, 6, 2, "data", "given")
    assert data.x.dtype == torch.float32
    named = DataSet.of(data.x, data.y, name="mine", unit="grey value", provenance="Drawn by hand", edition="complete")
    assert (named.name, named.unit, named.provenance, named.edition) == (
        "mine",
        "grey value",
        "Drawn by hand",
        "complete",
    )
    assert named.sha256 == data.sha256


LACKING = pd.DataFrame({"a": [1.0, np.nan], "b": [1.0, 2.0]})
BAD = [
    (np.array([[1.0, np.nan], [1.0, 2.0]]), [0, 1], "x holds NaN"),
    (np.array([[1.0, np.inf], [1.0, 2.0]]), [0, 1], "x holds NaN or infinite"),
    (np.ones((2, 2)), [0.5, np.nan], "y holds NaN"),
    (LACKING, [0, 1], "x has missing values in a"),
    (LACKING.astype("Int64"), [0, 1], "x has missing values in a"),
    (LACKING.assign(day=pd.to_datetime(["2020-01-01"] * 2), c=["x", "y"]), [0, 1], "without numbers: day, c"),
    (np.ones((2, 2)), [], "y is empty"),
    (np.ones((2, 2)), pd.Series(["a", None]), "y has missing values"),
    (np.ones((2, 2)), pd.Series([1, None], dtype="Int64"), "y has missing values"),
    (np.ones((2, 2)), pd.Categorical(["a", None]), "y has missing values"),
    (np.ma.masked_array(np.ones((2, 2)), mask=[[0, 1], [0, 0]]), [0, 1], "x holds masked values"),
    (sparse.eye_array(2), [0, 1], "x is sparse"),
    (torch.eye(2).to_sparse(), [0, 1], "x is sparse"),
    ([[1.0, 2.0], [1.0]], [0, 1], "x is no array"),
    ([torch.ones(2), torch.ones(3)], [0, 1], "x is no array"),
    ([["1", "2"], ["3", "4"]], [0, 1], "x holds <U1, not numbers"),
    ([[1, None], [2, 3]], [0, 1], "x holds object, not numbers"),
    (np.ones((2, 2), complex), [0, 1], "x holds complex128, not numbers"),
    (np.zeros(2, dtype=[("a", "f4")]), [0, 1], "not numbers"),
    (np.ones(2), [0, 1], r"must have the shapes .* found \(2,\) and \(2,\)"),
    (np.ones((2, 2)), [0, 1, 1], r"must have the shapes .* found \(2, 2\) and \(3,\)"),
    (np.ones((2, 2)), [[0], [1]], r"found \(2, 2\) and \(2, 1\)"),
    (np.ones((2, 2)), pd.DataFrame({"y": [0.5, 1.5]}), r"found \(2, 2\) and \(2, 1\)"),
    (np.ones((0, 2)), [], "x is empty"),
    (np.ones((2, 2)), np.array(["2020", "2021"], "M8[Y]"), "y holds datetime64"),
    (np.ones((2, 2)), np.array([1j, 2]), "y holds complex128"),
    (np.ones((2, 2)), [1, None], "y holds object"),
    (np.ones((2, 2)), [2005, 1995], "2 different whole numbers up to 2005 in 2 samples, which may be classes"),
    (np.ones((50, 2)), np.arange(50) % 30, "30 different whole numbers up to 29 in 50 samples"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "y", "message"), BAD, ids=[str(k) for k in range(len(BAD))])
def test_what_is_missing_unclear_or_no_number(x, y, message):
    with pytest.raises(ValueError, match=message):
        DataSet.of(x, y)


def test_many_whole_numbers_with_a_word():
    y = np.arange(50) % 30
    assert DataSet.of(np.ones((50, 2)), y, quantity="age, years").quantity == "age, years"
    assert DataSet.of(np.ones((50, 2)), y, labels=range(30)).classes == 30
    assert DataSet.of(np.ones((300, 2)), np.arange(300) % 30).classes == 30


def test_contradictions():
    for options, message in [
        ({"labels": ("a", "b"), "quantity": "length"}, "not both"),
        ({"labels": ("a", "a")}, "repeat themselves"),
        ({"inputs": ("a",)}, "1 names for 2 inputs"),
    ]:
        with pytest.raises(ValueError, match=message):
            DataSet.of(np.ones((2, 2)), [0, 1], **options)


def test_it_is_trained():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4)).astype(">f4")
    trained = fit(mlp([4, 3, 2]), DataSet.of(x, x[:, 0] > 0), seeds=[0], epochs=1, device="cpu")
    assert trained.failed == {}
    assert fit(mlp([4, 3, 1]), DataSet.of(x, x[:, 0]), seeds=[0], epochs=1, loss="mse", device="cpu").failed == {}
