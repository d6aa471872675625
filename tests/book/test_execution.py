"""Kernels that die or are left behind."""

import subprocess
import sys

import pytest
from toy_chapters import page, write

from spectral_lens.book import execution, runner
from spectral_lens.book.chapters import chapter


def test_killed_kernel(tmp_path):
    toy = write(tmp_path, {"p": page("P", "print('so far')", "import os\nos.kill(os.getpid(), 9)")})
    with pytest.raises(runner.ChapterFailed, match=r"code cell 3 failed(.|\n)*os\.kill(.|\n)*kernel died"):
        runner.run(runner.plan(chapter("p", toy)))
    assert not (tmp_path / "build/records").exists()
    assert "so far" in (tmp_path / "build/failed/quick/p.ipynb").read_text()


def test_left_kernels_are_ended():
    # As an interrupted shutdown would leave it: alive, and the leader of its own group.
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as process:
        execution._end([process.pid])
        assert process.wait(10) == -9
    execution._end([process.pid])
