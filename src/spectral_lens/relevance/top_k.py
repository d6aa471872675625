"""How well a network does with its k most relevant inputs, and how few suffice."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from spectral_lens import training
from spectral_lens._runtime.memory import check_chunk
from spectral_lens.datasets import DataSet
from spectral_lens.training import Trained

__all__ = ["min_features", "top_k_curve"]

_AT_ONCE = 2**30  # bytes of inputs that are partly filled


def top_k_curve(
    trained: Trained,
    data: DataSet,
    order: Int[Tensor, "*r d"],
    *,
    counts: Sequence[int] | None = None,
    fill: float | Float[Tensor, " d"] = 0.0,
    chunk: int | None = None,
) -> Float[Tensor, "r counts"]:
    """Accuracy of every run when it is given only the first k inputs of `order`, for every k in `counts`.

    Where y is a quantity, the mean absolute error in its place.  The other inputs are set to `fill` (zero in
    chicchi, 2.3; or, say, each input's mean); nothing is retrained.

    order: a ranking for each run, (r, d), or one for all, (d,).  counts: 0 to d, by default 1 ... d.
    chunk: counts evaluated at a time by all runs, by default as many as take 1 GB, and one at least.

    >>> from spectral_lens import fit, mlp, of_inputs, ranking
    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(200, seeds=0)
    >>> trained = fit(mlp([20, 10, 2]), data, seeds=(1, 2, 3), epochs=1, progress=False)
    >>> top_k_curve(trained, data, ranking(of_inputs(trained)), counts=[1, 5, 20]).shape
    torch.Size([3, 3])
    """
    d = order.shape[-1]
    counts = range(1, d + 1) if counts is None else counts
    if data.dim != d:
        raise ValueError(f"the order names {d} inputs, but {data.name} has {data.dim}.")
    if len(counts) == 0 or min(counts) < 0 or max(counts) > d:
        raise ValueError(f"counts must lie between 0 and the {d} inputs.")
    if order.shape[:-1] not in ((), (trained.runs,)) or (order.sort(-1).values != torch.arange(d).to(order)).any():
        raise ValueError(f"order {tuple(order.shape)} must name each of the {d} inputs once, for all or for each run.")
    reference = next(iter(trained.state.values()))
    sample, data = data.x.shape[1 if data.runs is None else 2 :], data.flat().to(reference.device, reference.dtype)
    check_chunk(chunk, of="count")
    chunk = chunk or max(1, _AT_ONCE // (trained.runs * data.samples * d * reference.element_size()))
    place = order.to(reference.device).expand(trained.runs, d).argsort(-1)  # of each input in the ranking
    x, y = data.per_run(trained.runs)
    found = []
    for part in torch.as_tensor(list(counts), device=reference.device).split(chunk):
        kept = place.unsqueeze(1) < part.view(1, -1, 1)
        masked = torch.where(kept.unsqueeze(2), x.unsqueeze(1), torch.as_tensor(fill).to(x))  # (r, counts, n, d)
        masked = masked.flatten(1, 2).unflatten(-1, sample)
        out = training.predict(trained, masked, per_run=True).unflatten(1, (len(part), -1))
        each = (out.squeeze(-1) - y.unsqueeze(1)).abs() if data.quantity else out.argmax(-1) == y.unsqueeze(1)
        found.append(each.to(reference.dtype).mean(-1))
    return torch.cat(found, 1)


def min_features(
    accuracies: Float[Tensor, "r counts"], counts: Sequence[int], *, share: float, full: Float[Tensor, " r"]
) -> Int[Tensor, " r"]:
    """The smallest count at which each run reaches `share` of its full accuracy; the largest where none does.

    >>> min_features(torch.tensor([[0.6, 0.85, 0.9]]), [1, 5, 20], share=0.9, full=torch.tensor([0.9]))
    tensor([5])
    """
    reached = accuracies >= share * full.unsqueeze(1)
    first = torch.where(reached.any(1), reached.to(torch.int8).argmax(1), len(counts) - 1)
    return torch.as_tensor(list(counts), device=accuracies.device)[first]
