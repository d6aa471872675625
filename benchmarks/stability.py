"""Spectra of a network's operators, against the direct way through automatic differentiation.

    python benchmarks/stability.py [--part kernel regularised gmsi] [--repeats 3] [--images 100]

First the results are compared, then the clock runs.  Demanded of us, in times as fast:

    kernel       10 as the contraction of full gradients, collected in a loop or by torch.func
                 (the CNN has few parameters: its gradients have no shorter form, and against torch.func there is only
                 the half of their inner products to save that the symmetry gives)
    regularised  3 as the double backward pass over the full Jacobian, written for one run
                 (the entropy needs all k rows of the Jacobian: with k = 10 the operations alone allow 2)
    gmsi         5 as jacrev's Jacobians of each sample and double backward passes, in a loop or 100 samples at a time
"""

import argparse
import copy
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional as F

from spectral_lens._runtime.devices import resolve
from spectral_lens.nn import convnets, mlp
from spectral_lens.operators import jacobian, tangent_kernel
from spectral_lens.operators.hessian import hessian, parameter_gram
from spectral_lens.operators.lanczos import extreme_eigenvalues
from spectral_lens.stability import index
from spectral_lens.training import Step, _batched, _parameters
from spectral_lens.training.penalties import JacobianNorm, LargestSingularValue, SpectralEntropy
from timing import OURS, Line, Work, add_options, agree, best_of, clock, seconds, surroundings, table, write

CLASSES, RUNS, FEW = 10, 5, 7
SMALL, LARGE = 48, 256  # images of a kernel
SAMPLES, BATCH, TOLERANCE = 1000, 100, 0.01  # of an index; residuals of its two largest eigenvalues
DENSE = [784, 512, 512, CLASSES]
ROOM = 4_000_000_000  # bytes of full gradients, beyond which nobody else is asked


class Given(NamedTuple):
    device: torch.device
    images: int
    repeats: int


# ---- the tangent kernel


def looped(model: nn.Module, x: Tensor) -> Tensor:
    """One backward pass for each sample and output, all gradients in one matrix."""
    own = list(model.parameters())
    outputs = [each for sample in x.split(1) for each in model(sample)[0]]
    rows = [torch.autograd.grad(each, own, retain_graph=True) for each in outputs]
    J = torch.stack([torch.cat([each.flatten() for each in row]) for row in rows])
    return J @ J.mT


def contracted(jacobians: Iterable[Tensor]) -> Tensor:
    """Parameter by parameter, as in torch's tutorial on the tangent kernel."""
    parts = [torch.einsum("naf,mbf->namb", J, J) for J in (each.flatten(2) for each in jacobians)]
    return torch.stack(parts).sum(0).flatten(2).flatten(0, 1)


def by_sample(model: nn.Module, x: Tensor) -> Tensor:
    def one(own: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(model, own, (sample.unsqueeze(0),)).squeeze(0)

    return contracted(vmap(jacrev(one), (None, 0))(dict(model.named_parameters()), x).values())


def by_batch(model: nn.Module, x: Tensor) -> Tensor:
    one = jacrev(lambda own: functional_call(model, own, (x,)), chunk_size=CLASSES)
    return contracted(one(dict(model.named_parameters())).values())


def kernel_contenders(model: nn.Module, x: Tensor) -> dict[str, Work]:
    return {
        OURS: lambda: tangent_kernel.tangent_kernel(model, x).to_dense(),
        "full gradients, a loop over all outputs": lambda: looped(model, x),
        "torch.func, jacrev sample by sample (vmap)": torch.no_grad()(lambda: by_sample(model, x)),
        "torch.func, jacrev of the batch": torch.no_grad()(lambda: by_batch(model, x)),
    }


def measure_kernel(given: Given) -> list[Line]:
    models = {"the CNN": convnets.cnn((1, 28, 28), CLASSES), "784-512-512-10": mlp.mlp(DENSE, spectral=0)}
    images = torch.rand(LARGE, 1, 28, 28, generator=torch.Generator().manual_seed(0)).to(given.device)
    lines = []
    for name, model in models.items():
        model.eval().to(given.device)
        size = sum(each.numel() for each in model.parameters())
        print(f"kernel: {name}, {size} parameters, {CLASSES} outputs")
        agree(kernel_contenders(copy.deepcopy(model).double(), images[:FEW].double()), 1e-12)
        for count in (SMALL, LARGE):
            full = count * CLASSES * size * images.element_size()
            print(f"    {count} images, whose full gradients take {full / 1e6:.0f} MB")
            contenders = kernel_contenders(model, images[:count])
            if count == LARGE:
                contenders.popitem()  # the last one's time is quadratic in the images
            if full > ROOM:
                contenders = {OURS: contenders[OURS]}
            best = best_of(given.repeats, {key: clock(work) for key, work in contenders.items()})
            demands = {key: 10.0 for key in contenders if key != OURS}
            lines += table(f"kernel, {name}, {count} images", best, demands)
    return lines


# ---- a regularised step of training

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MLP": lambda: mlp.mlp([784, 100, 100, 50, CLASSES], spectral=0),
    "CNN": lambda: convnets.cnn((1, 28, 28), CLASSES),
}


