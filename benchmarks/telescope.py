"""Training a linear network retracted, against layer by layer and against a plain loop; per step and run.

    python benchmarks/telescope.py [--repeats 5] [--width 1000]

784 - width - 10 without activation, five runs, AdaMax, batch 500.  First the results are compared, then the clock runs.
A dropout of nothing between the layers keeps `forward` from multiplying them: the same code, layer by layer.
"""

import argparse
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.datasets import DataSet, fingerprint
from spectral_lens.training import Trained, fit
from spectral_lens.training.subsets import EIGENVALUES, SPECTRAL, WEIGHTS, trainable_network
from timing import best_of, seconds

INPUTS, CLASSES, BATCH, STEPS, RUNS, RATE = 784, 10, 500, 20, 5, 0.03


def noise(samples: int, *, dtype: torch.dtype = torch.float32) -> DataSet:
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(samples, INPUTS, generator=draw, dtype=dtype)
    y = torch.randint(CLASSES, (samples,), generator=draw)
    names = tuple(f"input {k}" for k in range(INPUTS))
    return DataSet("noise", x, y, names, "", "generated", fingerprint(x, y), "uniform noise with random classes")


def apart(model: nn.Sequential) -> nn.Sequential:
    """The same network with something between its layers that does nothing."""
    chain = nn.Sequential()
    for name, layer in model.named_children():
        chain.add_module(name, layer)
        chain.add_module(f"{name}_apart", nn.Dropout(0.0))
    return chain


def train(model: nn.Sequential, data: DataSet) -> Trained:
    options = {"batch_size": BATCH, "optimizer": "adamax", "lr": RATE, "device": "cpu", "dtype": data.x.dtype}
    return fit(model, data, seeds=range(RUNS), epochs=1, **options)  # type: ignore[arg-type]


def per_step_and_run(trained: Trained) -> float:
    return trained.seconds / trained.steps / trained.runs


def loop(model: nn.Sequential, data: DataSet) -> None:
    optimizer = torch.optim.Adamax([p for p in model.parameters() if p.requires_grad], lr=RATE)
    for rows in torch.randperm(data.samples).split(BATCH):
        optimizer.zero_grad()
        F.cross_entropy(model(data.x[rows]), data.y[rows]).backward()
        optimizer.step()


def check(sizes: list[int], which: str) -> float:
    """The largest difference between the weights of both ways after a few steps in float64."""
    data, model = noise(3 * BATCH, dtype=torch.float64), trainable_network(sizes, which)
    one, other = train(model, data).state, train(apart(model), data).state
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def contenders(sizes: list[int], which: str, data: DataSet) -> dict[str, Callable[[], float]]:
    model, separate = trainable_network(sizes, which), apart(trainable_network(sizes, which))
    return {
        "one run, a loop with torch's AdaMax": lambda: seconds(lambda: loop(model, data)) / STEPS,
        "side by side, layer by layer": lambda: per_step_and_run(train(separate, data)),
        "side by side, retracted": lambda: per_step_and_run(train(model, data)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=1000)
    given = parser.parse_args()
    sizes, data = [INPUTS, given.width, CLASSES], noise(STEPS * BATCH)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {'-'.join(map(str, sizes))}, {RUNS} runs")
    for which in (EIGENVALUES, WEIGHTS, SPECTRAL):
        print(f"{which}: weights agree to {check(sizes, which):.0e} after three steps")
        best = best_of(given.repeats, contenders(sizes, which, data))
        *others, ours = best.values()
        for name, value in best.items():
            print(f"    {name:36s} {value * 1e3:7.2f} ms")
        print("    the last is " + " and ".join(f"{each / ours:.2f} x" for each in others) + " as fast as these")


if __name__ == "__main__":
    main()
