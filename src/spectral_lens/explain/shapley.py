"""Shapley values of the inputs, for all outputs at once: what an input adds, averaged over all orders of adding it.

Inputs that are absent are set to a baseline.  The outputs of a masked batch serve every explained output together, so
ten outputs cost what one costs.  [shapley1953; strumbelj2014]
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens._runtime.extras import optional
from spectral_lens._runtime.memory import check_chunk
from spectral_lens.explain._baseline import Baseline, baseline_for
from spectral_lens.explain.distinct_calls import distinct_calls
from spectral_lens.nn._checks import Outputs, Target, check_one_of, checked, readout, targeted
from spectral_lens.operators._pullback import batch_size

__all__ = ["LARGEST", "deep_shap", "exact", "patches", "sampled"]

Explained = Callable[[Tensor, Tensor], Tensor]

LARGEST = 20  # players of an exact game: a million coalitions


def exact(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    baseline: Baseline = 0.0,
    groups: Int[Tensor, " *d"] | None = None,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """All 2^p coalitions of the p players, each weighted by the orders in which it comes about.

    groups: the player, 0 to p - 1, that each input belongs to (see `patches`); by default each input is one.  What a
    group earns is shared evenly among its inputs.  outputs, target: see `gradients.gradient`.  chunk: rows given to
    the model at a time, by default as many as suit the device.
    Raises ValueError for more than 20 players: use `sampled`.

    >>> model, x = nn.Linear(5, 3).eval(), torch.rand(2, 5)
    >>> torch.allclose(exact(model, x), model.weight * x[:, None], atol=1e-6)  # of a linear model
    True
    """
    explained = _explained(checked(model, x).out, len(x), outputs, target)
    player = _player(x, groups)
    players = int(player.max()) + 1
    if players > LARGEST:
        raise ValueError(f"{players} players have 2^{players} coalitions: use shapley.sampled, or larger groups.")
    coalitions = torch.arange(2**players, device=x.device)

    def present(coalition: Tensor) -> Tensor:
        return (coalition.unsqueeze(1) >> torch.arange(players, device=x.device)) & 1 > 0

    joined = present(coalitions)
    size = joined.sum(1)
    orders = torch.tensor([1 / (players * math.comb(players - 1, s)) for s in range(players)]).to(x)
    # joining a coalition of s others counts orders[s], and so does, with the other sign, that coalition without it
    weights = torch.where(joined, orders[(size - 1).clamp(min=0)].unsqueeze(1), 0)
    weights = weights - torch.where(joined, 0, orders[size.clamp(max=players - 1)].unsqueeze(1))
    sample, coalition = torch.arange(len(x), device=x.device).repeat(2**players), coalitions.repeat_interleave(len(x))
    values = _values(model, x, baseline, sample, coalition, present, player, explained, chunk)
    return _spread(torch.einsum("sp,snk->nkp", weights, values.unflatten(0, (-1, len(x)))), player)


def sampled(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    permutations: int = 25,
    generator: torch.Generator | None = None,
    baseline: Baseline = 0.0,
    groups: Int[Tensor, " *d"] | None = None,
    outputs: Outputs = None,
    target: Target = None,
    chunk: int | None = None,
) -> Float[Tensor, "n k *d"]:
    """The mean over random orders, the same for all samples; 25 of them in maess, 4.1.

    Whatever the number of orders, the values add up to f(x) - f(baseline).  Inputs at the baseline cost nothing.
    generator: of the orders, on the CPU.  The other arguments as in `exact`.
    Raises ValueError for no permutations.

    >>> model, x = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).eval(), torch.rand(2, 5)
    >>> found = sampled(model, x, permutations=3, generator=torch.Generator().manual_seed(0))
    >>> torch.allclose(found.sum(2), model(x) - model(0 * x), atol=1e-6)
    True
    """
    explained = _explained(checked(model, x).out, len(x), outputs, target)
    if permutations < 1:
        raise ValueError(f"permutations={permutations} must be at least 1.")
    player = _player(x, groups)
    players = int(player.max()) + 1
    differs = (x != baseline_for(x, baseline)).flatten(1).to(x.dtype)
    moves = x.new_zeros(len(x), players).index_add_(1, player.flatten(), differs) > 0

    def earned(order: Tensor) -> Tensor:
        # step t adds the t-th player; one whose inputs are at the baseline anyway changes nothing and earns nothing
        joins = torch.cat([moves.new_ones(len(x), 1), moves[:, order]], 1)
        sample, step = joins.nonzero(as_tuple=True)
        rank = order.argsort()
        values = _values(model, x, baseline, sample, step, lambda t: rank < t.unsqueeze(1), player, explained, chunk)
        same = sample[1:] == sample[:-1]
        found = values.new_zeros(len(x), players, values.shape[1])
        found[sample[1:][same], order[step[1:][same] - 1]] = values.diff(dim=0)[same]
        return found

    total: Any = sum(earned(torch.randperm(players, generator=generator).to(x.device)) for _ in range(permutations))
    return _spread((total / permutations).mT, player)


def patches(shape: tuple[int, ...], size: int) -> Int[Tensor, "..."]:
    """Groups of neighbouring pixels, `size` by `size`, over all channels, for images of that shape.

    Raises ValueError for shapes without height and width, and for a size below 1.

    >>> patches((3, 5), 2)
    tensor([[0, 0, 1, 1, 2],
            [0, 0, 1, 1, 2],
            [3, 3, 4, 4, 5]])
    """
    if size < 1 or len(shape) < 2:
        raise ValueError(f"patches of {size} pixels for a shape {shape}: name (..., height, width) and at least 1.")
    height, width = shape[-2:]
    rows, columns = torch.arange(height) // size, torch.arange(width) // size
    return (rows.unsqueeze(1) * (columns[-1] + 1) + columns).expand(shape).contiguous()


def _player(x: Tensor, groups: Tensor | None) -> Int[Tensor, " *d"]:
    """The player that each input belongs to."""
    if groups is None:
        return torch.arange(x[0].numel(), device=x.device).view(x.shape[1:])
    if groups.shape != x.shape[1:] or groups.is_floating_point():
        raise ValueError(
            f"groups is {groups.dtype} {tuple(groups.shape)}: an integer for each input, {tuple(x.shape[1:])}."
        )
    names = groups.unique().tolist()
    if names != list(range(len(names))):
        raise ValueError(f"the groups must be numbered 0, 1, ... without gaps, found {names}.")
    return groups.to(x.device)


def _explained(out: Float[Tensor, "_ m"], samples: int, outputs: Outputs, target: Target) -> Explained:
    """What of the model's outputs, (rows, m), for rows of these samples is explained; out: outputs of that width."""
    check_one_of(outputs, target)
    if target is None:
        rows = readout(out, outputs)
        return lambda out, sample: out @ rows.mT
    own = targeted(out.new_empty(samples, out.shape[1]), target)
    return lambda out, sample: (out * own[sample]).sum(1, keepdim=True)