class Penalty(NamedTuple):
    """A penalty as a user would write it, from J (b, k, d); ours as it is trained with, and without an estimate."""

    full: Callable[[Tensor], Tensor]
    ours: Callable[[Step], Tensor]
    exact: Callable[[Step], Tensor]


def first(J: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(J @ J.mT)[:, -1].mean()


def minus_entropy(J: Tensor) -> Tensor:
    values = torch.linalg.eigvalsh(J @ J.mT).clamp(min=1e-30)
    return -torch.special.entr(values / values.sum(1, keepdim=True)).sum(1).mean()


PENALTIES = {
    "norm": Penalty(lambda J: J.square().sum((1, 2)).mean(), JacobianNorm(1.0), JacobianNorm(1.0, CLASSES)),
    "sigma_1": Penalty(first, LargestSingularValue(1.0), LargestSingularValue(1.0, CLASSES - 1)),
    "entropy": Penalty(minus_entropy, SpectralEntropy(1.0, sampled=True), SpectralEntropy(1.0)),
}


class Runs:
    """Several runs of a network with their own images; a step, of all runs or of one, ends with the gradients."""

    def __init__(self, name: str, device: torch.device, *, count: int, images: int, dtype: torch.dtype) -> None:
        self.model = NETWORKS[name]().to(dtype)
        draw = torch.Generator().manual_seed(0)
        state = _parameters.stack(self.model, range(count))
        self.state = {key: value.to(device).requires_grad_() for key, value in state.items()}
        self.alone = [NETWORKS[name]().to(device, dtype) for _ in range(count)]
        for run, model in enumerate(self.alone):
            model.load_state_dict({key: value[run].detach() for key, value in self.state.items()})
        self.model.to(device)
        self.x = torch.rand(count, images, 1, 28, 28, generator=draw).to(device, dtype)
        self.y = torch.randint(CLASSES, (count, images), generator=draw).to(device)

    def ours(self, penalty: Callable[[Step], Tensor], *, plain: float = 1.0) -> Tensor:
        """Of all runs, (r, p).  plain: the part of the cross-entropy."""
        x = self.x.detach().requires_grad_()
        out = _batched.forward(self.model, self.state, x)
        loss = F.cross_entropy(out.flatten(0, 1), self.y.flatten(), reduction="none").view_as(self.y).mean(1)
        loss = plain * loss + penalty(Step(self.state, x, out, lambda shape: torch.rand(shape).to(x)))
        found = torch.autograd.grad(loss.sum(), list(self.state.values()), materialize_grads=True)
        return torch.cat([each.flatten(1) for each in found], 1)

    def full(self, penalty: Callable[[Tensor], Tensor], *, run: int = 0, plain: float = 1.0) -> Tensor:
        """Of one run, (p,), through its full Jacobian."""
        x, model = self.x[run].detach().requires_grad_(), self.alone[run]
        out = model(x)
        rows = [torch.autograd.grad(each.sum(), x, create_graph=True)[0].flatten(1) for each in out.unbind(1)]
        loss = plain * F.cross_entropy(out, self.y[run]) + penalty(torch.stack(rows, 1))
        found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
        return torch.cat([each.flatten() for each in found])


def compare(runs: Runs, penalty: Penalty) -> None:
    """The gradients of the penalty alone."""
    contenders: dict[str, Work] = {
        "full": lambda: torch.stack([runs.full(penalty.full, run=run, plain=0) for run in range(len(runs.x))]),
        "exact": lambda: runs.ours(penalty.exact, plain=0),
    }
    agree(contenders, 1e-9)


def steps(several: Runs, one: Runs, penalty: Penalty) -> dict[str, tuple[Work, int]]:
    """The contenders, each with the number of runs that it trains."""
    return {
        OURS: (lambda: several.ours(penalty.ours), RUNS),
        f"{OURS}, one run": (lambda: one.ours(penalty.ours), 1),
        f"{OURS}, no estimate": (lambda: several.ours(penalty.exact), RUNS),
        "the full Jacobian, one run": (lambda: one.full(penalty.full), 1),
    }


def per_run(work: Work, count: int) -> Callable[[], float]:
    return lambda: seconds(work) / count


def measure_regularised(given: Given) -> list[Line]:
    lines = []
    for network in NETWORKS:
        small = Runs(network, given.device, count=2, images=FEW, dtype=torch.float64)
        several, one = (
            Runs(network, given.device, count=count, images=given.images, dtype=torch.float32) for count in (RUNS, 1)
        )
        for name, penalty in PENALTIES.items():
            print(f"regularised: the {network} with a penalty on the Jacobian's {name}, {given.images} images, per run")
            compare(small, penalty)
            timed = {key: per_run(*pair) for key, pair in steps(several, one, penalty).items()}
            best = best_of(given.repeats, timed)
            lines += table(f"regularised, {network}, {name}", best, {"the full Jacobian, one run": 3.0})
    return lines


# ---- the index of stability


def components(jacobian: Tensor, parameters: Tensor, s_K: float, s_H: float) -> Tensor:
    """The logarithms of the four: what they differ by is relative."""
    found = index.gmsi(jacobian, parameters, kernel=s_K, curvature=abs(s_H))
    return torch.tensor(list(found.components().values()), dtype=torch.float64).log()


def ours(model: nn.Module, x: Tensor, y: Tensor, *, tolerance: float = TOLERANCE) -> Tensor:
    J, G = jacobian.jacobian_norms(model, x), tangent_kernel.parameter_norms(model, x)
    s_K, s_H = (
        extreme_eigenvalues(
            each, which="magnitude", tolerance=tolerance, generator=torch.Generator().manual_seed(0)
        ).magnitude.value
        for each in (parameter_gram(model, x), hessian(model, (x, y)))
    )
    return components(J.spectral, G.spectral, s_K, s_H)


def power(apply: Callable[[Tensor], Tensor], like: Tensor, *, tolerance: float) -> float:
    """The eigenvalue farthest from zero by the power iteration, until its residual is as small as ours."""
    v = torch.randn(like.shape, generator=torch.Generator().manual_seed(0)).to(like)
    value, residual = 0.0, float("inf")
    while residual > tolerance * abs(value):
        v = v / v.norm()
        pushed = apply(v)
        value = float(v @ pushed)
        residual, v = float((pushed - value * v).norm()), pushed
    return value


def direct(model: nn.Module, x: Tensor, y: Tensor, *, batch: int, tolerance: float = TOLERANCE) -> Tensor:
    """All Jacobians at full length, which the kernel's products take again; `batch` samples at a time, 1 in a loop."""
    own = dict(model.named_parameters())
    fixed = {name: each.detach() for name, each in own.items()}

    def output(parameters: dict[str, Tensor], sample: Tensor) -> Tensor:
        return functional_call(model, parameters, (sample.unsqueeze(0),)).squeeze(0)

    def by_inputs(sample: Tensor) -> Tensor:
        return jacrev(output, 1)(fixed, sample).flatten(1)

    def by_parameters(sample: Tensor) -> Tensor:
        return torch.cat([each.flatten(1) for each in jacrev(output)(fixed, sample).values()], 1)

    def all_of(one: Callable[[Tensor], Tensor]) -> Tensor:
        return vmap(one, chunk_size=batch)(x) if batch > 1 else torch.stack([one(sample) for sample in x])

    def product(v: Tensor) -> Tensor:
        total = torch.zeros_like(v)
        for some, labels in zip(x.split(batch), y.split(batch), strict=True):
            loss = F.cross_entropy(model(some), labels, reduction="sum") / len(x)
            slopes = torch.autograd.grad(loss, list(own.values()), create_graph=True)
            along = torch.cat([each.flatten() for each in slopes]) @ v
            total += torch.cat([each.flatten() for each in torch.autograd.grad(along, list(own.values()))])
        return total

    J, G = all_of(by_inputs), all_of(by_parameters)
    rows = G.flatten(0, 1)
    s_K = power(lambda v: rows.mT @ (rows @ v) / len(x), rows[0], tolerance=tolerance)
    s_H = power(product, rows[0], tolerance=tolerance)
    return components(torch.linalg.matrix_norm(J, 2), torch.linalg.matrix_norm(G, 2), s_K, s_H)


def gmsi_contenders(model: nn.Module, x: Tensor, y: Tensor, *, tolerance: float = TOLERANCE) -> dict[str, Work]:
    return {
        OURS: lambda: ours(model, x, y, tolerance=tolerance),
        "jacrev, double backward, sample by sample": lambda: direct(model, x, y, batch=1, tolerance=tolerance),
        f"jacrev, double backward, {BATCH} at a time": lambda: direct(model, x, y, batch=BATCH, tolerance=tolerance),
    }


def measure_gmsi(given: Given) -> list[Line]:
    draw = torch.Generator().manual_seed(0)
    model = convnets.cnn((1, 28, 28), CLASSES).eval().to(given.device)
    x = torch.rand(SAMPLES, 1, 28, 28, generator=draw).to(given.device)
    y = torch.randint(CLASSES, (SAMPLES,), generator=draw).to(given.device)
    print(f"gmsi: the CNN, {SAMPLES} images")
    agree(gmsi_contenders(copy.deepcopy(model).double(), x[:FEW].double(), y[:FEW], tolerance=1e-6), 1e-9)
    contenders = gmsi_contenders(model, x, y)
    best = best_of(given.repeats, {key: clock(work) for key, work in contenders.items()})
    return table(f"gmsi, the CNN, {SAMPLES} images", best, {key: 5.0 for key in contenders if key != OURS})


# ---- all of it

PARTS: dict[str, Callable[[Given], list[Line]]] = {
    "kernel": measure_kernel,
    "regularised": measure_regularised,
    "gmsi": measure_gmsi,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_options(parser, parts=PARTS, repeats=3)
    asked = parser.parse_args()
    device = resolve(asked.device)
    torch.manual_seed(0)
    given = Given(device, asked.images, asked.repeats)
    about = surroundings(device, ("torch",))
    write(asked.json, about, [line for part in asked.part for line in PARTS[part](given)])


if __name__ == "__main__":
    main()
