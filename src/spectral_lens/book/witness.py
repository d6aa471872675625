"""IPython extension inside a chapter's kernel: notes which device and how many threads torch really used."""

import json
import os
import sys
from pathlib import Path
from typing import Any

NOTE = "SPECTRAL_LENS_NOTE"  # names the file that the kernel leaves its note in


def load_ipython_extension(shell: Any) -> None:
    """Look after every cell: nobody is asked when the kernel ends."""
    shell.events.register("post_run_cell", lambda result: note())


def note() -> None:
    """Write the note; torch is asked only where the chapter imported it."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_num_threads"):
        return
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    found = {"device": torch.cuda.get_device_name() if used else "cpu", "threads": torch.get_num_threads()}
    Path(os.environ[NOTE]).write_text(json.dumps(found), encoding="utf-8")
