"""Builds the site of a profile, and knows when there is nothing to build."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from spectral_lens._runtime import files
from spectral_lens.book import records
from spectral_lens.book.chapters import Book, BookError

# The `jupyter-book` command of this very interpreter, which needs no PATH.
_BUILDER = "import sys; from jupyter_book.cli.main import main; sys.argv[0] = 'jupyter-book'; main()"
_PARTS = ("_config.yml", "_toc.yml", "book", "data")


def output(of: Book, profile: str) -> Path:
    """The folder that the site of that profile is built in."""
    return of.root / "build" / "site" / profile


def index(of: Book, profile: str) -> Path:
    """The site's first page."""
    return output(of, profile) / "_build" / "html" / "index.html"


def stamp(of: Book, profile: str, strict: bool = False) -> str:
    """Hash of all that the site is made from: pages, settings, the profile's records, the package, the builder."""
    digest = hashlib.sha256(json.dumps([profile, strict, metadata.version("jupyter-book"), sys.version]).encode())
    parts = [of.root / part for part in _PARTS] + [records.folder(of, profile), of.package]
    if swept := list((of.root / "build" / "sweeps").glob("*/sweep.json")):  # a page may show one that is not kept yet
        parts += [*swept, records.folder(of, "custom")]
    found = {file for part in parts for file in (part.rglob("*") if part.is_dir() else [part])}
    for file in sorted(found):
        if file.is_file() and "__pycache__" not in file.parts and ".ipynb_checkpoints" not in file.parts:
            digest.update(f"\0{file}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def current(of: Book, profile: str, strict: bool = False) -> bool:
    """Whether the site stands and nothing that it is made from has changed (a strict build counts for both)."""
    kept = output(of, profile) / "stamp"
    if not kept.is_file() or not index(of, profile).is_file():
        return False
    return kept.read_text(encoding="utf-8") in {stamp(of, profile, s) for s in {strict, True}}


def build(of: Book, profile: str, strict: bool = False) -> Path:
    """Build the site from the records; returns its first page.

    Strict: from nothing (a second build repeats no warnings), with warnings as errors and every reference checked.
    Raises BookError where the builder fails; it said why on its own output.
    """
    folder = output(of, profile)
    (folder / "stamp").unlink(missing_ok=True)
    if strict:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    made_from = stamp(of, profile, strict)
    command = [sys.executable, "-c", _BUILDER, "build", str(of.root), "--path-output", str(folder)]
    command += ["-W", "-n", "--keep-going"] if strict else []
    environ = os.environ | {"SPECTRAL_LENS_PROFILE": profile}
    if subprocess.run(command, cwd=of.root, env=environ, check=False).returncode:
        raise BookError("The site was not built: the messages above say why.")
    with files.replacing(folder / "stamp") as aside:
        aside.write_text(made_from, encoding="utf-8")
    return index(of, profile)
