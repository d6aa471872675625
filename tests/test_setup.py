"""The files that describe the project agree with each other: dependencies, targets, versions, citation."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import spectral_lens
from spectral_lens.book import site
from spectral_lens.book.chapters import book
from spectral_lens.book.cli import app

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
INSTALL = ".[book,data,engine,explain,figures,selector,test,peers,dev]"
ON_DEMAND = ("mutants",)  # an extra that a target installs for itself
CLUSTERS = ("slurm", "kubernetes")  # an extra that `make records` installs for this ENGINE


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def listing(name: str) -> dict[str, Any]:
    return yaml.safe_load(text(name))


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))["project"]


def requirements() -> list[Requirement]:
    found = project()
    groups = [found["dependencies"], *found["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def pins() -> dict[str, str]:
    """Name and version of each line of constraints.txt; any other kind of line is an error."""
    found = {}
    for line in text("constraints.txt").splitlines():
        if not line.startswith("#"):
            name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line).groups()
            assert canonicalize_name(name) not in found, f"{name} is pinned twice"
            found[canonicalize_name(name)] = version
    return found


def targets() -> dict[str, str]:
    """Each target of the Makefile that `make help` should know, with its recipe."""
    makefile = text("Makefile")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()
    return {name: re.search(rf"^{name}:.*\n((?:\t.*\n)*)", makefile, re.MULTILINE)[1] for name in phony}


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_requirement_has_a_lower_bound_and_a_pin_that_meets_it(requirement: Requirement) -> None:
    assert any(bound.operator == ">=" for bound in requirement.specifier)
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_package_named_twice_has_one_range() -> None:
    ranges: dict[str, set[str]] = {}
    for requirement in requirements():
        ranges.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier))
    assert [name for name, found in ranges.items() if len(found) > 1] == []


def test_constraints_leave_out_what_make_does_not_install() -> None:
    assert not {"spectral-lens", "pip", "setuptools"} & set(pins())


def test_environment_says_what_pyproject_and_constraints_say() -> None:
    environment = listing("environment.yml")
    assert environment["channels"] == ["conda-forge"]
    python, *rest, pip = environment["dependencies"]
    name, _, versions = python.partition(" ")
    assert name == "python"
    assert SpecifierSet(versions) == SpecifierSet(project()["requires-python"])
    assert rest == ["pip"]  # a package named here, too, would come in a version of its own
    assert pip == {"pip": ["-c constraints.txt", f"-e {INSTALL}"]}
    assert f'-c constraints.txt -e "{INSTALL}"' in text("Makefile")
    extras = re.search(r"\[(.*)\]", INSTALL)[1].split(",")
    assert sorted([*extras, *ON_DEMAND, *CLUSTERS]) == sorted(project()["optional-dependencies"])


@pytest.mark.parametrize("extra", ON_DEMAND)
def test_what_one_target_needs_is_installed_by_it(extra: str) -> None:
    makefile = text("Makefile")
    assert re.search(rf"^{extra}: \$\(READY\) \.venv/\.{extra} ", makefile, re.MULTILINE)
    recipe = re.search(rf"^\.venv/\.{extra}: \$\(READY\)\n((?:\t.*\n)*)", makefile, re.MULTILINE)[1]
    assert f'-c constraints.txt -e ".[{extra}]"' in recipe


def test_what_a_cluster_needs_is_installed_where_it_is_asked_for() -> None:
    for engine in ("local", *CLUSTERS):
        command = ["make", "--always-make", "--dry-run", "records", f"ENGINE={engine}", "JOBS=3"]
        recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        installed = set(re.findall(r'-c constraints.txt -e "\.\[(slurm|kubernetes)\]"', recipe))
        assert installed == {engine} & set(CLUSTERS)
        assert f"records --profile quick --engine {engine} --jobs 3" in recipe


def test_supported_pythons_are_the_same_everywhere() -> None:
    supported = SpecifierSet(project()["requires-python"])
    assert [f"3.{minor}" for minor in range(5, 30) if f"3.{minor}" in supported] == list(PYTHONS)
    classified = [line.rsplit(" ", 1)[1] for line in project()["classifiers"] if "Python :: 3." in line]
    assert classified == list(PYTHONS)
    assert listing(".github/workflows/tests.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == list(PYTHONS)
    named = ("README.md", "Makefile")
    assert [file for file in named if "Python 3.11, 3.12 or 3.13" not in text(file)] == []


def test_help_lists_every_target() -> None:
    helped = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  ([a-z-]+)  +\S", helped, re.MULTILINE) == list(targets())


def test_targets_that_need_packages_set_them_up() -> None:
    makefile = text("Makefile")
    needy = {name for name, recipe in targets().items() if "$(BIN)" in recipe or "$(LENS)" in recipe}
    ready = set(re.findall(r"^([a-z-]+): (?:\$\(READY\)|lint)", makefile, re.MULTILINE))
    assert {"book", "test", "run", "check-records", "bench", "lint", "serve"} <= needy <= ready


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", ".ci/run", ".github/workflows/tests.yml", ".github/workflows/book.yml"]
)
def test_make_commands_exist(name: str) -> None:
    # commands only: an indented line, a quoted one, or a step of a workflow; not the verb in prose
    called = re.findall(r"(?:`|^ +|^|: |exec )make ([a-z-]+)", text(name), re.MULTILINE)
    assert called
    assert set(called) <= set(targets())


def test_commands_exist() -> None:
    known = set(typer.main.get_command(app).commands)
    for name, form in (
        ("README.md", "spectral-lens"),
        ("CONTRIBUTING.md", "spectral-lens"),
        ("Makefile", r"\$\(LENS\)"),
    ):
        called = re.findall(rf"^[^#\n]*{form} ([a-z]+)", text(name), re.MULTILINE)
        assert called
        assert set(called) <= known, name


def test_serve_is_only_for_this_machine() -> None:
    assert "--bind 127.0.0.1" in targets()["serve"]


def test_makefile_and_workflow_show_the_site_where_it_is_built() -> None:
    built = site.index(book(), "paper").parent.relative_to(ROOT)
    assert re.search(r"^SITE := (.*)$", text("Makefile"), re.MULTILINE)[1].replace("$(PROFILE)", "paper") == str(built)
    steps = listing(".github/workflows/book.yml")["jobs"]["build"]["steps"]
    assert [step["with"]["path"] for step in steps if "pages-artifact" in step.get("uses", "")] == [str(built)]


def test_citation_names_the_project_and_the_four_papers() -> None:
    citation = listing("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == spectral_lens.__version__
    assert citation["license"] == project()["license"]
    first = [paper["authors"][0]["family-names"] for paper in citation["references"]]
    assert first == ["Giambagli", "Chicchi", "Maeß", "Katende"]
    assert all({"type", "title", "year", "url"} <= set(paper) for paper in citation["references"])


def test_files_that_the_wheel_takes_along_exist() -> None:
    wheel = tomllib.loads(text("pyproject.toml"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    taken = [*wheel["packages"], *wheel["force-include"], *project()["license-files"], project()["readme"]]
    assert [name for name in taken if not (ROOT / name).exists()] == []


def test_no_place_of_one_machine_in_what_others_install() -> None:
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "Makefile"):
        assert re.search(r"index.url|find.links|https?://(?!127\.)|file:|/(home|root|opt)/", text(name)) is None, name


WORKFLOWS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_pin_their_actions_and_ask_for_little(name: str) -> None:
    used = re.findall(r"uses: (.*)", text(name))
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
    assert listing(name)["permissions"] == {"contents": "read"}


def test_hooks_run_the_tools_that_the_project_is_tested_with() -> None:
    hooks = {repo["repo"].rsplit("/", 1)[1]: repo for repo in listing(".pre-commit-config.yaml")["repos"]}
    found = {name: repo["rev"].removeprefix("v") for name, repo in hooks.items()}
    assert found == {"ruff-pre-commit": pins()["ruff"], "mirrors-mypy": pins()["mypy"]}
    (mypy,) = hooks["mirrors-mypy"]["hooks"]
    for requirement in map(Requirement, mypy["additional_dependencies"]):
        assert requirement.specifier == SpecifierSet(f"=={pins()[canonicalize_name(requirement.name)]}")


def test_the_changelog_has_the_version() -> None:
    versions = re.findall(r"^## \[([0-9.]+)\] - (?:unreleased|\d{4}-\d\d-\d\d)$", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == spectral_lens.__version__
