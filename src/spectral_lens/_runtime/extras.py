"""Packages that only a part of the work needs."""

import contextlib
from collections.abc import Iterator

__all__ = ["optional"]


@contextlib.contextmanager
def optional(extra: str) -> Iterator[None]:
    """Around imports of what the extra of that name installs; a missing one says how to get it.

    Raises ImportError where a module is not installed.

    >>> with optional("figures"):
    ...     import nowhere
    Traceback (most recent call last):
    ImportError: nowhere is not installed: pip install "spectral-lens[figures]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ImportError(f'{error.name} is not installed: pip install "spectral-lens[{extra}]"') from error
