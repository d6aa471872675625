"""False discoveries under control: each input competes with a knockoff, a copy that knows nothing of y.  [candes2018]

Gaussian knockoffs and the filter, in a hundred lines of their own: the libraries for them bring solvers of
semidefinite programs that nothing else here needs.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spectral_lens._runtime.extras import optional
from spectral_lens.datasets import DataSet

__all__ = ["entropy_gaps", "gaussian", "kept", "signs", "with_knockoffs"]

_SWEEPS, _TOLERANCE = 500, 1e-10


def entropy_gaps(correlation: Float[np.ndarray, "d d"]) -> Float[np.ndarray, " d"]:
    """s, how much less an input correlates with its knockoff than with itself: the s of the largest entropy.

        maximise  log det(2 C - diag(s)) + sum_i log s_i,  where  s_i = 1 / [(2 C - diag(s))^-1]_ii

    [gimenez2019]; one s_i after the other, which has a closed form [spector2022, algorithm 2].
    Raises ValueError for a matrix that is not positive definite, as of identical inputs.

    >>> entropy_gaps(np.array([[1.0, 0.8], [0.8, 1.0]])).round(4)  # (3 - sqrt(1 + 8 * 0.8**2)) / 2
    array([0.2631, 0.2631])
    """
    least = float(np.linalg.eigvalsh(correlation)[0])
    if least < len(correlation) * np.finfo(float).eps:
        raise ValueError(f"the correlation's least eigenvalue is {least:.1g}: an input is determined by the others.")
    s = np.full(len(correlation), min(1.0, least))
    for _ in range(_SWEEPS):
        before = s.copy()
        inverse = np.linalg.inv(2 * correlation - np.diag(s))
        for i in range(len(s)):
            more = (1 / inverse[i, i] - s[i]) / 2
            s[i] += more
            inverse += more / (1 - more * inverse[i, i]) * np.outer(inverse[:, i], inverse[i])
        if np.abs(s - before).max() < _TOLERANCE:
            break
    return s


def gaussian(
    x: Float[np.ndarray, "n d"], *, seed: int, covariance: Float[np.ndarray, "d d"] | None = None
) -> Float[np.ndarray, "n d"]:
    """A knockoff of each input: with G = diag(s) in units of the variances, [candes2018, eq. 3.2]

        k | x ~ N(x - (x - mean) C^-1 G, 2 G - G C^-1 G)

    so that (x, k) keeps its mean and covariance when inputs change places with their knockoffs.  For Gaussian inputs it
    keeps its distribution, for others the first two moments only.

    covariance: C; by default it is estimated and shrunk towards a multiple of the identity [ledoit2004], once the
    inputs have unit variance.
    Raises ValueError for a constant input, and where an input is determined by the others.

    >>> x = np.random.default_rng(0).normal(size=(500, 3))
    >>> k = gaussian(x, seed=1)
    >>> k.shape, bool(abs(np.corrcoef(x[:, 0], k[:, 0])[0, 1]) < 0.2)
    ((500, 3), True)
    """
    mean = x.mean(0)
    scale = x.std(0) if covariance is None else np.sqrt(np.diag(covariance))
    if (scale == 0).any():
        raise ValueError("an input is constant: it has no knockoff.")
    away = (x - mean) / scale
    correlation = _shrunk(away) if covariance is None else covariance / np.outer(scale, scale)
    s = entropy_gaps(correlation)
    pull = np.linalg.solve(correlation, np.diag(s))  # C^-1 G
    factor = np.linalg.cholesky(2 * np.diag(s) - s[:, None] * pull)
    drawn = np.random.default_rng(seed).normal(size=x.shape)
    return np.asarray(mean + scale * (away - away @ pull + drawn @ factor.T))


def _shrunk(away: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """The correlation of standardised inputs, shrunk."""
    with optional("selector"):
        from sklearn.covariance import ledoit_wolf

    found = ledoit_wolf(away, assume_centered=True)[0]
    scale = np.sqrt(np.diag(found))
    return np.asarray(found / np.outer(scale, scale))


def with_knockoffs(data: DataSet, *, seeds: Sequence[int]) -> DataSet:
    """The inputs and behind them their knockoffs, (r, n, 2 d): a set for each seed, made without a look at y.

    >>> from spectral_lens.datasets import synthetic
    >>> with_knockoffs(synthetic.independent(90, inputs=5, relevant=2), seeds=(0, 1)).x.shape
    torch.Size([2, 90, 10])
    """
    x, y = data.flat().per_run(len(seeds))
    copies = np.stack([gaussian(own.double().cpu().numpy(), seed=int(s)) for own, s in zip(x, seeds, strict=True)])
    return replace(
        data,
        x=torch.cat([x, torch.from_numpy(copies).to(x)], 2),
        y=y.contiguous(),
        inputs=(*data.inputs, *(f"knockoff of {name}" for name in data.inputs)),
        provenance=f"{data.provenance}; with knockoffs",
        runs=len(seeds),
        truth={},
    )


def signs(scores: Float[Tensor, "r d2"]) -> Float[Tensor, "r d"]:
    """W, by how much each input's score exceeds its knockoff's: of an input that knows nothing more, + or - by chance.

    Raises ValueError for an odd number of scores.

    >>> signs(torch.tensor([[3.0, 1.0, 0.5, 2.0]]))
    tensor([[ 2.5000, -1.0000]])
    """
    if scores.shape[1] % 2:
        raise ValueError(f"{scores.shape[1]} scores: give one of each input, then one of each knockoff.")
    inputs, copies = scores.chunk(2, 1)
    return inputs - copies


def kept(w: Float[Tensor, "r d"], share: float) -> Bool[Tensor, "r d"]:
    """The inputs with W >= T: no more than that share of them is false, in the mean over data sets ("knockoff+").

        T = the least t > 0 among |W|  with  (1 + #{W <= -t}) / #{W >= t} <= share        [barber2015, eq. 1.9]

    Fewer than 1 / share inputs are never kept.  Raises ValueError for a share outside (0, 1).

    >>> kept(torch.tensor([[5.0, 4.0, -0.5, 3.0, 0.2]]), 0.34)
    tensor([[ True,  True, False,  True, False]])
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share} must lie between 0 and 1.")
    levels = w.abs().unsqueeze(2)  # (r, levels, 1): each |W| as a candidate for T
    false = (w.unsqueeze(1) <= -levels).sum(2)
    found = (w.unsqueeze(1) >= levels).sum(2)
    allowed = (1 + false <= share * found) & (w != 0)
    threshold = torch.where(allowed, w.abs(), torch.inf).amin(1, keepdim=True)
    return w >= threshold
