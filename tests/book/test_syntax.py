"""Code without words and layout: which cells are the same."""

import ast
import symtable
from collections import Counter
from pathlib import Path

import pytest

from spectral_lens.book import fingerprints, syntax


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 1  # word\n\n\ny = (2)", "x = 1\ny = 2", True),
        ("from spectral_lens.a import f, g", "from spectral_lens.b.c import g\nfrom spectral_lens.a import f", True),
        ("from spectral_lens.a import f\nx = f()", "x = 1\nfrom spectral_lens.a import f", False),
        ("from spectral_lens.a import f", "from spectral_lens.a import f as g", False),
        ("from spectral_lens import a as b", "from spectral_lens import c as b", False),
        ("import numpy as np", "import torch as np", False),
        ("from math import pi", "from cmath import pi", False),
        ("%matplotlib inline\nx = 1", "x = 1", False),
        ("x = '#'", "x = '# '", False),
        ("x = (", "x = ( ", True),
        ("f'{x!r} {y:.3f}'", "f'{x!s} {y:.3f}'", False),
    ],
)
def test_cells(one, other, same):
    assert (fingerprints.of_cells([one]) == fingerprints.of_cells([other])) is same


def test_cells_are_told_apart():
    assert fingerprints.of_cells(["a", "b"]) != fingerprints.of_cells(["a\nb"])


def test_the_same_under_every_python():
    """Taken once under 3.11, 3.12 and 3.13: what a record keeps must not depend on the interpreter that looks."""
    text = "x = f'{a!r:>{w}} {b=} ' 'c' \"d\"\n"
    text += (
        "async def f(a, /, *b, c: int = 1, **d) -> 'A':\n    async for _ in a: pass\n    return [*b, 1j, b'x', ...]\n"
    )
    assert fingerprints.of_cells([text])[:12] == PINNED


PINNED = "6991a94489ad"


SCOPES = """
size = 1

def outer(a, b=size, *c, d: size = 2, **e) -> size:
    global shared
    from os import path, sep as mark
    shared = size
    for first, (second, *third) in a:
        with first as fourth:
            del fourth
    try:
        fifth = [size for size in a if (sixth := size)]
    except ValueError as seventh:
        pass
    match a:
        case [eighth, *ninth]:
            pass
        case {"x": 1, **tenth} as last:
            pass
    def inner(size=size):
        nonlocal fifth
        fifth = hidden = size
        return lambda size: size + hidden
    @inner
    class Inside(Base):
        size = size
        def method(self):
            return size
    return {k: v for k, v in e} | {size for _ in a}
"""


def functions_of(text):
    """Each function of the text as Python's own compiler sees it, with its node, by line and name."""

    def tables(table):
        for child in table.get_children():
            yield child
            yield from tables(child)

    found = [
        ((node.lineno, getattr(node, "name", "lambda")), node)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    ]
    times = Counter(key for key, _ in found)  # two lambdas in one line cannot be told apart
    nodes = {key: node for key, node in found if times[key] == 1}
    for table in tables(symtable.symtable(text, "text", "exec")):
        # a decorated function stands at its first decorator in some versions: those are left to the others
        if (node := nodes.get((table.get_lineno(), table.get_name()))) is not None:
            yield node, table


SOURCES = [
    SCOPES,
    *(path.read_text(encoding="utf-8") for path in sorted(Path(syntax.__file__).parents[1].rglob("*.py"))),
]


def test_local_names_are_those_of_the_compiler():
    seen = 0
    for node, table in (each for text in SOURCES for each in functions_of(text)):
        symbols = [symbol for symbol in table.get_symbols() if not symbol.get_name().startswith((".", "__"))]
        local = {symbol.get_name() for symbol in symbols if symbol.is_local() and not symbol.is_imported()}
        # from 3.12 on, some tables list the variables of comprehensions, which were made part of the function
        inlined = {
            name.id
            for inner in ast.walk(node)
            if isinstance(inner, ast.comprehension)
            for name in ast.walk(inner.target)
            if isinstance(name, ast.Name)
        }
        assert local - inlined <= syntax.local_names(node) <= local, table.get_name()
        seen += 1
    assert seen > 500


def test_names_of_inner_scopes_and_before_the_body_are_not_local():
    (outer,) = [node for node in ast.parse(SCOPES).body if isinstance(node, ast.FunctionDef)]
    expected = "a b c d e first second third fourth fifth sixth seventh eighth ninth tenth last inner Inside"
    assert syntax.local_names(outer) == set(expected.split())
    free = sorted((node.lineno, node.id) for node in syntax.free_names(outer))
    lines = SCOPES.splitlines()
    read = {(line, name) for line, name in free if name == "size"}
    # defaults, annotations and decorators; the comprehension's own variable and the inner function's are not meant
    assert {line for line, _ in read} == {
        number
        for number, text in enumerate(lines, 1)
        if text.strip().startswith(("def outer", "shared =", "def inner", "return size", "return {k"))
    }
    assert (lines.index("    global shared") + 3, "shared") in free
    assert {name for _, name in free} == {"size", "shared", "ValueError", "Base"}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("def f():\n    x = 1\n    return x + y", {"y"}),
        ("def f(x=x):\n    return x", {"x"}),
        ("def f():\n    def g():\n        x = 1\n    return x", {"x"}),
        ("def f():\n    return [x for x in x]", {"x"}),
        ("def f():\n    x = 1\n    def g():\n        return x", set()),
        ("def f():\n    x = 1\n    def g():\n        global x\n        return x", {"x"}),
        ("def f():\n    return (lambda x: x)(x)", {"x"}),
        ("def f():\n    import x\n    x = x.y\n    return x.y", {"x.y"}),  # an import is looked up elsewhere
        ("@x\ndef f():\n    x = 1", {"x"}),
        ("class C:\n    x = 1\n    def f(self):\n        return x", {"x"}),
        ("def f():\n    return a.b.c(d).e", {"a.b.c", "d"}),
    ],
)
def test_chains_are_read_in_their_scopes(text, read):
    (node,) = ast.parse(text).body
    assert {".".join(chain) for chain in syntax.chains(node, skip=False)} == read
