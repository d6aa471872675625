"""IPython extension inside a chapter's kernel: notes what ran, what it warned of, what it cost, and where."""

import json
import os
import re
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

from spectral_lens.book.fingerprints import after
from spectral_lens.book.recorder import Recorder
from spectral_lens.book.syntax import PACKAGE

NOTE = "SPECTRAL_LENS_NOTE"  # names the file that the kernel leaves its note in
_WHERE = re.compile(r" ?\(Triggered internally at [^()]*\)")  # torch names the line of its source, as it was built


def package_recorder() -> Recorder:
    """A recorder of what counts for a record."""
    return Recorder(PACKAGE, Path(__file__).parents[1], skip=after)


def load_ipython_extension(shell: Any) -> None:
    """Record from now on, and leave a note after every cell: the end of a kernel calls nobody."""
    recorder = package_recorder()
    recorder.start()
    heard, said = listen(), list[tuple[int, str]]()

    def ended(result: Any) -> None:
        said.extend((result.execution_count, text) for text in heard)
        heard.clear()
        note(recorder, said)

    shell.events.register("post_run_cell", ended)


def listen() -> list[str]:
    """The warnings from now on as they come: category and message in one line."""
    heard: list[str] = []
    show = warnings.showwarning

    def hear(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        text = _WHERE.sub("", " ".join(f"{category.__name__}: {message}".split()))
        heard.append("".join(filter(str.isprintable, text)))
        show(message, category, *where, **more)

    warnings.showwarning = hear
    return heard


def note(recorder: Recorder, said: list[tuple[int, str]]) -> None:
    """Write the note, with the warnings `said` and the execution count of each one's cell.

    torch is asked only where the chapter imported it.
    """
    found: dict[str, Any] = {"ran": recorder.ran(), "warnings": said, **cost()}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        used = torch.cuda.is_available() and torch.cuda.is_initialized()
        found |= {"device": torch.cuda.get_device_name() if used else "cpu", "threads": torch.get_num_threads()}
    Path(os.environ[NOTE]).write_text(json.dumps(found), encoding="utf-8")


def cost() -> dict[str, float]:
    """cpu_seconds (user and system, with ended children) and peak_memory (resident bytes) of this process."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(each.ru_utime + each.ru_stime for each in used)
    return {"cpu_seconds": round(seconds, 1), "peak_memory": _peak(used[0].ru_maxrss)}


def _peak(maxrss: int) -> int:
    # Linux hands the peak of the process that started this one down to ru_maxrss; /proc has the peak of this alone.
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return maxrss * (1 if sys.platform == "darwin" else 1024)
