"""Chapters and their parameters."""

import pytest
from toy_chapters import page, write

from spectral_lens.book import chapters
from spectral_lens.book.chapters import BookError, chapter, parameters, resolve


def test_chapters_in_the_order_of_the_book(toy):
    found = chapters.chapters(toy)
    assert list(found) == ["intro", "part/one", "two"]
    assert list(chapters.runnable(toy)) == ["part/one", "two"]
    assert found["part/one"].title == "One"
    assert [c["id"] for c in found["two"].notebook.cells] == ["c000", "c001", "c002", "c003"]


@pytest.mark.parametrize("name", ["part/one", "book/part/one", "book/part/one.md", "./book/part/one.md"])
def test_chapter_by_name(toy, name):
    assert chapter(name, toy).name == "part/one"


@pytest.mark.parametrize(
    ("name", "message"), [("part/won", "did you mean part/one"), ("one", "part/one"), ("intro", "no code")]
)
def test_unknown_chapter(toy, name, message):
    with pytest.raises(BookError, match=message):
        chapter(name, toy)


def test_missing_page_and_missing_book(toy, tmp_path):
    (tmp_path / "book" / "two.md").unlink()
    with pytest.raises(BookError, match="book/two"):
        chapters.chapters(toy)
    with pytest.raises(BookError, match="checkout"):
        chapters.book(tmp_path / "book")


def test_the_projects_own_profiles_are_read():
    assert chapters.profile("quick")["threads"] == 1
    assert chapters.profile("quick")["environment"]["CUDA_VISIBLE_DEVICES"] == ""
    assert chapters.profile("paper")["environment"] == {}


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
    assert chapters.descriptions(one) == {
        "runs": "networks trained side by side",
        "a": "both",
        "b": "both",
        "long": "sizes: one per network",
        "typed": "digits",
    }
    bare = chapter("q", write(tmp_path, {"q": page("Q", "1", parameters=None)}))
    assert chapters.descriptions(bare) == {}


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
        ({"b": "1e-3"}, "write 1.0e-3"),
        ({"b": True}, "not bool"),
        ({"b": None}, "not NoneType"),
        ({"words": [1]}, "list of str"),
        ({"words": "x"}, "list of str"),
        ({"flag": 1}, "flag is bool"),
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
