"""The papers' networks, and one forward pass for many copies of a network side by side."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from spectral_lens.dense import ACTIVATIONS as dense_activations
from spectral_lens.dense import Activation, Workspace, dense
from spectral_lens.layers import SpectralLinear, children

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "linear": nn.Identity,
}
# exact types everywhere: a subclass may do something else
_ELEMENTWISE = {nn.ReLU, nn.Tanh, nn.Identity, nn.Sigmoid, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.Softplus}
_DENSE = {nn.Linear, SpectralLinear}

Draw = Callable[[torch.Size], Tensor]


def mlp(
    sizes: Sequence[int],
    *,
    activation: str | Sequence[str] = "relu",
    spectral: int = 1,
    init: str = "chicchi",
    batch_norm: bool = False,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A dense network whose first `spectral` layers are spectral; layers are named layer1, layer2, ...

    sizes: nodes of every layer, inputs first; inputs of any shape are flattened.
    activation: of every hidden layer, or one name for each of them ("tanh", "relu", "linear").
    batch_norm, dropout: after the first layer, as the authors of chicchi place them.
    Raises ValueError for a wrong number of layers or activations and for unknown names.
    """
    hidden = len(sizes) - 2
    if hidden < 0:
        raise ValueError(f"sizes={list(sizes)} is no network: name at least the inputs and the outputs.")
    names = [activation] * hidden if isinstance(activation, str) else list(activation)
    if len(names) != hidden or set(names) - set(ACTIVATIONS):
        raise ValueError(f"activation={names} must name {hidden} of {', '.join(ACTIVATIONS)}, one per hidden layer.")
    if not 0 <= spectral <= hidden + 1:
        raise ValueError(f"spectral={spectral} is not between 0 and the {hidden + 1} layers of {list(sizes)}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout={dropout} must lie between 0 and 1, and below 1.")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for k, (before, after) in enumerate(itertools.pairwise(sizes), start=1):
        layers[f"layer{k}"] = SpectralLinear(before, after, init=init) if k <= spectral else nn.Linear(before, after)
        if k <= hidden:
            layers[f"{names[k - 1]}{k}"] = ACTIVATIONS[names[k - 1]]()
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


def forward(
    model: nn.Module,
    state: Mapping[str, Tensor],
    x: Float[Tensor, "r n *d"],
    *,
    draw: Draw | None = None,
    workspace: Workspace | None = None,
) -> Float[Tensor, "r n *k"]:
    """The outputs of all runs: run r's weights, `state[name][r]`, applied to its own inputs `x[r]`.

    Dense layers in a Sequential are batched matrix products; everything else goes through `vmap`.  `draw(shape)` gives
    uniform numbers, one stream per run, to the dropout layers of a model in training mode.  With a `workspace` (see
    `dense`) the next call overwrites what this one computed: for training steps.
    Raises ValueError for dropout that cannot be drawn run by run: without `draw`, or outside a Sequential.
    """
    return _apply(model, state, x, draw, workspace)


def _apply(
    layer: nn.Module, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, workspace: Workspace | None
) -> Tensor:
    if type(layer) is nn.Sequential:
        return _chain(layer, state, x, draw, workspace)
    if type(layer) in _DENSE and x.ndim == 3:
        return _dense(layer, state, x, None, workspace)
    if type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1):
        return x.flatten(2)
    if type(layer) in _ELEMENTWISE:
        return layer(x)
    if type(layer) is nn.Dropout:
        return _dropout(layer, x, draw)
    if layer.training and any(isinstance(inner, nn.modules.dropout._DropoutNd) for inner in layer.modules()):
        raise ValueError(
            f"{type(layer).__name__} draws its dropout for all runs at once: put nn.Dropout in Sequential."
        )
    return vmap(lambda own, inputs: functional_call(layer, own, (inputs,)))(dict(state), x)


def _chain(
    chain: nn.Sequential, state: Mapping[str, Tensor], x: Tensor, draw: Draw | None, workspace: Workspace | None
) -> Tensor:
    """The layers one after the other; a dense layer takes the activation behind it along."""
    layers = children(chain)
    following = [*(layer for _, layer in layers[1:]), None]
    taken = False
    for (name, layer), after in zip(layers, following, strict=True):
        own = _below(state, name)
        if taken:
            taken = False
        elif type(layer) in _DENSE and x.ndim == 3:
            activation = None if after is None else dense_activations.get(type(after))
            taken = activation is not None
            x = _dense(layer, own, x, activation, workspace)
        else:
            x = _apply(layer, own, x, draw, workspace)
    return x


def _dense(
    layer: nn.Module,
    state: Mapping[str, Tensor],
    x: Tensor,
    activation: Activation | None,
    workspace: Workspace | None,
) -> Tensor:
    weight, bias = _weight(layer, state), state.get("bias")
    return dense(x, weight, bias, activation=activation, workspace=workspace, key=id(layer))


def _below(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")}


def _weight(layer: nn.Module, state: Mapping[str, Tensor]) -> Tensor:
    if isinstance(layer, SpectralLinear):
        return (state["lam_in"].unsqueeze(1) - state["lam_out"].unsqueeze(2)) * state["psi"]
    return state["weight"]


def _dropout(layer: nn.Dropout, x: Tensor, draw: Draw | None) -> Tensor:
    if not layer.training or layer.p == 0:
        return x
    if draw is None:
        raise ValueError("dropout in training mode needs `draw`, one stream of random numbers per run.")
    return x * (draw(x.shape) >= layer.p) / (1 - layer.p)
