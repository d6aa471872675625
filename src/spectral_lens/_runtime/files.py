"""Files that are whole or not there."""

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["check_writable", "read_text", "replacing"]


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


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without the byte order mark that some editors put before it.

    Raises ValueError where the file is in another encoding, OSError as the system does.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "marked.txt"
    ...     _ = path.write_bytes(b"\\xef\\xbb\\xbfone")
    ...     read_text(path)
    'one'
    """
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path.name} is not UTF-8 (line {line}: byte {raw[error.start]:#04x}): save it as UTF-8."
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
