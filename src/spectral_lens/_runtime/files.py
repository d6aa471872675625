"""Files that are whole or not there."""

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_writable", "replacing"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a file beside `path` to write to, which takes the place of `path` at the end.

    After an error what was written is gone and `path` is as it was. The name aside carries host and process, so that
    machines that share a folder don't write into each other's files. Makes the folder; raises what the system raises.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "numbers.txt") as aside:
    ...         _ = aside.write_text("1 2 3")
    ...     (Path(folder) / "numbers.txt").read_text()
    '1 2 3'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    host = re.sub(r"[^A-Za-z0-9.-]", "-", platform.node()) or "unknown"
    aside = path.with_name(f"{path.name}.{host}-{os.getpid()}.part")
    try:
        yield aside
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise OSError where `replacing(path)` would: a folder or file in the way, no permission, no space at all.

    Leaves nothing behind, no folder either.

    >>> check_writable(Path(tempfile.gettempdir()) / "new" / "file")
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    there = next(folder for folder in path.parents if folder.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{there} is not a folder")
    with tempfile.TemporaryFile(dir=there) as file:
        file.write(b"\n")
