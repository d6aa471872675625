"""The reader's own table: what it holds in whatever form, and what is refused by name in one line."""

import itertools

import numpy as np
import pytest
import torch

from spectral_lens._runtime.errors import InputError
from spectral_lens.datasets.columns import read_table

ROWS = 23
DRAW = np.random.default_rng(0)
WIDTH, AGE = DRAW.normal(size=ROWS).round(3), DRAW.integers(100, 999, ROWS)
KIND = ["a", "b", "b"] * 8


def columns(**changed):
    """A table that can be read, with some columns changed, added, or, where they are None, left out."""
    found = {"width": WIDTH, "age": AGE, "kind": KIND[:ROWS]} | changed
    return {name: [str(cell) for cell in cells] for name, cells in found.items() if cells is not None}


def written(folder, table, *, mark=",", decimal=".", encoding="utf-8"):
    rows = [list(table), *zip(*table.values(), strict=True)]
    text = "\n".join(mark.join(row) for row in rows[:1]) + "\n"
    text += "\n".join(mark.join(cell.replace(".", decimal) for cell in row) for row in rows[1:])
    (folder / "mine.csv").write_text(text, encoding=encoding)
    return folder / "mine.csv"


MARKS, ENCODINGS = [(",", "."), (";", ","), ("\t", ",")], ["utf-8", "utf-8-sig", "cp1252", "utf-16"]


@pytest.mark.parametrize(("marks", "encoding"), [*itertools.product(MARKS, ENCODINGS)])
def test_every_form_of_a_table_is_the_same_data(tmp_path, marks, encoding):
    table = columns(kind=["bösartig", "gutartig", "gutartig"] * 7 + ["bösartig"] * 2)
    data = read_table(written(tmp_path, table, mark=marks[0], decimal=marks[1], encoding=encoding), target="kind")
    assert data.inputs == ("width", "age")
    assert data.labels == ("bösartig", "gutartig")
    assert data.x.dtype == torch.float64
    np.testing.assert_array_equal(data.x, np.stack([WIDTH, AGE], 1))
    assert data.y.tolist() == [0, 1, 1] * 7 + [0, 0]
    assert (data.name, data.edition) == ("mine", "the reader's own")
    assert data.provenance == "Read from mine.csv, target kind"


def test_the_file_is_named_from_where_the_command_was_called(tmp_path, monkeypatch):
    written(tmp_path, columns())
    monkeypatch.chdir(tmp_path)
    assert read_table("mine.csv", target="kind").samples == ROWS
    with pytest.raises(FileNotFoundError):
        read_table("yours.csv", target="kind")


TARGETS = [
    (WIDTH, "auto", ()),  # a quantity
    (np.arange(ROWS) % 3 - 1, "auto", ("-1", "0", "1")),
    (10 * (np.arange(ROWS) % 2), "auto", ("0", "10")),
    ((np.arange(ROWS) % 4).astype(float), "auto", ("0", "1", "2", "3")),  # as pandas writes what once had gaps
    (np.arange(ROWS) % 4, "regression", ()),
    (AGE, "regression", ()),
    (np.arange(ROWS) % 3 + 0.5, "classification", ("0.5", "1.5", "2.5")),
    (123456789 + np.arange(ROWS) % 2, "auto", ("123456789", "123456790")),
    (["no", "yes"] * 11 + ["no"], "auto", ("no", "yes")),
    (["-", "none"] * 11 + ["-"], "auto", ("-", "none")),
]


@pytest.mark.parametrize(("target", "task", "labels"), TARGETS)
def test_a_target_is_classes_or_a_quantity(tmp_path, target, task, labels):
    data = read_table(written(tmp_path, columns(kind=target)), target="kind", task=task)
    assert data.labels == labels
    assert data.quantity == ("" if labels else "kind")
    if labels:
        names = [labels[k] for k in data.y.tolist()]
        assert [float(name) for name in names] == list(target) if data.labels[0][-1].isdigit() else names == target
    else:
        np.testing.assert_array_equal(data.y, target)


def test_true_and_false_are_one_and_zero(tmp_path):
    cells = ["True", "false", "TRUE"] * 8
    data = read_table(written(tmp_path, columns(blue=cells[:ROWS])), target="kind")
    assert data.x[:, 2].tolist() == ([1, 0, 1] * 8)[:ROWS]


LEFT = [
    ({"": range(ROWS)}, "'the first column', which numbers the rows"),
    ({"row": range(1, ROWS + 1)}, "'row', which numbers the rows"),
    ({"patient_id": AGE * 100 + np.arange(ROWS)}, "'patient_id', which differs in each row and is called so"),
    ({"starID": [f"HD {k}" for k in range(ROWS)]}, "'starID', which differs in each row and is called so"),
    ({"site": ["7"] * ROWS}, "'site', which is the same in each row"),
]


@pytest.mark.parametrize(("more", "said"), LEFT)
def test_what_says_nothing_is_left_out_by_name(tmp_path, more, said):
    table = more | columns()
    data = read_table(written(tmp_path, {name: [*map(str, cells)] for name, cells in table.items()}), target="kind")
    assert data.inputs == ("width", "age")
    assert data.provenance == f"Read from mine.csv, target kind; left out: {said}"


