"""What the kernel says of itself: cost, device and threads."""

import sys
import warnings

from toy_chapters import page, write

from spectral_lens.book import kernel_extension, records, runner
from spectral_lens.book.chapters import chapter


def test_a_run_says_what_it_cost(tmp_path):
    cells = ["import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"]
    cells += ["kept = bytearray(b'x') * 150_000_000", "del kept"]
    toy = write(tmp_path, {"p": page("P", *cells)})
    own = bytearray(b"x") * 400_000_000  # what the process that starts the kernel holds must not count
    made = records.provenance(records.read(runner.run(runner.plan(chapter("p", toy)))))
    assert 0.4 <= made["cpu_seconds"] < 60
    assert made["peak_memory"] >= 150e6
    if sys.platform == "linux":
        assert made["peak_memory"] < len(own)


def test_device_and_threads_are_the_kernels_own(tmp_path):
    toy = write(tmp_path, {"p": page("P", "import torch\ntorch.set_num_threads(2)")})
    made = records.provenance(records.read(runner.run(runner.plan(chapter("p", toy)))))
    assert made["threads"] == 2
    assert made["device"].startswith("CPU")


def test_warnings_are_heard_in_one_line_and_shown_as_ever(monkeypatch):
    shown = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda *told, **_: shown.append(str(told[0])))
        heard = kernel_extension.listen()
        said = ["a\n  b\x1b[1m", "slow (it is). (Triggered internally at /build/torch/a.cpp:82.)", "(Triggered"]
        for text in said:
            warnings.warn(text, RuntimeWarning, stacklevel=1)
    assert heard == ["RuntimeWarning: a b[1m", "RuntimeWarning: slow (it is).", "RuntimeWarning: (Triggered"]
    assert shown == said
