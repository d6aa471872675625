"""A small book and a small package, for the tests of the machinery."""

import pytest
from toy_chapters import page, write


@pytest.fixture
def toy(tmp_path):
    return write(
        tmp_path, {"part/one": page("One", "print(a)", "import spectral_lens.devices"), "two": page("Two", "1")}
    )


@pytest.fixture
def package(tmp_path):
    """A toy package: leaf <- middle (lazily) <- sub.top; alone is imported by nobody."""
    folder = tmp_path / "spectral_lens"
    files = {
        "__init__.py": '"""Doc."""\n\n__version__ = "1"\n',
        "leaf.py": "value = 1\n",
        "middle.py": "def f():\n    from . import leaf\n    return leaf.value\n",
        "sub/__init__.py": "from spectral_lens.sub.top import g\n",
        "sub/top.py": "import numpy\nfrom ..middle import f\n\n\ndef g():\n    return f()\n",
        "alone.py": "x = 1\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder
