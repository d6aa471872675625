"""The derivative of a network by its inputs: the Jacobian of all outputs, its norms, and the product that it is.

A network of linear layers W_l and elementwise activations, whose slopes at x stand in a diagonal matrix D_l(x), has

    J(x) = D_L(x) W_L ... D_2(x) W_2 D_1(x) W_1        [katende: W_L D_(L-1) ... D_1 W_1, as D_L = 1]

For a piecewise linear network J is constant around x, and f is J x plus a constant there.  The parameters' side of the
same derivative is in `tangent_kernel`, the second derivative of the loss in `hessian`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vjp

from spectral_lens.explain.gradients import gradient
from spectral_lens.nn.layers import Dense, SpectralLinear
from spectral_lens.operators._pullback import Outputs, at_a_time, checked, pullback, readout
from spectral_lens.operators.golub_kahan import Products, derivative
from spectral_lens.operators.spectra import sensitivity, sigma

# exact types: a subclass may do something else
_DENSE = {nn.Linear, Dense, SpectralLinear}
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
) -> Float[Tensor, "n k d"]:
    """J, the derivative of each output by each input.  outputs, chunk, errors: as in `explain.gradients.gradient`."""
    return gradient(model, x, outputs=outputs, chunk=chunk).flatten(2)


def jacobian_norms(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Norms:
    """The norms of each sample's J, which is formed for `chunk` samples at a time; by default for a cache of them.

    ||J||_2 comes from the smaller of J J^T and J^T J.  Where even one J is too large, see `jacobian_products`.
    Raises ValueError for a model in training mode, for inputs that are empty or not finite, and for such derivatives.
    """
    checked(model, x)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 sample at a time.")
    parts = []
    for some in x.split(chunk or max(1, at_a_time(x) // 4)):
        J = finite(pullback(model, some, outputs=outputs).flatten(2))
        parts.append(Norms(sigma(J)[:, 0], sensitivity(J), torch.linalg.vector_norm(J, dim=2)))
    return Norms(*map(torch.cat, zip(*parts, strict=True)))


def finite(derivative: Tensor) -> Tensor:
    """The derivative; raises ValueError for one that holds NaN or infinite values."""
    if not derivative.isfinite().all():
        raise ValueError("the derivative is not finite: look for NaN or infinite values in the model's parameters.")
    return derivative


def jacobian_products(model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None) -> Products:
    """J without forming it: `apply` is J^T z, (n, k) to (n, d), `adjoint` is J u, (n, d) to (n, k).

    `golub_kahan.largest` and `golub_kahan.frobenius` estimate ||J||_2 and ||J||_F from it, with an error.
    """
    checked(model, x)
    with torch.no_grad():
        rows = readout(model(x[:1]), outputs)
    return derivative(lambda inputs: model(inputs) @ rows.mT, x)


def product_form(model: nn.Module, x: Float[Tensor, "n *d"]) -> list[Layer]:
    """The factors of each sample's J, first layer first, of a dense network.

    Known are nn.Linear, Dense and SpectralLinear; elementwise activations and, in evaluation mode, batch normalisation,
    which only have a slope; flattening, identities and dropout.  At a kink the slope is the one that torch chooses.
    Raises ValueError for any other layer.
    """
    checked(model, x)
    layers: list[Layer] = []
    with torch.no_grad():
        a = x.flatten(1)
        for layer in _in_order(model):
            if type(layer) in _DENSE:
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
    return layers


def partial_products(layers: list[Layer]) -> list[Float[Tensor, "n out d"]]:
    """D_l W_l ... D_1 W_1 for every l: how the activities behind each layer answer to the inputs; the last one is J."""
    found: list[Tensor] = []
    for weight, slopes in layers:
        found.append(slopes.unsqueeze(2) * (weight @ found[-1] if found else weight))
    return found


def _in_order(model: nn.Module) -> Iterator[nn.Module]:
    if type(model) is nn.Sequential:
        for layer in model:
            yield from _in_order(layer)
    else:
        yield model
