"""Chapters and their parameters."""

import pytest

from spectral_lens.book import chapters
from spectral_lens.book.chapters import BookError, chapter


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


def test_a_byte_order_mark_is_no_part_of_a_page(toy):
    page = toy.root / "book" / "two.md"
    code = [cell.source for cell in chapter("two", toy).notebook.cells]
    page.write_bytes(b"\xef\xbb\xbf" + page.read_bytes().replace(b"\n", b"\r\n"))
    assert [cell.source for cell in chapter("two", toy).notebook.cells] == code


NAMED = b"---\nkernelspec: {name: python3, display_name: x}\n---\n\n"
QUICK = "book/profiles/quick.yml"
SPOILT = [
    ("_toc.yml", b"root: [\n", "_toc.yml: expected the node content"),
    ("_toc.yml", b"- book/one\n", "_toc.yml is a table"),
    ("_toc.yml", b"root: 1\n", "_toc.yml: a page is named by its path, not by 1"),
    (QUICK, b"threads: 1\nchapters:\n\ttwo: {}\n", "quick.yml, line 3: .*cannot start any token"),
    (QUICK, b"- 1\n", "quick.yml is a table"),
    (QUICK, b"chapters: [two]\n", "quick.yml: chapters is a table"),
    (QUICK, b"chapters: {two: [a]}\n", "quick.yml: two is a table"),
    (QUICK, b"chapters:\n  two: {a: 3}\n  two: {b: 1}\n", "quick.yml, line 2: 'two' stands twice"),
    (QUICK, b"environment: 3\n", "quick.yml: environment is a table"),
    (QUICK, b"threads: 1  # f\xfcr\n", "quick.yml is not UTF-8 .line 1: byte 0xfc"),
    ("book/two.md", b"---\nkernelspec: [\n---\n", "two.md: the notebook's header"),
    ("book/two.md", b"---\nkernelspec: {name: python3}\n---\n\n\xe4\n", "two.md is not UTF-8 .line 5"),
    ("book/two.md", b"---\nkernelspec: {}\n---\n", "two.md: the notebook's header: 'name' is a required"),
    ("book/two.md", NAMED + b"```{code-cell}\n---\na: [\n---\n```\n", "two.md: .*Invalid YAML"),
]


@pytest.mark.parametrize(("file", "text", "message"), SPOILT)
def test_files_that_an_editor_spoilt_are_one_line(toy, file, text, message):
    def read():
        chapters.profile("quick", toy)
        return chapters.runnable(toy)

    (toy.root / file).write_bytes(text)
    with pytest.raises(BookError, match=message) as caught:
        read()
    assert "\n" not in str(caught.value)


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
