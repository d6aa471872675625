"""The tables of what is taken: all that the package takes, under the names that readers write, and nothing twice."""

import ast
import operator
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.book import coverage
from spectral_lens.nn.piecewise_linear import TAKEN

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines():
    return coverage.layers().splitlines()


def named(cell):
    """The names of a cell, those of several numbers of axes apart."""
    for name in re.findall(r"`([^`]+)`", cell):
        first, *others = name.split(", ")
        yield first
        yield from (re.sub(r"\dd$", each, first) for each in others)


def test_every_operation_has_its_line(lines):
    head, rule, *rows, _, refused = lines
    assert (head.count("|"), rule) == (4, "| --- | --- | --- |")
    for (what, kinds), row in zip(TAKEN.items(), rows, strict=True):
        name, *cells = (cell.strip() for cell in row.strip("|").split("|"))
        assert name == what
        found = [each for cell in cells for each in named(cell)]
        assert len(found) == len(set(found)) == len({coverage._name(kind) for kind in kinds})
    assert {"nn.GELU", "nn.LayerNorm", "nn.LPPool3d"} <= set(named(refused))


def test_names_are_those_that_lead_to_the_operation(lines):
    """Each name of a module or function of torch is the operation that is taken, or refused."""
    *rows, _, refused = lines[2:]
    kinds = set().union(*TAKEN.values())
    found = {name for row in rows for name in named(row) if re.match(r"nn\.|F\.|torch\.", name)}
    assert len(found) > 100
    assert {eval(name, {"nn": nn, "F": F, "torch": torch}) for name in found} <= kinds
    assert {eval(name, {"nn": nn}) for name in named(refused)}.isdisjoint(kinds)


@pytest.mark.parametrize(
    ("kind", "name"),
    [(nn.Conv2d, "nn.Conv2d"), (F.max_pool2d, "F.max_pool2d"), (torch.cat, "torch.cat"), ("view", "x.view"),
     (operator.iadd, "+="), (operator.getitem, "x[...]"), (ast.parse, "parse"), (Path, "Path")],
)  # fmt: skip
def test_what_a_reader_writes(kind, name):
    assert coverage._name(kind) == name


TABLE = """# Made by a script.
network,family,gamma_warns,gradient_x_input,zennit,sums,gamma,generalised_gamma,refused
a1,A,no,3e-16,2e-15,1e-15,1e-03,2e-03,
a2,A,no,1e-15,0e+00,2e-16,3e-03,1e-03,
a3,A,yes,1e-15,4e-15,5e-15,2e+07,3e-02,
b1,B,yes,,6e-15,1e-15,4e+00,1e-02,
b2,B,,,,,,,"one.act (SiLU) and 3 more, mul"
c1,C,,,,,,,layer_norm
c2,C,,,,,,,"mul, top (SiLU)"
"""


def test_a_family_is_a_row_with_its_largest_deviations(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE)
    explained, refused, made = coverage.networks(tmp_path / "table.csv").split("\n\n")
    assert explained.splitlines()[2:] == [
        "| A | a1 and 1 more | 2e-15 | 2e-03 | 3e-03 | no |",
        "| A | a3 | 5e-15 | 3e-02 | 2e+07 | yes |",
        "| B | b1 | 6e-15 | 1e-02 | 4e+00 | yes |",
    ]
    assert refused.splitlines()[2:] == [
        "| B | b2 | `SiLU`, `mul` |",
        "| C | c1 and 1 more | `layer_norm`, `mul`, `SiLU` |",
    ]
    assert made == "Made by a script."


def test_the_projects_own_table_is_shown():
    explained, refused, _ = coverage.networks(ROOT / "data" / "torchvision.csv").split("\n\n")
    assert "| ResNet | resnet101 and" in explained
    assert "| VisionTransformer | vit_b_16 and" in refused
