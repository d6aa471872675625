"""Trainings compared: architectures and sets of parameters, what they gain in pairs, what moved, and how far apart."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy import stats
from torch import Tensor

from spectral_lens.datasets import DataSet
from spectral_lens.training._loop import fit, initial
from spectral_lens.training.results import Trained, accuracy
from spectral_lens.training.subsets import SETS, SUBSET, compare, count, random_mask, trainable_network

__all__ = ["PairedTest", "Sweep", "confined", "moved", "paired_distance", "paired_test", "sweep", "weight_distance"]

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Sweep:
    """Several architectures (m of them) trained in several sets of parameters.

    accuracy: of each set, (r, m), on the test data; free: how many numbers each set may move, (m,); kept: the
    trainings of the architectures that were to be kept, by set.
    """

    architectures: tuple[Sizes, ...]
    accuracy: Mapping[str, Float[Tensor, "r m"]]
    free: Mapping[str, Int[Tensor, " m"]]
    kept: Mapping[Sizes, Mapping[str, Trained]]

    def at(self, architectures: Sequence[Sequence[int]]) -> "Sweep":
        """Only these architectures, in this order.  Raises ValueError for one that was not trained."""
        chosen = tuple(map(tuple, architectures))
        if missing := set(chosen) - set(self.architectures):
            raise ValueError(f"not trained: {sorted(missing)}; there are {list(self.architectures)}.")
        places = [self.architectures.index(sizes) for sizes in chosen]
        return replace(
            self,
            architectures=chosen,
            accuracy={name: values[:, places] for name, values in self.accuracy.items()},
            free={name: counts[places] for name, counts in self.free.items()},
        )


def sweep(
    architectures: Sequence[Sequence[int]],
    train: DataSet,
    test: DataSet,
    *,
    sets: Sequence[str] = SETS,
    keep: Sequence[Sequence[int]] = (),
    **options: Any,
) -> Sweep:
    """`subsets.compare` for each of the architectures (nodes of every layer), each once, and their test accuracy.

    options: of `compare`, such as `seeds` and `epochs`.  keep: the architectures whose trainings are wanted as well;
    the others' are not held in memory.

    >>> from spectral_lens.datasets import synthetic
    >>> train, test = synthetic.independent(40, inputs=5, relevant=2).split(0.5)
    >>> found = sweep([(5, 2), (5, 3, 2)], train, test, seeds=[0, 1], epochs=1, batch_size=10)
    >>> tuple(found.accuracy["eigenvalues"].shape), found.free["eigenvalues"].tolist()
    ((2, 2), [7, 5])
    """
    every = tuple(dict.fromkeys(map(tuple, architectures)))
    if not every or (missing := set(map(tuple, keep)) - set(every)):
        raise ValueError(f"{sorted(missing)} to keep are not trained." if every else "name an architecture at least.")
    scores: dict[str, list[Tensor]] = {name: [] for name in sets}
    kept = {}
    for sizes in every:
        nets = compare(sizes, train, sets=sets, **options)
        for name, net in nets.items():
            scores[name].append(accuracy(net, test).cpu())
        if sizes in map(tuple, keep):
            kept[sizes] = nets
    return Sweep(
        every,
        {name: torch.stack(values, 1) for name, values in scores.items()},
        {name: torch.tensor([count(sizes, name) for sizes in every]) for name in sets},
        kept,
    )


def confined(
    sizes: Sequence[int], data: DataSet, *, layers: Collection[str], seeds: Sequence[int], **options: Any
) -> Trained:
    """A linear network of which as many random weights are trained as there are eigenvalues, in these layers alone.

    The random subset of giambagli, III, elsewhere drawn from all weights.  layers: names such as "layer1"; options: of
    `fit`.  Raises ValueError for a name that no layer has, and where the layers have too few weights.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(40, inputs=5, relevant=2)
    >>> trained = confined([5, 4, 3, 2], data, layers=["layer1"], seeds=[0], epochs=1, batch_size=10)
    >>> {name: int(each.sum()) for name, each in moved(trained).items()}
    {'layer1.weight': 9, 'layer2.weight': 0, 'layer3.weight': 0}
    """
    model = trainable_network(sizes, SUBSET)
    named = {name: layer for name, layer in model.named_children() if any(True for _ in layer.parameters())}
    if unknown := set(layers) - named.keys():
        raise ValueError(f"no layers with weights: {', '.join(sorted(unknown))}; there are {', '.join(named)}.")
    for name, layer in named.items():
        layer.requires_grad_(name in layers)
    masks = random_mask(model, count(sizes, SUBSET), seeds)
    return fit(model, data, seeds=seeds, masks=masks, **options)


def moved(trained: Trained, *, start: Mapping[str, Tensor] | None = None) -> dict[str, Bool[Tensor, "r *shape"]]:
    """Which entries of each parameter and buffer, by name, are not where the training started, on the CPU.

    start: the tensors that the training was given as `init_state`, by name; the others start at what each seed draws.

    >>> from spectral_lens.training.subsets import trainable_network
    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(40, inputs=5, relevant=2)
    >>> trained = fit(trainable_network([5, 2], "eigenvalues"), data, seeds=[0], epochs=1, batch_size=10)
    >>> {name: bool(each.any()) for name, each in moved(trained).items()}
    {'layer1.lam_in': True, 'layer1.lam_out': True, 'layer1.psi': False}
    """
    dtype = next(value.dtype for value in trained.state.values() if value.is_floating_point())
    began = initial(trained.model, trained.seeds, dtype=dtype) | dict(start or {})
    return {name: value.cpu() != began[name].to(value.dtype).cpu() for name, value in trained.state.items()}


class PairedTest(NamedTuple):
    """Differences of pairs and the one-sided p-values of Student's paired t-test."""

    gain: Float[Tensor, "r *m"]
    p: Float[Tensor, "*m"]


