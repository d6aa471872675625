"""IPython extension inside a chapter's kernel: notes what ran, on which device and with how many threads."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from spectral_lens.book.fingerprints import AFTER, PACKAGE
from spectral_lens.book.recorder import Recorder

NOTE = "SPECTRAL_LENS_NOTE"  # names the file that the kernel leaves its note in
_FOLDER = Path(__file__).parents[1]


def load_ipython_extension(shell: Any) -> None:
    """Record from now on, and leave a note after every cell: the end of a kernel calls nobody."""
    recorder = Recorder(PACKAGE, _FOLDER, skip=AFTER)
    recorder.start()
    shell.events.register("post_run_cell", lambda result: note(recorder))


def note(recorder: Recorder) -> None:
    """Write the note; torch is asked only where the chapter imported it."""
    found: dict[str, Any] = {"ran": recorder.ran()}
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        used = torch.cuda.is_available() and torch.cuda.is_initialized()
        found |= {"device": torch.cuda.get_device_name() if used else "cpu", "threads": torch.get_num_threads()}
    Path(os.environ[NOTE]).write_text(json.dumps(found), encoding="utf-8")
