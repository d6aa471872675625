"""What noting the functions that run costs a chapter: CPU seconds of its quick run, with and without.

    make bench BENCHMARK=recording ARGS="--chapter stability/diagnostics --repeats 3"

Each run is a process of its own, imports and all, as a chapter's kernel is. At most 15% are allowed under Python 3.11
and 3% from 3.12 on.
"""

import argparse
import json
import os
import subprocess
import sys

from spectral_lens.book import syntax
from spectral_lens.book.chapters import chapter
from timing import best_of

RUN = """
import json, sys, time, warnings
import matplotlib
from spectral_lens.book.kernel_extension import package_recorder
warnings.simplefilter("ignore")
matplotlib.use("agg")
recorder = package_recorder()
if sys.argv[1] == "with":
    recorder.start()
names = {"__name__": "__main__"}
before = time.process_time()
for cell in json.load(sys.stdin):
    exec(compile(cell, "<cell>", "exec"), names)
print("\\n", time.process_time() - before, sum(map(len, recorder.ran().values())))
"""


def measured(cells: list[str], how: str) -> tuple[float, int]:
    """CPU seconds of the cells, and how many functions were noted."""
    environ = os.environ | {"OMP_NUM_THREADS": "1", "SPECTRAL_LENS_PROFILE": "quick"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, how],
        input=json.dumps(cells),
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    )
    seconds, noted = done.stdout.split()[-2:]
    return float(seconds), int(noted)


def main() -> None:
    """Print the table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--chapter", default="stability/diagnostics", help="one of many small operations by default")
    ask.add_argument("--repeats", type=int, default=3)
    given = ask.parse_args()
    code = (c.source for c in chapter(given.chapter).notebook.cells if c.cell_type == "code")
    cells = [syntax.without_magics(source) for source in code]
    noted = {how: measured(cells, how)[1] for how in ("without", "with")}  # also fills the caches
    assert noted["without"] == 0 < noted["with"], noted
    best = best_of(given.repeats, {how: lambda how=how: measured(cells, how)[0] for how in noted})
    print(f"{given.chapter}, Python {sys.version.split()[0]}, {noted['with']} functions noted, best of {given.repeats}")
    print(f"without {best['without']:.2f} s, with {best['with']:.2f} s: {best['with'] / best['without'] - 1:+.1%}")


if __name__ == "__main__":
    main()
