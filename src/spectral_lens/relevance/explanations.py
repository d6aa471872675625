"""Scores of the inputs by explanations of a trained network, averaged over samples."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.relevance.scores import overall
from spectral_lens.training import Trained

__all__ = ["of_explanations"]


def of_explanations(
    explain: Callable[..., Tensor],
    trained: Trained,
    x: Float[Tensor, "*shape"],
    *,
    per_run: bool = False,
    **others: Tensor,
) -> Float[Tensor, "r d"]:
    """For each run the mean size of its explanations, over samples and outputs, over the largest (see `overall`).

    explain: maps a network and its inputs, (n, *d), to the relevance (n, k, *d), as the functions of
    `spectral_lens.explain` do.  x: the samples, (n, *d) for all runs, or (r, n, *d) with `per_run`.  others: what
    `explain` takes by name, such as SHAP's background, with an axis of the runs in front where x has one.
    Raises ValueError where that axis does not fit the runs.

    >>> from spectral_lens.datasets import synthetic
    >>> from spectral_lens.explain.gradients import saliency
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = synthetic.independent(60, inputs=7, relevant=3)
    >>> trained = fit(mlp([7, 5, 2]), data, seeds=(0, 1), epochs=1, device="cpu")
    >>> of_explanations(saliency, trained, data.x[:10]).shape
    torch.Size([2, 7])
    """
    given = {"x": x, **others}
    for name, values in given.items():
        if per_run and (values.ndim < 1 or len(values) != trained.runs):
            raise ValueError(f"{name} {tuple(values.shape)} must have its own samples for each of {trained.runs} runs.")
    found = []
    for r in range(trained.runs):
        net = trained.run(r)
        like = next(net.parameters())
        # copies, since a method or a network may work on its inputs in place
        its = {name: (values[r] if per_run else values).to(like, copy=True) for name, values in given.items()}
        found.append(overall(explain(net, its.pop("x"), **its)).detach().cpu())
    return torch.stack(found)
