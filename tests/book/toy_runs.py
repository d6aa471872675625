"""A chapter that says what it does and can be held up, and the command on many runs of it: for the engine."""

import contextlib
import subprocess
import sys
import time

import psutil
from typer.testing import CliRunner

from spectral_lens.book import customs, sweeps
from spectral_lens.book.chapters import Book
from spectral_lens.book.cli import app

# Says that it has started and ended; waits, fails or loses its kernel as its parameters say.
CELL = """\
import os, signal, time
from pathlib import Path
def say(what):
    with open("said", "a") as file:
        file.write(f"{what} {number}\\n")
say("started")
if number == killed and not Path("killed").exists():
    Path("killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if number == waits:
    deadline = time.monotonic() + 60
    while not Path("go").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
if number == fails:
    raise ValueError(f"no {number}")
say("ended")
print(number)"""
PARAMETERS = "number, waits, killed, fails = 0, -1, -1, -1"


def command(root, *arguments):
    return [sys.executable, "-m", "spectral_lens.book.cli", *arguments, "--root", str(root)]


def call(root, *arguments):
    """The command in this very process; Snakemake and its jobs are others anyway."""
    return CliRunner().invoke(app, [*arguments, "--root", str(root)], prog_name="spectral-lens")


def said(root):
    """What the chapters did, in order."""
    path = root / "book" / "said"
    return path.read_text().splitlines() if path.exists() else []


def count(root, what):
    return {number: said(root).count(f"{what} {number}") for number in range(3)}


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def there(root, name):
    found = sweeps.load(Book(root), name)
    return [customs.same(plan) is not None for plan in found.plans]


@contextlib.contextmanager
def started(root, *arguments):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command(root, *arguments), **pipes) as process:
        try:
            yield process
        finally:  # what a failed test leaves would wait for a minute
            if process.poll() is None:
                (root / "book/go").touch()
                process.kill()


def below(process, word=""):
    """Snakemake below the process, its jobs and their kernels; those with the word in their call."""
    found = []
    for each in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [each] if not word or word in each.cmdline() else []
    return found
