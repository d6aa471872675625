"""Ten runs side by side against the loops a user would write, per run, and against the machine's own matrix products.

    python benchmarks/training.py [--repeats 5] [--samples 100000]

The same network, data, penalty and number of steps everywhere; first the results are compared, then the clock runs.
"""

import argparse
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from spectral_lens.datasets import DataSet, synthetic
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit
from timing import best_of, seconds

SIZES, BATCH, RUNS, RATE = [20, 100, 100, 50, 2], 1000, 10, 0.01
PENALTY = {"layer1.lam_in": 1e-2, "layer1.psi": 1e-4}


def network() -> nn.Module:
    return mlp(SIZES, activation=["tanh", "relu", "relu"])


def loss_of(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    penalty = sum(coefficient * model.get_parameter(name).square().sum() for name, coefficient in PENALTY.items())
    return F.cross_entropy(model(x), y) + penalty


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    loss_of(model, x, y).backward()
    optimizer.step()


def with_loader(data: DataSet) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for x, y in DataLoader(TensorDataset(data.x, data.y), batch_size=BATCH, shuffle=True):
        step(model, optimizer, x, y)


def in_memory(data: DataSet) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    for rows in torch.randperm(data.samples).split(BATCH):
        step(model, optimizer, data.x[rows], data.y[rows])


def side_by_side(data: DataSet) -> None:
    fit(network(), data, seeds=range(RUNS), epochs=1, batch_size=BATCH, lr=RATE, l2=PENALTY, device="cpu")


def check(data: DataSet) -> float:
    """The largest difference of a weight after three full-batch steps: side by side against one run's own loop."""
    few, model = data.take(999), network()
    trained = fit(
        model, few, seeds=range(RUNS), epochs=3, batch_size=999, lr=RATE, l2=PENALTY, reinitialize=False, device="cpu"
    )
    worst = 0.0
    for run in range(RUNS):
        alone = network()
        alone.load_state_dict(model.state_dict())
        optimizer = torch.optim.Adam(alone.parameters(), lr=RATE)
        for _ in range(3):
            step(alone, optimizer, few.x[run], few.y[run])
        differences = ((trained.state[name][run] - value).abs().max() for name, value in alone.state_dict().items())
        worst = max(worst, *(float(each) for each in differences))
    return worst


def products() -> list[Callable[[], Tensor]]:
    """The matrix products that one step of all runs cannot do without."""
    found: list[Callable[[], Tensor]] = []
    for layer, (before, after) in enumerate(pairwise(SIZES)):
        x, weight, grad = (torch.randn(RUNS, *shape) for shape in ((BATCH, before), (after, before), (BATCH, after)))
        found.append(lambda x=x, weight=weight: torch.bmm(x, weight.mT))  # forward
        found.append(lambda x=x, grad=grad: torch.bmm(grad.mT, x))  # gradient of the weights
        if layer > 0:
            found.append(lambda grad=grad, weight=weight: torch.bmm(grad, weight))  # gradient of the inputs
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--samples", type=int, default=100_000)
    given = parser.parse_args()
    data = synthetic.independent(given.samples, seeds=range(RUNS))
    one, steps = data.run(0), given.samples // BATCH
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.samples} samples, batch {BATCH}")
    print(f"same results: weights agree to {check(data):.0e} after three steps")
    work = products()
    flops = 2 * given.samples * (3 * sum(a * b for a, b in pairwise(SIZES)) - SIZES[0] * SIZES[1])
    contenders: dict[str, Callable[[], float]] = {
        "one run, DataLoader": lambda: seconds(lambda: with_loader(one)),
        "one run, in memory, fused Adam": lambda: seconds(lambda: in_memory(one)),
        "ten runs side by side, per run": lambda: seconds(lambda: side_by_side(data)) / RUNS,
        "floor: the products alone, per run": lambda: (
            sum(min(seconds(w) for _ in range(7)) for w in work) * steps / RUNS
        ),
    }
    best = best_of(given.repeats, contenders)
    loader, memory, ours, floor = best.values()
    for name, value in best.items():
        print(f"{name:36s} {value * 1e3:7.1f} ms")
    print(f"matrix products run at {flops / floor / 1e9:.0f} GFLOP/s")
    print(f"{loader / ours:.2f} x the DataLoader loop, {memory / ours:.2f} x the in-memory loop")
    print(f"{floor / ours:.0%} of the time is the floor's")


if __name__ == "__main__":
    main()
