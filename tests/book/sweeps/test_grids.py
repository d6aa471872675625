"""Grids and lists of points, as text."""

import pytest

from spectral_lens.book.chapters import BookError
from spectral_lens.book.sweeps import grids


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("a=0:3", "a", [0, 1, 2]),
        ("first_seed=1000:1100:25", "first_seed", [1000, 1025, 1050, 1075]),
        ("a=3:0:-2", "a", [3, 1]),
        (" a = -2:1 ", "a", [-2, -1, 0]),
        ("a=0.1|0.2", "a", [0.1, 0.2]),
        ("lr=1e-3|0.01", "lr", [0.001, 0.01]),
        ("a=7", "a", [7]),
        ("digits=[3,8]|[4, 9]", "digits", [[3, 8], [4, 9]]),
        ("words=x|'a|b'|[\"c|d\"]", "words", ["x", "a|b", ["c|d"]]),
        ("flag=true|false", "flag", [True, False]),
        ("when=1:2:3:4", "when", ["1:2:3:4"]),
    ],
)
def test_ranges_and_choices(text, name, values):
    assert grids.axis(text) == (name, values)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a"], "--grid takes name=start:stop:step or name=value|value, not 'a'"),
        (["1a=2"], "--grid takes name="),
        (["a=5:5"], "a=5:5 has no value: as in Python"),
        (["a=0:5:0"], "the step of a range is not 0"),
        (["a=1||2"], "nothing between two bars"),
        (["a="], "nothing between two bars, or beside one"),
        (["a=1", "b=2", "a=3"], "names a twice"),
        (["a=0:1000", "b=0:1000"], "1000000 points is more than 100000"),
        (["a=0:100001"], "100001 points"),
        (["a=[1|2"], "neither a Python literal nor YAML"),
    ],
)
def test_mistakes_in_grids(texts, message):
    with pytest.raises(BookError) as caught:
        grids.product(texts)
    assert message in str(caught.value)


def test_several_grids_are_their_product():
    found = grids.product(["a=1|2", "b=0:3", "c=x"])
    assert found == [{"a": a, "b": b, "c": "x"} for a in (1, 2) for b in range(3)]


@pytest.mark.parametrize(
    "written",
    [
        b"a,words\n1,\"['x','y']\"\n2,z\n",
        b"\xef\xbb\xbfa,words\r\n1,\"['x','y']\"\r\n\r\n2,z\r\n",
        b"a;words\n1;['x','y']\n;\n2;z",
        b"a , words\r1,\"['x','y']\"\r 2 , z \r",
    ],
)
def test_a_list_of_points_as_programs_write_it(tmp_path, monkeypatch, written):
    (tmp_path / "points.csv").write_bytes(written)
    monkeypatch.chdir(tmp_path)
    expected = [{"a": 1, "words": ["x", "y"]}, {"a": 2, "words": "z"}]
    assert grids.from_file("points.csv") == grids.from_file(tmp_path / "points.csv") == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"", "the first line names the parameters"),
        (b"a,b\n", "points.csv has no point"),
        (b"a,2\n1,2\n", "'2' is no name"),
        (b"a,a\n1,2\n", "names a parameter twice"),
        (b"a,b\n1,2\n3\n", "points.csv, row 3: 1 values for 2 names"),
        (b"a,b\n1,\n", "points.csv, row 2: b has no value"),
        (b"a\n[1\n", "points.csv, row 2: "),
        (b"a\n\xe9\n", "is not UTF-8 (line 2"),
    ],
)
def test_mistakes_in_a_list_say_their_line(tmp_path, written, message):
    (tmp_path / "points.csv").write_bytes(written)
    with pytest.raises(BookError) as caught:
        grids.from_file(tmp_path / "points.csv")
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("named", "why"), [("nowhere.csv", "No such file"), (".", "Is a directory"), ("~nobody-of-that-name/a", "home")]
)
def test_a_list_that_is_not_there(named, why):
    with pytest.raises(BookError, match=why):
        grids.from_file(named)
