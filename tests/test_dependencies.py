"""The installed package with nothing but its mandatory dependencies: what works, and what the rest says."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Modules of distributions that are not mandatory are as if they were not installed.
BLOCKED = """
import sys
from importlib.machinery import PathFinder
class Mandatory(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in NAMES else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Mandatory
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contents of the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def mandatory() -> set[str]:
    """The distributions that an installation without extras has."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in PROJECT["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        try:
            waiting += map(Requirement, metadata.requires(name) or ())
        except metadata.PackageNotFoundError:  # another build of torch has other parts
            continue
    return found


def blocked() -> set[str]:
    """The top-level modules of all other distributions here."""
    allowed = mandatory()
    named = {name: {*map(canonicalize_name, owners)} for name, owners in metadata.packages_distributions().items()}
    return {name for name, owners in named.items() if not owners & allowed} - {"spectral_lens"}


def bare(installed: Path, code: str) -> str:
    """What the code prints in a process that sees the wheel and the mandatory distributions only."""
    start = f"NAMES = set({json.dumps(sorted(blocked()))})\n{BLOCKED}sys.path.insert(0, {str(installed)!r})\n"
    command = [sys.executable, "-W", "error::DeprecationWarning:spectral_lens", "-c", start + code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=installed, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_carries_tables_and_types(installed: Path) -> None:
    package = installed / "spectral_lens"
    assert all((package / name).is_file() for name in ("py.typed", "claims.yml", "manifest.yml", "bands.csv"))
    assert not [path for path in installed.rglob("*") if "tests" in path.parts or "benchmarks" in path.parts]


def test_what_is_not_mandatory_is_blocked() -> None:
    assert {"torch", "numpy", "jaxtyping"}.isdisjoint(blocked())
    assert {"matplotlib", "sklearn", "pytest", "typer", "nbformat"} <= blocked()


def test_the_examples_of_the_readme_run(installed: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 3
    code = f"import spectral_lens\nassert spectral_lens.__file__.startswith({str(installed)!r})\n"
    code += "".join(f"print('example')\nexec({example!r}, {{}})\n" for example in examples)
    shown = bare(installed, code).split("example\n")[1:]
    assert len(shown) == len(examples)
    assert all(text.startswith("tensor(") for text in shown)


def test_rooms_need_no_extra(installed: Path) -> None:
    modules = [
        ".".join(path.relative_to(installed).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((installed / "spectral_lens").rglob("*.py"))
        if path.relative_to(installed).parts[1] not in ("book", "figures")
    ]
    learners = {"baselines", "choices", "cross_validation", "selector"}
    modules = [name for name in modules if name.rpartition(".")[2] not in learners]
    assert len(modules) > 50
    code = f"import importlib\nfor name in {modules}:\n    importlib.import_module(name)\nprint('all')"
    assert bare(installed, code) == "all\n"


LACKING = {
    "from spectral_lens import figures": "figures",
    "from spectral_lens import SpectralSelector": "selector",
    "from spectral_lens.relevance import baselines": "selector",
    "from spectral_lens.datasets import images; images.digits()": "data",
    "from spectral_lens.datasets import stars; stars.generated(5)": "data",
    "from spectral_lens.datasets import vision; vision.torchvision()": "data",
    "from spectral_lens.datasets import cache; cache.folder()": "data",
    "from spectral_lens.datasets import sources; sources.cifar({}, None)": "data",
    "from spectral_lens.explain.shapley import deep_shap; deep_shap(None, None, background=None)": "explain",
    "from spectral_lens.book import cli": "book",
}


def test_a_missing_extra_is_named(installed: Path) -> None:
    code = f"""
import os
os.environ.pop("SPECTRAL_LENS_DATA", None)
for code in {list(LACKING)}:
    try:
        exec(code)
    except ImportError as error:
        print(error)
"""
    lines = bare(installed, code).splitlines()
    assert [re.sub(r"^[\w.]+ is not installed: pip install ", "", line) for line in lines] == [
        f'"spectral-lens[{extra}]"' for extra in LACKING.values()
    ]
