"""Fingerprints: what counts as a change of code and what does not."""

import re
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


# Each source says at which place it is changed: «before|after».
@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("def use():\n    tell(«1|2»)\n    return 3\n", {"use"}),  # a first call is no docstring
        ("def use():\n    limit = «1|2»\n    return limit\n", {"use"}),
        ('def use():\n    «"""Doc."""|"""Other words."""»\n    return 1\n', set()),
        ('def use():\n«    """Doc."""\n|»    tell(1)\n', set()),
        ('class use:\n«    """Doc."""\n|»    rate = 1\n', set()),
        ("class use:\n    rate = «1|1.0»\n    size = 2\n", {"use"}),
        ("class use:\n    size = 2\n    rate = «1|True»\n", {"use"}),
        ("class use:\n    table = {}\n    table.update(a=«1|2»)\n", {"use"}),
        ("class use:\n    key = lambda x: x + «1|2»\n", {"use"}),
        ("class use:\n    def run(self, most=1):\n        return «1|2»\n", set()),  # it has not run
        ("@mark(«1|2»)\nclass use:\n    rate = 1\n", {"use"}),
        ("@mark(«1|2»)\ndef use():\n    return 1\n", {"use"}),
        ("def use(*, most=«1|2»):\n    return most\n", {"use"}),
        ("def use(most: int = «1|2», /):\n    return most\n", {"use"}),
        ("async def use():\n    return «1|2»\n", {"use"}),
        ("def use():\n    return sorted([2, 1], key=lambda v: «v|-v»)\n", {"use"}),
        ("def use():\n    def step(most=«1|2»):\n        return most\n    return step\n", {"use"}),
        ("def use():\n    class Own:\n        rate = «1|2»\n    return Own\n", {"use"}),
        ("TABLE = {'a': «1|2»}\nTABLE['b'] = 1\n", {"TABLE"}),
        ("TABLE = {}\nTABLE.update(a=«1|2»)\n", {"TABLE"}),
        ("TABLE = {}\nTABLE['a']['b'] = «1|2»\n", {"TABLE"}),
        ("TABLE = {}\nTABLE['a'].append(«1|2»)\n", {"TABLE"}),
        ("TABLE = {}\nTABLE['a'] += «1|2»\n", {"TABLE"}),
        ("TABLE = {}\nTABLE.size = «1|2»\n", {"TABLE"}),
        ("TABLE = {}\nTABLE |= {'a': «1|2»}\n", {"TABLE"}),
        ("TABLE = {}\ndel TABLE['«a|b»']\n", {"TABLE"}),
        ("TABLE = {}\nfor k in 'ab':\n    TABLE[k] = «1|2»\n", {"TABLE", "k"}),
        ("def use():\n    return 1\n\n\ntell(«1|2»)\n", {"<module>"}),
        ("def use():\n    return 1\n\n\nif __name__ == '__main__':\n    tell(«1|2»)\n", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    tell(«1|2»)\n", set()),
        ("__all__ = ['«a|b»']\n", set()),
    ],
)
def test_one_place_changes(tmp_path, text, changed):
    one, other = (re.sub(r"«(.*?)\|(.*?)»", rf"\{k}", text, flags=re.DOTALL) for k in (1, 2))
    assert one != other
    if "def use" not in text and "class use" not in text:
        one, other = (f"{each}\n\ndef use():\n    return TABLE\n" for each in (one, other))
    then = package(tmp_path / "before", one).snapshot({"base": ["use", "use.<lambda>"]})
    assert {name for _, name in package(tmp_path / "after", other).changed(then)} == changed


def test_each_way_to_set_a_value_counts(tmp_path):
    text = "class A:\n    @property\n    def value(self):\n        return 1\n\n"
    text += "    @value.setter\n    def value(self, to):\n        self.to = 2\n"
    then = package(tmp_path / "before", text).snapshot({"base": ["A.value"]})
    for old, new in (("return 1", "return 3"), ("to = 2", "to = 3")):
        assert package(tmp_path / "after", text.replace(old, new)).changed(then) == (("base", "A.value"),)


