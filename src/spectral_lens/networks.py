"""The papers' networks, and one forward pass for many copies of a network side by side."""

import copy
import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from spectral_lens.dense import ACTIVATIONS as dense_activations
from spectral_lens.dense import Activation, Workspace, dense
from spectral_lens.gates import Gates
from spectral_lens.layers import Dense, SpectralLinear, children

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "linear": nn.Identity,
}
# exact types everywhere: a subclass may do something else
_ELEMENTWISE = {nn.ReLU, nn.Tanh, nn.Identity, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus}
_DENSE = {nn.Linear, Dense, SpectralLinear}
_FEW = 32  # samples: a spectral layer's weight costs a dozen passes through memory, their second product less

Draw = Callable[[torch.Size], Tensor]


def mlp(
    sizes: Sequence[int],
    *,
    activation: str | Sequence[str] = "relu",
    output: str = "linear",
    spectral: int = 1,
    init: str = "chicchi",
    train: Collection[str] | None = None,
    bias: bool = True,
    glorot: bool = False,
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A dense network whose first `spectral` layers are spectral; layers are named layer1, layer2, ...

    sizes: nodes of every layer, inputs first; inputs of any shape are flattened.
    activation: of every hidden layer, or one name for each of them ("tanh", "relu", "linear"); output: of the last.
    init, train: of the spectral layers (see SpectralLinear); with init="giambagli" the layers behind the first start as
    that paper's, with lam_in = 1.  bias: of every layer.  glorot: plain layers start as Keras' do, not as torch's.
    batch_norm, dropout: after the first layer, as the authors of chicchi place them.
    Raises ValueError for a wrong number of layers or activations and for unknown names.
    """
    hidden = len(sizes) - 2
    if hidden < 0:
        raise ValueError(f"sizes={list(sizes)} is no network: name at least the inputs and the outputs.")
    names = [activation] * hidden if isinstance(activation, str) else list(activation)
    if len(names) != hidden or set(names) - set(ACTIVATIONS):
        raise ValueError(f"activation={names} must name {hidden} of {', '.join(ACTIVATIONS)}, one per hidden layer.")
    if output not in ACTIVATIONS:
        raise ValueError(f"output={output!r} is unknown: use one of {', '.join(ACTIVATIONS)}.")
    if not 0 <= spectral <= hidden + 1:
        raise ValueError(f"spectral={spectral} is not between 0 and the {hidden + 1} layers of {list(sizes)}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} must lie between 0 and 1, and below 1.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for k, (before, after) in enumerate(itertools.pairwise(sizes), start=1):
        if k <= spectral:
            own = "giambagli-inner" if init == "giambagli" and k > 1 else init
            layers[f"layer{k}"] = SpectralLinear(before, after, bias=bias, init=own, train=train)
        else:
            layers[f"layer{k}"] = (Dense if glorot else nn.Linear)(before, after, bias=bias)
        name = output if k > hidden else names[k - 1]
        if k <= hidden or name != "linear":
            layers[f"{name}{k}"] = ACTIVATIONS[name]()
        if k == 1 and batch_norm:
            layers["norm1"] = nn.BatchNorm1d(after)
        if k == 1 and dropout:
            layers["dropout1"] = nn.Dropout(dropout)
    return nn.Sequential(layers)


def stack(model: nn.Module, seeds: Sequence[int], *, redraw: bool = True) -> dict[str, Tensor]:
    """Parameters and buffers of one copy of the model per seed, stacked along a leading run axis.

    With `redraw` each copy starts from its seed's own initial values (`reset_parameters` of every layer, as torch's
    layers define it), otherwise from the model's present ones.  The model, on the CPU, is left with the last copy's
    values, torch's global random state as it was.
    Raises ValueError for a model in which one layer or one parameter stands in two places.
    """
    places: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if places.setdefault(id(parameter), name) != name:
            raise ValueError(
                f"{name} and {places[id(parameter)]} are one parameter: give each place a layer of its own, "
                "the runs' copies could not share it."
            )
    copies = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which reseeds the GPUs too
            if redraw:
                for layer in model.modules():
                    if callable(reset := getattr(layer, "reset_parameters", None)):
                        reset()
            copies.append({name: value.detach().clone() for name, value in tensors(model).items()})
    return {name: torch.stack([each[name] for each in copies]) for name in copies[0]}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, those that no state dict holds too."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@torch.no_grad()
def retract(model: nn.Module) -> nn.Module:
    """A copy of the model in which consecutive dense layers of a Sequential have become one plain layer.

    W = W_L ... W_1,  b = b_L + W_L b_(L-1) + ...        [giambagli, II.A, the compact operator A_c of Fig. 2(b)]

    The outputs stay the same.  Plain and spectral layers can be mixed; the new layer has the name of the last one, and
    may be trained where any of them might.  Identities go; a layer alone, and whatever stands in no Sequential, stays.
    """
    model = copy.deepcopy(model)
    for chain in [module for module in model.modules() if type(module) is nn.Sequential]:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for segment in _segments(chain):
            name, layer = segment[-1]
            if len(segment) > 1:
                owns = [(each, dict(each.named_parameters())) for _, each in segment]
                weight, bias = _product(owns)
                shape = weight.shape[1], weight.shape[0]
                layer = nn.Linear(*shape, bias=bias is not None).to(weight).train(chain.training)
                trained = any(parameter.requires_grad for _, own in owns for parameter in own.values())
                layer.weight.copy_(weight)
                if bias is not None:
                    layer.bias.copy_(bias)
                layer.requires_grad_(trained)
            layers[name] = layer
        chain._modules.clear()
        for name, layer in layers.items():
            chain.add_module(name, layer)
    return model


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
    per run, to the dropout and gates (see `gates`) of a model in training mode.  With a `workspace` (see `dense`) the
    next call overwrites what this one computed: for training steps.
    Raises ValueError for dropout that cannot be drawn run by run: without `draw`, or outside a Sequential.
    """
    return _apply(model, state, x, draw, workspace)


