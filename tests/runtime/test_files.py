"""Files are whole or not there."""

import os
import platform

import pytest

from spectral_lens._runtime import files


def test_takes_the_place_at_the_end(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    for text in ("first", "second"):
        with files.replacing(path) as aside:
            aside.write_text(text)
            assert aside.parent == path.parent
            assert not path.exists() or path.read_text() != text
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("before")

    def interrupted():
        with files.replacing(path) as aside:
            aside.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_hosts_and_two_processes_write_aside_under_names_of_their_own(tmp_path, monkeypatch):
    names = set()
    for host in ("one", "two/strange name", ""):
        for pid in (1, 2):
            monkeypatch.setattr(platform, "node", lambda host=host: host)
            monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
            with files.replacing(tmp_path / "file") as aside:
                aside.touch()
                assert aside.parent == tmp_path
                names.add(aside.name)
    assert len(names) == 6
    assert "file.one-1.part" in names


def test_check_leaves_nothing(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "c.txt")
    files.check_writable(tmp_path / "c.txt")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "c.txt").write_text("kept")
    files.check_writable(tmp_path / "c.txt")
    assert (tmp_path / "c.txt").read_text() == "kept"


def test_check_finds_what_is_in_the_way(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="file is not a folder"):
        files.check_writable(tmp_path / "file" / "sub" / "c.txt")
    with pytest.raises(OSError, match="is a folder"):
        files.check_writable(tmp_path / "folder")

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError):
        files.check_writable(tmp_path / "c.txt")


def test_text_with_a_mark_and_other_ends_of_lines(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbfa\r\n\xc3\xa4\rb\n")
    assert files.read_text(path) == "a\n\u00e4\nb\n"
    path.write_bytes("a\nb\u00fc".encode("latin-1"))
    with pytest.raises(ValueError, match=r"^text is not UTF-8 \(line 2: byte 0xfc\): save it as UTF-8"):
        files.read_text(path)
