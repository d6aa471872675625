"""A training's state in one file, so that an interrupted run goes on to the same numbers."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def save(path: Path, settings: Mapping[str, object], tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors and what they belong to; aside first, then renamed, so that a file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        arrays = {f"tensor:{name}": value.cpu().numpy() for name, value in tensors.items()}
        np.savez(file, settings=np.array(json.dumps(settings)), **arrays)  # type: ignore[arg-type]
    os.replace(part, path)


def load(path: Path, settings: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a file that `save` wrote for the same settings.

    Raises ValueError, naming what differs, for a file of another experiment, and for one that cannot be read.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            written = json.loads(str(file["settings"]))
            tensors = {name[7:]: torch.from_numpy(file[name]) for name in file.files if name.startswith("tensor:")}
    except Exception as error:
        raise ValueError(
            f"{path} is no readable checkpoint ({error}): remove it to start from the beginning."
        ) from error
    now = json.loads(json.dumps(settings))
    differs = [f"{k}: {written.get(k)} then, {now.get(k)} now" for k in now | written if written.get(k) != now.get(k)]
    if differs:
        raise ValueError(
            f"{path} belongs to another experiment ({'; '.join(differs)}): remove it or name another checkpoint."
        )
    return tensors
