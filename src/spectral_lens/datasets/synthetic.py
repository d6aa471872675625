"""Gaussian sets in which it is known by construction what matters."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Generator, Tensor

from spectral_lens._runtime import devices
from spectral_lens.datasets import DataSet, fingerprint

__all__ = ["correlated", "independent", "linked", "redundant"]

_Run = Callable[[Generator], tuple[Tensor, Tensor, dict[str, Tensor]]]


def independent(
    samples: int = 100_000,
    *,
    seeds: int | Sequence[int] = 0,
    inputs: int = 20,
    relevant: int = 11,
    spread: float = 0.5,
    largest: float = 1.4,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DataSet:
    """Two classes of independent Gaussian components, some of which have different means.  [chicchi, 2.1, Fig. 2]

        x_i ~ N(s_i D_i (y - 1/2), spread^2),   D_i ~ U(0, largest) at `relevant` random places, else 0,   s_i = +-1

    The paper fixes 20 inputs and the Gaussian shape, the authors' code 11 relevant ones, spread 0.5 and largest 1.4.
    Where the two means stand is left open: here symmetric about zero, with a random sign s_i.

    An int seed gives x (n, d), a sequence one run for each seed, x (r, n, d). truth["distance"] is D, (d,) or (r, d),
    in units of x. Classes are balanced (one more of class 0 where n is odd) and in random order. A run depends on its
    own seed, on device and dtype, on nothing else; its classes and D are the same in both dtypes.
    Raises ValueError for sizes that do not fit.

    >>> data = independent(100, seeds=(0, 1, 2))
    >>> data.x.shape, data.truth["distance"].shape
    (torch.Size([3, 100, 20]), torch.Size([3, 20]))
    """
    if not 0 <= relevant <= inputs or inputs < 1:
        raise ValueError(f"relevant must lie between 0 and inputs, found relevant={relevant}, inputs={inputs}.")
    if not 0 < spread < float("inf") or not 0 <= largest < float("inf"):
        raise ValueError(f"spread must be positive and largest not negative, found {spread} and {largest}.")

    def run(generator: Generator) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"], dict[str, Tensor]]:
        # What is few is drawn first and in float64, so that both precisions share it.
        few: dict[str, Any] = {"generator": generator, "device": generator.device}
        places = torch.randperm(inputs, **few)[:relevant]
        distance = torch.zeros(inputs, dtype=torch.float64, device=generator.device)
        distance[places] = largest * torch.rand(relevant, dtype=torch.float64, **few)
        sign = 2.0 * torch.randint(2, (inputs,), **few) - 1
        y = torch.randperm(samples, **few) % 2
        x = torch.randn(samples, inputs, dtype=dtype, **few)
        x.addr_(y.to(dtype) - 0.5, (sign * distance).to(dtype), beta=spread)
        return x, y, {"distance": distance.to(dtype)}

    what = (
        f"independent Gaussian components, {relevant} of {inputs} relevant, spread {spread}, distances up to {largest}"
    )
    return _generate("independent", what, run, samples, seeds, device, dtype)


def correlated(
    samples: int = 100_000,
    *,
    seeds: int | Sequence[int] = 0,
    p: Sequence[float] = (0.7, 0.8, 0.4, 0.6),
    noise: int = 1,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DataSet:
    """Pairs of components whose correlation alone tells the class.  [chicchi, 2.2, eq. 2 and 3]

        x_2n ~ N(0, 1),   x_2n+1 = -x_2n with probability p_n where y = 1, else x_2n

    followed by `noise` pairs of independent N(0, 1) components. The authors' code fixes the four p_n and their order.

    An int seed gives x (n, d), a sequence one run for each seed, x (r, n, d), with d = 2 (len(p) + noise).
    truth["p"] is (d,): the p_n of each component's pair, 0 for noise. Classes and seeds are as in `independent`.
    Raises ValueError for a p outside [0, 1], or where neither pairs nor noise are asked for.

    >>> correlated(100).x.shape  # four pairs whose correlation tells the class, and one that knows nothing
    torch.Size([100, 10])
    """
    pairs = len(p)
    if not all(0 <= q <= 1 for q in p):
        raise ValueError(f"Each p is a probability, between 0 and 1; found {tuple(p)}.")
    if noise < 0 or pairs + noise < 1:
        raise ValueError(
            f"At least one pair is needed and noise cannot be negative; found p={tuple(p)}, noise={noise}."
        )

    def run(generator: Generator) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"], dict[str, Tensor]]:
        few: dict[str, Any] = {"generator": generator, "device": generator.device}
        each = torch.tensor([*p, *[0.0] * noise], dtype=torch.float64, device=generator.device)
        y = torch.randperm(samples, **few) % 2
        turned = (torch.rand(samples, pairs, **few) < each[:pairs]) & (y == 1)[:, None]
        first = torch.randn(samples, pairs, dtype=dtype, **few)
        rest = torch.randn(samples, 2 * noise, dtype=dtype, **few)
        couples = torch.stack([first, torch.where(turned, -first, first)], dim=-1)
        truth = {"p": each.repeat_interleave(2).to(dtype)}
        return torch.cat([couples.flatten(1), rest], dim=1), y, truth

    shown = ", ".join(f"{q:g}" for q in p)
    what = (
        f"{pairs} Gaussian pairs with opposite sign in class 1 with probability {shown}, {2 * noise} noise components"
    )
    return _generate("correlated", what, run, samples, seeds, device, dtype)


def linked(
    samples: int = 20_000,
    *,
    seeds: int | Sequence[int] = 0,
    separated: int = 20,
    partners: int = 20,
    spurious: int = 60,
    distances: tuple[float, float] = (0.7, 1.4),
    spread: float = 0.5,
    correlation: float = 0.8,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DataSet:
    """Two classes whose means differ in some components; others only share the scatter of those.  [chicchi, A and C]

        x_i ~ N(D_i (y - 1/2), spread^2),   D_i ~ U(distances)                                           separated
        x_j ~ N(0, spread^2), with this correlation, inside each class, to one separated x_i each        partners
        x_k ~ N(0, spread^2)                                                                             spurious

    in this order.  A partner looks the same in both classes, and yet tells how much of its x_i is scatter.  The paper
    gives the numbers of components (here the defaults; 1, 1 and 0 in appendix A), not the distances and correlations.
    More partners than separated components go round.

    truth["distance"] is D, and truth["relevant"] 1 for what helps to tell the classes apart, both (d,) or (r, d).
    Seeds and classes are as in `independent`.  Raises ValueError for sizes that do not fit.

    >>> linked(100, separated=2, partners=3, spurious=4).x.shape
    torch.Size([100, 9])
    """
    if separated < 1 or min(partners, spurious) < 0:
        raise ValueError(f"separated={separated}, partners={partners}, spurious={spurious}: at least 1, 0 and 0.")
    if not 0 < spread < float("inf") or not 0 <= distances[0] <= distances[1] < float("inf"):
        raise ValueError(f"spread must be positive and distances in order, found {spread} and {distances}.")
    if not -1 <= correlation <= 1:
        raise ValueError(f"correlation={correlation} must lie between -1 and 1.")

    def run(generator: Generator) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"], dict[str, Tensor]]:
        few: dict[str, Any] = {"generator": generator, "device": generator.device}
        low, high = distances
        distance = torch.zeros(separated + partners + spurious, dtype=torch.float64, device=generator.device)
        distance[:separated] = low + (high - low) * torch.rand(separated, dtype=torch.float64, **few)
        y = torch.randperm(samples, **few) % 2
        x = torch.randn(samples, len(distance), dtype=dtype, **few)
        of = torch.arange(partners, device=generator.device) % separated
        own = x[:, separated : separated + partners]
        x[:, separated : separated + partners] = correlation * x[:, of] + (1 - correlation**2) ** 0.5 * own
        x.addr_(y.to(dtype) - 0.5, distance.to(dtype), beta=spread)
        relevant = distance > 0
        relevant[separated : separated + partners] = relevant[of] & (correlation != 0)
        return x, y, {"distance": distance.to(dtype), "relevant": relevant.to(dtype)}

    what = (
        f"{separated} Gaussian components with different means, {partners} that share their scatter "
        f"(correlation {correlation:g}), {spurious} without meaning"
    )
    return _generate("linked", what, run, samples, seeds, device, dtype)


def redundant(
    samples: int = 20_000,
    *,
    seeds: int | Sequence[int] = 0,
    inputs: int = 10,
    correlation: float = 0.9,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> DataSet:
    """One component that decides the class, not linearly, and others that follow it.  [chicchi, B, eq. 12]

        x_0 ~ U(0, 1),   y = floor(4 x_0) mod 2,   x_i = a_i b x_0 + e_i + h

    a_i ~ U(0.5, 1.5) and e_i ~ U(-0.5, 0.5) belong to the component, b and h to the sample.  The paper leaves their
    distributions open: here b ~ N(c, (1 - c^2) / 8) and h ~ N(0, (1 - c^2) / 24) with c = `correlation`, so that c is
    the correlation of x_0 with a component of a_i = 1, whose variance stays 1/12.

    truth["first"] is 1 for x_0 and 0 for the others.  Seeds are as in `independent`.
    Raises ValueError for fewer than two inputs and for a correlation outside [0, 1].

    >>> redundant(100, inputs=5).x.shape
    torch.Size([100, 5])
    """
    if inputs < 2 or not 0 <= correlation <= 1:
        raise ValueError(f"inputs={inputs} must be at least 2, correlation={correlation} between 0 and 1.")

    def run(generator: Generator) -> tuple[Float[Tensor, "n d"], Int64[Tensor, " n"], dict[str, Tensor]]:
        few: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": torch.float64}
        a, e = 0.5 + torch.rand(inputs - 1, **few), torch.rand(inputs - 1, **few) - 0.5
        first = torch.rand(samples, 1, **few)
        rest = 1 - correlation**2
        b = correlation + (rest / 8) ** 0.5 * torch.randn(samples, 1, **few)
        h = (rest / 24) ** 0.5 * torch.randn(samples, 1, **few)
        x = torch.cat([first, a * b * first + e + h], 1).to(dtype)
        y = (4 * first[:, 0]).long() % 2
        return x, y, {"first": torch.eye(1, inputs, dtype=dtype, device=x.device)[0]}

    what = f"a component that decides the class and {inputs - 1} that follow it (correlation {correlation:g})"
    return _generate("redundant", what, run, samples, seeds, device, dtype)


def _generate(
    name: str,
    what: str,
    run: _Run,
    samples: int,
    seeds: int | Sequence[int],
    device: str | torch.device,
    dtype: torch.dtype,
) -> DataSet:
    """One generator per run, seeded with that run's seed and with nothing else."""
    many = [seeds] if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if samples < 1:
        raise ValueError(f"samples must be at least 1, found {samples}.")
    if not many or min(many) < 0 or max(many) >= 2**63:
        raise ValueError(
            f"seeds must be an int from 0 to 2**63 - 1 or a sequence of such, one for each run; found {seeds}."
        )
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"Sets are drawn in float32 or float64, not {dtype}: convert the set with .to(dtype=...).")
    place = devices.resolve(device)
    drawn = (run(Generator().manual_seed(seed)) for seed in many)  # the same numbers whatever the device
    x, y, truth = next(drawn)
    if not isinstance(seeds, int):
        # Filled run by run: stacking a list would hold every run twice at the end.
        xs, ys = x.new_empty(len(many), *x.shape), y.new_empty(len(many), *y.shape)
        xs[0], ys[0] = x, y
        truths = [truth]
        for r, (one, its_classes, its_truth) in enumerate(drawn, start=1):
            xs[r], ys[r] = one, its_classes
            truths.append(its_truth)
        x, y = xs, ys
        truth = {"p": truth["p"]} if "p" in truth else {key: torch.stack([t[key] for t in truths]) for key in truth}
    return DataSet(
        name=name,
        x=x.to(place),
        y=y.to(place),
        inputs=tuple(f"x{i}" for i in range(x.shape[-1])),
        unit="arbitrary",
        edition="generated",
        sha256=fingerprint(x, y),
        provenance=f"Generated: {what}; {_listed(many)}",
        runs=None if isinstance(seeds, int) else len(many),
        truth={key: value.to(place) for key, value in truth.items()},
        labels=("0", "1"),
    )


def _listed(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return "seeds " + ", ".join(map(str, seeds))
