"""The derivative of a network by its inputs: the Jacobian of all outputs, its norms, and the factors that it has.

A network of linear layers W_l and elementwise activations, whose slopes at x stand in a diagonal matrix D_l(x), has

    J(x) = D_L(x) W_L ... D_2(x) W_2 D_1(x) W_1        [katende: W_L D_(L-1) ... D_1 W_1, as D_L = 1]

For a piecewise linear network J is constant around x, and f is J x plus a constant there.  The parameters' side of the
same derivative is in `tangent_kernel`, the second derivative of the loss in `hessian`.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vjp

from spectral_lens._runtime.memory import check_chunk
from spectral_lens.nn._checks import Outputs, checked, readout, same
from spectral_lens.nn.layers import DENSE_LAYERS
from spectral_lens.nn.plain import check_plain
from spectral_lens.operators._linearize import linearize
from spectral_lens.operators._pullback import batch_size, pullback
from spectral_lens.operators.linear import LinearOperator
from spectral_lens.operators.spectra import sensitivity, sigma

__all__ = ["Layer", "Norms", "finite", "jacobian", "jacobian_at", "jacobian_norms", "partial_products", "product_form"]

# exact types: a subclass may do something else
_SHAPING = {nn.Flatten, nn.Identity, nn.Dropout}
_ELEMENTWISE = {
    nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.BatchNorm1d,
}  # fmt: skip


class Norms(NamedTuple):
    """Of each sample's Jacobian: ||J||_2 and ||J||_F, (n,), and the length of each output's gradient, (n, k)."""

    spectral: Float[Tensor, " n"]
    frobenius: Float[Tensor, " n"]
    rows: Float[Tensor, "n k"]


class Layer(NamedTuple):
    """One factor D W of the product form: the weights, and the slope of what follows them at each sample."""

    weight: Float[Tensor, "out in"]
    slopes: Float[Tensor, "n out"]


def jacobian(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> LinearOperator:
    """J of each sample, (n, k, d): the derivative of each output by each input, all inputs of a sample in one axis.

    J u, (n, k), and J^T z, (n, d), cost one pass each through a network that is run once; `to_dense()` makes all rows
    in one pull-back of all outputs.  Where J is too large for that, `golub_kahan.spectral_norm` and
    `hutchinson.frobenius_norm` estimate its norms, with an error.
    outputs: as in `explain.gradients.gradient`.  chunk: outputs pulled back at a time by `to_dense()`, by default as
    many as the free memory takes.
    Raises ValueError for a model in training mode or whose samples depend on one another, for inputs that are empty,
    not finite or not what the model takes, for outputs that do not exist and a chunk below one.

    >>> model = nn.Linear(3, 2, bias=False).eval()
    >>> J = jacobian(model, torch.ones(4, 3))
    >>> J.shape, bool(torch.allclose(J.to_dense()[0], model.weight))
    (torch.Size([4, 2, 3]), True)
    >>> (J @ torch.ones(4, 3)).shape, (J.mT @ torch.ones(4, 2)).shape
    (torch.Size([4, 2]), torch.Size([4, 3]))
    """
    rows = readout(checked(model, x).out, outputs)
    x = x.detach()
    check_chunk(chunk, of="output")

    def dense() -> Tensor:
        return pullback(model, x, outputs=outputs, chunk=chunk).flatten(2)

    def function(inputs: Tensor) -> Tensor:
        out = model(inputs.clone())  # a copy for models that work in place
        return out if outputs is None else out @ rows.mT

    products = functools.cache(lambda: linearize(function, x))
    return _operator(x, len(rows), products, dense)


def jacobian_at(function: Callable[[Tensor], Tensor], at: Float[Tensor, "n *d"]) -> LinearOperator:
    """J, (n, k, d), of any function, (n, *d) to (n, k), that works on each sample on its own, at `at`.

    >>> J = jacobian_at(lambda x: x.square(), torch.tensor([[1.0, 2.0]]))
    >>> J.to_dense()
    tensor([[[2., 0.],
             [0., 4.]]])
    """
    out, push, pull = linearize(lambda inputs: function(inputs.clone()), at)
    if out.ndim != 2 or len(out) != len(at):
        raise ValueError(f"the function gives {tuple(out.shape)} for {len(at)} samples: it must be (samples, outputs).")
    return _operator(at, out.shape[1], lambda: (out, push, pull), None)


def _operator(
    at: Tensor, outputs: int, products: Callable[[], tuple[Any, ...]], dense: Callable[[], Tensor] | None
) -> LinearOperator:
    return LinearOperator(
        (len(at), outputs, at[0].numel()),
        lambda u: products()[1](u.view_as(at)),
        lambda z: products()[2](z).flatten(1),
        dense=dense,
        dtype=at.dtype,
        device=at.device,
    )


def jacobian_norms(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Norms:
    """The norms of each sample's J, which is formed for `chunk` samples at a time; by default for a cache of them.

    ||J||_2 comes from the smaller of J J^T and J^T J.  Where even one J is too large, see `jacobian`.
    Raises ValueError for a model in training mode, for inputs that are empty or not finite, and for such derivatives.

    >>> found = jacobian_norms(nn.Linear(3, 2).eval(), torch.ones(4, 3))
    >>> found.spectral.shape, found.frobenius.shape, found.rows.shape
    (torch.Size([4]), torch.Size([4]), torch.Size([4, 2]))
    """
    checked(model, x)
    check_chunk(chunk)
    parts = []
    for some in x.split(chunk or max(1, batch_size(x) // 4)):
        J = finite(pullback(model, some, outputs=outputs).flatten(2))
        parts.append(Norms(sigma(J)[:, 0], sensitivity(J), torch.linalg.vector_norm(J, dim=2)))
    return Norms(*map(torch.cat, zip(*parts, strict=True)))


def finite(derivative: Tensor) -> Tensor:
    """The derivative; raises ValueError for one that holds NaN or infinite values.

    >>> finite(torch.ones(2))
    tensor([1., 1.])
    """
    if not derivative.isfinite().all():
        raise ValueError("the derivative is not finite: look for NaN or infinite values in the model's parameters.")
    return derivative


def product_form(model: nn.Module, x: Float[Tensor, "n *d"]) -> list[Layer]:
    """The factors of each sample's J, first layer first, of a dense network.

    Known are nn.Linear, Dense and SpectralLinear; elementwise activations and, in evaluation mode, batch normalisation,
    which only have a slope; flattening, identities and dropout.  At a kink the slope is the one that torch chooses.
    Raises ValueError for any other layer, and for one that hooks or a reparametrisation change.

    >>> layers = product_form(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).eval(), torch.ones(4, 3))
    >>> [(tuple(layer.weight.shape), tuple(layer.slopes.shape)) for layer in layers]
    [((2, 3), (4, 2)), ((1, 2), (4, 1))]
    """
    tried = checked(model, x)
    layers: list[Layer] = []
    with torch.no_grad():
        a = x.flatten(1)
        for name, layer in _in_order(model):
            check_plain(name, layer)
            if type(layer) in DENSE_LAYERS:
                a = layer(a)
                weight: Any = layer.weight
                layers.append(Layer(weight.detach(), torch.ones_like(a)))
            elif type(layer) in _ELEMENTWISE:
                if not layers:
                    layers.append(Layer(torch.eye(a.shape[1]).to(a), torch.ones_like(a)))
                # a copy for those that work in place
                a, back = vjp(lambda z, layer=layer: layer(z.clone()), a)  # type: ignore[misc]
                last = layers.pop()
                layers.append(last._replace(slopes=last.slopes * back(torch.ones_like(a))[0]))
            elif type(layer) not in _SHAPING:
                raise ValueError(f"{type(layer).__name__} is no layer of a dense network: its J has no such product.")
    if not same(a[0], tried.out[0]):
        raise ValueError("the layers one after the other do not give the model's outputs: its J has no such product.")
    return layers


def partial_products(layers: list[Layer]) -> list[Float[Tensor, "n out d"]]:
    """D_l W_l ... D_1 W_1 for every l: how the activities behind each layer answer to the inputs; the last one is J.

    >>> layers = product_form(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)).eval(), torch.ones(4, 3))
    >>> [tuple(product.shape) for product in partial_products(layers)]
    [(4, 2, 3), (4, 1, 3)]
    """
    found: list[Tensor] = []
    for weight, slopes in layers:
        found.append(slopes.unsqueeze(2) * (weight @ found[-1] if found else weight))
    return found


def _in_order(model: nn.Module, name: str = "") -> Iterator[tuple[str, nn.Module]]:
    if type(model) is nn.Sequential:
        check_plain(name, model)
        for k, layer in enumerate(model):
            yield from _in_order(layer, f"{name}.{k}".lstrip("."))
    else:
        yield name, model
