"""Code without words and layout: which cells are the same."""

import pytest

from spectral_lens.book import fingerprints


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
