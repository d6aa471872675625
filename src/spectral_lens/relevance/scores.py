"""What the trained eigenvalues say of the inputs: their relevance and their ranking."""

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens.relevance.first_layer import first_layer
from spectral_lens.training import Trained

__all__ = [
    "Scores",
    "normalised",
    "of_inputs",
    "overall",
    "pair_difference",
    "pearson",
    "random_ranking",
    "ranking",
    "relevance",
    "sparsity",
]

Scores = Float[Tensor, "r d"]  # of the inputs, in each run: the higher, the more they matter
_BLOCK = 2**17  # numbers of psi that are squared at a time, in a CPU's cache; vector_norm takes up to 14 times as long


def relevance(lam_in: Float[Tensor, "*r d"], psi: Float[Tensor, "*shape"]) -> Float[Tensor, "*r d"]:
    """Relevance of input i: |lam_in_i| * sqrt(sum_j psi_ji^2), the norm of its weights where lam_out = 0.

    [chicchi, 5; the printed formula omits the square, the authors' code has it]

    lam_in: (d,) or (r, d).  psi: (*r, out, d) of a dense layer, or (*r, out, d, height, width) of a convolution
    (groups = 1), whose relevance is that of the input channels.

    >>> relevance(torch.tensor([2.0, -1.0]), torch.tensor([[3.0, 0.0], [4.0, 1.0]]))
    tensor([10.,  1.])
    """
    channels = lam_in.ndim  # psi's axis of the inputs: behind the runs and the outputs
    others = [axis for axis in range(lam_in.ndim - 1, psi.ndim) if axis != channels]
    if psi.ndim <= channels or psi.shape[channels] != lam_in.shape[-1]:
        raise ValueError(f"psi {tuple(psi.shape)} has no axis of {lam_in.shape[-1]} inputs behind its outputs.")
    rows = psi.shape[channels - 1]
    if psi.device.type == "cpu":
        rows = max(1, _BLOCK * rows // psi.numel())
    squares = reduce(torch.add, (part.square().sum(others) for part in psi.split(rows, channels - 1)))
    return lam_in.abs() * squares.sqrt()


def of_inputs(trained: Trained | nn.Module) -> Float[Tensor, "*r d"]:
    """Relevance of the network's inputs, read off its first layer: (r, d) of all runs, or (d,) of one module.

    The first layer is the only one that the inputs reach, in the order in which the model calls its layers.
    Raises ValueError where it is not spectral, or cannot be told (see `first_layer`).

    >>> from spectral_lens.nn.layers import SpectralLinear
    >>> of_inputs(SpectralLinear(4, 3)).shape
    torch.Size([4])
    """
    model = trained.model if isinstance(trained, Trained) else trained
    name = first_layer(model)
    state = trained.state if isinstance(trained, Trained) else dict(model.state_dict())
    prefix = f"{name}." if name else ""
    return relevance(state[f"{prefix}lam_in"], state[f"{prefix}psi"])


def normalised(scores: Float[Tensor, "*r d"]) -> Float[Tensor, "*r d"]:
    """Scores divided by their maximum, so that runs whose first layers shrank differently can be compared.

    Scores that are all zero stay zero.  Raises ValueError for scores of which none is positive and some are negative:
    divided by their largest they would change their order.

    >>> normalised(torch.tensor([[1.0, 4.0], [6.0, 3.0]]))
    tensor([[0.2500, 1.0000],
            [1.0000, 0.5000]])
    """
    largest = scores.amax(-1, keepdim=True)
    if ((largest <= 0) & (scores != 0)).any():
        raise ValueError("no score is positive: there is no largest to divide by.")
    return scores / torch.where(largest == 0, 1, largest)


def overall(explained: Float[Tensor, "..."]) -> Float[Tensor, " d"]:
    """One score for each input from explanations of many samples: the mean |R| over samples and outputs, normalised.

    Raises ValueError for explanations of another shape, and for NaN or infinite values.

    >>> overall(torch.tensor([[[1.0, -2.0]], [[3.0, -6.0]]]))
    tensor([0.5000, 1.0000])
    """
    if explained.ndim < 3 or not explained.numel():
        raise ValueError(f"the explanations are {tuple(explained.shape)}: (n, k, *d) is needed, none of them empty.")
    if not explained.isfinite().all():
        raise ValueError("the explanations hold NaN or infinite values.")
    size = explained.abs()
    size = size.float() if size.dtype in (torch.float16, torch.bfloat16) else size  # whose sums overflow
    return normalised(size.flatten(2).mean((0, 1)))


def ranking(scores: Float[Tensor, "*r d"]) -> Int[Tensor, "*r d"]:
    """Inputs from the most to the least relevant; equal scores keep the order of the inputs.

    Raises ValueError for NaN, which has no rank.

    >>> ranking(torch.tensor([0.2, 0.9, 0.2, 0.5]))
    tensor([1, 3, 0, 2])
    """
    if scores.isnan().any():
        raise ValueError("the scores hold NaN, which has no rank: leave out runs that failed.")
    return scores.argsort(dim=-1, descending=True, stable=True)


def sparsity(scores: Float[Tensor, "*r d"], *, threshold: float = 0.01) -> Float[Tensor, "*r"]:
    """Share of the inputs whose score is below `threshold` times the largest; 1 where all are zero.

    >>> float(sparsity(torch.tensor([1.0, 0.5, 0.001, 0.0])))
    0.5
    """
    largest = scores.amax(-1, keepdim=True)
    return ((scores < threshold * largest) | (largest == 0)).to(scores.dtype).mean(-1)


def pearson(a: Float[Tensor, "*#r d"], b: Float[Tensor, "*#r d"]) -> Float[Tensor, "*r"]:
    """Pearson's correlation over the inputs, for each run.

    >>> round(float(pearson(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([3.0, 5.0, 9.0]))), 6)
    1.0
    """
    a, b = (each.double() - each.double().mean(-1, keepdim=True) for each in (a, b))
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def pair_difference(scores: Float[Tensor, "*r d"]) -> Float[Tensor, "*r"]:
    """Mean over the pairs (0, 1), (2, 3), ... of the difference of their scores over their mean, 0 for equal ones.

    Raises ValueError for an odd number of scores, and for negative ones.

    >>> float(pair_difference(torch.tensor([1.0, 3.0, 2.0, 2.0])))
    0.5
    """
    if scores.shape[-1] % 2 or (scores < 0).any():
        raise ValueError(f"{scores.shape[-1]} scores must come in pairs, none of them negative.")
    pairs = scores.unflatten(-1, (-1, 2))
    apart = pairs.diff(dim=-1).squeeze(-1).abs()
    return torch.where(apart == 0, 0, apart / pairs.mean(-1)).mean(-1)


def random_ranking(inputs: int, seeds: Sequence[int]) -> Int[Tensor, "r d"]:
    """For each seed its own order of all inputs, all equally likely: what a ranking must beat.

    >>> random_ranking(5, range(3)).shape
    torch.Size([3, 5])
    """
    return torch.stack([torch.randperm(inputs, generator=torch.Generator().manual_seed(seed)) for seed in seeds])
