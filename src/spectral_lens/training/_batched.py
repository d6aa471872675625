"""One forward pass for many copies of a network side by side."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from spectral_lens.nn.gates import Gates
from spectral_lens.nn.layers import DENSE_LAYERS, SpectralLinear
from spectral_lens.nn.rewriting import below, product, segments, weight_of
from spectral_lens.training._fused import ACTIVATIONS as dense_activations
from spectral_lens.training._fused import Activation, Workspace, dense

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
    workspace: Workspace | None = None,
) -> Float[Tensor, "r n *k"]:
    """The outputs of all runs: run r's weights, `state[name][r]`, applied to its own inputs `x[r]`.

    Dense layers in a Sequential are batched matrix products, consecutive ones multiplied into one where that is less
    work (`retract` explains); everything else goes through `vmap`.  `draw(shape)` gives uniform numbers, one stream
    per run, to the dropout and gates (see `gates`) of a model in training mode.  With a `workspace` (see `_fused`) the
    next call overwrites what this one computed: for training steps.
    Raises ValueError for dropout that cannot be drawn run by run: without `draw`, or outside a Sequential.
    """
    return _apply(model, state, x, draw, workspace)


def _apply(
    layer: nn.Module, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, workspace: Workspace | None
) -> Tensor:
    if type(layer) is nn.Sequential:
        return _chain(layer, state, x, draw, workspace)
    if type(layer) in DENSE_LAYERS and x.ndim == 3:
        return _dense([(layer, state)], x, None, workspace)
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return x.flatten(2)
    if type(layer) in _ELEMENTWISE:
        return layer(x)
    if type(layer) is nn.Dropout:
        return _dropout(layer, x, draw)
    if isinstance(layer, Gates):
        return x * layer.gate(state["place"].unsqueeze(1), _drawn(x.shape, draw) if layer.training else None)
    if layer.training and any(isinstance(inner, nn.modules.dropout._DropoutNd) for inner in layer.modules()):
        raise ValueError(
            f"{type(layer).__name__} draws its dropout for all runs at once: put nn.Dropout in Sequential."
        )
    return vmap(lambda own, inputs: functional_call(layer, own, (inputs,)))(dict(state), x)


def _chain(
    chain: nn.Sequential, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, workspace: Workspace | None
) -> Tensor:
    """The layers one after the other; dense layers take along those next to them and the activation behind."""
    parts = segments(chain)
    taken = False
    for k, segment in enumerate(parts, start=1):
        after = parts[k][0][1] if k < len(parts) else None
        owns = [(layer, below(state, name)) for name, layer in segment]
        if taken:
            taken = False
        elif type(owns[0][0]) in DENSE_LAYERS and x.ndim == 3:
            activation = None if after is None else dense_activations.get(type(after))
            taken = activation is not None
            x = _dense(owns, x, activation, workspace)
        else:
            for layer, own in owns:
                x = _apply(layer, own, x, draw, workspace)
    return x


def _dense(
    owns: Sequence[tuple[nn.Module, Mapping[str, Tensor]]],
    x: Tensor,
    activation: Activation | None,
    workspace: Workspace | None,
) -> Tensor:
    """Consecutive dense layers: multiplied into one first where that takes fewer products than their outputs do."""
    if len(owns) > 1 and _one_is_cheaper([layer for layer, _ in owns], x.shape[1]):
        weight, bias = product(owns)
        return dense(x, weight, bias, activation=activation, workspace=workspace, key=id(owns[-1][0]))
    for k, (layer, own) in enumerate(owns, start=1):
        behind = activation if k == len(owns) else None
        if isinstance(layer, SpectralLinear) and x.shape[1] <= _FEW:
            x = _without_weight(own, x, behind, workspace, id(layer))
        else:
            x = dense(x, weight_of(layer, own), own.get("bias"), activation=behind, workspace=workspace, key=id(layer))
    return x


def _without_weight(
    own: Mapping[str, Tensor], x: Tensor, activation: Activation | None, workspace: Workspace | None, key: object
) -> Tensor:
    """The layer's outputs for few samples, cheaper than its weight, which is as large as psi:

    W x = psi (lam_in x) - lam_out (psi x)
    """
    scaled = x * own["lam_in"].unsqueeze(-2)
    if workspace is not None and _stays_zero(own["lam_out"]):
        out = dense(scaled, own["psi"], None, workspace=workspace, key=key)
    else:
        both = torch.cat([scaled, x], 1)
        departing, arriving = dense(both, own["psi"], None, workspace=workspace, key=key).chunk(2, 1)
        out = torch.addcmul(departing, arriving, own["lam_out"].unsqueeze(-2), value=-1)
    if (bias := own.get("bias")) is not None:
        out = out + bias.unsqueeze(1)
    return out if activation is None else activation.apply(out)


def _stays_zero(lam_out: Tensor) -> bool:
    """Whether a training leaves these eigenvalues at zero.  Asked of a CPU alone: a GPU would have to be waited for."""
    return not lam_out.requires_grad and lam_out.device.type == "cpu" and not lam_out.any()


def _one_is_cheaper(layers: Sequence[nn.Module], samples: int) -> bool:
    """Whether building the product of the weights and applying it takes fewer multiplications than layer by layer."""
    sizes = [(int(layer.in_features), int(layer.out_features)) for layer in layers]  # type: ignore[arg-type]
    inputs, outputs = sizes[0][0], sizes[-1][1]
    twice = (2 if isinstance(layer, SpectralLinear) else 1 for layer in layers[:-1])  # see times
    building = outputs * sum(n * i * o for n, (i, o) in zip(twice, sizes[:-1], strict=True))
    return building + samples * inputs * outputs < samples * sum(i * o for i, o in sizes)


def _dropout(layer: nn.Dropout, x: Tensor, draw: Draw | None) -> Tensor:
    if not layer.training or layer.p == 0:
        return x
    return x * (_drawn(x.shape, draw) >= layer.p) / (1 - layer.p)


def _drawn(shape: torch.Size, draw: Draw | None) -> Tensor:
    if draw is None:
        raise ValueError("dropout and gates in training mode need `draw`, one stream of random numbers per run.")
    return draw(shape)
