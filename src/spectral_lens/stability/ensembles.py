"""Networks that can be compared: every strength of a penalty side by side, at accuracies that are alike."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.training import Trained, fit

__all__ = ["epochs_to_common", "fit_strengths", "strongest"]


def fit_strengths(
    model: nn.Module,
    data: DataSet,
    *,
    penalty: Callable[[tuple[int | float, ...]], Any],
    strengths: Sequence[int | float],
    runs: int,
    first_seed: int,
    **training: Any,
) -> Trained:
    """`training.fit` for `runs` networks of each strength of a penalty, all side by side.

    Network s * runs + i has strengths[s] and the seed first_seed + s * runs + i, so that each has one of its own:
    `values.unflatten(0, (-1, runs))` sorts what is known of them, (r, ...), by strength.
    penalty: the strength of each network to a penalty of `fit`, such as `penalties.JacobianNorm`.  training: the other
    options of `fit`.  Raises ValueError for no strengths, for less than one run, and as `fit` does.

    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training.penalties import JacobianNorm
    >>> options = {"penalty": JacobianNorm, "strengths": [0.0, 0.1], "runs": 3, "first_seed": 5, "epochs": 1}
    >>> trained = fit_strengths(mlp([64, 10]), images.digits()[0].take(100), **options)
    >>> trained.seeds
    (5, 6, 7, 8, 9, 10)
    """
    if not len(strengths) or runs < 1:
        raise ValueError(f"strengths={list(strengths)} and runs={runs}: at least one of each is needed.")
    each = tuple(strength for strength in strengths for _ in range(runs))
    return fit(model, data, seeds=range(first_seed, first_seed + len(each)), penalty=penalty(each), **training)


def strongest(accuracy: Float[Tensor, "strengths r"], *, lost: int | float) -> int:
    """The place of the largest strength whose mean accuracy is at most `lost` below that of the first, the plain one.

    The strengths ascend; 0 where none but the first keeps the accuracy.  Choose on data that nothing else is judged by.
    Raises ValueError for a loss that is negative, and for accuracies that are not finite.

    >>> import torch
    >>> strongest(torch.tensor([[0.95, 0.93], [0.94, 0.93], [0.80, 0.82]]), lost=0.01)
    1
    """
    if not lost >= 0:
        raise ValueError(f"lost={lost} must not be negative: it is the accuracy that may be lost.")
    if not accuracy.numel() or not accuracy.isfinite().all():
        raise ValueError("accuracies must be there and finite, for every strength and run.")
    mean = accuracy.mean(1)
    return int((mean >= mean[0] - lost).nonzero().max())


def epochs_to_common(histories: Mapping[str, Float[Tensor, "_ r"]]) -> dict[str, int]:
    """After how many epochs each kind of network first has the largest mean accuracy that all of them reach.

    histories: validation accuracy of each kind, epochs by runs, as `Trained.history` holds it.
    Raises ValueError where there is no kind, or a kind without an epoch.

    >>> import torch
    >>> epochs_to_common({"fast": torch.tensor([[0.8], [0.9]]), "slow": torch.tensor([[0.5], [0.7], [0.8]])})
    {'fast': 1, 'slow': 3}
    """
    if not histories or not all(each.numel() for each in histories.values()):
        raise ValueError("a common accuracy needs at least one kind of network, and an epoch of each.")
    means = {kind: each.mean(1) for kind, each in histories.items()}
    common = min(float(each.max()) for each in means.values())
    return {kind: int((each >= common).nonzero()[0]) + 1 for kind, each in means.items()}
