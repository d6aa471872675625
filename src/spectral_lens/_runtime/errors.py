"""What a file that cannot be taken is answered, what another's error says in short, and whom a warning is for."""

import os
import sys
import warnings
from pathlib import Path

__all__ = ["InputError", "first_line", "in_one_line", "warn"]


class InputError(ValueError):
    """What a reader's own file holds, or names, cannot be taken; the message says what to do."""


def first_line(error: BaseException) -> str:
    """The first line of an error without its full stop, or its type where it says nothing.

    >>> first_line(ValueError("no such file.\\nTry another.")), first_line(KeyError())
    ('no such file', 'KeyError')
    """
    return str(error).strip().split("\n")[0].rstrip(". ") or type(error).__name__


def in_one_line(error: BaseException) -> str:
    """All that an error says, in one line.

    >>> in_one_line(ValueError("line 3:\\n  a tab"))
    'line 3: a tab'
    """
    return " ".join(str(error).split())


def warn(message: str, category: type[Warning]) -> None:
    """Warn the line that called the package, be it through torch.

    >>> with warnings.catch_warnings(action="error"):
    ...     warn("mind the gap.", UserWarning)
    Traceback (most recent call last):
    UserWarning: mind the gap.
    """
    import jaxtyping  # checks calls in tests
    import torch

    folders = (Path(__file__).parents[1], *(Path(str(library.__file__)).parent for library in (torch, jaxtyping)))
    inside = tuple(f"{folder}{os.sep}" for folder in folders)
    frame, level = sys._getframe(), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
