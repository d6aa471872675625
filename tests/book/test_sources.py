"""The code of a module without words."""

import ast
import random
from pathlib import Path

import pytest
from toy_chapters import page

from spectral_lens.book import chapters, sources
from spectral_lens.book.chapters import Book


@pytest.mark.parametrize(
    ("cell", "modules"),
    [
        ("import spectral_lens", set()),
        ("import numpy, spectral_lensed", set()),
        ("from spectral_lens import leaf", {"leaf"}),
        ("import spectral_lens.leaf as x", {"leaf"}),
        ("def f():\n    from spectral_lens.leaf import value", {"leaf"}),
        ("%matplotlib inline\nfrom spectral_lens import middle, alone", {"middle", "leaf", "alone"}),
        ("from spectral_lens.sub import g", {"sub", "sub.top", "middle", "leaf"}),
        ("import spectral_lens.sub.top", {"sub", "sub.top", "middle", "leaf"}),
        ("from spectral_lens.nowhere import x", set()),
    ],
)
def test_imported_modules(package, cell, modules):
    found = sources.module_hashes(chapters.notebook(page("T", cell)), package)
    assert set(found) == {f"spectral_lens.{m}" for m in modules}


SOURCE = '''\
#!/usr/bin/env python
"""Docstring of
the module, with a # in it and an ä.
"""
import os  # comment

__version__ = "1.2"


class A:  # ä
    """Doc."""  # behind it

    x = "# no comment"

    async def f(self):
        "doc"
        return f"# {self!r} no comment" \\
            "either"


def g(): """doc ä"""; return 1  # ä


TEXT = """a

  # kept, spaces too{SPACES}

"""  # gone
LONG = (
    1,  # one

    2,
)
'''


BARE = '''\
import os
class A:
    x = "# no comment"
    async def f(self):
        return f"# {self!r} no comment" \\
            "either"
def g(): ; return 1
TEXT = """a

  # kept, spaces too{SPACES}

"""
LONG = (
    1,
    2,
)
'''


def test_words_are_left_out():
    source, bare = (text.replace("{SPACES}", "   ") for text in (SOURCE, BARE))
    assert sources.bare(source) == bare


def test_words_never_matter():
    """Comments and blank lines put anywhere into the package's own sources change nothing."""
    drawn = random.Random(0)
    for path in sorted(Book(Path()).package.rglob("*.py")):
        text = path.read_text()
        bare = sources.bare(text)
        assert len(bare) <= len(text)
        lines = text.splitlines()
        strings = {
            k
            for n in ast.walk(ast.parse(text))
            if isinstance(n, ast.Constant | ast.JoinedStr)
            for k in range(n.lineno, n.end_lineno)
        }
        code = [k for k, line in enumerate(lines, 1) if k not in strings and line.strip() and not line.endswith("\\")]
        for k in drawn.sample(code, min(5, len(code))):
            lines[k - 1] += "  # a word\n\n"
        assert bare == sources.bare("\n".join(lines) + "\n")
