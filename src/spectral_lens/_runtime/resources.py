"""Where the project's small tables stand: in the checkout, or in an installed wheel that carries its own copy."""

from pathlib import Path

__all__ = ["resource", "root"]

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
