"""A reader's own arrays, in whatever form they come, as the tensors of a data set: copies that nobody else changes."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["Targets", "column_names", "inputs_of", "targets_of", "unclear"]


class Targets(NamedTuple):
    """y: (n,), int64 classes or the floating values of a quantity; labels: names of the classes; quantity: its name."""

    y: Tensor
    labels: tuple[str, ...]
    quantity: str


def inputs_of(given: Any) -> Tensor:
    """Floating numbers, with no value changed: small integers and bool in single precision, larger ones in double.

    given: a NumPy array of any byte order, a tensor, nested lists, or a table of pandas.
    Raises ValueError for what is missing, ragged, sparse, or no number; a table's columns are named.

    >>> inputs_of(np.array([[1, 255]], dtype=np.uint8)), inputs_of([[0.5, 2.0]]).dtype
    (tensor([[  1., 255.]]), torch.float64)
    """
    return _floating(_array(given, "x"), "x")


def targets_of(given: Any, *, labels: Sequence[object] = (), quantity: str = "") -> Targets:
    """Floating numbers are a quantity, whole ones, bool and text are classes.

    A whole number k is class k; text, and numbers of which some are negative, are classes in sorted order, those of
    pandas' categories in theirs.
    labels: names of the classes; whole numbers are places in it, text is looked up.  quantity: what numbers measure,
    which says that they are no classes.
    Raises ValueError for what is missing or neither, and for whole numbers that may be both.

    >>> targets_of(["yes", "no", "yes"])
    Targets(y=tensor([1, 0, 1]), labels=('no', 'yes'), quantity='')
    >>> targets_of([3, 1, 2], quantity="years")
    Targets(y=tensor([3., 1., 2.], dtype=torch.float64), labels=(), quantity='years')
    """
    if quantity and len(labels):
        raise ValueError(f"quantity={quantity!r} and labels: y is a quantity or has classes, not both.")
    names = tuple(map(str, labels))
    if len(set(names)) < len(names):
        raise ValueError(f"labels={list(names)} repeat themselves.")
    categories = getattr(getattr(given, "cat", given), "categories", None)  # of pandas
    if categories is not None and not quantity:
        names, given = names or tuple(map(str, categories)), _present(given).astype(str)
    array = _array(given, "y")
    if quantity or (array.dtype.kind == "f" and not names):
        return Targets(_floating(array, "y"), (), quantity or str(getattr(given, "name", None) or "y"))
    if array.dtype.kind == "b":
        names, array = names or ("False", "True"), array.astype(np.int64)
    if array.dtype.kind in "US":
        return _looked_up(array.astype(str), names)
    if array.dtype.kind not in "iu":
        raise ValueError(f"y holds {array.dtype}: classes are whole numbers or text, a quantity is floating.")
    return Targets(torch.from_numpy(array.astype(np.int64)), names, "") if names else _counted(array)


def column_names(given: Any, dim: int) -> tuple[str, ...]:
    """A table's names of its columns, or plain ones.

    >>> column_names(np.zeros((3, 2)), 2)
    ('input 1', 'input 2')
    """
    columns = getattr(given, "columns", ())
    return tuple(map(str, columns)) if len(columns) == dim else tuple(f"input {k + 1}" for k in range(dim))


def unclear(different: int, samples: int) -> bool:
    """Whether so many different whole numbers may be classes or a quantity: more than 20, and not ten samples for each.

    >>> unclear(20, 30), unclear(30, 200), unclear(30, 300)
    (False, True, False)
    """
    return different > 20 and samples < 10 * different


def _counted(array: np.ndarray) -> Targets:
    """Whole numbers without names."""
    found = np.unique(array)
    if unclear(len(found), len(array)) or found[-1] >= 10 * max(len(found), 10):
        raise ValueError(
            f"y has {len(found)} different whole numbers up to {found[-1]} in {len(array)} samples, which may be "
            "classes or a quantity: name the quantity, or the labels of the classes."
        )
    if found[0] < 0:
        return Targets(torch.from_numpy(np.searchsorted(found, array)), tuple(map(str, found)), "")
    return Targets(torch.from_numpy(array.astype(np.int64)), (), "")


def _looked_up(array: np.ndarray, names: tuple[str, ...]) -> Targets:
    """Text, by the names of the classes, which are the different ones where nobody gives them."""
    places = {name: k for k, name in enumerate(names or np.unique(array).tolist())}
    if unknown := set(array.ravel().tolist()) - places.keys():
        raise ValueError(f"y holds {sorted(unknown)}, but the labels are {list(names)}.")
    codes = np.array([places[name] for name in array.flat], dtype=np.int64).reshape(array.shape)
    return Targets(torch.from_numpy(codes), tuple(places), "")


def _array(given: Any, what: str) -> np.ndarray:
    """NumPy's array of what is given, by value."""
    if isinstance(given, list | tuple) and given and all(isinstance(each, Tensor) for each in given):
        given = (
            torch.stack(list(given)) if len({each.shape for each in given}) == 1 else [each.tolist() for each in given]
        )
    if isinstance(given, Tensor) and given.layout is torch.strided:
        tensor = given.detach().cpu()
        return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    if hasattr(given, "toarray") or isinstance(given, Tensor):
        raise ValueError(f"{what} is sparse: make it dense first.")
    if np.ma.is_masked(given):
        raise ValueError(f"{what} holds masked values: remove or replace them first.")
    if hasattr(given, "columns") and hasattr(given, "dtypes"):
        return _table(given, what)
    if hasattr(given, "to_numpy"):
        given = _present(given, what).to_numpy()
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ValueError(f"{what} is no array: {error}") from error
    if not array.size:
        raise ValueError(f"{what} is empty.")
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.flat):
        return array.astype(str)
    return array


def _table(given: Any, what: str) -> np.ndarray:
    if wrong := [str(name) for name, kind in given.dtypes.items() if kind.kind not in "biuf"]:
        raise ValueError(f"{what} has columns without numbers: {', '.join(wrong)}. Leave them out, or encode them.")
    if lacking := [str(name) for name, some in given.isna().any().items() if some]:
        raise ValueError(f"{what} has missing values in {', '.join(lacking)}: remove or replace them first.")
    return given.to_numpy(dtype=np.float64)


def _present(given: Any, what: str = "y") -> Any:
    """A column of pandas without missing values."""
    if given.isna().any():
        raise ValueError(f"{what} has missing values: remove or replace them first.")
    return given


def _floating(array: np.ndarray, what: str) -> Tensor:
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what} holds {array.dtype}, not numbers.")
    wide = array.dtype.itemsize > (8 if array.dtype.kind == "f" else 2)
    if array.dtype.kind != "f" or wide:
        kind = np.dtype(np.float64 if wide else np.float32)
    else:
        kind = array.dtype.newbyteorder("=")
    return torch.from_numpy(array.astype(kind, order="C", copy=True))
