"""Photographs of ImageNet's classes, from the folder of data sets."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.resources import resource
from spectral_lens.datasets import DataSet, cache

__all__ = ["load"]


def load(count: int, *, side: int = 224, seed: int = 0, folder: str | Path | None = None) -> DataSet:
    """`count` of the photographs, drawn with the seed, in [0, 1], (count, 3, side, side); 1000 classes.

    The shorter side becomes `side` * 8 / 7 pixels (256 for 224), then the centre is cut out.  folder: one of the
    user's own, in the form that data/manifest.yml describes; by default imagenet_sample in the folder of data sets,
    whose files are verified.
    Raises cache.DataError where the folder lacks files or holds others, ValueError for more than there are.
    """
    entry = yaml.safe_load(resource("data/manifest.yml").read_text(encoding="utf-8"))["photographs"]["imagenet_sample"]
    place = Path(folder) if folder else cache.folder() / entry["folder"]
    table, index = (
        _verified(place / name, entry, None if folder else digest) for name, digest in entry["sha256"].items()
    )
    rows = list(csv.DictReader(table.decode().splitlines()))
    if not 1 <= count <= len(rows):
        raise ValueError(f"{place} has {len(rows)} photographs: count must lie between 1 and that, not {count}.")
    drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count].tolist()
    images = [
        _image(_verified(place / "images" / f"{rows[k]['wnid']}.jpg", entry, rows[k]["sha256"]), side) for k in drawn
    ]
    names = json.loads(index)
    return DataSet(
        name="imagenet (sample)",
        x=torch.stack(images),
        y=torch.tensor([int(rows[k]["class_index"]) for k in drawn]),
        inputs=tuple(f"{c} {i},{j}" for c in ("red", "green", "blue") for i in range(side) for j in range(side)),
        unit="colour value, 0 to 1",
        edition="sample",
        sha256=hashlib.sha256(table).hexdigest(),
        provenance=f"{entry['title']}, {count} drawn with seed {seed}; {entry['source']}; licence: {entry['licence']}",
        labels=tuple(names[str(k)][1].replace("_", " ") for k in range(len(names))),
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


def _image(content: bytes, side: int) -> Tensor:
    """The centre of a photograph, (3, side, side) in [0, 1]."""
    import io

    with optional("data"):
        from PIL import Image

    photograph = Image.open(io.BytesIO(content)).convert("RGB")
    scale = side * 8 / 7 / min(photograph.size)
    width, height = (max(side, round(scale * length)) for length in photograph.size)
    left, top = (width - side) // 2, (height - side) // 2
    cut = photograph.resize((width, height), Image.Resampling.BILINEAR).crop((left, top, left + side, top + side))
    return torch.from_numpy(np.asarray(cut, np.float32) / 255).permute(2, 0, 1)
