"""What the trained eigenvalues say of the inputs: their relevance, their ranking, and how few of them suffice."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens import training
from spectral_lens.datasets import DataSet
from spectral_lens.layers import SpectralConv2d, SpectralLinear
from spectral_lens.training import Trained

_BLOCK = 2**17  # numbers of psi that are squared at a time, in a CPU's cache; vector_norm takes up to 14 times as long


def relevance(lam_in: Float[Tensor, "*r d"], psi: Float[Tensor, "*shape"]) -> Float[Tensor, "*r d"]:
    """Relevance of input i: |lam_in_i| * sqrt(sum_j psi_ji^2), the norm of its weights where lam_out = 0.

    [chicchi, 5; the printed formula omits the square, the authors' code has it]

    lam_in: (d,) or (r, d).  psi: (*r, out, d) of a dense layer, or (*r, out, d, height, width) of a convolution
    (groups = 1), whose relevance is that of the input channels.
    """
    channels = lam_in.ndim  # psi's axis of the inputs: behind the runs and the outputs
    others = [axis for axis in range(lam_in.ndim - 1, psi.ndim) if axis != channels]
    if psi.ndim <= channels or psi.shape[channels] != lam_in.shape[-1]:
        raise ValueError(f"psi {tuple(psi.shape)} has no axis of {lam_in.shape[-1]} inputs behind its outputs.")
    rows = psi.shape[channels - 1]
    if psi.device.type == "cpu":
        rows = max(1, _BLOCK * rows // psi.numel())
    squares = sum(part.square().sum(others) for part in psi.split(rows, channels - 1))
    return lam_in.abs() * squares.sqrt()


def of_inputs(trained: Trained | nn.Module) -> Float[Tensor, "*r d"]:
    """Relevance of the network's inputs, read off its first layer: (r, d) of all runs, or (d,) of one module.

    Raises ValueError where the first layer with weights is not spectral.
    """
    model = trained.model if isinstance(trained, Trained) else trained
    for name, layer in model.named_modules():
        if isinstance(layer, SpectralLinear | SpectralConv2d):
            state = trained.state if isinstance(trained, Trained) else dict(model.state_dict())
            prefix = f"{name}." if name else ""
            return relevance(state[f"{prefix}lam_in"], state[f"{prefix}psi"])
        if next(layer.parameters(recurse=False), None) is not None:
            raise ValueError(f"the first layer, {name or type(layer).__name__}, is not spectral: see spectralize().")
    raise ValueError(f"{type(model).__name__} has no layer with weights.")


def normalised(scores: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
    """Scores divided by their maximum, so that runs whose first layers shrank differently can be compared."""
    return scores / scores.amax(-1, keepdim=True)


def overall(explained: Float[Tensor, "n k *d"]) -> Float[Tensor, " d"]:
    """One score for each input from explanations of many samples: the mean |R| over samples and outputs, normalised."""
    return normalised(explained.abs().flatten(2).mean((0, 1)))


def ranking(scores: Float[Tensor, "*r d"]) -> Int[Tensor, "*r d"]:
    """Inputs from the most to the least relevant; equal scores keep the order of the inputs."""
    return scores.argsort(dim=-1, descending=True, stable=True)


def sparsity(scores: Float[Tensor, "*r d"], *, threshold: float = 0.01) -> Float[Tensor, "*r"]:
    """Share of the inputs whose score is below `threshold` times the largest; 1 where all are zero."""
    largest = scores.amax(-1, keepdim=True)
    return ((scores < threshold * largest) | (largest == 0)).to(scores.dtype).mean(-1)


def pearson(a: Float[Tensor, "*#r d"], b: Float[Tensor, "*#r d"]) -> Float[Tensor, "*r"]:
    """Pearson's correlation over the inputs, for each run."""
    a, b = (each.double() - each.double().mean(-1, keepdim=True) for each in (a, b))
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def pair_difference(scores: Float[Tensor, "*r d"]) -> Float[Tensor, "*r"]:
    """Mean over the pairs (0, 1), (2, 3), ... of the difference of their scores over their mean."""
    pairs = scores.unflatten(-1, (-1, 2))
    return (pairs.diff(dim=-1).squeeze(-1).abs() / pairs.mean(-1)).mean(-1)


def by_count(
    trained: Trained,
    data: DataSet,
    order: Int[Tensor, "*r d"],
    *,
    counts: Sequence[int] | None = None,
    fill: float | Float[Tensor, " d"] = 0.0,
    chunk: int = 100_000,
) -> Float[Tensor, "r counts"]:
    """Accuracy of every run when it is given only the first k inputs of `order`, for every k in `counts`.

    Where y is a quantity, the mean absolute error in its place.  The other inputs are set to `fill` (zero in
    chicchi, 2.3; or, say, each input's mean); nothing is retrained.

    order: a ranking for each run, (r, d), or one for all, (d,).  counts: 0 to d, by default 1 ... d.
    chunk: rows (samples x counts) evaluated at a time by each run; lower it where the memory is too small.
    """
    d = order.shape[-1]
    counts = range(1, d + 1) if counts is None else counts
    if data.dim != d:
        raise ValueError(f"the order names {d} inputs, but {data.name} has {data.dim}.")
    if len(counts) == 0 or min(counts) < 0 or max(counts) > d:
        raise ValueError(f"counts must lie between 0 and the {d} inputs.")
    if order.shape[:-1] not in ((), (trained.runs,)) or (order.sort(-1).values != torch.arange(d).to(order)).any():
        raise ValueError(f"order {tuple(order.shape)} must name each of the {d} inputs once, for all or for each run.")
    if data.runs not in (None, trained.runs):
        raise ValueError(f"{data.name} holds one set for each of {data.runs} runs, but {trained.runs} were trained.")
    reference = next(iter(trained.state.values()))
    sample, data = data.x.shape[1 if data.runs is None else 2 :], data.flat().to(reference.device, reference.dtype)
    if data.samples > chunk:
        raise ValueError(f"chunk={chunk} must hold at least the {data.samples} samples of {data.name}.")
    place = order.to(reference.device).expand(trained.runs, d).argsort(-1)  # of each input in the ranking
    x = data.x if data.runs is not None else data.x.unsqueeze(0)
    y = data.y if data.runs is not None else data.y.unsqueeze(0)
    found = []
    for part in torch.as_tensor(list(counts), device=reference.device).split(max(1, chunk // data.samples)):
        kept = place.unsqueeze(1) < part.view(1, -1, 1)
        masked = torch.where(kept.unsqueeze(2), x.unsqueeze(1), torch.as_tensor(fill).to(x))  # (r, counts, n, d)
        masked = masked.flatten(1, 2).unflatten(-1, sample)
        out = training.predict(trained, masked, per_run=True).unflatten(1, (len(part), -1))
        each = (out.squeeze(-1) - y.unsqueeze(1)).abs() if data.quantity else out.argmax(-1) == y.unsqueeze(1)
        found.append(each.to(reference.dtype).mean(-1))
    return torch.cat(found, 1)


def needed(
    accuracies: Float[Tensor, "r counts"], counts: Sequence[int], *, share: float, full: Float[Tensor, " r"]
) -> Int[Tensor, " r"]:
    """The smallest count at which each run reaches `share` of its full accuracy; the largest where none does."""
    reached = accuracies >= share * full.unsqueeze(1)
    first = torch.where(reached.any(1), reached.to(torch.int8).argmax(1), len(counts) - 1)
    return torch.as_tensor(list(counts), device=accuracies.device)[first]
