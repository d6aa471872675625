"""What is known of each network of many: its diagnosis, its accuracy, and how it stands an attack."""

from collections.abc import Callable, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.explain.lrp import Rule
from spectral_lens.stability.adversarial import Model, linearized_distance, robustness
from spectral_lens.stability.diagnostics import Diagnosis, diagnose
from spectral_lens.training import Trained, accuracy

__all__ = ["assess", "diagnoses"]


def diagnoses(
    networks: Iterable[nn.Module],
    data: DataSet,
    *,
    noise: Float[Tensor, "n *d"],
    rules: Callable[[nn.Module], Rule | Sequence[Rule]],
    seed: int,
) -> dict[str, Float[Tensor, " r"]]:
    """Every number of `diagnostics.diagnose` by name, one value for each network, in double precision.

    noise: as there.  rules: of LRP for a network, such as `partial(lrp.composite, first=..., inner=..., last=...)`.
    seed: of the start of Lanczos' method, the same for each network.
    Raises ValueError for no networks, and as `diagnose` does.

    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.explain.lrp import zero
    >>> from spectral_lens.nn.mlp import mlp
    >>> few = images.digits()[0].take(4)
    >>> found = diagnoses([mlp([64, 10]).eval()] * 3, few, noise=0.1 * few.x, rules=lambda net: zero(), seed=0)
    >>> found["entropy"].shape
    torch.Size([3])
    """
    found = [
        diagnose(net, data, noise=noise, rules=rules(net), generator=torch.Generator().manual_seed(seed))
        for net in networks
    ]
    if not found:
        raise ValueError("there is no network to diagnose: give at least one.")
    return dict(zip(Diagnosis._fields, torch.tensor(found, dtype=torch.float64).unbind(1), strict=True))


def assess(
    trained: Trained,
    test: DataSet,
    few: DataSet,
    *,
    noise: Float[Tensor, "n *d"],
    rules: Callable[[nn.Module], Rule | Sequence[Rule]],
    attack: Callable[[Model, Tensor, Tensor], Tensor],
    seed: int,
) -> dict[str, Float[Tensor, " r"]]:
    """One number by name for each run, in double precision on the CPU: how good it is, how robust, and its diagnosis.

    accuracy, robust: the share of `test` that is classified correctly, without and under the attack (see
    `adversarial.robustness`); distance: the median over `few` of the linearised distance to the decision boundary;
    and all `diagnoses` on `few`, on its device, which are costly, so that `few` is a small part of `test`.
    noise, rules, seed: as for `diagnoses`, whose errors this raises, and those of `robustness`.

    >>> from functools import partial
    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.explain.lrp import zero
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.stability.adversarial import fgsm
    >>> from spectral_lens.training import fit
    >>> train, test = images.digits()
    >>> few, options = test.take(4), {"rules": lambda net: zero(), "attack": partial(fgsm, radius=0.1), "seed": 0}
    >>> found = assess(fit(mlp([64, 10]), train, seeds=[0, 1], epochs=1), test, few, noise=0.1 * few.x, **options)
    >>> bool((found["robust"] <= found["accuracy"]).all())
    True
    """
    networks = [trained.run(r).to(few.x.device) for r in range(trained.runs)]
    quality = {"accuracy": accuracy(trained, test), "robust": robustness(trained, test, attack)}
    away = torch.stack([linearized_distance(net, few.x, few.y).median() for net in networks])
    quality = {name: values.double().cpu() for name, values in {**quality, "distance": away}.items()}
    return quality | diagnoses(networks, few, noise=noise, rules=rules, seed=seed)
