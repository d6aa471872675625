"""The second derivative of the loss by the parameters, known by its products with vectors.

    H = d^2 L / d theta^2,     GGN = mean_i J_theta(x_i)^T (d^2 l / d f^2) J_theta(x_i)        [schraudolph2002]

The gradient's own pull-back is a product with H, as H is symmetric; what it needs of the forward and the backward pass
is computed once for all products.  `lanczos` reads the spectrum off them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import grad, vjp

from spectral_lens._runtime.conv_backward import FastConvBackward
from spectral_lens.nn._checks import differentiating
from spectral_lens.operators._linearize import (
    Batches,
    Data,
    Parameters,
    Product,
    called,
    flat,
    linearize,
    named,
    trainable,
)
from spectral_lens.operators.linear import LinearOperator
from spectral_lens.training.losses import LOSSES

__all__ = ["Loss", "ggn", "hessian", "parameter_gram"]

Loss = str | Callable[[Tensor, Tensor], Tensor]


def hessian(model: nn.Module, data: Data, *, loss: Loss = "cross_entropy", chunk: int | None = None) -> LinearOperator:
    """H, (p, p), of the mean loss over all samples, by the trainable parameters.

    Rows and columns are in the order of the parameters, each flattened.
    data: samples and targets, two tensors (x, y), (n, *d) and (n, *e); or batches of them that can be read again and
    again, such as a DataLoader, which every product reads once, so that a data set need not fit into the memory.  Their
    order may change from one product to the next (shuffle=True), as the mean over all samples does not.
    loss: one of `training.losses.LOSSES`, or a function of outputs and targets that is the mean over samples.
    chunk: how many samples the memory holds, by default as many as the free memory takes.  What the passes of two
    tensors leave is kept for every product where it fits, and made again where not.
    Raises ValueError for unknown names, for models in training mode or with nothing to train, for an iterator, which
    can be read only once, for samples that are none, not finite or not as many as the targets, and where torch's own
    second derivative is not symmetric (in torch 2.13 that of weight_norm is not always).

    >>> model = nn.Linear(2, 1, bias=False).eval()
    >>> x, y = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.zeros(2)
    >>> hessian(model, (x, y), loss="mse").to_dense()  # 2 / n X^T X
    tensor([[10., 14.],
            [14., 20.]])
    """
    measure = _measure(loss)

    def linear(outputs: Callable[[Parameters], Tensor], y: Tensor, own: Parameters) -> Product:
        with differentiating(), FastConvBackward():
            _, back = vjp(grad(lambda parameters: measure(outputs(parameters), y)), own)  # type: ignore[misc]
        return lambda v: back(v)[0]

    return _mean(model, data, linear, chunk, checked=True)


def ggn(model: nn.Module, data: Data, *, loss: Loss = "cross_entropy", chunk: int | None = None) -> LinearOperator:
    """The generalised Gauss-Newton matrix, (p, p): H without the curvature of the outputs, so never negative.

    Arguments and errors as for `hessian`.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 4)).eval()
    >>> G = ggn(model, (torch.ones(5, 3), torch.zeros(5, dtype=torch.int64)))
    >>> G.shape, G.symmetric, bool(torch.linalg.eigvalsh(G.to_dense())[0] > -1e-6)
    (torch.Size([20, 20]), True, True)
    """
    measure = _measure(loss)

    def linear(outputs: Callable[[Parameters], Tensor], y: Tensor, own: Parameters) -> Product:
        out, push, pull = linearize(outputs, own)
        _, bend = vjp(grad(lambda f: measure(f, y)), out)  # type: ignore[misc]
        return lambda v: pull(bend(push(v))[0])

    return _mean(model, data, linear, chunk)


def parameter_gram(model: nn.Module, data: Tensor | Data, *, chunk: int | None = None) -> LinearOperator:
    """J_theta^T J_theta / n, (p, p), over all samples and outputs; its eigenvalues, but for zeros, are those of K / n.

    The way to lambda_max(K) / n where the tangent kernel of all samples and outputs is too large.
    data: samples alone, (n, *d), or as for `hessian`, where targets are not used.  chunk and errors as there.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> parameter_gram(nn.Linear(2, 1, bias=False).eval(), x).to_dense()  # X^T X / n
    tensor([[ 5.,  7.],
            [ 7., 10.]])
    """
    pairs: Data = (data, data) if isinstance(data, Tensor) else data
    return ggn(model, pairs, loss=lambda out, _: out.square().sum(1).mean() / 2, chunk=chunk)


def _mean(
    model: nn.Module,
    data: Data,
    linear: Callable[[Callable[[Parameters], Tensor], Tensor, Parameters], Product],
    chunk: int | None,
    *,
    checked: bool = False,
) -> LinearOperator:
    """The mean over all samples of the symmetric products that `linear` makes of outputs, targets and parameters.

    checked: whether to try, at a few samples, that they are symmetric.
    """
    own = trainable(model)

    def of_batch(x: Tensor, y: Tensor) -> Product:
        return linear(lambda parameters: called(model, parameters, x), y, own)

    with torch.no_grad():
        batches = Batches(model, data, of_batch, chunk)
        if checked:
            _check_symmetric(of_batch(*batches.few), own)
    start = flat(own)

    def matvec(v: Tensor) -> Tensor:
        along, total, samples = named(v, own), torch.zeros_like(v), 0
        for count, product in batches:
            total += count * flat(product(along))
            samples += count
        return total / samples

    return LinearOperator((len(start), len(start)), matvec, dtype=start.dtype, device=start.device)


def _check_symmetric(product: Product, own: Parameters) -> None:
    """Raises ValueError where u . H v is not v . H u for two vectors, to half of the digits that there are."""
    start = flat(own)
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, len(start), generator=generator, dtype=torch.float64).to(start)
    Hu, Hv = (flat(product(named(each, own))) for each in (u, v))
    apart = torch.finfo(start.dtype).eps ** 0.5 * (u.norm() * Hv.norm() + v.norm() * Hu.norm())
    if (u @ Hv - v @ Hu).abs() > apart:
        raise ValueError(
            "torch's second derivative of this model is not symmetric, so it is wrong: take ggn, or a model without "
            "weight_norm (parametrize.remove_parametrizations)."
        )


def _measure(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    if not isinstance(loss, str):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"loss={loss!r} is unknown: use one of {', '.join(map(repr, LOSSES))}, or a function.")
    return lambda out, y: LOSSES[loss](out.unsqueeze(0), y.unsqueeze(0)).squeeze(0)