def _apply(
    layer: nn.Module, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, workspace: Workspace | None
) -> Tensor:
    if type(layer) is nn.Sequential:
        return _chain(layer, state, x, draw, workspace)
    if type(layer) in _DENSE and x.ndim == 3:
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
    segments = _segments(chain)
    taken = False
    for k, segment in enumerate(segments, start=1):
        after = segments[k][0][1] if k < len(segments) else None
        owns = [(layer, _below(state, name)) for name, layer in segment]
        if taken:
            taken = False
        elif type(owns[0][0]) in _DENSE and x.ndim == 3:
            activation = None if after is None else dense_activations.get(type(after))
            taken = activation is not None
            x = _dense(owns, x, activation, workspace)
        else:
            for layer, own in owns:
                x = _apply(layer, own, x, draw, workspace)
    return x


def _segments(chain: nn.Sequential) -> list[list[tuple[str, nn.Module]]]:
    """The layers in order, those that do something; dense ones with nothing between them stand together."""
    segments: list[list[tuple[str, nn.Module]]] = []
    for name, layer in children(chain):
        if type(layer) in _DENSE and segments and type(segments[-1][-1][1]) in _DENSE:
            segments[-1].append((name, layer))
        elif type(layer) is not nn.Identity:
            segments.append([(name, layer)])
    return segments


def _dense(
    owns: Sequence[tuple[nn.Module, Mapping[str, Tensor]]],
    x: Tensor,
    activation: Activation | None,
    workspace: Workspace | None,
) -> Tensor:
    """Consecutive dense layers: multiplied into one first where that takes fewer products than their outputs do."""
    if len(owns) > 1 and _one_is_cheaper([layer for layer, _ in owns], x.shape[1]):
        weight, bias = _product(owns)
        return dense(x, weight, bias, activation=activation, workspace=workspace, key=id(owns[-1][0]))
    for k, (layer, own) in enumerate(owns, start=1):
        behind = activation if k == len(owns) else None
        if isinstance(layer, SpectralLinear) and x.shape[1] <= _FEW:
            x = _without_weight(own, x, behind, workspace, id(layer))
        else:
            x = dense(x, _weight(layer, own), own.get("bias"), activation=behind, workspace=workspace, key=id(layer))
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
    twice = (2 if isinstance(layer, SpectralLinear) else 1 for layer in layers[:-1])  # see _times
    building = outputs * sum(n * i * o for n, (i, o) in zip(twice, sizes[:-1], strict=True))
    return building + samples * inputs * outputs < samples * sum(i * o for i, o in sizes)


def _product(owns: Sequence[tuple[nn.Module, Mapping[str, Tensor]]]) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of the one layer that consecutive ones amount to.

    W = W_L ... W_1 and b = b_L + W_L b_(L-1) + ..., built from the output back, where the matrices have fewest rows.
    """
    last, state = owns[-1]
    weight, bias = _weight(last, state), state.get("bias")
    for layer, own in reversed(owns[:-1]):
        if (shift := own.get("bias")) is not None:
            shift = (weight @ shift.unsqueeze(-1)).squeeze(-1)
            bias = shift if bias is None else bias + shift
        weight = _times(weight, layer, own)
    return weight, bias


def _times(left: Tensor, layer: nn.Module, state: Mapping[str, Tensor]) -> Tensor:
    """left @ the layer's weight.  A spectral layer's weight, as large as psi, is not formed:

    left W = (left psi) diag(lam_in) - (left diag(lam_out)) psi
    """
    if not isinstance(layer, SpectralLinear):
        return left @ state["weight"]
    both = torch.cat([left, left * state["lam_out"].unsqueeze(-2)], -2) @ state["psi"]
    departing, arriving = both.chunk(2, -2)
    return departing * state["lam_in"].unsqueeze(-2) - arriving


def _below(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")}


def _weight(layer: nn.Module, state: Mapping[str, Tensor]) -> Tensor:
    if isinstance(layer, SpectralLinear):
        return (state["lam_in"].unsqueeze(-2) - state["lam_out"].unsqueeze(-1)) * state["psi"]
    return state["weight"]


def _dropout(layer: nn.Dropout, x: Tensor, draw: Draw | None) -> Tensor:
    if not layer.training or layer.p == 0:
        return x
    return x * (_drawn(x.shape, draw) >= layer.p) / (1 - layer.p)


def _drawn(shape: torch.Size, draw: Draw | None) -> Tensor:
    if draw is None:
        raise ValueError("dropout and gates in training mode need `draw`, one stream of random numbers per run.")
    return draw(shape)
