"""The examples in the docstrings: each public function has one, and each prints what it says."""

import doctest
import importlib
import inspect
from pathlib import Path

import pytest
import torch

import spectral_lens

PACKAGE = Path(spectral_lens.__file__).parent
MODULES = {
    ".".join(("spectral_lens", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in MODULES.items() if ">>> " in path.read_text(encoding="utf-8")]

# What cannot be shown without the real data sets.
NEEDS_DATA = {
    "datasets.cache.load",
    "datasets.cache.report",
    "datasets.photographs.load",
    "datasets.sources.cifar",
    "datasets.sources.miles",
    "datasets.sources.mnist",
    "datasets.sources.parameters",
    "datasets.stars.load",
}


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_print_what_they_say(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(name)
    torch.manual_seed(0)  # the same numbers in any order of the tests
    done = doctest.testmod(module, optionflags=doctest.ELLIPSIS)  # `...` stands for the sizes of figures
    assert done.attempted > 0
    assert done.failed == 0, capsys.readouterr().out


def offered() -> dict[str, object]:
    """The functions in the `__all__` of the public modules, by their place below the package."""
    found = {}
    for name in MODULES:
        place = name.removeprefix("spectral_lens").lstrip(".")
        if place.startswith("book") or any(part.startswith("_") for part in place.split(".")):
            continue
        module = importlib.import_module(name)
        functions = {each: getattr(module, each) for each in getattr(module, "__all__", ()) if place}
        found |= {
            f"{place}.{each}": value
            for each, value in functions.items()
            if inspect.isfunction(value) and value.__module__ == name
        }
    return found


def test_each_public_function_has_an_example() -> None:
    lacking = {name for name, function in offered().items() if ">>> " not in (inspect.getdoc(function) or "")}
    assert lacking == NEEDS_DATA
