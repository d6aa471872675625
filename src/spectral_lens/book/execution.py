"""Executes a notebook by papermill, in a kernel of this very interpreter with an environment of its own."""

import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from spectral_lens._runtime.errors import InputError
from spectral_lens.book import kernel_extension

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class CellFailed(Exception):
    """A cell raised, or its kernel died: the notebook up to there, the cell's number (from 1) and what happened.

    refused: what the cell said of a file of the reader's that it cannot take (`InputError`); empty for other errors.
    """

    def __init__(
        self,
        notebook: nbformat.NotebookNode | None,
        number: int,
        source: str,
        reason: list[str],
        died: bool = False,
        refused: str = "",
    ) -> None:
        super().__init__(reason[-1] if reason else "unknown reason")
        self.notebook, self.number, self.source, self.reason, self.died = notebook, number, source, reason, died
        self.refused = refused


class Terminated(KeyboardInterrupt):
    """SIGTERM, told apart from Ctrl-C."""


@dataclass(frozen=True)
class Executed:
    """A notebook with its outputs, and the kernel's own note (cost; device and threads where torch was imported)."""

    notebook: nbformat.NotebookNode
    note: dict[str, Any]


def execute(
    notebook: nbformat.NotebookNode,
    *,
    folder: Path,
    environment: Mapping[str, str],
    parameters: Mapping[str, Any],
    show_progress: bool = False,
) -> Executed:
    """Run all cells in `folder`, with `parameters` put in after the parameters cell.

    `environment` is added to the kernel's environment alone. With `show_progress` what the cells write to stderr
    (progress bars) goes to this process's stderr. Raises CellFailed; the kernel is gone when this returns or raises.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say comes as an exception

    with tempfile.TemporaryDirectory(prefix="spectral-lens-") as temporary:
        source, output, noted = (Path(temporary) / name for name in ("in.ipynb", "out.ipynb", "note.json"))
        nbformat.write(notebook, source)
        own = {kernel_extension.NOTE: str(noted), "IPYTHONDIR": str(Path(temporary) / "ipython"), **environment}
        manager = _manager(own)
        try:
            with terminable():
                done = papermill.execute_notebook(
                    source,
                    output,
                    parameters=dict(parameters),
                    kernel_name="python3",
                    language="python",
                    progress_bar=False,
                    start_timeout=120,
                    stderr_file=sys.stderr if show_progress else None,
                    kernel_manager_class=manager,
                    resources={"metadata": {"path": str(folder)}},
                    shutdown_kernel="immediate",
                )
        except papermill.PapermillExecutionError as error:
            trace = [line for part in error.traceback for line in _plain(part).splitlines()]
            partial = _read(output)
            refused = error.evalue if error.ename == InputError.__name__ else ""
            number = _number(partial, error.source)
            raise CellFailed(partial, number, error.source, trace or [error.evalue], refused=refused) from None
        except DeadKernelError:
            partial = _read(output)
            number, text = _last_started(partial)
            reason = "The kernel died: it was killed, ran out of memory, or crashed in compiled code."
            raise CellFailed(partial, number, text, [reason], died=True) from None
        finally:
            _end(manager.pids)
        return Executed(done, json.loads(noted.read_text(encoding="utf-8")) if noted.is_file() else {})


class _Manager(AsyncKernelManager):
    """Starts the interpreter that runs now, whatever kernels are installed under whatever names."""

    environment: Mapping[str, str] = {}
    pids: list[int] = []  # noqa: RUF012  one list for each subclass, see `_manager`

    @property
    def kernel_spec(self) -> KernelSpec:
        extension = f"--IPKernelApp.extra_extensions={kernel_extension.__name__}"
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", extension, "--log-level=40"]
        return KernelSpec(argv=argv, env=dict(self.environment), display_name="Python 3", language="python")

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
        await super()._async_launch_kernel(kernel_cmd, **options)
        pid = getattr(self.provisioner, "pid", None)
        if pid is not None:
            self.pids.append(pid)


def _manager(environment: Mapping[str, str]) -> type[_Manager]:
    """papermill takes a class, not an instance: one class for each run."""
    return type("Manager", (_Manager,), {"environment": environment, "pids": []})


def _end(pids: list[int]) -> None:
    """Kill what an interrupted shutdown left running: each kernel leads a process group of its own."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, with the kernel stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read(path: Path) -> nbformat.NotebookNode | None:
    return nbformat.read(path, as_version=4) if path.is_file() else None


def _number(notebook: nbformat.NotebookNode | None, source: str) -> int:
    """The cell's number among the chapter's own code cells."""
    cells = _code(notebook)
    return next((k for k, cell in enumerate(cells, 1) if cell.source == source), 0)


def _last_started(notebook: nbformat.NotebookNode | None) -> tuple[int, str]:
    started = [
        (k, c.source) for k, c in enumerate(_code(notebook), 1) if c.metadata.get("papermill", {}).get("start_time")
    ]
    return started[-1] if started else (0, "")


def _code(notebook: nbformat.NotebookNode | None) -> list[nbformat.NotebookNode]:
    cells = notebook.cells if notebook else []
    return [c for c in cells if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]


def _plain(text: str) -> str:
    return _ANSI.sub("", text)
