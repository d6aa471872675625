"""One forward pass for many copies of a network side by side."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from spectral_lens.nn.gates import Gates
from spectral_lens.nn.layers import DENSE_LAYERS, SpectralLinear
from spectral_lens.nn.rewriting import LayerState, below, product, segments, weight_of
from spectral_lens.training._fused import ACTIVATIONS, Activation, Buffers, dense

__all__ = ["Draw", "forward", "may_write", "set_training"]

# exact types everywhere: a subclass may do something else
_ELEMENTWISE = {nn.ReLU, nn.Tanh, nn.Identity, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus}
_FEW = 32  # samples: a spectral layer's weight costs a dozen passes through memory, their second product less

Draw = Callable[[torch.Size], Tensor]


def forward(
    model: nn.Module,
    state: Mapping[str, Tensor],
    x: Float[Tensor, "r n *d"],
    *,
    draw: Draw | None = None,
    buffers: Buffers | None = None,
) -> Float[Tensor, "r n *k"]:
    """The outputs of all runs: run r's weights, `state[name][r]`, applied to its own inputs `x[r]`.

    Dense layers in a Sequential are batched matrix products, consecutive ones multiplied into one where that is less
    work (`retract` explains); everything else goes through `vmap`.  `draw(shape)` gives uniform numbers, one stream
    per run, to the dropout and gates (see `gates`) of a model in training mode.  With `buffers` (see `_fused`) the
    next call overwrites what this one computed: for training steps.
    Raises ValueError for dropout that cannot be drawn run by run: without `draw`, or outside a Sequential.

    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training._parameters import stack
    >>> model = mlp([4, 3, 2])
    >>> forward(model, stack(model, [7, 8]), torch.zeros(2, 5, 4)).shape
    torch.Size([2, 5, 2])
    """
    return _apply(model, state, x, draw, buffers)


def may_write(model: nn.Module) -> bool:
    """Whether the model might write to its inputs; a layer that is neither torch's nor ours may do anything.

    >>> may_write(nn.Sequential(nn.Linear(3, 2), nn.ReLU())), may_write(nn.ReLU(inplace=True))
    (False, True)
    """
    known = ("torch.nn.modules.", "spectral_lens.nn.")
    return any(
        getattr(each, "inplace", False) or not type(each).__module__.startswith(known) for each in model.modules()
    )


def set_training(model: nn.Module, training: bool, *, random: bool = True) -> None:
    """Put the model into that mode; dropout that drops nothing, and would draw all the same, into evaluation mode.

    random: False leaves all dropout and gates in evaluation mode.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.0), nn.Dropout(0.5))
    >>> set_training(model, True)
    >>> [layer.training for layer in model]
    [True, False, True]
    """
    model.train(training)
    for layer in model.modules():
        drops = isinstance(layer, nn.modules.dropout._DropoutNd)
        if (drops and layer.p == 0) or (not random and (drops or isinstance(layer, Gates))):
            layer.eval()


def _apply(
    layer: nn.Module, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, buffers: Buffers | None
) -> Tensor:
    if type(layer) is nn.Sequential:
        return _chain(layer, state, x, draw, buffers)
    if type(layer) in DENSE_LAYERS and x.ndim == 3:
        return _dense([(layer, state)], x, None, buffers)
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return x.flatten(2)
    if type(layer) in _ELEMENTWISE:
        return layer(x)
    if type(layer) is nn.Dropout:
        return _dropout(layer, x, draw)
    if isinstance(layer, Gates):
        return x * layer.gate(state["location"].unsqueeze(1), _uniform(x.shape, draw) if layer.training else None)
    if any(isinstance(inner, nn.modules.dropout._DropoutNd) and inner.training for inner in layer.modules()):
        raise ValueError(
            f"{type(layer).__name__} draws its dropout for all runs at once: put nn.Dropout in Sequential."
        )
    return vmap(lambda own, inputs: functional_call(layer, own, (inputs,)))(dict(state), x)


def _chain(
    chain: nn.Sequential, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, buffers: Buffers | None
) -> Tensor:
    """The layers one after the other; dense layers take along those next to them and the activation behind."""
    parts = [[(layer, below(state, name)) for name, layer in segment] for segment in segments(chain)]
    fused = False  # whether the dense layers in front took this activation along
    for k, layers in enumerate(parts, start=1):
        if fused:
            fused = False
        elif type(layers[0][0]) in DENSE_LAYERS and x.ndim == 3:
            activation = ACTIVATIONS.get(type(parts[k][0][0])) if k < len(parts) else None
            fused = activation is not None
            x = _dense(layers, x, activation, buffers)
        else:
            for layer, own in layers:
                x = _apply(layer, own, x, draw, buffers)
    return x


def _dense(layers: Sequence[LayerState], x: Tensor, activation: Activation | None, buffers: Buffers | None) -> Tensor:
    """Consecutive dense layers: multiplied into one first where that takes fewer products than their outputs do."""
    *inner, (last, state) = layers
    if inner and _one_is_cheaper([layer for layer, _ in layers], x.shape[1]):
        weight, bias = product(layers)
        return dense(x, weight, bias, activation=activation, buffers=buffers, key=id(last))
    for layer, own in inner:
        x = _linear(layer, own, x, None, buffers)
    return _linear(last, state, x, activation, buffers)


def _linear(
    layer: nn.Module, state: Mapping[str, Tensor], x: Tensor, activation: Activation | None, buffers: Buffers | None
) -> Tensor:
    """One dense layer.  A spectral layer's weight, as large as psi, is not formed where the samples are few:

    W x = psi (lam_in x) - lam_out (psi x)
    """
    bias, key = state.get("bias"), id(layer)
    if not isinstance(layer, SpectralLinear) or x.shape[1] > _FEW:
        return dense(x, weight_of(layer, state), bias, activation=activation, buffers=buffers, key=key)
    lam_in, lam_out, psi = state["lam_in"].unsqueeze(-2), state["lam_out"].unsqueeze(-2), state["psi"]
    if buffers is not None and _stays_zero(lam_out):  # no second product: a third of such a step's time
        out = dense(x * lam_in, psi, None, buffers=buffers, key=key)
    else:
        departing, arriving = dense(torch.cat([x * lam_in, x], 1), psi, None, buffers=buffers, key=key).chunk(2, 1)
        out = torch.addcmul(departing, arriving, lam_out, value=-1)
    if bias is not None:
        out = out + bias.unsqueeze(1)
    return out if activation is None else activation.apply(out)


def _stays_zero(lam_out: Tensor) -> bool:
    """Whether a training leaves these eigenvalues at zero.  Asked of a CPU alone: a GPU would have to be waited for."""
    return not lam_out.requires_grad and lam_out.device.type == "cpu" and not lam_out.any()


def _one_is_cheaper(layers: Sequence[nn.Module], samples: int) -> bool:
    """Whether building the product of the weights and applying it takes fewer multiplications than layer by layer."""
    sizes = [(int(layer.in_features), int(layer.out_features)) for layer in layers]  # type: ignore[arg-type]
    inputs, outputs = sizes[0][0], sizes[-1][1]
    products = (2 if isinstance(layer, SpectralLinear) else 1 for layer in layers[:-1])  # see rewriting.product
    building = outputs * sum(n * i * o for n, (i, o) in zip(products, sizes[:-1], strict=True))
    return building + samples * inputs * outputs < samples * sum(i * o for i, o in sizes)


def _dropout(layer: nn.Dropout, x: Tensor, draw: Draw | None) -> Tensor:
    if not layer.training or layer.p == 0:
        return x
    return x * (_uniform(x.shape, draw) >= layer.p) / (1 - layer.p)


def _uniform(shape: torch.Size, draw: Draw | None) -> Tensor:
    if draw is None:
        raise ValueError("dropout and gates in training mode need `draw`, one stream of random numbers per run.")
    return draw(shape)
