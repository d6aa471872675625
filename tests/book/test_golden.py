"""References: what a quick record keeps for the tests."""

import configparser
import re

import nbformat
import pytest
from toy_chapters import edit, record

from spectral_lens.book import chapters, golden, records
from spectral_lens.book.chapters import BookError, chapter


def test_reference(toy):
    one = chapter("two", toy)
    path = record(one, duration=3.7, commit="c", device="this one")
    made = records.read(path)
    figure = nbformat.v4.new_output(
        "display_data", {"text/plain": "<Figure size 2x3 with 1 Axes>", "image/png": "AAAA"}, metadata={"image/png": {}}
    )
    drawing = nbformat.v4.new_output("display_data", {"text/plain": "<D>", "image/svg+xml": "<svg>1</svg>"})
    note = {"spectral_lens": {"claim": {"id": "a", "values": [1 / 3, 1e-17], "profile": "quick"}}}
    card = nbformat.v4.new_output(
        "display_data",
        {"text/plain": "a: 0.2", "text/html": '<table class="claim claim-x"><tr>\n</table>'},
        metadata=note,
    )
    said = nbformat.v4.new_output("stream", text="hello\n")
    warned = nbformat.v4.new_output("stream", name="stderr", text="UserWarning: mind the gap\n")
    made.cells[-2].outputs = [figure, drawing, card, said, warned]
    made.cells[-2].metadata["tags"] = ["hide-input"]
    kept = golden.reference(made)
    nbformat.validate(kept)
    assert all(c.cell_type == "code" for c in kept.cells)
    first, second, third, fourth = kept.cells[-1].outputs
    assert first.data == {"text/plain": "<Figure>", "image/png": golden._POINT}
    assert first.metadata == {}
    assert second.data == {"text/plain": "<D>", "image/svg+xml": "<svg/>"}
    assert third.data == {"text/plain": "a: 0.2", "text/html": "<claim/>"}
    assert third.metadata["spectral_lens"]["claim"]["values"] == [0.333333, 0.0]
    assert fourth.text == "hello\n"
    assert kept.cells[-1].metadata.tags == ["hide-input"]
    assert set(kept.metadata[records.META]) == {"chapter", "profile", "parameters", "code", "ran", "duration", "data"}
    made.cells[-2].metadata["tags"] = ["nbval-ignore-output"]
    assert golden.reference(made).cells[-1].outputs == [first, second, third]


def test_groups_of_a_claim_are_rounded_too(toy):
    made = records.read(record(chapter("two", toy)))
    note = {"id": "a", "groups": {"N = 2": [1 / 3, 1e-17], "N = 3": [-2 / 3]}, "profile": "quick"}
    output = nbformat.v4.new_output("display_data", {"text/plain": "a"}, metadata={"spectral_lens": {"claim": note}})
    made.cells[-2].outputs = [output]
    (kept,) = records.claims(golden.reference(made))
    assert kept.groups == {"N = 2": (0.333333, 0.0), "N = 3": (-0.666667,)}


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        ("figures", "<Figure size 1600x640 with 3 Axes>", "<Figure size 1600x700 with 3 Axes>", True),
        ("cards", '<table class="claim claim-a">1\n</table>', '<table class="claim claim-b">2</table>', True),
        ("drawings", "<p>a\n<svg>1", "<svg>2\n", True),
        ("figures", "accuracy 0.5", "accuracy 0.6", False),
    ],
)
def test_what_is_no_number_may_change(toy, kind, one, other, same):
    """The patterns as nbval applies them to both sides."""
    for c in chapters.runnable(toy).values():
        record(c)
    golden.write(toy)
    patterns = configparser.RawConfigParser()
    patterns.read(golden.folder(toy) / "sanitize.cfg")
    assert set(patterns.sections()) == {"drawings", "cards", "figures"}

    def sanitized(text):
        for name in patterns.sections():
            text = re.sub(patterns[name]["regex"], patterns[name]["replace"], text)
        return text

    assert (sanitized(one) == sanitized(other)) is same
    assert (sanitized(one) == golden._plain(one)) is True


def test_references_follow_their_sources(toy):
    with pytest.raises(BookError, match="run --older"):
        golden.write(toy)
    assert golden.differing(toy) == {"part/one": "no reference", "two": "no reference"}
    for c in chapters.runnable(toy).values():
        record(c)
    assert [p.name for p in golden.write(toy)] == ["part__one.ipynb", "two.ipynb"]
    assert golden.differing(toy) == {}
    first = (toy.root / "tests/reference/two.ipynb").read_bytes()
    record(chapter("two", toy), date="2026-11-27T12:00:00+00:00", duration=9.0)
    assert golden.write(toy) == []
    assert (toy.root / "tests/reference/two.ipynb").read_bytes() == first
    record(chapter("two", toy), data=["another"])
    (toy.root / "tests/reference/part__one.ipynb").write_text("<<<<<<<")
    assert [p.name for p in golden.write(toy)] == ["part__one.ipynb", "two.ipynb"]
    edit(chapter("part/one", toy), "print(a)", "print(b)")
    profile = toy.root / "book/profiles/quick.yml"
    profile.write_text(profile.read_text().replace("chapters: {}", "chapters: {two: {a: 9}}"))
    (toy.root / "tests/reference/gone__page.ipynb").write_text("{}")
    assert golden.differing(toy) == {
        "part/one": "the code cells changed",
        "two": "parameters changed: a 2 -> 9",
        "gone/page": "no such chapter",
    }
