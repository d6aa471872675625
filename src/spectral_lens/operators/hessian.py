"""The second derivative of the loss by the parameters, known by its products with vectors.

    H = d^2 L / d theta^2,     GGN = mean_i J_theta(x_i)^T (d^2 l / d f^2) J_theta(x_i)

The gradient's own pull-back is a product with H, as H is symmetric; what it needs of the forward and the backward pass
is computed once for all products.  `lanczos` reads the spectrum off them.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vjp
from torch.utils._python_dispatch import TorchDispatchMode

from spectral_lens._runtime import memory
from spectral_lens._runtime.conv_backward import Swift
from spectral_lens.operators._pullback import at_a_time, checked
from spectral_lens.operators.lanczos import Symmetric
from spectral_lens.training.losses import LOSSES

KINDS = ("hessian", "ggn")
_SHARE = 0.9  # of the free memory may be taken

Loss = str | Callable[[Tensor, Tensor], Tensor]


def curvature(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    y: Tensor,
    *,
    loss: Loss = "cross_entropy",
    kind: str = "hessian",
    chunk: int | None = None,
) -> Symmetric:
    """The Hessian or the Gauss-Newton matrix of the mean loss over the samples, by the trainable parameters.

    Rows and columns are in the order of the parameters, each flattened.  y: (n, *e).
    loss: one of `losses.LOSSES`, or a function of outputs and targets that is the mean over samples.
    kind: "hessian" or "ggn".  chunk: how many samples the memory holds, by default as many as the free memory
    takes.  What the passes of all samples leave is kept for every product where it fits, and made again where not.
    Raises ValueError for unknown names, for models in training mode or with nothing to train, and for samples that are
    none, not finite or not as many as the targets.
    """
    checked(model, x)
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: use one of {', '.join(map(repr, KINDS))}.")
    if len(y) != len(x):
        raise ValueError(f"there are {len(y)} targets for {len(x)} samples.")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 sample at a time.")
    measure = _measure(loss)
    trained = {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}
    if not trained:
        raise ValueError(
            "no parameter is trainable: call model.requires_grad_(), the derivative is by what is trained."
        )
    sizes = [each.numel() for each in trained.values()]

    def linearised(x: Tensor, y: Tensor) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
        """The product with the part that these samples have in the matrix."""

        def outputs(parameters: dict[str, Tensor]) -> Tensor:
            return functional_call(model, parameters, (x,))

        def part(out: Tensor) -> Tensor:
            return measure(out, y) * (len(x) / total)

        with Swift():
            if kind == "hessian":
                _, back = vjp(grad(lambda parameters: part(outputs(parameters))), trained)  # type: ignore[misc]
                return lambda v: back(v)[0]
            out, back = vjp(outputs, trained)  # type: ignore[misc]
            # the pull-back is linear, so its own pull-back is the push-forward
            _, push = vjp(lambda u: back(u)[0], torch.zeros_like(out))  # type: ignore[misc]
            _, bend = vjp(grad(part), out)  # type: ignore[misc]
        return lambda v: back(bend(push(v)[0])[0])[0]

    total = len(x)
    with torch.no_grad():
        room = chunk or _fitting(lambda samples: linearised(x[:samples], y[:samples]), x)
        pieces = list(zip(*(each.split(min(room, at_a_time(x))) for each in (x, y)), strict=True))
        kept = [linearised(*piece) for piece in pieces] if room >= total else None

    @torch.no_grad()
    def apply(v: Tensor) -> Tensor:
        parts = zip(trained.items(), v.split(sizes), strict=True)
        named = {name: part.view_as(each) for (name, each), part in parts}
        return torch.stack([_flat(part(named)) for part in kept or (linearised(*piece) for piece in pieces)]).sum(0)

    return Symmetric(apply, sum(sizes), next(iter(trained.values())))


def tangent(model: nn.Module, x: Float[Tensor, "n *d"], *, chunk: int | None = None) -> Symmetric:
    """J_theta^T J_theta / n over all samples and outputs, whose eigenvalues, but for zeros, are those of K / n.

    The way to lambda_max(K) / n where the kernel of all samples and outputs is too large.  chunk, errors: as above.
    """
    return curvature(model, x, x, loss=lambda out, _: out.square().sum(1).mean() / 2, kind="ggn", chunk=chunk)


def _measure(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown: use one of {', '.join(map(repr, LOSSES))}, or a function.")
    return lambda out, y: LOSSES[loss](out.unsqueeze(0), y.unsqueeze(0)).squeeze(0)


def _flat(named: dict[str, Tensor]) -> Tensor:
    return torch.cat([each.flatten() for each in named.values()])


class _Made(TorchDispatchMode):
    """Adds up the bytes of all that a computation makes: at least what it keeps."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.bytes += tensor.numel() * tensor.element_size()
        return made


def _fitting(work: Callable[[int], object], x: Tensor) -> int:
    """For how many samples the free memory takes what `work` makes for each of them."""
    made = []
    for samples in (1, 2):
        with _Made() as counted:
            work(samples)
        made.append(counted.bytes)
    return max(1, int(_SHARE * memory.free(x.device)) // max(1, made[1] - made[0]))
