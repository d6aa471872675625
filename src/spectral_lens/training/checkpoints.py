"""A training's state in one file, so that an interrupted run goes on to the same numbers."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spectral_lens._runtime import files
from spectral_lens.datasets import fingerprint

__all__ = ["load", "progress", "restore", "save", "text"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+>")


def save(path: Path, settings: Mapping[str, object], tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors and what they belong to; aside first, then renamed, so that a file is whole or not there.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.npz"
    >>> save(path, {"lr": 0.1}, {"theta": torch.ones(2)})
    >>> load(path, {"lr": 0.1})["theta"].tolist()
    [1.0, 1.0]
    """
    arrays = {f"tensor:{name}": value.cpu().numpy() for name, value in tensors.items()}
    with files.replacing(path) as aside, open(aside, "wb") as file:
        np.savez(file, settings=np.array(text(settings)), **arrays)  # type: ignore[arg-type]


def load(path: Path, settings: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of a file that `save` wrote for the same settings.

    Raises ValueError, naming what differs, for a file of another experiment, and for one that cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "run.npz"
    >>> save(path, {"lr": 0.1}, {"theta": torch.ones(2)})
    >>> load(path, {"lr": 0.2})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: ...run.npz belongs to another experiment (lr: 0.1 then, 0.2 now): remove it or name another checkpoint.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            written = json.loads(str(file["settings"]))
            tensors = {name[7:]: torch.from_numpy(file[name]) for name in file.files if name.startswith("tensor:")}
    except Exception as error:
        raise ValueError(
            f"{path} is no readable checkpoint ({error}): remove it to start from the beginning."
        ) from error
    now = json.loads(text(settings))
    differs = [f"{k}: {written.get(k)} then, {now.get(k)} now" for k in now | written if written.get(k) != now.get(k)]
    if differs:
        raise ValueError(
            f"{path} belongs to another experiment ({'; '.join(differs)}): remove it or name another checkpoint."
        )
    return tensors


def text(settings: Mapping[str, object]) -> str:
    """The settings as a file holds them and another session compares them; tensors by their hash.

    Raises TypeError, naming the setting, for what is no setting, ValueError for a function or an object by its address,
    which is another one in the next session.

    >>> text({"lr": np.float32(0.5), "seeds": (1, 2)})
    '{"lr": 0.5, "seeds": [1, 2]}'
    """
    for name, value in settings.items():
        try:
            written = json.dumps(_plain(value))
        except TypeError as error:
            raise TypeError(f"{name} cannot be saved in a checkpoint: {error}.") from error
        if _ADDRESS.search(written):
            raise ValueError(
                f"{name} cannot be saved in a checkpoint: {written} is known by its address alone. Use a class with a "
                "__repr__ that says all, such as a dataclass, or train without a checkpoint."
            )
    return json.dumps(_plain(settings))


def _plain(value: object) -> object:
    """Settings in a form that a file can hold and compare; tensors by their hash."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Tensor | np.ndarray):
        return fingerprint(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else value


def progress(generators: list[torch.Generator], history: dict[str, list[Tensor]]) -> dict[str, Tensor]:
    """What changes from epoch to epoch besides the tensors that training updates in place.

    >>> found = progress([torch.Generator()], {"loss": [torch.ones(1), torch.zeros(1)]})
    >>> list(found), found["history:loss"].shape
    (['generators', 'history:loss'], torch.Size([2, 1]))
    """
    streams = {"generators": torch.stack([generator.get_state() for generator in generators])}
    return streams | {f"history:{name}": torch.stack(values) for name, values in history.items()}


def restore(
    saved: dict[str, Tensor],
    tensors: dict[str, Tensor],
    generators: list[torch.Generator],
    history: dict[str, list[Tensor]],
) -> int:
    """Put a checkpoint's numbers where they were; the number of epochs already done.

    >>> theta, generators, history = torch.zeros(2), [torch.Generator()], {}
    >>> saved = {"theta": torch.ones(2)} | progress(generators, {"loss": [torch.ones(1)]})
    >>> restore(saved, {"theta": theta}, generators, history), theta.tolist()
    (1, [1.0, 1.0])
    """
    for name, tensor in tensors.items():
        tensor.copy_(saved[name])
    for generator, state in zip(generators, saved["generators"], strict=True):
        generator.set_state(state.clone())  # a row of a larger tensor would crash torch
    for name, values in saved.items():
        if name.startswith("history:"):
            history[name.removeprefix("history:")] = list(values)
    return len(history["loss"])