def _values(
    model: nn.Module,
    x: Tensor,
    baseline: Baseline,
    sample: Int[Tensor, " rows"],
    coalition: Int[Tensor, " rows"],
    present: Callable[[Tensor], Tensor],
    player: Int[Tensor, " *d"],
    explained: Explained,
    chunk: int | None,
) -> Float[Tensor, "rows k"]:
    """The explained outputs of samples of which only the inputs of the players that are present are there."""
    check_chunk(chunk, of="row")
    chunk = chunk or batch_size(x)
    absent = baseline_for(x, baseline).expand_as(x)
    found = []
    with torch.no_grad():
        for samples, coalitions in zip(sample.split(chunk), coalition.split(chunk), strict=True):
            out = model(torch.where(present(coalitions)[:, player], x[samples], absent[samples]))
            found.append(explained(out, samples))
    return torch.cat(found)


def _spread(earned: Float[Tensor, "n k p"], player: Int[Tensor, " *d"]) -> Float[Tensor, "n k *d"]:
    """Each input's even share of what its player earned."""
    return (earned / player.flatten().bincount())[:, :, player]


def deep_shap(
    model: nn.Module, x: Float[Tensor, "n *d"], *, background: Float[Tensor, "..."]
) -> Float[Tensor, "n k *d"]:
    """SHAP values of all outputs by shap's DeepExplainer, for a model in evaluation, on the CPU.  [lundberg2017]

    background: samples, (m, *d), that stand for an input that is not there.  shap knows torch's own layers alone and
    must see each of them called once, so it is given a copy of that kind (see `distinct_calls`).
    Raises ValueError that names what shap has no rule for, and where its values do not add up to f(x) less the mean of
    f(background), by its own check and to a hundredth of the largest of these differences.

    >>> model, x, background = nn.Sequential(nn.Linear(5, 3)).eval(), torch.rand(2, 5), torch.rand(7, 5)
    >>> found = deep_shap(model, x, background=background)
    >>> torch.allclose(found.sum(2), (model(x) - model(background).mean(0)).to(found), atol=1e-4)
    True
    """
    with optional("explain"), warnings.catch_warnings(action="ignore"):  # of its colour maps and progress bars
        import shap

    plain = distinct_calls(model).cpu().eval()
    x, background = x.detach().cpu(), background.detach().to("cpu", x.dtype)
    if background.shape[1:] != x.shape[1:]:
        raise ValueError(f"background {tuple(background.shape)} must hold samples like x, {tuple(x.shape)}.")
    checked(plain, x)
    checked(plain, background)
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of its check of the sums
            found = torch.from_numpy(shap.DeepExplainer(plain, background).shap_values(x)).movedim(-1, 1)
    except AssertionError as error:
        raise ValueError(f"shap's values are not those of this model: {error}") from error
    with torch.no_grad():
        out = plain(x)
        expected = (out - plain(background).mean(0)).double()
    missed, largest = (found.double().flatten(2).sum(2) - expected).abs().max(), expected.abs().max()
    if missed > 0.01 * largest + 1000 * torch.finfo(out.dtype).eps * out.abs().max():  # and the sums' rounding
        raise ValueError(
            f"shap's values do not add up to the model's outputs: {float(missed):.3g} of {float(largest):.3g} is "
            "missing."
        )
    return found
