"""A missing package says which extra brings it."""

import pytest

from spectral_lens._runtime.extras import optional


def test_a_missing_module_names_its_extra():
    said = r'nowhere is not installed: pip install "spectral-lens\[data\]"'
    with pytest.raises(ImportError, match=said) as caught, optional("data"):
        import nowhere  # noqa: F401
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_what_is_there_is_imported():
    with optional("data"):
        import math
    assert math.pi > 3


def test_other_errors_pass():
    with pytest.raises(ValueError, match="mine"), optional("data"):
        raise ValueError("mine")
    with pytest.raises(ImportError, match="cannot import name 'nowhere'"), optional("data"):
        from math import nowhere  # noqa: F401