def test_what_may_say_something_stays(tmp_path):
    order = DRAW.permutation(ROWS)  # a rank, say
    more = {"acid": np.arange(ROWS) + 0.25, "rank": order, "year": 1900 + np.arange(ROWS), "id": np.arange(ROWS) // 2}
    data = read_table(written(tmp_path, columns(**more)), target="kind")
    assert data.inputs == ("width", "age", "acid", "rank", "year", "id")


def test_the_reader_leaves_columns_out(tmp_path):
    path = written(tmp_path, columns(colour=["red"] * ROWS, born=["2020-01-01"] * ROWS))
    data = read_table(path, target="kind", leave_out=["born", "colour"])
    assert data.inputs == ("width", "age")
    assert data.provenance.endswith("left out: 'born', 'colour'")


def test_columns_without_name_and_cells_are_none(tmp_path):
    rows = "".join(f"{w};{k};;\n" for w, k in zip(WIDTH, KIND, strict=False))
    (tmp_path / "mine.csv").write_text("width;kind;;\n" + rows)
    assert read_table(tmp_path / "mine.csv", target="kind").inputs == ("width",)


WRONG = [
    ({"colour": ["red", "blue"] * 11 + ["red"]}, "text in 'colour' ('red' in row 2): make a column of 0 and 1"),
    ({"name": [f"star {k}" for k in range(ROWS)]}, "text in 'name' .*leave_out=[\"name\"]"),
    ({"born": [f"{k + 1}.3.1999" for k in range(ROWS)]}, "dates in 'born' ('1.3.1999' in row 2): write how long"),
    ({"born": [f"2020-01-{k + 1:02} 10:00" for k in range(ROWS)]}, "dates in 'born'"),
    ({"at": ["10:30", "9:15:10"] * 11 + ["1:00"]}, "dates in 'at'"),
    ({"age": [*AGE[:-1], ""]}, "gaps in 'age' (the first in row 24): fill them, or leave these rows out"),
    ({"age": ["1", "NA", *AGE[2:]]}, "gaps in 'age' (the first in 'NA' in row 3)"),
    ({"age": ["-", *AGE[1:-1], "?"]}, "gaps in 'age'"),
    ({"age": ["12 kg", *AGE[1:]]}, "no finite number in 'age' ('12 kg' in row 2): mend it"),
    ({"age": ["inf", *AGE[1:]]}, "no finite number in 'age' ('inf' in row 2)"),
    ({"age": ["1e999", "", *AGE[2:]]}, "no finite number in 'age' ('1e999' in row 2)"),
    ({"age": ["1_0", *AGE[1:]]}, "no finite number in 'age' ('1_0' in row 2)"),
    ({"kind": ["a", *[""] * (ROWS - 1)]}, "the target 'kind' lacks a value in row 3: leave such rows out"),
    ({"kind": ["a"] * ROWS}, "the target 'kind' is 'a' in each row: there is nothing to learn"),
    ({"kind": ["2", "2.0"] * 11 + ["2"]}, "the target 'kind' is '2' in each row"),
    ({"kind": [f"n{k}" for k in range(ROWS)]}, "has 23 classes, of which 23 have fewer than 5 rows ('n0', 'n1'"),
    ({"kind": ["a"] * 19 + ["b"] * 4}, "has 2 classes, of which 1 have fewer than 5 rows ('b'): join them"),
    ({"kind": AGE}, "different whole numbers in 23 rows, which may be classes or a quantity: say task=classification"),
    ({"width": ["3"] * ROWS, "age": range(ROWS)}, "no column that changes from row to row is left"),
    ({"": AGE}, "column 4 has no name: give it one in the first row, or delete it"),
]


@pytest.mark.parametrize(("changed", "said"), WRONG)
def test_what_cannot_be_used_is_refused_in_one_line(tmp_path, changed, said):
    with pytest.raises(InputError, match="mine") as caught:
        read_table(written(tmp_path, columns(**changed)), target="kind")
    for part in said.split(" .*"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_columns_that_cannot_be_used_are_named_at_once(tmp_path):
    many = {f"t{k}": ["red"] * ROWS for k in range(7)}
    with pytest.raises(InputError, match="mine") as caught:
        read_table(written(tmp_path, columns(**many, born=["1.1.2000"] * ROWS)), target="kind")
    assert str(caught.value) == (
        "mine.csv: text in 't0', 't1', 't2', 't3', 't4' and 2 more ('red' in row 2): make a column of 0 and 1 for each "
        "of its values (one-hot); dates in 'born' ('1.1.2000' in row 2): write how long it is since one of them; or "
        'leave out what is not needed: leave_out=["t0", "t1", "t2", "t3", "t4", "t5", "t6", "born"].'
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": "Kinds"}, "mine.csv has no column 'Kinds' (target): did you mean 'kind'?"),
        ({"target": "nothing of it"}, "its columns are 'width', 'age', 'kind'."),
        ({"target": ""}, "mine.csv: say with target=... which column is to be told from the others: its columns are"),
        ({"target": "kind", "leave_out": ["agee"]}, "no column 'agee' (leave_out): did you mean 'age'?"),
        ({"target": "kind", "leave_out": ["kind"]}, "'kind' is the target and cannot be left out"),
        ({"target": "kind", "leave_out": ["width", "age"]}, "no column that changes from row to row is left"),
        ({"target": "kind", "task": "regression"}, "holds 'a' in row 2, which is no number of a quantity"),
        ({"target": "kind", "task": "sorting"}, "task='sorting' is unknown"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, said):
    with pytest.raises(InputError, match=r"target|task|column") as caught:
        read_table(written(tmp_path, columns()), **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,kind\n" + "1,2,x\n" * 19, "has 19 rows below its heading: 20 are needed"),
        ("a,b\n", "has 0 rows below its heading"),
        ("1.5,2,0\n" * 25, "the first row holds numbers: put a row with the names"),
        ("a,a,kind\n" + "1,2,x\n" * 25, "two columns are called 'a': rename one of them"),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path, text, said):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_table(tmp_path / "mine.csv", target="kind")