def test_what_is_equal_in_python_is_not_the_same_constant():
    written = ["0", "0.0", "0j", "False", "None", "''", "b''", "()", "1", "1.0", "1j", "True", "'1'", "b'1'", "..."]
    assert len({fingerprints.of_cells([f"x = {each}"]) for each in written}) == len(written)
    written = ["return", "return None", "return 0", "return ''", "yield", "pass"]
    assert len({fingerprints.of_cells([f"def f():\n    {each}"]) for each in written}) == len(written)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["a (", "b ("], ["a (b ("], False),
        (["a (", "b ("], ["a (\nb ("], False),
        (["x = 1", ""], ["x = 1"], False),
        (["x = 1", ""], ["", "x = 1"], False),
        (["x = 1", "y = 2"], ["x = 1y", "= 2"], False),
        (["x = 1\nfrom spectral_lens.a import f"], ["from spectral_lens.a import f\nx = 1"], True),
        (["import numpy\nx = 1\nimport math"], ["import math\nimport numpy\nx = 1"], True),
        (["import spectral_lens.a as f"], ["import spectral_lens.b as f"], True),
        (["import spectral_lens.a as f"], ["import spectral_lens.a as g"], False),
        (["import spectral_lens.a"], ["import spectral_lens.b"], False),
    ],
)
def test_cells_and_their_imports(one, other, same):
    assert (fingerprints.of_cells(one) == fingerprints.of_cells(other)) is same


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("def use(SIZE):\n    return SIZE", set()),
        ("def use():\n    SIZE = 3\n    return SIZE", set()),
        ("def use():\n    global SIZE\n    SIZE = SIZE + 1", {"SIZE"}),
        ("def use():\n    return [SIZE for SIZE in (1, 2)]", set()),
        ("def use():\n    return lambda SIZE: SIZE", set()),
        ("def use():\n    return lambda: SIZE", {"SIZE"}),
        ("def use():\n    try:\n        return 1\n    except ValueError as SIZE:\n        return SIZE", set()),
        ("def use():\n    def SIZE():\n        return 1\n    return SIZE", set()),
        ("def use():\n    class Own:\n        rate = SIZE\n    return Own", {"SIZE"}),
        ("def use(most=SIZE):\n    return most", {"SIZE"}),
        ("def use(*, most: MOST = SIZE):\n    return most", {"SIZE", "MOST"}),
        ("@mark(SIZE)\ndef use():\n    return 1", {"SIZE"}),
        ("def use():\n    from spectral_lens.tools import LIMIT as SIZE\n    return SIZE", {"LIMIT"}),
        ("def lazy():\n    from spectral_lens.tools import LIMIT as OWN\n\ndef use():\n    return OWN", set()),
        ("class use:\n    rate = SIZE", {"SIZE"}),
        ("class use:\n    def run(self):\n        return SIZE", set()),
        ("class use:\n    @mark(SIZE)\n    def run(self):\n        return 1", set()),
        ("class use(Base):\n    pass", {"Base", "MOST"}),
    ],
)
def test_what_a_name_means(tmp_path, body, constants):
    text = f"SIZE, MOST = 1, 2\n\n\nclass Base:\n    rate = MOST\n\n\n{body}\n"
    assert names(package(tmp_path / "p", text), "use") == {"use"} | constants


IMPORTS = {
    "use": [
        ("from spectral_lens.tools import LIMIT", "LIMIT"),
        ("from spectral_lens.tools import LIMIT as most", "most"),
        ("from spectral_lens import tools", "tools.LIMIT"),
        ("from spectral_lens import tools as kit", "kit.LIMIT"),
        ("import spectral_lens.tools", "spectral_lens.tools.LIMIT"),
        ("import spectral_lens.tools as kit", "kit.LIMIT"),
        ("import spectral_lens as lens", "lens.tools.LIMIT"),
        ("from spectral_lens.door import LIMIT", "LIMIT"),  # which has it from elsewhere
        ("from spectral_lens import door", "door.most"),
        ("from .tools import LIMIT", "LIMIT"),
        ("from . import tools", "tools.LIMIT"),
        ("from .rooms import most", "most"),
    ],
    "rooms.__init__": [("from ..tools import LIMIT", "LIMIT"), ("from .inner import most as LIMIT", "LIMIT")],
    "rooms.deep": [
        ("from ..tools import LIMIT", "LIMIT"),
        ("from .. import tools", "tools.LIMIT"),
        ("from . import inner", "inner.most"),
        ("from .inner import most", "most"),
        ("from ..door import most", "most"),
    ],
}


