"""Plants errors in the science one at a time and counts those that the tests catch: `make mutants MODULE=nn.layers`.

The errors (mutants) are those of Cosmic Ray: a sign, another operator, a number one up or down, the side or the
sense of a comparison, a loop that does nothing, a decorator that is gone. Each is put into a copy of the project, in a
process of its own, and meets the tests of its module; one that gets through meets those of its whole room. A mutant
that changes no result is no gap in the tests: tests/mutants.yml lists these, each with its reason, and the operators.

Cosmic Ray's own runner loads torch anew for each mutant and writes into the user's tree; here a process that has torch
is forked. mutmut imports a module before pytest does, which the checks of shapes refuse, and leaves decorated functions
and constants alone.
"""

import argparse
import difflib
import importlib
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: only a process without threads can be forked

import yaml
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
PACKAGE = Path("src/spectral_lens")
SETTINGS = yaml.safe_load((ROOT / "tests" / "mutants.yml").read_text(encoding="utf-8"))
LEFT_OUT = (".git", ".venv", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")
CAUGHT = 0.95  # of the mutants that change results, at least
MEMORY = 16 * 2**30  # bytes that a mutant may allocate: an endless list must not take the machine down


@dataclass(frozen=True)
class Mutant:
    """A changed module: its path below the package, and its text before and after."""

    module: str
    before: str
    after: str

    @property
    def change(self) -> tuple[str, str]:
        """The lines that were, and what they became, without indentation."""
        lines = list(difflib.ndiff(self.before.splitlines(), self.after.splitlines()))
        return tuple("\n".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")

    def __str__(self) -> str:
        lines = self.before.splitlines(), self.after.splitlines()
        return "\n".join(difflib.unified_diff(*lines, self.module, self.module, n=1, lineterm=""))


def modules(name: str) -> list[str]:
    """The modules, as paths below the package, that "nn.layers" or the whole room "nn" names."""
    path = ROOT / PACKAGE / Path(*name.split("."))
    found = sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    if not found or not all(each.is_file() for each in found):
        raise SystemExit(f"There is no module {name!r}: name one as nn.layers, or a room as nn.")
    return [each.relative_to(ROOT / PACKAGE).as_posix() for each in found]


def tests_of(module: str) -> tuple[list[str], list[str]]:
    """What pytest is given first, the tests of the module, and for what gets through: the room's, and its example."""
    path = Path(module)
    stem = path.parent.name if path.name == "__init__.py" else path.stem
    room = f"tests/{path.parent.as_posix().lstrip('_')}"
    dotted = ".".join(("spectral_lens", *path.with_suffix("").parts)).removesuffix(".__init__")
    own = f"{room}/test_{stem.lstrip('_')}.py"
    example = f"tests/test_examples.py::test_examples_print_what_they_say[{dotted}]"
    shown = ">>> " in (ROOT / PACKAGE / path).read_text(encoding="utf-8")
    room = own if path.parent == Path() else room  # beside the rooms stand the tests of the whole
    return [own] if (ROOT / own).is_file() else [], [*[example] * shown, room]


def mutants(module: str) -> list[Callable[[], Mutant]]:
    """All mutants of a module, each made when it is called for."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text = (ROOT / PACKAGE / module).read_text(encoding="utf-8")
    lines, found = text.splitlines(), []
    for name in SETTINGS["operators"]:
        operator = get_operator(f"core/{name}")()
        places = [start for node in ast_nodes(get_ast(text)) for start, _ in operator.mutation_positions(node)]
        for k, (line, column) in enumerate(places):
            if lines[line - 1][column : column + 2] not in ("*,", "/,"):  # `def f(a, *, b)` is no product
                found.append(lambda operator=operator, k=k: Mutant(module, text, mutate_code(text, operator, k)))
    return found


def equivalent() -> dict[tuple[str, tuple[str, str]], str]:
    """Why a mutant changes no result, by module and change."""
    entries = SETTINGS["equivalent"]
    return {(each["module"], (each["was"].strip(), each["becomes"].strip())): each["why"] for each in entries}


def tried(copy: Path, tests: Sequence[str], limit: float) -> str:
    """What pytest says of the copy, up to the first failure: passed, failed, broken (no import) or timeout."""
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(copy, tests))
    process.start()
    process.join(limit)
    late = process.exitcode is None
    process.kill()
    process.join()
    return "timeout" if late else {0: "passed", 2: "broken", 4: "broken"}.get(process.exitcode, "failed")


def _pytest(copy: Path, tests: Sequence[str]) -> None:
    import pytest

    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    output = os.open(copy.parent / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1), os.dup2(output, 2)
    os.chdir(copy)
    sys.dont_write_bytecode = True  # else a module changed twice in one second might be taken for the one before
    sys.path.insert(0, str(copy / "src"))
    os.environ |= {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    os._exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *tests]))


class Bench:
    """The copy, and how long its tests may take: five times as long as with nothing planted."""

    def __init__(self, copy: Path) -> None:
        self.copy, self.limits = copy, dict[tuple[str, ...], float]()

    def limit(self, tests: Sequence[str]) -> float:
        """Seconds; measured when first asked for, with the sources as they are."""
        if (key := tuple(tests)) not in self.limits:
            start = time.monotonic()
            if tried(self.copy, tests, 3600) != "passed":
                print((self.copy.parent / "output.txt").read_text(encoding="utf-8", errors="replace")[-3000:])
                raise SystemExit(f"{' '.join(tests)} fails with nothing planted: mend that first.")
            self.limits[key] = 10 + 5 * (time.monotonic() - start)
        return self.limits[key]

    def outcome(self, mutant: Mutant) -> str:
        """killed, timeout, survived, or broken: the module cannot even be imported, which counts for nothing."""
        place = self.copy / PACKAGE / mutant.module
        for tests in filter(None, tests_of(mutant.module)):
            limit = self.limit(tests)
            place.write_text(mutant.after, encoding="utf-8")
            try:
                said = tried(self.copy, tests, limit)
            finally:
                place.write_text(mutant.before, encoding="utf-8")
            if said != "passed":
                return "killed" if said == "failed" else said
        return "survived"


def report(counts: Counter[str]) -> bool:
    """Print what came out; whether enough were caught."""
    caught, judged = counts["killed"] + counts["timeout"], counts.total() - counts["equivalent"] - counts["broken"]
    share = caught / judged if judged else 1.0
    print(", ".join(f"{counts[name]} {name}" for name in ("killed", "timeout", "survived", "equivalent", "broken")))
    print(f"Caught: {caught} of {judged} mutants that change results, {share:.1%} (at least {CAUGHT:.0%}).")
    return share >= CAUGHT


def run(planted: Iterable[Callable[[], Mutant]], outcome: Callable[[Mutant], str]) -> Counter[str]:
    """Try each mutant; print those that survive."""
    known, counts = equivalent(), Counter[str]()
    for make in tqdm(planted, unit=" mutants"):
        mutant = make()
        what = "equivalent" if (mutant.module, mutant.change) in known else outcome(mutant)
        counts[what] += 1
        if what == "survived":
            print(f"\nsurvived (of {counts.total()} so far):\n{mutant}\n", flush=True)
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 where enough were caught, 1 where not."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module", help="nn.layers, or a whole room: nn")
    parser.add_argument("--sample", type=int, metavar="N", help="as many, drawn by chance [all]")
    parser.add_argument("--seed", type=int, default=0, help="of the draw [0]")
    given = parser.parse_args(arguments)
    planted = [each for module in modules(given.module) for each in mutants(module)]
    drawn = random.Random(given.seed).sample(planted, min(given.sample or len(planted), len(planted)))
    print(f"{len(drawn)} of {len(planted)} mutants of {given.module}", flush=True)
    # once for all: the forked processes have them
    for slow in ("torch", "torch.distributed.tensor", "scipy.stats", "sklearn.linear_model"):
        importlib.import_module(slow)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = shutil.copytree(ROOT, Path(folder) / "project", ignore=shutil.ignore_patterns(*LEFT_OUT))
        counts = run(drawn, Bench(copy).outcome)
    return 0 if report(counts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
