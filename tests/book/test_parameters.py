"""Parameters: names, values, types, and what comes from the command line."""

import numpy as np
import pytest
from toy_chapters import page, write

from spectral_lens.book.chapters import BookError, chapter
from spectral_lens.book.parameters import descriptions, parameters, read, resolve


def test_parameters(toy):
    assert parameters(chapter("two", toy)) == {"a": 2, "b": 0.5, "words": ["x"], "flag": False, "free": None}


DESCRIBED = """\
# What follows is described.
runs = 10  # networks trained side by side
a, b = 1, "#no"  #both
plain = "# no comment"
long = [
    1,  # not this
    2,
]  # sizes: one per network
typed: int = 3  # digits
late = [
    4]
# not of late"""


def test_descriptions(tmp_path):
    one = chapter("p", write(tmp_path, {"p": page("P", "x = 1  # no parameter", parameters=DESCRIBED)}))
    assert descriptions(one) == {
        "runs": "networks trained side by side",
        "a": "both",
        "b": "both",
        "long": "sizes: one per network",
        "typed": "digits",
    }
    bare = chapter("q", write(tmp_path, {"q": page("Q", "1", parameters=None)}))
    assert descriptions(bare) == {}


@pytest.mark.parametrize("line", ["a = b", "a = f()", "import os", "a = c = 1", "a[0] = 1", "a += 1", "a, b = 1, 2, 3"])
def test_parameters_are_literals(tmp_path, line):
    toy = write(tmp_path, {"p": page("P", parameters=line)})
    with pytest.raises(BookError, match="plain assignments"):
        parameters(chapter("p", toy))


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"a": 3}, 3),
        ({"b": 3}, 3.0),
        ({"words": []}, []),
        ({"words": ["y", "z"]}, ["y", "z"]),
        ({"flag": True}, True),
        ({"free": [1, "x"]}, [1, "x"]),
        ({"free": (3, (8, {"x": (1,)}))}, [3, [8, {"x": [1]}]]),
        ({"words": ("y", "z")}, ["y", "z"]),
        ({"a": np.int64(3)}, 3),
        ({"b": np.float32(0.25)}, 0.25),
        ({"flag": np.bool_(True)}, True),
        ({"free": {"x": np.uint8(7)}}, {"x": 7}),
    ],
)
def test_overrides(toy, given, found):
    (name,) = given
    value = resolve(chapter("two", toy), "quick", given)[name]
    assert value == found
    assert type(value) is type(found)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"aa": 1}, r"no parameter 'aa': did you mean a"),
        ({"zzz": 1}, r"there are a, b, words"),
        ({"a": 1.0}, "a is int .*not float 1.0"),
        ({"a": True}, "not bool"),
        ({"b": "1e-3"}, "b is float .*not str '1e-3'"),
        ({"b": True}, "not bool"),
        ({"b": None}, "not NoneType"),
        ({"words": [1]}, "list of str"),
        ({"words": "x"}, "list of str"),
        ({"flag": 1}, "flag is bool"),
        ({"free": {1, 2}}, "two: free: a record cannot hold set"),
        ({"free": b"x"}, "cannot hold bytes"),
        ({"free": [{0: 1}]}, "keys of a table are text, not 0"),
        ({"free": {None: 1}}, "keys of a table are text, not None"),
        ({"free": [1.0, float("nan")]}, "finite numbers, not nan"),
        ({"b": float("inf")}, "finite numbers, not inf"),
        ({"free": np.ones(2)}, "cannot hold ndarray"),
    ],
)
def test_wrong_parameters(toy, given, message):
    with pytest.raises(BookError, match=message):
        resolve(chapter("two", toy), "quick", given)


def test_profiles_give_values(tmp_path):
    pages = {"p": page("P", "1")}
    toy = write(tmp_path, pages, paper="chapters: {p: {a: 5, words: [u, v]}}\n")
    assert resolve(chapter("p", toy), "paper") | {"b": 0} == {
        "a": 5,
        "b": 0,
        "words": ["u", "v"],
        "flag": False,
        "free": None,
    }
    assert resolve(chapter("p", toy), "paper", {"a": 7})["a"] == 7
    for wrong, message in [
        ("{q: {a: 1}}", "unknown chapter 'q'"),
        ("{p: {c: 1}}", r"'c' \(in paper.yml\)"),
        ("{p: {a: x}}", "a is int"),
    ]:
        write(tmp_path, pages, paper=f"chapters: {wrong}\n")
        with pytest.raises(BookError, match=message):
            resolve(chapter("p", toy), "paper")
    with pytest.raises(BookError, match="did you mean paper"):
        resolve(chapter("p", toy), "papper")


@pytest.mark.parametrize("line", ["a = {1, 2}", "a = b'x'", "a = 1e999", "a = {1: 2}"])
def test_a_chapters_own_values_fit_a_record(tmp_path, line):
    toy = write(tmp_path, {"p": page("P", parameters=line)})
    with pytest.raises(BookError, match=r"p\.md: a: "):
        parameters(chapter("p", toy))


def test_a_parameters_cell_that_does_not_parse(tmp_path):
    toy = write(tmp_path, {"p": page("P", parameters="a = 1\nb = = 2")})
    with pytest.raises(BookError, match=r"p\.md: the parameters cell does not parse: .*line 2"):
        parameters(chapter("p", toy))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3,8", [3, 8]),
        ("[3, (8, None)]", [3, [8, None]]),
        ("1e-3", 1e-3),
        ("-2", -2),
        ("x", "x"),
        ("'x'", "x"),
        ("", None),
        ("null", None),
        ("None", None),
        ("true", True),
        ("no", "no"),
        ("010", "010"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("2020-13-45", "2020-13-45"),
        ("a=b", "a=b"),
        ("{a: 1}", {"a": 1}),
    ],
)
def test_read(text, value):
    name, found = read(f"one={text}")
    assert name == "one"
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text", ["one", "=1", "a b=1", "one=[", "one={1,2}", "one=b'x'", "one=.nan", "one=1e999", "one={1: 2}"]
)
def test_read_refuses_in_one_line(text):
    with pytest.raises(BookError, match="-p") as caught:
        read(text)
    assert "\n" not in str(caught.value)
