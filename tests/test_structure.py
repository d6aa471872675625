"""How the house is built: what may import what, how long things may be, and where the tests of a module stand."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "spectral_lens"
MODULES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}

# From the ground up: a room imports only from floors below its own.
FLOORS = (
    ("_runtime", "intervals"),
    ("nn",),
    ("datasets",),
    ("training",),
    ("relevance", "operators"),
    ("explain",),
    ("stability",),
)
BESIDE = {
    "figures": {"_runtime", "intervals"},
    "claims": {"_runtime", "intervals"},
    "book": {"_runtime", "claims", "datasets"},
}
ROOMS = 12  # at most: a newcomer should see them at one glance
LINES, FUNCTION = 300, 65  # at most, docstrings and comments included


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def room(name: str) -> str:
    """The room that a module stands in; "" for the package's own front door."""
    return name.split("/")[0].removesuffix(".py") if name != "__init__.py" else ""


def imported(name: str) -> Iterator[str]:
    """The rooms that a module imports from, anywhere in it."""
    for node in ast.walk(tree(name)):
        if isinstance(node, ast.Import):
            dotted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports by dots"
            dotted = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (each.split(".")[1] for each in dotted if each.startswith("spectral_lens."))


def allowed() -> dict[str, set[str]]:
    """What each room may import."""
    below: set[str] = set()
    found = {}
    for floor in FLOORS:
        found |= {each: set(below) for each in floor}
        below |= set(floor)
    return found | BESIDE


def test_each_room_has_its_place() -> None:
    rooms = {room(name) for name in MODULES} - {""}
    assert rooms == set(allowed())
    assert len(rooms) <= ROOMS


def test_arrows_point_down_only() -> None:
    found = {f"{name}: {each}" for name in MODULES if room(name) for each in imported(name)}
    wrong = {
        arrow
        for arrow in found
        if (into := arrow.split(": ")[1]) != (own := room(arrow.split(": ")[0])) and into not in allowed()[own]
    }
    assert wrong == set()


def test_the_front_door_offers_no_machinery() -> None:
    assert not {"book", "_runtime"} & set(imported("__init__.py"))


def test_modules_are_short() -> None:
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def test_functions_are_short() -> None:
    lengths = {
        f"{name}: {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name in MODULES
        for node in ast.walk(tree(name))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: length for name, length in lengths.items() if length > FUNCTION} == {}


def place_of_tests(name: str) -> Path:
    """tests/<room>/test_<module>.py, both without a leading underscore; a room that is one module has its own name."""
    path = Path(name)
    stem = path.parent.name if path.name == "__init__.py" else path.stem
    return ROOT / "tests" / path.parent.as_posix().lstrip("_") / f"test_{stem.lstrip('_')}.py"


def says_something(name: str) -> bool:
    """Whether the module defines anything."""
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in tree(name).body)


def test_each_module_has_its_tests() -> None:
    lacking = {name for name in MODULES if room(name) and says_something(name) and not place_of_tests(name).is_file()}
    assert not lacking


@pytest.mark.parametrize(
    ("name", "tests"),
    [
        ("nn/mlp.py", "tests/nn/test_mlp.py"),
        ("_runtime/files.py", "tests/runtime/test_files.py"),
        ("training/_loop.py", "tests/training/test_loop.py"),
        ("datasets/__init__.py", "tests/datasets/test_datasets.py"),
    ],
)
def test_where_the_tests_of_a_module_stand(name: str, tests: str) -> None:
    assert place_of_tests(name) == ROOT / tests
