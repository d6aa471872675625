"""Fingerprints: what counts as a change of code and what does not."""

from pathlib import Path

import pytest

from spectral_lens.book import fingerprints
from spectral_lens.book.chapters import Book

BASE = '''\
"""Doc."""

from spectral_lens import tools
from spectral_lens.tools import LIMIT, helper as aid

SCALE = 2.0
TABLE = {"scale": SCALE, "limit": LIMIT}
SPARE = 1


def cached(function):
    return function


@cached
def user(x, most=LIMIT):
    """Doc."""

    def step(y):
        return y * TABLE["scale"]

    return step(x) + tools.OFFSET + aid(x)


def other(SCALE):
    return SCALE


class Base:
    rate = SPARE

    def run(self):
        return self.rate


class Child(Base):
    """Doc."""

    @property
    def value(self):
        return 1


def make():
    return Child()
'''


TOOLS = "LIMIT, OFFSET = 3, 4\n\n\ndef helper(x):\n    return x\n"


def package(folder: Path, base: str = BASE, tools: str = TOOLS) -> fingerprints.Index:
    folder.mkdir(exist_ok=True)
    for name, text in {"__init__.py": "", "base.py": base, "tools.py": tools}.items():
        (folder / name).write_text(text)
    return fingerprints.index(folder)


@pytest.fixture
def before(tmp_path):
    return package(tmp_path / "before")


def names(index, *ran, cells=()):
    found = index.snapshot({"base": ran}, cells)
    return {name for inside in found.values() for name in inside}


def test_what_a_run_stands_on(before):
    constants = {"LIMIT", "OFFSET", "SCALE", "TABLE"}
    assert names(before, "user") == {"user", *constants}
    assert names(before, "user.<locals>.step", "user") == {"user", *constants}, "a local function is its owner's"
    assert names(before, "other") == {"other"}, "an argument is no constant"
    assert names(before, "make") == {"make", "Child", "Base", "SPARE"}, "with the class that it is derived from"
    assert names(before, "Child.value") == {"Child.value", "Child", "Base", "SPARE"}
    assert names(before, "nowhere") == set()
    named = names(before, cells=["from spectral_lens.base import TABLE, Child, user"])
    assert named == {"TABLE", "SCALE", "LIMIT", "Child", "Base", "SPARE"}
    assert names(before, cells=["from spectral_lens import tools\ntools.OFFSET", "not python ("]) == {"OFFSET"}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ('"""Doc."""\n\n    def step', '"""Other words."""  # said\n\n    def step', set()),
        ("    return step(x) + tools", "    return (\n        step(x)\n    ) + tools", set()),
        ("from spectral_lens import tools\n", "from spectral_lens import tools as kit\n", set()),
        ("y * TABLE", "TABLE", {"user"}),
        ("most=LIMIT", "most=SPARE", {"user"}),
        ("@cached\ndef user", "def user", {"user"}),
        ("SCALE = 2.0", "SCALE = 2", {"SCALE"}),
        ("rate = SPARE", "rate = 5", {"Base"}),
        ("SPARE = 1", "SPARE = 2", {"SPARE"}),
        (
            "    @property\n    def value",
            "    def run(self):\n        return 2\n\n    @property\n    def value",
            {"Child"},
        ),
        ("class Child(Base)", "class Child", {"Child"}),
        ("SPARE = 1", "SPARE = 1\nTABLE['scale'] = 9", {"TABLE"}),
        ("def other(SCALE):\n    return SCALE", "def other(SCALE):\n    return 1", set()),
    ],
)
def test_what_changes(before, tmp_path, old, new, changed):
    assert old in BASE
    text = BASE.replace(old, new)
    text = text.replace("tools.OFFSET", "kit.OFFSET") if "kit" in new else text
    then = before.snapshot({"base": ["user", "make"]})
    assert {name for _, name in package(tmp_path / "after", text).changed(then)} == changed


def test_moving_and_renaming_modules_change_nothing(before, tmp_path):
    then = before.snapshot({"base": ["user", "make", "Child.value", "other"], "tools": ["helper"]})
    folder = tmp_path / "after" / "spectral_lens"
    (folder / "rooms").mkdir(parents=True)
    moved = BASE.replace("from spectral_lens import tools", "from .. import things as tools")
    (folder / "rooms" / "moved.py").write_text(moved.replace("from spectral_lens.tools", "from ..things"))
    (folder / "__init__.py").touch()
    (folder / "things.py").write_text(TOOLS)
    assert fingerprints.index(folder).changed(then) == ()
    assert fingerprints.Index.dotted(("rooms.moved", "user")) == "rooms.moved.user"


CHOSEN = """\
try:
    import fast
except ImportError:
    def slow(x):
        def inner():
            return 1
        return inner
    class Slow:
        def run(self):
            return 2
"""


@pytest.mark.parametrize(
    ("old", "new"), [("return inner", "return inner()"), ("except ImportError", "except Exception")]
)
def test_what_a_block_defines_counts_with_its_conditions(tmp_path, old, new):
    then = package(tmp_path / "p", CHOSEN).snapshot({"base": ["slow", "slow.<locals>.inner"]})
    assert set(then["base"]) == {"slow"}
    assert "Slow.run" in fingerprints.index(tmp_path / "p").places
    assert "inner" not in fingerprints.index(tmp_path / "p").places
    assert package(tmp_path / "p", CHOSEN.replace(old, new)).changed(then) == (("base", "slow"),)


def test_a_duplicate_elsewhere_does_not_hide_a_change(tmp_path):
    text = "SHARE = 0.5\n\n\ndef one():\n    return SHARE\n"
    folder = tmp_path / "p"
    package(folder, text, text.replace("one", "two"))
    then = fingerprints.index(folder).snapshot({"base": ["one"]})
    changed = package(folder, text.replace("0.5", "0.25"), text.replace("one", "two")).changed(then)
    assert changed == (("base", "SHARE"),)


def test_the_package_is_read_whole():
    index = fingerprints.index(Book(Path()).package)
    assert {
        ("training._loop", "fit"),
        ("nn.layers", "SpectralLinear.weight"),
        ("training.losses", "LOSSES"),
    } <= index.prints.keys()
    assert len(index.prints) > 500
