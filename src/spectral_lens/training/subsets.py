"""Which parameters of one architecture are trained: the four sets that giambagli compares, under equal conditions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import below, fold, retract, weight_of
from spectral_lens.training._loop import fit, initial
from spectral_lens.training.results import Trained

__all__ = [
    "EIGENVALUES",
    "SAME_START",
    "SETS",
    "SPECTRAL",
    "SUBSET",
    "WEIGHTS",
    "compact",
    "compare",
    "count",
    "direct_weights",
    "random_mask",
    "spectral_weights",
    "trainable_network",
]

EIGENVALUES, SUBSET, WEIGHTS, SPECTRAL = "eigenvalues", "random subset", "all weights", "eigenvalues and eigenvectors"
SETS = (EIGENVALUES, SUBSET, WEIGHTS, SPECTRAL)
SAME_START = "random subset, same start"  # a second reading of the random subset: see `compare`


def trainable_network(sizes: Sequence[int], which: str, *, activation: str | Sequence[str] = "linear") -> nn.Sequential:
    """A network without biases in which the set `which` can be trained.

    "eigenvalues": those of all nodes behind the inputs, N_2 + ... + N_l; of a perceptron all N_1 + N_2.
    "eigenvalues and eigenvectors": these and all psi.  [giambagli, III]
    "all weights", "random subset" (see `random_mask`): the same sizes in direct space, with Keras' initial values.
    Raises ValueError for an unknown set.

    >>> [name for name, each in trainable_network([6, 5, 2], EIGENVALUES).named_parameters() if each.requires_grad]
    ['layer1.lam_out', 'layer2.lam_out']
    """
    if which not in (*SETS, SAME_START):
        raise ValueError(f"{which!r} is no set of parameters: use one of {'; '.join((*SETS, SAME_START))}.")
    if which in (SUBSET, SAME_START, WEIGHTS):
        return mlp(sizes, activation=activation, spectral=0, glorot=True, bias=False)
    train = ["lam_out", *(["lam_in"] if len(sizes) == 2 else []), *(["psi"] if which == SPECTRAL else [])]
    return mlp(sizes, activation=activation, spectral=len(sizes) - 1, init="giambagli", train=train, bias=False)


def count(sizes: Sequence[int], which: str) -> int:
    """How many numbers training may move in the set `which`; the random subset is as large as the eigenvalues.

    >>> {which: count([784, 10], which) for which in SETS}
    {'eigenvalues': 794, 'random subset': 794, 'all weights': 7840, 'eigenvalues and eigenvectors': 8634}
    """
    model = trainable_network(sizes, EIGENVALUES if which in (SUBSET, SAME_START) else which)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def compare(
    sizes: Sequence[int],
    data: DataSet,
    *,
    seeds: Sequence[int],
    sets: Sequence[str] = SETS,
    activation: str | Sequence[str] = "linear",
    **training: Any,
) -> dict[str, Trained]:
    """`training.fit` once for each set, all seeds side by side; `training` is handed on to it.

    A seed stands for the same order of samples in every set, so runs of equal seed can be compared in pairs.
    "random subset, same start" begins with the weights that the spectral network of the same seed begins with, where
    "random subset" has Keras' initial values.

    >>> from spectral_lens.datasets import synthetic
    >>> nets = compare([20, 2], synthetic.independent(100, seeds=range(3)), seeds=range(3), epochs=1)
    >>> {which: trained.runs for which, trained in nets.items()}
    {'eigenvalues': 3, 'random subset': 3, 'all weights': 3, 'eigenvalues and eigenvectors': 3}
    """
    trained = {}
    for which in sets:
        model = trainable_network(sizes, which, activation=activation)
        random = which in (SUBSET, SAME_START)
        trained[which] = fit(
            model,
            data,
            seeds=seeds,
            masks=random_mask(model, count(sizes, which), seeds) if random else None,
            init_state=spectral_weights(sizes, seeds, training.get("dtype")) if which == SAME_START else None,
            **training,
        )
    return trained


def spectral_weights(
    sizes: Sequence[int], seeds: Sequence[int], dtype: torch.dtype | None = None
) -> dict[str, Float[Tensor, "r out in"]]:
    """The weights in direct space, by name, with which the spectral networks of these seeds start.

    >>> {name: tuple(weight.shape) for name, weight in spectral_weights([6, 5, 2], range(3)).items()}
    {'layer1.weight': (3, 5, 6), 'layer2.weight': (3, 2, 5)}
    """
    model = trainable_network(sizes, EIGENVALUES)
    return _weights(model, initial(model, seeds, dtype=dtype or torch.float32))


def direct_weights(trained: Trained) -> dict[str, Float[Tensor, "r out in"]]:
    """The weights in direct space, by name, that each run's spectral layers have come to.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(40, inputs=5, relevant=2)
    >>> trained = fit(trainable_network([5, 4, 2], EIGENVALUES), data, seeds=range(3), epochs=1)
    >>> {name: tuple(weight.shape) for name, weight in direct_weights(trained).items()}
    {'layer1.weight': (3, 4, 5), 'layer2.weight': (3, 2, 4)}
    """
    return _weights(trained.model, trained.state)


def _weights(model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, SpectralLinear)}
    return {f"{name}.weight": weight_of(layer, below(state, name)) for name, layer in layers.items()}


def compact(trained: Trained) -> Float[Tensor, "r out in"]:
    """The weights of the perceptron that each run's linear network amounts to, the block of A_c.  [giambagli, II.A]

    Raises ValueError for a network with more than linear layers.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(100, seeds=range(3))
    >>> compact(fit(trainable_network([20, 5, 2], EIGENVALUES), data, seeds=range(3), epochs=1)).shape
    torch.Size([3, 2, 20])
    """
    short = [fold(retract(trained.run(r))) for r in range(trained.runs)]
    left = [layer for layer in short[0].children() if not isinstance(layer, nn.Flatten)]
    if len(left) != 1 or not isinstance(left[0], nn.Linear):
        raise ValueError(f"retracted, the network is still {short[0]}: only a linear one is a perceptron.")
    return torch.stack([next(net.parameters()).detach() for net in short])


def random_mask(model: nn.Module, count: int, seeds: Sequence[int]) -> dict[str, Bool[Tensor, "r *shape"]]:
    """For each seed its own `count` of the model's trainable entries, all equally likely: masks for `training.fit`.

    The network in direct space restricted to as many weights as there are eigenvalues [giambagli, III].
    Raises ValueError where the model has fewer entries.

    >>> masks = random_mask(nn.Linear(6, 2), 5, seeds=[7, 8])
    >>> masks["weight"].shape, (masks["weight"].sum((1, 2)) + masks["bias"].sum(1)).tolist()
    (torch.Size([2, 2, 6]), [5, 5])
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters() if parameter.requires_grad}
    sizes = [shape.numel() for shape in shapes.values()]
    if not 1 <= count <= sum(sizes):
        raise ValueError(f"count={count} is not between 1 and the {sum(sizes)} trainable entries of the model.")
    chosen = torch.zeros(len(seeds), sum(sizes), dtype=torch.bool)
    for row, seed in zip(chosen, seeds, strict=True):
        row[torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(int(seed)))[:count]] = True
    parts = zip(shapes.items(), chosen.split(sizes, 1), strict=True)
    return {name: part.reshape(len(seeds), *shape) for (name, shape), part in parts}
