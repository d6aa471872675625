"""What `import spectral_lens` offers: each name by its task, nothing before it is asked for."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import spectral_lens

PACKAGE = Path(spectral_lens.__file__).parent


def documented() -> list[str]:
    """The names in the docstring's list of tasks."""
    tasks = [line.partition(":")[2] for line in spectral_lens.__doc__.splitlines() if line.startswith("* ")]
    return [name for task in tasks for name in re.findall(r"`(\w+)`", task)]


def for_type_checkers() -> dict[str, str]:
    """The module of each name in the block that type checkers read."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.asname: node.module.removeprefix("spectral_lens.")
        for node in block.body
        for alias in node.names
        if alias.asname == alias.name
    }


def test_help_shows_the_names_by_task():
    assert documented() == spectral_lens.__all__


def test_type_checkers_see_the_same_names():
    assert for_type_checkers() == spectral_lens._WHERE


@pytest.mark.parametrize("name", spectral_lens.__all__)
def test_each_name_is_that_of_its_module(name):
    module = importlib.import_module(f"spectral_lens.{spectral_lens._WHERE[name]}")
    assert getattr(spectral_lens, name) is getattr(module, name)
    assert name in dir(spectral_lens)


def public_modules() -> list[str]:
    """Every module that a reader may import, but the book's machinery."""
    names = (path.relative_to(PACKAGE).with_suffix("").parts for path in PACKAGE.rglob("*.py"))
    return sorted(
        ".".join(parts) for parts in names if not any(part.startswith("_") for part in parts) and parts[0] != "book"
    )


def defined(module) -> set[str]:
    """The functions and classes that the module itself makes, without those with a leading underscore."""
    made = (inspect.isfunction, inspect.isclass)
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and any(is_(value) for is_ in made) and value.__module__ == module.__name__
    }


@pytest.mark.parametrize("name", public_modules())
def test_modules_say_what_they_offer(name):
    module = importlib.import_module(f"spectral_lens.{name}")
    assert defined(module) <= set(getattr(module, "__all__", ()))
    assert set(getattr(module, "__all__", ())) <= set(dir(module))


@pytest.mark.parametrize("name", public_modules())
def test_what_is_offered_is_explained(name):
    module = importlib.import_module(f"spectral_lens.{name}")
    assert module.__doc__
    assert [each for each in sorted(defined(module)) if not inspect.getdoc(getattr(module, each))] == []


def test_no_name_hides_a_room():
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert "relevance" in rooms
    assert not rooms & set(spectral_lens.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'spectral_lens' has no attribute 'lpr'"):
        spectral_lens.lpr  # noqa: B018


def alone(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_quick_and_brings_nothing_along():
    code = """if True:
        import sys, time
        before, began = set(sys.modules), time.perf_counter()
        import spectral_lens
        seconds = time.perf_counter() - began
        heavy = {"torch", "numpy", "matplotlib", "scipy", "sklearn"} & (set(sys.modules) - before)
        print(seconds, *heavy)
    """
    seconds, *heavy = alone(code).split()
    assert heavy == []
    assert float(seconds) < 0.15


def test_a_name_brings_what_it_needs_only():
    code = """if True:
        import sys
        from spectral_lens import lrp, fit
        from spectral_lens import claims
        assert lrp.__name__ == "lrp" and callable(lrp) and claims.__name__ == "spectral_lens.claims"
        print(*({"matplotlib", "scipy", "sklearn", "torchvision", "astropy", "pooch"} & set(sys.modules)))
    """
    assert alone(code).split() == []
