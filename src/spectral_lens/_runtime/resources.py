"""Where files stand: the project's small tables, in the checkout or in an installed wheel, and what a user names."""

import os
from pathlib import Path

__all__ = ["CALLED_FROM", "named", "resource", "root"]

CALLED_FROM = "SPECTRAL_LENS_CALLED_FROM"  # set for a chapter's kernel, which works in the chapter's own folder
_PACKAGE = Path(__file__).resolve().parents[1]


def root() -> Path | None:
    """The checkout's root, or None where the package was installed without one."""
    folder = _PACKAGE.parents[1]
    return folder if (folder / "_toc.yml").is_file() else None


def resource(name: str) -> Path:
    """The file `name`, given relative to the checkout ("book/claims.yml", "data/manifest.yml").

    Raises FileNotFoundError where neither the checkout nor the installed package holds it.

    >>> resource("book/claims.yml").name
    'claims.yml'
    """
    candidates = [_PACKAGE.parents[1] / name, _PACKAGE / Path(name).name]
    for path in candidates:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{name} is neither in the checkout nor in the installed package: install spectral-lens again."
    )


def named(path: str | Path) -> Path:
    """The whole path of a file that a user names: from where the command was called, with "~" for the home folder.

    Raises ValueError for a home folder that there is not.

    >>> named("mine.csv") == Path.cwd() / "mine.csv"
    True
    """
    try:
        return Path(os.environ.get(CALLED_FROM) or Path.cwd()) / Path(path).expanduser()
    except RuntimeError:
        raise ValueError(f"{path} is in a home folder that there is not: name the whole path.") from None
