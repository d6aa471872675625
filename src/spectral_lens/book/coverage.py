"""What layer-wise relevance propagation takes, for the page of the API: from the package's own sets, and from the table
of published networks that a script writes."""

import csv
import importlib
import inspect
import operator
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from spectral_lens.book.syntax import PACKAGE

_WITHOUT_LAYERS = {"container", "module", "loss", "adaptive", "distance"}  # of torch.nn.modules
_AXES = re.compile(r"(?<=[a-z])([123])(?=d\b)")  # nn.Conv2d
_SIGNS = {
    "add": "+", "iadd": "+=", "sub": "-", "isub": "-=", "mul": "*", "imul": "*=", "truediv": "/", "itruediv": "/=",
    "neg": "-x", "getitem": "x[...]",
}  # fmt: skip
# columns of the page, by those of the table whose largest number they show
_LARGEST = {
    "largest deviation": ("gradient_x_input", "zennit", "sums"),
    "generalised γ": ("generalised_gamma",),
    "`gamma`": ("gamma",),
}


def layers() -> str:
    """What is taken, by what it does, and the layers of torch that are refused."""
    taken: dict[str, Collection[Any]] = importlib.import_module(f"{PACKAGE}.nn.piecewise_linear").TAKEN
    rows = [
        [what, _listed(each for each in kinds if inspect.isclass(each)),
         _listed(each for each in kinds if not inspect.isclass(each))]
        for what, kinds in taken.items()
    ]  # fmt: skip
    refused = _listed(set(_torchs_layers()).difference(*taken.values()))
    return (
        f"{_table(['taken', 'layers', 'functions and methods'], rows)}\n\nOf torch's own layers it refuses {refused}."
    )


def networks(file: Path) -> str:
    """The table of published networks, one row for those of a family that fare alike."""
    made, *lines = file.read_text(encoding="utf-8").splitlines()
    explained: dict[tuple[str, str], list[dict[str, str]]] = {}
    refused: dict[str, list[dict[str, str]]] = {}
    for each in csv.DictReader(lines):
        if each["refused"]:
            refused.setdefault(each["family"], []).append(each)
        else:
            explained.setdefault((each["family"], each["gamma_warns"]), []).append(each)
    measured = [
        [family, _names(group), *(_largest(group, names) for names in _LARGEST.values()), warns]
        for (family, warns), group in explained.items()
    ]
    without = [[family, _names(group), _kinds(group)] for family, group in refused.items()]
    return "\n\n".join([
        _table(["explained", "networks", *_LARGEST, "it warns"], measured),
        _table(["refused", "networks", "no rule for"], without),
        made.removeprefix("# "),
    ])  # fmt: skip


def _torchs_layers() -> list[type[nn.Module]]:
    """Those that compute something; lazy ones become others, and bases are there for others."""
    found = (each for name, each in vars(nn).items() if inspect.isclass(each) and not re.match(r"Lazy|.*Base$", name))
    parts = ((each, each.__module__.partition("torch.nn.modules.")[2]) for each in found)
    return [each for each, part in parts if part and part not in _WITHOUT_LAYERS and issubclass(each, nn.Module)]


def _listed(operations: Iterable[Any]) -> str:
    """Names in their order; those that differ in the number of axes alone, as one."""
    alike: dict[str, list[str]] = {}
    for name in sorted({_name(each) for each in operations}, key=str.lower):
        alike.setdefault(_AXES.sub("", name), []).append("".join(_AXES.findall(name)))
    axes = {name: "d, ".join(found) for name, found in alike.items()}
    return ", ".join(f"`{re.sub(r'd$', found + 'd', name) if found else name}`" for name, found in axes.items())


def _name(operation: Any) -> str:
    """What a reader writes for it.

    >>> [_name(each) for each in (nn.ReLU, torch.relu, functional.relu, "relu", operator.add)]
    ['nn.ReLU', 'torch.relu', 'F.relu', 'x.relu', '+']
    """
    if isinstance(operation, str):
        return f"x.{operation}"
    if inspect.isclass(operation):
        own = vars(nn).get(operation.__name__) is operation
        return f"nn.{operation.__name__}" if own else operation.__name__
    for start, module in (("F.", functional), ("torch.", torch), ("", operator)):
        names = [name for name, value in vars(module).items() if value is operation and not name.startswith("__")]
        if names:
            return _SIGNS.get(names[0], names[0]) if module is operator else start + names[0]
    return str(getattr(operation, "__name__", operation))


def _names(group: list[dict[str, str]]) -> str:
    first, others = group[0]["network"], len(group) - 1
    return f"{first} and {others} more" if others else first


def _largest(group: list[dict[str, str]], names: Collection[str]) -> str:
    """The largest number, where any was measured."""
    return max((each[name] for each in group for name in names if each[name]), key=float, default="")


def _kinds(group: list[dict[str, str]]) -> str:
    """The kinds of layers and functions, without the layers' names."""
    entries = [entry for each in group for entry in each["refused"].split(", ")]
    found = [re.sub(r"^.*\((\w+)\).*$", r"\1", entry) for entry in entries]
    return ", ".join(f"`{kind}`" for kind in dict.fromkeys(found))


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
