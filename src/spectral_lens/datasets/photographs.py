"""Photographs of ImageNet's classes, from the folder of data sets."""

import hashlib
import io
import json
import struct
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.resources import resource
from spectral_lens.datasets import DataSet, cache, tables

__all__ = ["load"]

_COLUMNS = ("class_index", "wnid", "sha256")


def load(count: int, *, side: int = 224, seed: int = 0, folder: str | Path | None = None) -> DataSet:
    """`count` of the photographs, drawn with the seed, in [0, 1], (count, 3, side, side); 1000 classes.

    The shorter side becomes `side` * 8 / 7 pixels (256 for 224), then the centre is cut out.  folder: one of the
    user's own, in the form that data/manifest.yml describes; by default imagenet_sample in the folder of data sets,
    whose files are verified.
    Raises cache.DataError where the folder lacks files or holds others, or one that is broken, ValueError for more than
    there are.
    """
    entry = yaml.safe_load(resource("data/manifest.yml").read_text(encoding="utf-8"))["photographs"]["imagenet_sample"]
    place = Path(folder) if folder else cache.folder() / entry["folder"]
    table, index = (
        _verified(place / name, entry, None if folder else digest) for name, digest in entry["sha256"].items()
    )
    rows, names = _rows(table, place), _names(index, place)
    if not 1 <= count <= len(rows):
        raise ValueError(f"{place} has {len(rows)} photographs: count must lie between 1 and that, not {count}.")
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    files = {k: place / "images" / f"{rows[k]['wnid']}.jpg" for k in drawn}
    images = [_image(_verified(file, entry, rows[k]["sha256"]), file, side) for k, file in files.items()]
    return DataSet(
        name="imagenet (sample)",
        x=torch.stack(images),
        y=torch.tensor([int(rows[k]["class_index"]) for k in drawn]),
        inputs=tuple(f"{c} {i},{j}" for c in ("red", "green", "blue") for i in range(side) for j in range(side)),
        unit="colour value, 0 to 1",
        edition="sample",
        sha256=hashlib.sha256(table).hexdigest(),
        provenance=f"{entry['title']}, {count} drawn with seed {seed}; {entry['source']}; licence: {entry['licence']}",
        labels=names,
    )


def _verified(path: Path, entry: dict[str, str], sha256: str | None) -> bytes:
    """The file's bytes; raises DataError where it is missing, or is another one than the one known."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cache.DataError(
            f"{path} cannot be read ({error.strerror}): put photographs there, with images.csv and "
            f"imagenet_class_index.json as data/manifest.yml describes, or name another folder. "
            f"Source: {entry['source']}."
        ) from error
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise cache.DataError(f"{path} is not the file that is known (SHA-256 {sha256}): replace or remove it.")
    return content


def _rows(table: bytes, place: Path) -> list[dict[str, str]]:
    """The rows of images.csv by the names of its columns."""
    try:
        heading, *below = tables.rows(table, str(place / "images.csv"))
    except ValueError as error:
        raise cache.DataError(str(error)) from None
    rows = [dict(zip(heading, row, strict=True)) for row in below]
    lacking = [name for name in _COLUMNS if name not in heading]
    if lacking or not all(row["class_index"].isdecimal() for row in rows):
        what = f"has no column {lacking[0]}" if lacking else "has a class_index that is no number from 0 up"
        raise cache.DataError(f"{place / 'images.csv'} {what}: data/manifest.yml describes it.")
    return rows


def _names(index: bytes, place: Path) -> tuple[str, ...]:
    """The names of the classes."""
    try:
        found = json.loads(index)
        return tuple(str(found[str(k)][1]).replace("_", " ") for k in range(len(found)))
    except (ValueError, KeyError, IndexError, TypeError):
        raise cache.DataError(
            f"{place / 'imagenet_class_index.json'} is no table of classes: data/manifest.yml describes it."
        ) from None


def _image(content: bytes, file: Path, side: int) -> Tensor:
    """The centre of a photograph, (3, side, side) in [0, 1]."""
    with optional("data"):
        from PIL import Image

    try:
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise cache.DataError(f"{file} is no whole picture ({error}): replace it, or take its row away.") from None
    if picture.mode.startswith(("I", "F")):
        raise cache.DataError(f"{file} has {picture.mode} for a pixel, not eight bits for a colour: convert it.")
    photograph = picture.convert("RGB")
    scale = side * 8 / 7 / min(photograph.size)
    width, height = (max(side, round(scale * length)) for length in photograph.size)
    left, top = (width - side) // 2, (height - side) // 2
    cut = photograph.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(cut, np.float32) / 255).permute(2, 0, 1)
