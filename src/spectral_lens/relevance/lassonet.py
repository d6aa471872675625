"""LassoNet: the order in which inputs leave a penalised path.  [lemhadri2021]"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime.devices import resolve
from spectral_lens.datasets import DataSet
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.scores import Scores
from spectral_lens.training import _batched, fit, initial
from spectral_lens.training.losses import LOSSES

__all__ = ["hier_prox", "lassonet"]


def hier_prox(
    skip: Float[Tensor, "*r k d"], first: Float[Tensor, "*r h d"], *, strength: float, bound: float
) -> tuple[Float[Tensor, "*r k d"], Float[Tensor, "*r h d"]]:
    """The proximal step of LassoNet, for all inputs at once.  [lemhadri2021]

    For each input i the minimum of  |b - skip_i|^2 / 2 + |w - first_i|^2 / 2 + strength |b|  over all b, w with
    |w_j| <= bound |b|: where the s largest |w_j| stand at the bound,

        |b| = max(0, |skip_i| - strength + bound * (sum of these |first_ji|)) / (1 + s bound^2)

    and s is the number for which the next smaller |first_ji| is below the bound.

    >>> skip, first = torch.tensor([[1.0, 0.1]]), torch.tensor([[0.5, 0.05]])
    >>> hier_prox(skip, first, strength=0.2, bound=1.0)[0]  # the weaker input leaves
    tensor([[0.8000, 0.0000]])
    """
    length = torch.linalg.vector_norm(skip, dim=-2, keepdim=True)
    unit = skip / length.clamp(min=torch.finfo(skip.dtype).tiny)
    unit[..., :1, :].masked_fill_(length == 0, 1)  # any direction serves
    size = first.abs().sort(dim=-2, descending=True).values
    s = torch.arange(size.shape[-2] + 1).to(size).unsqueeze(-1)  # whole numbers times a float would be single precision
    nothing = torch.zeros_like(length)
    sums = torch.cat([nothing, size.cumsum(-2)], -2)
    radius = (length - strength + bound * sums).clamp(min=0) / (1 + s * bound**2)  # |b| for each s, (*r, h + 1, d)
    above = torch.cat([size, nothing], -2) > bound * radius
    radius = radius.gather(-2, above.to(torch.int64).cumprod(-2).sum(-2, keepdim=True))
    return unit * radius, first.sign() * torch.minimum(first.abs(), bound * radius)


def lassonet(
    data: DataSet,
    *,
    hidden: Sequence[int],
    seeds: Sequence[int],
    start: float = 1.0,
    growth: float = 1.2,
    longest: int = 100,
    bound: float = 10.0,
    warm_up: int = 10,
    epochs: int = 2,
    batch_size: int = 200,
    lr: float = 1e-3,
    loss: str = "cross_entropy",
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "auto",
) -> Scores:
    """The strength at which each input leaves LassoNet's path for the first time.  [lemhadri2021]

    A network with a linear layer beside it, from the inputs to the outputs, in which an input's first weights are at
    most `bound` times its linear one.  `warm_up` epochs of Adam with the plain network come first.  Then the strength
    of the penalty rises from `start` by the factor `growth`, until no input is left in any run or the path is
    `longest`; at each there are `epochs` of gradient descent with momentum and a proximal step after each step.
    Written here, since the authors' package is not made for several runs at once.

    >>> from spectral_lens.datasets import synthetic
    >>> data = synthetic.independent(50, seeds=0)
    >>> lassonet(data, hidden=[5], seeds=(1, 2), longest=3, warm_up=1, epochs=1, device="cpu").shape
    torch.Size([2, 20])
    """
    if start <= 0 or growth <= 1 or longest < 1:
        raise ValueError(f"start={start}, growth={growth}, longest={longest}: the strength must be positive and rise.")
    device = resolve(device)
    data, outputs = data.flat().to(device, dtype), max(1, data.classes)
    net = mlp([data.dim, *hidden, outputs], spectral=0)
    shape = {"loss": loss, "batch_size": batch_size, "dtype": dtype, "device": device, "progress": False}
    state = fit(net, data, seeds=seeds, epochs=warm_up, lr=lr, **shape).state  # type: ignore[arg-type]
    linear = initial(nn.Linear(data.dim, outputs, bias=False), seeds, dtype=dtype)["weight"].to(device)
    state = {"skip": linear, **state}
    velocity = {name: torch.zeros_like(value) for name, value in state.items()}
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    x, y = data.per_run(len(seeds))
    left = torch.zeros(len(seeds), data.dim, dtype=dtype, device=device)
    alive = torch.ones_like(left, dtype=torch.bool)
    for k in range(longest * epochs):
        strength = start * growth ** (k // epochs)
        order = torch.stack([torch.randperm(data.samples, generator=generator) for generator in generators])
        for rows in order.to(device).split(batch_size, 1):
            own = {name: value.requires_grad_() for name, value in state.items()}
            batch = x.gather(1, rows.unsqueeze(2).expand(-1, -1, data.dim)), y.gather(1, rows)
            gradients = _gradients(net, own, *batch, loss=loss)
            with torch.no_grad():
                for (name, value), gradient in zip(own.items(), gradients, strict=True):
                    velocity[name].mul_(0.9).add_(gradient)
                    state[name] = value.detach() - lr * velocity[name]
                pair = hier_prox(state["skip"], state["layer1.weight"], strength=lr * strength, bound=bound)
                state["skip"], state["layer1.weight"] = pair
        if not state["skip"].isfinite().all():
            raise RuntimeError(f"LassoNet's path diverged at a strength of {strength:.3g}: lower lr={lr}.")
        alive &= state["skip"].abs().amax(1) > 0  # who comes back when a stronger one leaves has left all the same
        left[alive] = strength
        if not alive.any():
            break
    # those that never left are told apart by their linear weights
    return (left + alive * state["skip"].detach().norm(dim=1)).cpu()


def _gradients(net: nn.Module, state: Mapping[str, Tensor], x: Tensor, y: Tensor, *, loss: str) -> tuple[Tensor, ...]:
    """Of the loss of the network with the linear layer `skip` beside it, by each tensor of the state."""
    out = _batched.forward(net, state, x) + x @ state["skip"].mT
    return torch.autograd.grad(LOSSES[loss](out, y).sum(), list(state.values()))