def paired_test(a: Float[Tensor, "r *m"], b: Float[Tensor, "*shape"]) -> PairedTest:
    """a - b run by run, in float64, and how likely so large a mean is where the true one is zero (or below).

        t = mean / (sd / sqrt(r)),   p = P(T > t) with r - 1 degrees of freedom        [student1908]

    One column for each further axis; no correction for many tests.  p is nan where there is one run, or where all
    differences are zero.  Raises ValueError where the shapes differ.

    >>> gain, p = paired_test(torch.tensor([2.0, 5.0, 4.0]), torch.tensor([1.0, 3.0, 1.0]))
    >>> gain.tolist(), round(float(p), 4)
    ([1.0, 2.0, 3.0], 0.0371)
    """
    if a.shape != b.shape:
        raise ValueError(f"pairs need two equal shapes, found {tuple(a.shape)} and {tuple(b.shape)}.")
    gain = a.double() - b.double()
    runs = len(gain)
    if runs < 2:
        return PairedTest(gain, torch.full_like(gain.mean(0), torch.nan))
    t = gain.mean(0) / (gain.std(0) / runs**0.5)
    return PairedTest(gain, torch.as_tensor(stats.t.sf(t.cpu().numpy(), runs - 1)))


def weight_distance(weights: Float[Tensor, "r *shape"], reference: Float[Tensor, "*any"]) -> Float[Tensor, " r"]:
    """Wasserstein-1 distance between each run's weights and all of `reference`, as distributions of single numbers.

    The mean way that a weight has to travel for one distribution to become the other, in the weights' own unit.

    >>> weight_distance(torch.tensor([[0.0, 1.0], [4.0, 6.0]]), torch.tensor([1.0, 2.0])).tolist()
    [1.0, 3.5]
    """
    target = reference.detach().flatten().cpu().numpy()
    away = [stats.wasserstein_distance(one.detach().flatten().cpu().numpy(), target) for one in weights]
    return torch.tensor(away, dtype=torch.float64)


def paired_distance(weights: Float[Tensor, "r *shape"], reference: Float[Tensor, "r *shape"]) -> Float[Tensor, " r"]:
    """As `weight_distance`, each run from its own reference.

    >>> paired_distance(torch.tensor([[0.0, 1.0], [4.0, 6.0]]), torch.tensor([[1.0, 2.0], [6.0, 4.0]])).tolist()
    [1.0, 0.0]
    """
    return torch.cat([weight_distance(one[None], other) for one, other in zip(weights, reference, strict=True)])
