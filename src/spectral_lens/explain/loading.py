"""A network of the reader's own, from what she writes down of it: a function in a file, a name, a state dict."""

import difflib
import importlib.util
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from spectral_lens._runtime.devices import resolve
from spectral_lens._runtime.errors import InputError, first_line
from spectral_lens._runtime.resources import named
from spectral_lens.datasets.vision import torchvision

__all__ = ["load_network", "load_weights"]

_FORMS = "a function in a file of Python, as my.py:build, or one of torchvision's networks, as torchvision:resnet18"
_WRAPPED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the state dict among other things
_SHOWN = 3  # names of parameters that a message holds


def load_network(
    model: str,
    *,
    weights: str | Path = "",
    seed: int = 0,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "auto",
) -> nn.Module:
    """The network that `model` names, in evaluation mode.

    model: "my.py:build", a function without arguments (or a class, or a module) in a file of Python; or
    "torchvision:resnet18", any of torchvision's networks that classify, without its published weights.
    The file is executed, with all that it says, as `python my.py` does it: name only files that you trust.
    weights: a file for `load_weights`.  seed: of torch's random numbers while the network is built, which afterwards
    are what they were before.  dtype: of its parameters, by default as they come.
    Raises ValueError, one sentence, for a model of neither form, for a file that cannot be read or fails, a name that
    is not in it and what is or makes no nn.Module, for an unknown network, and as `load_weights`.

    >>> load_network("torchvision:resnet18", device="meta").fc
    Linear(in_features=512, out_features=1000, bias=True)
    """
    where, colon, name = model.rpartition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if where == "torchvision":
            network = _of_torchvision(name)
        elif colon and where.endswith(".py") and name.isidentifier():
            network = _of_file(where, name)
        else:
            raise InputError(f"model={model!r} names no network: give {_FORMS}.")
    if weights:
        load_weights(network, weights)
    return network.to(resolve(device), dtype).eval()


def load_weights(network: nn.Module, path: str | Path) -> None:
    """Puts a state dict, saved by `torch.save(network.state_dict(), path)`, into the network.

    It is read with weights_only=True, so that nothing in the file is executed.  A checkpoint that holds it as
    "state_dict", "model_state_dict" or "model" will do.
    Raises ValueError, one sentence, for a file that cannot be read or holds no state dict, and for parameters that are
    missing, unknown, or of another shape than the network's.

    >>> import tempfile
    >>> one, other = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save(one.state_dict(), f"{folder}/my.pt")
    ...     load_weights(other, f"{folder}/my.pt")
    >>> torch.equal(one.weight, other.weight)
    True
    """
    file = Path(path).name
    try:
        found: Any = torch.load(named(path), map_location="cpu", weights_only=True)
    except OSError as error:
        raise InputError(f"weights={path} cannot be read ({error.strerror or error}).") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file} holds more than tensors, which is not read since it could execute anything: save "
            "torch.save(network.state_dict(), path) instead of the network."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{file} is no file of torch.save, or a damaged one ({_named(error)}).") from error
    state = _state(found)
    if state is None:
        raise InputError(f"{file} holds no state dict, but a {type(found).__name__}: save network.state_dict().")
    own = network.state_dict()
    wrong = {
        "lacks": [name for name in own if name not in state],
        "has too": [name for name in state if name not in own],
        "has another shape of": [
            f"{name} {tuple(state[name].shape)}, here {tuple(each.shape)}"
            for name, each in own.items()
            if isinstance(each, Tensor) and name in state and state[name].shape != each.shape
        ],
    }
    if parts := [f"it {what} {_some(names)}" for what, names in wrong.items() if names]:
        raise InputError(f"{file} does not fit {type(network).__name__}: {'; '.join(parts)}.")
    network.load_state_dict(state)


def _of_torchvision(name: str) -> nn.Module:
    models = torchvision().models
    known = models.list_models(module=models)
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known)) or f"{', '.join(known[:_SHOWN])} and others"
        raise InputError(f"torchvision has no network {name!r} that classifies: there are {near}.")
    network: nn.Module = models.get_model(name, weights=None)
    return network


def _of_file(where: str, name: str) -> nn.Module:
    """What the name in the file is or makes, which runs the file."""
    path = named(where)
    try:
        source = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"model={where} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8: save it as such.") from error
    if "torchvision" in source:
        torchvision()  # first, see there
    with _folder(path.parent):
        module = _guarded(f"{where} fails", lambda: _executed(path))
        found = vars(module).get(name)
        if found is None:
            there = [each for each, value in vars(module).items() if callable(value) and each[0] != "_"]
            raise InputError(f"{where} has no {name}: it has {_some(there) or 'nothing that could be called'}.")
        if isinstance(found, nn.Module):
            return found
        if not callable(found):
            raise InputError(f"{name} in {where} is of type {type(found).__name__}: it must be a function.")
        made = _guarded(f"{name}() in {where} fails", found)
    if not isinstance(made, nn.Module):
        raise InputError(f"{name}() in {where} returns a {type(made).__name__}: it must return an nn.Module.")
    return made


def _executed(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_loaded_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses and pickle look for what it defines
    spec.loader.exec_module(module)
    return module


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """What the file imports from its own folder is found there, as when it is run by itself."""
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))


def _guarded(what: str, call: Callable[[], Any]) -> Any:
    """Whatever the reader's code raises becomes one sentence; the cause stays behind it."""
    try:
        return call()
    except (Exception, SystemExit) as error:
        raise InputError(f"{what}: {_named(error)}.") from error


def _state(found: Any) -> Mapping[str, Tensor] | None:
    """The state dict that was saved, by itself or in a checkpoint."""
    inside = [found.get(key) for key in _WRAPPED] if isinstance(found, Mapping) else []
    for each in (found, *inside):
        if isinstance(each, Mapping) and each and all(isinstance(value, Tensor) for value in each.values()):
            return each
    return None


def _some(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _named(error: BaseException) -> str:
    """The type of an error and the first line of what it says."""
    kind, first = type(error).__name__, first_line(error)
    return kind if first == kind else f"{kind}: {first}"
