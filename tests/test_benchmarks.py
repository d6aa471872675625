"""The benchmarks, which no test runs, find what they measure."""

import ast
import importlib
import re
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))
# also in programs that are texts
IMPORT = re.compile(r"^from spectral_lens[\w.]* import (?:\([^)]*\)|[^(\n]+)$", re.MULTILINE)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_import_is_there(file):
    for found in IMPORT.finditer(file.read_text(encoding="utf-8")):
        (statement,) = ast.parse(found.group()).body
        module = importlib.import_module(statement.module)
        for name in statement.names:
            if not hasattr(module, name.name):
                importlib.import_module(f"{statement.module}.{name.name}")
