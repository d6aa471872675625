"""What a run of several chapters shows: in a log, on a terminal."""

import os
import pty
import signal
import subprocess
import sys
import time

from toy_chapters import page, write


def test_log_has_no_control_characters(tmp_path):
    noisy = "import os, sys\nos.write(2, b'\\x1b[31mraw')\nprint('bar', end='\\r', file=sys.stderr)\n1"
    noisy += "\nimport warnings\nwarnings.warn('mind\\n\\x1b[31m the gap')"
    write(tmp_path, {"one": page("One", noisy), "bad": page("Bad", noisy, "1 / 0")})
    command = [sys.executable, "-m", "spectral_lens.book.cli", "run", "one", "bad", "--jobs", "2"]
    done = subprocess.run([*command, "--root", str(tmp_path)], capture_output=True, check=False)
    assert done.returncode == 1
    for text in (done.stdout.decode(), done.stderr.decode()):
        assert all(character.isprintable() or character == "\n" for character in text)
        assert "raw" not in text
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["one (quick) ...", "bad (quick) ..."]
    assert lines[2].endswith(" s, no claims, build/records/quick/one.ipynb")
    assert lines[3:] == ["one: 1 warning:", "    UserWarning: mind [31m the gap"]
    assert done.stderr.decode().splitlines()[-1] == "1 of 2 chapters failed: bad."


def test_terminal_shows_what_runs(tmp_path):
    """On a pseudo-terminal: a line for each running chapter; the interruption leaves the cursor visible."""
    wait = "open('started-{}', 'w').close()\nimport time; time.sleep(60)"
    write(tmp_path, {name: page(name, wait.format(name)) for name in ("one", "two")})
    command = [sys.executable, "-m", "spectral_lens.book.cli", "run", "one", "two", "--jobs", "2"]
    mine, its = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen([*command, "--root", str(tmp_path)], stdout=its, stderr=its, env=environment)
    os.close(its)
    text, deadline, stopped = b"", time.monotonic() + 60, False
    while time.monotonic() < deadline:
        try:
            piece = os.read(mine, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:  # and others
            break
        text += piece
        if not stopped and all((tmp_path / f"book/started-{name}").exists() for name in ("one", "two")):
            process.send_signal(signal.SIGTERM)
            stopped = True
    os.close(mine)
    assert process.wait(30) == 143
    for part in (b"0 of 2 chapters", b"one (quick)", b"two (quick)", b"not run: one, two."):
        assert part in text
    assert text.rindex(b"\x1b[?25h") > text.rindex(b"\x1b[?25l")
