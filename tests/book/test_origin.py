"""Commit and processor."""

import subprocess

import pytest

from spectral_lens.book import origin


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", "-C", tmp_path, *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    for name in ("book/a.md", "src/b.py", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return tmp_path, git("rev-parse", "HEAD")


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [(None, False), ("README.md", False), ("book/a.md", True), ("src/b.py", True), ("src/c.py", True)],
)
def test_dirty_is_what_a_run_may_have_seen(checkout, changed, dirty):
    root, commit = checkout
    if changed:
        (root / changed).write_text("y")
    assert origin.commit(root) == (commit, dirty)


def test_no_checkout(tmp_path):
    assert origin.commit(tmp_path) == (None, None)


def test_processors_by_name(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text("vendor : a\nmodel name\t: Made Up 7: fast\nmodel name : other\n")
    monkeypatch.setattr(origin, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(origin.sys, "platform", "linux")
    monkeypatch.setattr(origin.os, "cpu_count", lambda: 3)
    assert origin.device("cpu") == "CPU (Made Up 7: fast, 3 cores)"
    assert origin.device("Some GPU") == "Some GPU"
    monkeypatch.setattr(origin, "Path", lambda _: tmp_path / "missing")
    monkeypatch.setattr(origin.platform, "processor", lambda: "")
    monkeypatch.setattr(origin.platform, "machine", lambda: "arm64")
    assert origin.device("cpu") == "CPU (arm64, 3 cores)"
