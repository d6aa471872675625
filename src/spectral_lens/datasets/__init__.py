"""Every data set behind one form: tensors, names of the inputs, and where they come from."""

import hashlib
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectral_lens._runtime import devices
from spectral_lens.datasets.arrays import column_names, inputs_of, targets_of

__all__ = ["DataSet", "fingerprint"]


def fingerprint(*arrays: Tensor | np.ndarray) -> str:
    """SHA-256 (hexadecimal) of the arrays' bytes in row-major order, one array after the other.

    >>> fingerprint(np.arange(3, dtype=np.uint8))[:8]
    'ae4b3280'
    """
    digest = hashlib.sha256()
    for array in arrays:
        if isinstance(array, Tensor):
            array = array.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False, repr=False)
class DataSet:
    """Samples and their classes, or a quantity, with what a reader needs to judge them. Methods return new sets.

    `sha256` belongs to the arrays that the set was made from; `provenance` says what was done with them since.
    Raises ValueError where the parts do not fit together, or where a number is not finite.

    >>> x, y = torch.rand(6, 2), torch.arange(6) % 3
    >>> data = DataSet("toy", x, y, ("length", "width"), "cm", "given", fingerprint(x, y), "Made here")
    >>> data.samples, data.dim, data.classes, data.select([2, 0]).samples
    (6, 2, 3, 4)
    """

    name: str  # "mnist (train)"
    x: Tensor  # (n, *d), or (r, n, *d) where every run has data of its own; floating
    y: Tensor  # (n,) or (r, n); int64 classes 0 ... k - 1, or the floating values of a quantity
    inputs: tuple[str, ...]  # names of the prod(d) inputs
    unit: str  # unit of the inputs: "grey value, 0 to 1"
    edition: str  # "complete", "sample", "generated"
    sha256: str  # of the source arrays; for generated sets of the bytes of x and y
    provenance: str  # one line for a reader
    runs: int | None = None  # r, None where all runs share the data
    truth: Mapping[str, Tensor] = field(default_factory=dict)  # known by construction: distance (r, d), p (d,)
    labels: tuple[str, ...] = ()  # names of the k classes; by default "0" ... up to the largest class in y
    quantity: str = ""  # what y measures, with its unit: "[Fe/H], dex"; empty where y are classes

    def __post_init__(self) -> None:
        lead = 1 if self.runs is None else 2
        measured = self.y.is_floating_point()
        if not self.x.is_floating_point() or not (measured or self.y.dtype == torch.int64):
            raise ValueError(
                f"{self.name}: x must be floating, y int64 or floating; found {self.x.dtype} and {self.y.dtype}."
            )
        if measured != bool(self.quantity) or (measured and self.labels):
            raise ValueError(f"{self.name}: a floating y needs `quantity`, classes need `labels`, none needs both.")
        if self.x.ndim <= lead or self.x.shape[:lead] != self.y.shape or 0 in self.x.shape:
            form = "(n, *d) and (n,)" if self.runs is None else "(r, n, *d) and (r, n)"
            raise ValueError(
                f"{self.name}: x and y must have the shapes {form}, none of them empty; "
                f"found {tuple(self.x.shape)} and {tuple(self.y.shape)}."
            )
        if self.runs is not None and self.x.shape[0] != self.runs:
            raise ValueError(f"{self.name}: {self.runs} runs are announced, but x holds {self.x.shape[0]}.")
        if self.x.device != self.y.device:
            raise ValueError(f"{self.name}: x is on {self.x.device}, y on {self.y.device}: move both to one device.")
        if len(self.inputs) != self.dim:
            raise ValueError(f"{self.name}: {len(self.inputs)} names for {self.dim} inputs.")
        if self.x.requires_grad or self.y.requires_grad:  # data are no part of anybody's graph
            object.__setattr__(self, "x", self.x.detach())
            object.__setattr__(self, "y", self.y.detach())
        # The extremes carry every NaN and infinity: one pass, no array as large as x beside it.
        for what, values in (("x", self.x), ("y", self.y)):
            if not torch.stack(torch.aminmax(values)).isfinite().all():
                raise ValueError(f"{self.name}: {what} holds NaN or infinite values: remove or replace them first.")
        if not measured:
            lowest, highest = (int(end) for end in torch.aminmax(self.y))
            names = tuple(self.labels) or tuple(str(k) for k in range(highest + 1))
            if lowest < 0 or highest >= len(names):
                raise ValueError(f"{self.name}: classes must be 0 ... {len(names) - 1}, found {lowest} ... {highest}.")
            object.__setattr__(self, "labels", names)
        object.__setattr__(self, "truth", MappingProxyType(dict(self.truth)))

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        *,
        name: str = "data",
        inputs: Sequence[str] = (),
        unit: str = "arbitrary",
        labels: Sequence[object] = (),
        quantity: str = "",
        edition: str = "given",
        provenance: str = "Given as arrays",
    ) -> "DataSet":
        """A set of one's own arrays, which are copied; all but x and y may be left to be found in them.

        x: numbers (n, *d); y: (n,), floating for a quantity, whole numbers, bool or text for classes (see
        `arrays.targets_of`, which also says what `labels` and `quantity` do).  inputs: by default a table's columns.
        Arrays of NumPy, tensors, lists and tables of pandas will do.
        Raises ValueError as DataSet does, and for what is missing, unclear, or no number.

        >>> DataSet.of([[1.5, 2.0], [0.5, 4.0], [1.0, 1.0]], ["cat", "dog", "cat"]).labels
        ('cat', 'dog')
        """
        values, targets = inputs_of(x), targets_of(y, labels=labels, quantity=quantity)
        names = tuple(map(str, inputs)) or column_names(x, math.prod(values.shape[1:]))
        return cls(
            name, values, targets.y, names, unit, edition, fingerprint(values, targets.y), provenance,
            labels=targets.labels, quantity=targets.quantity,
        )  # fmt: skip

    @property
    def samples(self) -> int:
        """n, the number of samples of each run."""
        return self.y.shape[-1]

    @property
    def dim(self) -> int:
        """Number of inputs, prod(d)."""
        return math.prod(self.x.shape[self.y.ndim :])

    @property
    def classes(self) -> int:
        """k, the number of classes, also where a small part of the set lacks one; 0 where y is a quantity."""
        return len(self.labels)

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> "DataSet":
        """The set on that device, x, truth and a quantity y in that floating dtype; classes stay int64."""
        if dtype is not None and not dtype.is_floating_point:
            raise ValueError(f"{dtype} is no floating type: x would lose its values.")
        place = None if device is None else devices.resolve(device)
        truth = {key: value.to(device=place, dtype=dtype) for key, value in self.truth.items()}
        y = self.y.to(device=place, dtype=dtype if self.quantity else None)
        return replace(self, x=self.x.to(device=place, dtype=dtype), y=y, truth=truth)

    def flat(self) -> "DataSet":
        """The same samples with their inputs in one axis: x is (n, d) or (r, n, d)."""
        return replace(self, x=self.x.flatten(self.y.ndim))

    def run(self, index: int) -> "DataSet":
        """The data of one run alone; where all runs share the data, the set itself."""
        if self.runs is None:
            return self
        if not 0 <= index < self.runs:
            raise ValueError(f"{self.name} has the runs 0 ... {self.runs - 1}, not {index}.")
        truth = {key: value[index] if value.ndim > 1 else value for key, value in self.truth.items()}
        return self._derived(f"run {index}", x=self.x[index], y=self.y[index], runs=None, truth=truth)

    def per_run(self, runs: int) -> tuple[Tensor, Tensor]:
        """x and y of so many runs, (runs, n, *d) and (runs, n); what all runs share is expanded, not copied.

        Raises ValueError where the set holds the data of another number of runs.

        >>> from spectral_lens.datasets import synthetic
        >>> x, y = synthetic.independent(5).run(0).per_run(3)
        >>> x.shape, y.shape
        (torch.Size([3, 5, 20]), torch.Size([3, 5]))
        """
        if self.runs not in (None, runs):
            raise ValueError(f"{self.name} holds one set for each of {self.runs} runs, but there are {runs} runs.")
        if self.runs is not None:
            return self.x, self.y
        return self.x.expand(runs, *self.x.shape), self.y.expand(runs, *self.y.shape)

    def take(self, n: int) -> "DataSet":
        """The first n samples (of each run)."""
        if not 1 <= n <= self.samples:
            raise ValueError(f"{self.name} has {self.samples} samples: n must lie between 1 and that, not {n}.")
        return self._part(torch.arange(n), f"the first {n} samples")

    def split(self, fraction: float = 0.8, seed: int = 0) -> tuple["DataSet", "DataSet"]:
        """Two parts drawn at random without overlap, the first with that fraction of the samples.

        All runs share the draw: their samples are independent of each other anyway.
        """
        first = round(fraction * self.samples)
        if not 0 < fraction < 1 or first in (0, self.samples):
            raise ValueError(f"{self.name}: a fraction of {fraction} of {self.samples} samples leaves one part empty.")
        order = torch.randperm(self.samples, generator=torch.Generator().manual_seed(int(seed)))
        share = f"{100 * fraction:.4g}%"
        return (
            self._part(order[:first], f"{share} of the samples, drawn with seed {seed}"),
            self._part(order[first:], f"the samples outside {share} drawn with seed {seed}"),
        )

    def parts(self, fraction: float, seeds: Sequence[int]) -> "DataSet":
        """For each seed its own part of the samples, drawn at random without repeats: one run each."""
        count = round(fraction * self.samples)
        if self.runs is not None or not 0 < fraction <= 1 or count < 1:
            raise ValueError(
                f"{self.name}: a fraction of {fraction} of {self.samples} samples, of one set for all runs."
            )
        orders = [torch.randperm(self.samples, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        rows = torch.stack([order[:count] for order in orders]).to(self.y.device)
        what = f"{100 * fraction:.4g}% of the samples for each of {len(seeds)} runs, drawn with its seed"
        return self._derived(what, x=self.x[rows], y=self.y[rows], runs=len(seeds), truth={})

    def columns(self, chosen: Tensor) -> "DataSet":
        """Only these inputs in this order: (m,) places for all runs, or (r, m), each run's own.

        What is known of the inputs goes with them where all runs have the same, else it is left out.
        """
        flat, lead = self.flat(), chosen.shape[:-1]
        if chosen.ndim > 2 or 0 in chosen.shape or lead not in ((), (self.runs or chosen.shape[0],)):
            raise ValueError(f"{self.name}: places {tuple(chosen.shape)} must be (m,), or (r, m) with its runs.")
        if int(chosen.min()) < 0 or int(chosen.max()) >= self.dim:
            raise ValueError(f"{self.name}: places must lie between 0 and {self.dim - 1}.")
        chosen = chosen.to(self.y.device)
        what = f"{chosen.shape[-1]} of the inputs"
        if chosen.ndim == 1:
            names = tuple(self.inputs[k] for k in chosen.tolist())
            known = {key: value[..., chosen] for key, value in self.truth.items()}
            return flat._derived(what, x=flat.x[..., chosen], inputs=names, truth=known)
        runs = len(chosen)
        x, y = flat.per_run(runs)
        names = tuple(f"input {k + 1}" for k in range(chosen.shape[1]))
        picked = x.gather(2, chosen.unsqueeze(1).expand(-1, x.shape[1], -1))
        return flat._derived(f"{what}, each run's own", x=picked, y=y, inputs=names, runs=runs, truth={})

    def select(self, classes: Sequence[int]) -> "DataSet":
        """Only the samples of these classes, relabelled 0 ... in the order given; the order of samples stays.

        Raises ValueError for a class that is not there, or where the runs hold different numbers of such samples.
        """
        if self.quantity:
            raise ValueError(f"{self.name}: y is {self.quantity}, there are no classes to select.")
        there = torch.unique(self.y).tolist()
        if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(there):
            raise ValueError(
                f"{self.name} has the classes {there}: choose some of them, each once, not {list(classes)}."
            )
        new = torch.full((self.classes,), -1, device=self.y.device)
        new[list(classes)] = torch.arange(len(classes), device=self.y.device)
        y = new[self.y]
        keep = y >= 0
        shape: tuple[int, ...] = (-1,)
        if self.runs is not None:
            counts = keep.sum(1).tolist()
            if len(set(counts)) > 1:
                raise ValueError(f"{self.name}: the runs hold {counts} samples of these classes; they must be as many.")
            shape = (self.runs, counts[0])
        names = tuple(self.labels[label] for label in classes)
        kept = self.x[keep].reshape(*shape, *self.x.shape[self.y.ndim :])
        what = f"classes {', '.join(names[:-1])} and {names[-1]} only" if len(names) > 1 else f"class {names[0]} only"
        return self._derived(what, x=kept, y=y[keep].reshape(shape), labels=names)

    def _part(self, index: Tensor, what: str) -> "DataSet":
        index = index.to(self.y.device)
        along = self.y.ndim - 1
        return self._derived(what, x=self.x.index_select(along, index), y=self.y.index_select(along, index))

    def _derived(self, what: str, **changes: Any) -> "DataSet":
        return replace(self, provenance=f"{self.provenance}; {what}", **changes)

    def __repr__(self) -> str:
        size = f"{self.samples} samples, {self.dim} inputs, {self.quantity or f'{self.classes} classes'}"
        runs = "" if self.runs is None else f"{self.runs} runs of "
        return f"{self.name}: {runs}{size} ({self.edition}, SHA-256 {self.sha256[:8]}). {self.provenance}."

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The provenance line for a notebook; the metadata tell the record which data were used."""
        line = repr(self)
        data = {"name": self.name, "edition": self.edition, "sha256": self.sha256}
        page = f'<p class="data-set"><small>{html.escape(line)}</small></p>'
        return {"text/plain": line, "text/html": page}, {"spectral_lens": {"data": data}}
