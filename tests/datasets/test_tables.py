"""Tables of text: the same cells come out of whatever a spreadsheet made of them."""

import itertools

import numpy as np
import pytest

from spectral_lens._runtime.errors import InputError
from spectral_lens.datasets.tables import decimal_commas, numbers, rows

CELLS = [["Größe", "4000.5", "é"], ["1.25", "-3e-2", "0"], ["2.5", "7", "8"]]


def text(mark, decimal=".", end="\n", quote=False):
    cell = (lambda c: f'"{c}"') if quote else (lambda c: c)
    return end.join(mark.join(cell(c.replace(".", decimal)) for c in row) for row in CELLS) + end


FORMS = [
    (mark, decimal, end, quote, encoding)
    for mark, decimal, end, quote, encoding in itertools.product(
        "\t;,", ".,", ("\n", "\r\n", "\r"), (False, True), ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16")
    )
    if mark != decimal or quote
]


@pytest.mark.parametrize(("mark", "decimal", "end", "quote", "encoding"), FORMS)
def test_every_form_of_a_table_is_the_same_table(mark, decimal, end, quote, encoding):
    found = rows(text(mark, decimal, end, quote).encode(encoding), "a.csv")
    assert [[cell.replace(",", ".") for cell in row] for row in found] == CELLS
    assert numbers(found[1:], "a.csv", found[0]).tolist() == [[1.25, -0.03, 0], [2.5, 7, 8]]


def test_the_sign_of_excel_and_empty_lines_are_no_rows():
    assert rows(b"sep=;\r\n\r\na,b;c\r\n;;\r\n1,5; 2 \r\n", "a.csv") == [["a,b", "c"], ["1,5", "2"]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is an empty table"),
        (b"\n , \n", "is an empty table"),
        (b"sep=;\n", "is an empty table"),
        (b"one\ntwo\n", "no tab, semicolon or comma"),
        (b"a;b\n1;2;3\n", "cut at each semicolon, row 2 has 3 cells, the first has 2"),
        (b"a,b\n1,2\n3\n", "cut at each comma, row 3 has 1 cells"),
        (b'a,b\n"1,2\n', "a quote is open"),
        (b"\x89PNG\r\n\x1a\n\0\0\0,", "is no text"),
        (b"PK\x03\x04\0\0,xlsx", "is no text"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(content, message):
    with pytest.raises(InputError, match=message) as caught:
        rows(content, "mine.csv")
    assert str(caught.value).startswith("mine.csv ")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("", "is empty"),
        *((each, f"holds '{each}'") for each in ("n/a", "nan", "inf", "1.234,5", "1,2,3", "4 5", "1,5", "1_0")),
    ],
)
def test_a_cell_that_is_no_number_is_named(cell, what):
    with pytest.raises(InputError, match=rf"mine\.csv: row 3, column 'b' {what}"):
        numbers([["1.5", "2"], ["3", cell]], "mine.csv", ["a", "b"])


def test_whole_numbers_need_no_point():
    found = numbers([["1", "+2"], ["-3", "4e2"]], "a", ["a", "b"])
    np.testing.assert_array_equal(found, [[1, 2], [-3, 400]])


@pytest.mark.parametrize(
    ("cells", "commas"),
    [
        (["1,5", "2"], True),
        (["1,250", "0,125", "7"], True),  # no thousand begins with a zero
        (["1,250", "1,5", "7"], True),  # nor has it one digit
        (["1,234", "2,500"], True),  # thousands or not, the ratios are the same
        (["1,234", "0"], True),
        (["1.5", "2"], False),
        (["St. Ives", "1,5"], True),  # a point in a text is none in a number
    ],
)
def test_what_a_comma_means(cells, commas):
    assert decimal_commas([("a", cells)], "mine.csv") is commas


def test_a_comma_that_may_stand_behind_thousands_is_refused():
    with pytest.raises(InputError, match=r"mine\.csv: '1,234' in column 'people' may be a thousand"):
        numbers([["3", "850"], ["4", "1,234"]], "mine.csv", ["age", "people"])