@pytest.mark.parametrize("inside", [False, True], ids=["at the top", "in the function"])
@pytest.mark.parametrize(("module", "line", "read"), [(m, *each) for m, lines in IMPORTS.items() for each in lines])
def test_every_import_leads_to_the_constant(tmp_path, module, line, read, inside):
    texts = dict.fromkeys(["__init__", "rooms.__init__"], "") | {"tools": TOOLS}
    texts["door"] = "from spectral_lens.tools import LIMIT\nfrom .tools import LIMIT as most\n"
    texts["rooms.inner"] = "from ..tools import LIMIT as most\n"
    if module == "use":
        texts["rooms.__init__"] = "from .inner import most\n"
    lines = ["def use():", f"    {line}"] if inside else [line, "", "", "def use():"]
    texts[module] = "\n".join([*lines, f"    return {read}", ""])
    (tmp_path / "rooms").mkdir()
    for name, text in texts.items():
        (tmp_path / f"{name.replace('.', '/')}.py").write_text(text)
    place = module.removesuffix(".__init__")
    found = fingerprints.index(tmp_path).snapshot({place: ["use"]})
    assert {where: set(inside) for where, inside in found.items()} == {place: {"use"}, "tools": {"LIMIT"}}


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("from spectral_lens import LIMIT", {"LIMIT"}),  # offered by the package's front door
        ("from spectral_lens import Child as Own\nOwn()", {"Child", "Base", "SPARE"}),
        ("from spectral_lens import helper, user", set()),  # functions count when they run
        ("LIMIT = 1\nLIMIT", set()),
        ("import spectral_lens as sl\nsl.tools.OFFSET", {"OFFSET"}),
        ("import spectral_lens.base\nspectral_lens.base.SPARE", {"SPARE"}),
        ("%time x = 1\n!ls\nfrom spectral_lens import tools\ntools.OFFSET", {"OFFSET"}),
        ("from spectral_lens import tools\ndef f():\n    return tools.OFFSET", {"OFFSET"}),
    ],
)
def test_what_a_cell_names(before, cell, found):
    assert names(before, cells=[cell]) == found


def test_a_name_of_two_modules_is_not_guessed(tmp_path):
    index = package(tmp_path / "p", "LIMIT = 1\n", "LIMIT = 2\n")
    assert names(index, cells=["from spectral_lens import LIMIT"]) == set()
    assert index.snapshot({}, ["from spectral_lens.tools import LIMIT"]).keys() == {"tools"}


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("fit", "fit"),
        ("fit.<locals>.step", "fit"),
        ("Relevance.rank.<locals>.by.<locals>.<lambda>", "Relevance.rank"),
        ("Relevance.<lambda>", "Relevance"),
        ("fit.<locals>.Own.run", "fit"),
    ],
)
def test_the_owner_of_what_ran(name, owner):
    assert fingerprints.Index.owner(name) == owner


def test_what_is_done_after_a_run_is_no_part_of_it(tmp_path):
    for name in ("book/pages.py", "claims/__init__.py", "nn/book.py", "bookings.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("X = 1\n")
    assert set(fingerprints.index(tmp_path).modules) == {"nn.book", "bookings"}


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


def test_all_that_claims_do_is_done_again_but_for_the_estimators():
    package = Path(fingerprints.__file__).parents[1]
    modules = {f"claims.{path.stem}" for path in (package / "claims").glob("[!_]*.py")}
    places = {module for module, _ in fingerprints.index(package).prints}
    assert {each for each in places if each.startswith(("book.", "claims"))} == {"claims.estimators"} < modules
