"""Where a run comes from: the commit of the checkout and the machine's processor."""

import contextlib
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path


def commit(root: Path) -> tuple[str | None, bool | None]:
    """The commit, and whether book/ or src/ differ from it; (None, None) outside a repository."""
    try:
        return _git(root, "rev-parse", "HEAD"), bool(_git(root, "status", "--porcelain", "--", "book", "src"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def _git(root: Path, *arguments: str) -> str:
    # Without the lock that `git status` takes to refresh its index: a reader must not stand in anybody's way.
    environ = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    found = subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, env=environ
    )
    return found.stdout.strip()


def device(name: str) -> str:
    """A GPU by its name; the CPU by its model, where the system tells it."""
    return f"CPU ({processor()}, {os.cpu_count()} cores)" if name == "cpu" else name


def processor() -> str:
    """The processor's model, where the system tells it; else its kind."""
    model = platform.processor() or platform.machine()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return model


@cache
def has_avx2() -> bool:
    """Whether the processor can take the path through its instructions that a profile may ask for.

    Elsewhere torch would warn of an unknown capability (Arm) or run into an illegal instruction (an x86 from before).
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    processor = Path("/proc/cpuinfo")
    return not processor.is_file() or "avx2" in processor.read_text(encoding="utf-8").split()
