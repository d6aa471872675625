"""What the spectral relevance costs against scores that ask sample after sample, and what ten runs of stars cost.

    python benchmarks/relevance.py [--part cost stars] [--repeats 5] [--images 100]

First the results are compared, then the clock runs.  Demanded of us, in times as fast:

    cost         100 as SHAP, 10 as saliency, both averaged over all images
    stars        2 as one run alone, per step and run
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectral_lens import training
from spectral_lens._runtime.devices import resolve
from spectral_lens.datasets import DataSet, cache, images, stars
from spectral_lens.explain.gradients import integrated_gradients, saliency
from spectral_lens.nn.mlp import mlp
from spectral_lens.nn.rewriting import fold
from spectral_lens.relevance.scores import of_inputs
from timing import OURS, Line, add_options, agree, best_of, clock, difference, surroundings, table, write

PENALTY = {"layer1.lam_in": 1e-2, "layer1.psi": 1e-4}
HIDDEN, EPOCHS, BATCH, RATE = [100, 100, 50], 1, 500, 0.01
BACKGROUND, STEPS, FEW = 50, 10, 5
CALLS = 100  # of what takes microseconds, in each repeat
PIXELS, STAR_HIDDEN, STAR_BATCH, STARS, RUNS = 4287, [200, 50, 50], 10, 500, 10
PEERS = ".[peers]"  # the extra that brings them


class Given(NamedTuple):
    images: int
    repeats: int
    device: torch.device


# ---- one score for each input


def zeros_and_ones() -> tuple[DataSet, DataSet]:
    try:
        both = images.load("mnist")
    except cache.DataError:
        both = images.load("digits")
    train, test = (part.select([0, 1]).flat() for part in both)
    return train, test


def overall(explained: Tensor) -> Tensor:
    """The mean of the size over samples and outputs, (n, k, d)."""
    return explained.abs().mean((0, 1))


def shap_contender(net: nn.Module, background: Tensor, x: Tensor) -> Callable[[], Tensor] | None:
    """The values that each input of each sample has for each output, averaged; the explainer is made before."""
    try:
        import shap
    except ImportError:
        print(f"    shap is not installed: pip install '{PEERS}'")
        return None
    layers = [layer for layer in fold(net) if not isinstance(layer, nn.Flatten)]
    chain = nn.Sequential(*layers)
    explainer = shap.DeepExplainer(chain, background)

    def values() -> Tensor:  # (n, k, d)
        return torch.from_numpy(explainer.shap_values(x, check_additivity=False)).movedim(2, 1)

    with torch.no_grad():
        earned = (chain(x) - chain(background).mean(0)).cpu()
    print(f"    SHAP values add up to f(x) - E f: {(missed := difference(earned, values().sum(2))):.0e} off")
    assert missed < 1e-3, f"SHAP values miss the outputs by {missed}"
    return lambda: overall(values())


def compare_gradients(net: nn.Module, x: Tensor) -> None:
    try:
        from captum.attr import IntegratedGradients, Saliency
    except ImportError:
        print(f"    captum is not installed, the gradients are not compared: pip install '{PEERS}'")
        return
    net, x = copy.deepcopy(net).double(), x.double()
    outputs = range(net(x).shape[1])
    peer, integrated = Saliency(net), IntegratedGradients(net)
    options = {"n_steps": STEPS, "method": "riemann_right"}
    ours = {"saliency": lambda: saliency(net, x), "integrated": lambda: integrated_gradients(net, x, steps=STEPS)}
    theirs = {
        "saliency": lambda k: peer.attribute(x.clone().requires_grad_(), target=k),
        "integrated": lambda k: integrated.attribute(x, target=k, **options),
    }
    for name, by_output in theirs.items():
        print(f"    {name} against captum's, {len(x)} images")
        agree({OURS: ours[name], "captum": lambda each=by_output: torch.stack([each(k) for k in outputs], 1)}, 1e-6)


def measure_cost(given: Given) -> list[Line]:
    train, test = (part.to(given.device) for part in zeros_and_ones())
    sizes = [train.dim, *HIDDEN, 2]
    options = {"epochs": EPOCHS, "batch_size": BATCH, "lr": RATE, "l2": PENALTY, "device": given.device}
    net = training.fit(mlp(sizes), train, seeds=[0], **options).run(0).eval().requires_grad_(False)
    x, background = test.x[: given.images], train.x[:BACKGROUND]
    print(f"cost: {'-'.join(map(str, sizes))}, {train.name}, 0 against 1; the others average over {len(x)} images")
    double = copy.deepcopy(net).double()
    weight = (double.layer1.lam_in - double.layer1.lam_out[:, None]) * double.layer1.psi
    assert not double.layer1.lam_out.any()
    agree({OURS: lambda: of_inputs(double), "columns of the weight": lambda: weight.square().sum(0).sqrt()}, 1e-12)
    compare_gradients(net, x[:FEW])
    quick = clock(lambda: of_inputs(net))
    contenders: dict[str, Callable[[], float]] = {
        OURS: lambda: min(quick() for _ in range(CALLS)),
        "saliency": clock(lambda: overall(saliency(net, x))),
        "integrated gradients": clock(lambda: overall(integrated_gradients(net, x, steps=STEPS))),
    }
    if by_shap := shap_contender(net, background, x):
        contenders["shap.DeepExplainer"] = clock(by_shap)
    demands = {"saliency": 10.0, "shap.DeepExplainer": 100.0}
    return table("cost", best_of(given.repeats, contenders), demands)


# ---- a step of the stars


def star_network() -> nn.Sequential:
    inner = ["relu", *["tanh"] * (len(STAR_HIDDEN) - 1)]
    return mlp([PIXELS, *STAR_HIDDEN, 1], activation=inner, output="tanh", batch_norm=True, dropout=0.01)


def train_on(data: DataSet, seeds: Sequence[int], device: torch.device) -> training.Trained:
    options = {
        "epochs": 1,
        "batch_size": STAR_BATCH,
        "loss": "mae",
        "l1": PENALTY,
        "device": device,
        "dtype": data.x.dtype,
    }
    return training.fit(star_network(), data, seeds=seeds, **options)


def first_run(trained: training.Trained) -> Tensor:
    """All its numbers."""
    return torch.cat([value[0].double().flatten() for value in trained.state.values()])


def per_step_and_run(trained: training.Trained) -> float:
    return trained.seconds / trained.steps / trained.runs


def measure_stars(given: Given) -> list[Line]:
    data = stars.generated(STARS, pixels=PIXELS)
    data = replace(data, y=data.y / data.y.abs().max(), quantity="[Fe/H] / largest")
    sizes = "-".join(map(str, [PIXELS, *STAR_HIDDEN, 1]))
    print(f"stars: {sizes}, batch {STAR_BATCH}, {RUNS} runs side by side, seconds for a step of one of them")
    alone, seeds = "one run alone", range(RUNS)
    few = data.take(3 * STAR_BATCH).to(dtype=torch.float64)
    print("    the first run, alone and among the others, after three steps")
    agree(
        {
            OURS: lambda: first_run(train_on(few, seeds, given.device)),
            alone: lambda: first_run(train_on(few, seeds[:1], given.device)),
        },
        1e-9,
    )
    contenders: dict[str, Callable[[], float]] = {
        OURS: lambda: per_step_and_run(train_on(data, seeds, given.device)),
        alone: lambda: per_step_and_run(train_on(data, seeds[:1], given.device)),
    }
    return table("stars", best_of(given.repeats, contenders), {alone: 2.0})


# ---- all of it

PARTS: dict[str, Callable[[Given], list[Line]]] = {"cost": measure_cost, "stars": measure_stars}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(parser, parts=PARTS, repeats=5)
    asked = parser.parse_args()
    given = Given(asked.images, asked.repeats, resolve(asked.device))
    about = surroundings(given.device, ("torch", "shap", "captum"))
    write(asked.json, about, [line for part in asked.part for line in PARTS[part](given)])


if __name__ == "__main__":
    main()
