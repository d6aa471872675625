"""Networks in another form with the same outputs: spectral, plain again, or their linear layers multiplied into one."""

import warnings
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.nn.layers import DENSE_LAYERS, Dense, Spectral, SpectralConv2d, SpectralLinear, geometry_of
from spectral_lens.nn.plain import altered, check_plain, check_untied, copied, kind_of

__all__ = ["below", "fold", "product", "retract", "segments", "spectralize", "weight_of"]

# exact types: a subclass may use its weight in a way of its own
_CONVERTED = frozenset({nn.Linear, Dense, nn.Conv2d})
_SPECTRAL = frozenset({SpectralLinear, SpectralConv2d})

LayerState = tuple[nn.Module, Mapping[str, Tensor]]  # a layer, and the tensors by name that it is to work with


def spectralize(model: nn.Module, *, init: str = "chicchi") -> nn.Module:
    """A copy of the model with every Linear and Conv2d in spectral form and the same outputs.

    lam_in = 1, lam_out = 0 and psi = weight; what was frozen stays frozen.  `init` is what a later
    `reset_parameters` draws.  A layer that stands in several places stays one layer.
    Other layers with such weights, as Conv1d, stay as they are: a warning names them.
    Raises ValueError for a layer that hooks or a reparametrisation change, and for layers that share a weight.

    >>> model = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    >>> spectral = spectralize(model)
    >>> spectral[0]
    SpectralLinear(3, 2, bias=True, init='chicchi')
    >>> bool(torch.equal(spectral[0].psi, model[0].weight))
    True
    """

    def spectral(layer: Any) -> nn.Module | None:
        if type(layer) in (nn.Linear, Dense):
            new: Spectral = SpectralLinear(
                layer.in_features, layer.out_features, bias=layer.bias is not None, init=init, **_like(layer.weight)
            )
        elif type(layer) is nn.Conv2d:
            new = SpectralConv2d(**geometry_of(layer), bias=layer.bias is not None, init=init, **_like(layer.weight))
        else:
            return None
        trainable = layer.weight.requires_grad, layer.bias is not None and layer.bias.requires_grad
        new._take(layer.weight, layer.bias, trainable)
        return new

    left = [
        f"{name or 'the model'} ({type(layer).__name__})"
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.modules.conv._ConvNd) and kind_of(layer) not in _CONVERTED
    ]
    if left:
        warnings.warn(f"there is no spectral form of {', '.join(left)}: left as they are.", stacklevel=2)
    return _rewrite(model, _CONVERTED, spectral)


def fold(model: nn.Module) -> nn.Module:
    """A copy of the model with every spectral layer folded back into a plain one of the same outputs.

        w_ji = (lam_in_i - lam_out_j) psi_ji        [giambagli, II.A; chicchi, eq. 11]

    >>> fold(nn.Sequential(SpectralLinear(3, 2), nn.Tanh()))
    Sequential(
      (0): Linear(in_features=3, out_features=2, bias=True)
      (1): Tanh()
    )
    """

    @torch.no_grad()
    def plain(layer: nn.Module) -> nn.Module | None:
        if isinstance(layer, SpectralLinear):
            new: nn.Module = nn.Linear(
                layer.in_features, layer.out_features, bias=layer.bias is not None, **_like(layer.psi)
            )
        elif isinstance(layer, SpectralConv2d):
            new = nn.Conv2d(**layer.geometry, bias=layer.bias is not None, **_like(layer.psi))
        else:
            return None
        weight, bias = new.get_parameter("weight"), layer.bias
        weight.copy_(layer.weight).requires_grad_(
            any(each.requires_grad for each in (layer.lam_in, layer.lam_out, layer.psi))
        )
        if bias is not None:
            new.get_parameter("bias").copy_(bias).requires_grad_(bias.requires_grad)
        return new

    return _rewrite(model, _SPECTRAL, plain)


def _like(tensor: Tensor) -> dict[str, Any]:
    return {"device": tensor.device, "dtype": tensor.dtype}


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The module's children by name, a repeated one each time: `named_children` lists it once."""
    return [(name, child) for name, child in module._modules.items() if child is not None]


def _rewrite(
    model: nn.Module, kinds: Collection[type[nn.Module]], replace: Callable[[nn.Module], nn.Module | None]
) -> nn.Module:
    """A deep copy in which `replace` has exchanged the layers of these kinds; shared layers stay shared."""
    for name, layer in model.named_modules():
        if kind_of(layer) in kinds:
            check_plain(name or "the model", layer)
    check_untied(model, kinds)
    model = copied(model)
    done: dict[nn.Module, nn.Module] = {}

    def walk(module: nn.Module) -> nn.Module:
        if module not in done:
            new = replace(module)
            done[module] = module if new is None else new.train(module.training)
            if new is None:
                for name, child in _children(module):
                    module.register_module(name, walk(child))
        return done[module]

    return walk(model)


@torch.no_grad()
def retract(model: nn.Module) -> nn.Module:
    """A copy of the model in which consecutive dense layers of a Sequential have become one plain layer.

        W = W_L ... W_1,  b = b_L + W_L b_(L-1) + ...        [giambagli, II.A, the compact operator A_c of Fig. 2(b)]

    The outputs stay the same.  Plain and spectral layers can be mixed; the new layer has the name of the last one, and
    may be trained where any of them might.  Identities go; a layer alone, and whatever stands in no Sequential, stays.
    Raises ValueError for a layer among them that hooks or a reparametrisation change.

    >>> retract(nn.Sequential(nn.Linear(4, 9), SpectralLinear(9, 5), nn.ReLU(), nn.Linear(5, 2)))
    Sequential(
      (1): Linear(in_features=4, out_features=5, bias=True)
      (2): ReLU()
      (3): Linear(in_features=5, out_features=2, bias=True)
    )
    """
    for chain in (module for module in model.modules() if type(module) is nn.Sequential):
        for segment in segments(chain):
            for each in segment[: len(segment) * (len(segment) > 1)]:
                check_plain(*each)
    model = copied(model)
    for chain in [module for module in model.modules() if type(module) is nn.Sequential]:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for segment in segments(chain):
            name, layer = segment[-1]
            if len(segment) > 1:
                dense = [(each, dict(each.named_parameters())) for _, each in segment]
                weight, bias = product(dense)
                shape = weight.shape[1], weight.shape[0]
                layer = nn.Linear(*shape, bias=bias is not None).to(weight).train(chain.training)
                trained = any(parameter.requires_grad for _, own in dense for parameter in own.values())
                layer.weight.copy_(weight)
                if bias is not None:
                    layer.bias.copy_(bias)
                layer.requires_grad_(trained)
            layers[name] = layer
        chain._modules.clear()
        for name, layer in layers.items():
            chain.add_module(name, layer)
    return model


def segments(chain: nn.Sequential) -> list[list[tuple[str, nn.Module]]]:
    """The layers in order, those that do something; dense ones with nothing between them stand together.

    >>> chain = nn.Sequential(nn.Linear(4, 3), nn.Identity(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [[name for name, _ in segment] for segment in segments(chain)]
    [['0', '2'], ['3'], ['4']]
    """
    found: list[list[tuple[str, nn.Module]]] = []
    for name, layer in _children(chain):
        if type(layer) in DENSE_LAYERS and found and type(found[-1][-1][1]) in DENSE_LAYERS:
            found[-1].append((name, layer))
        elif type(layer) is not nn.Identity or altered(layer):
            found.append([(name, layer)])
    return found


def product(layers: Sequence[LayerState]) -> tuple[Float[Tensor, "*r out in"], Float[Tensor, "*r out"] | None]:
    """Weight and bias of the one layer that consecutive ones amount to, in the order in which they act.

    W = W_L ... W_1 and b = b_L + W_L b_(L-1) + ..., built from the output back, where the matrices have fewest rows.

    >>> first, second = nn.Linear(4, 9), nn.Linear(9, 2)
    >>> weight, bias = product([(layer, dict(layer.named_parameters())) for layer in (first, second)])
    >>> bool(torch.allclose(weight, second.weight @ first.weight, atol=1e-6))
    True
    """
    last, state = layers[-1]
    weight, bias = weight_of(last, state), state.get("bias")
    for layer, own in reversed(layers[:-1]):
        if (shift := own.get("bias")) is not None:
            shift = (weight @ shift.unsqueeze(-1)).squeeze(-1)
            bias = shift if bias is None else bias + shift
        weight = _times(weight, layer, own)
    return weight, bias


def _times(
    left: Float[Tensor, "*r rows out"], layer: nn.Module, state: Mapping[str, Tensor]
) -> Float[Tensor, "*r rows in"]:
    """left @ the layer's weight.  A spectral layer's weight, as large as psi, is not formed:

    left W = (left psi) diag(lam_in) - (left diag(lam_out)) psi
    """
    if not isinstance(layer, SpectralLinear):
        return left @ state["weight"]
    both = torch.cat([left, left * state["lam_out"].unsqueeze(-2)], -2) @ state["psi"]
    departing, arriving = both.chunk(2, -2)
    return departing * state["lam_in"].unsqueeze(-2) - arriving


def below(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors of the module of that name, by the names that they have in it.

    >>> list(below({"layer1.psi": torch.zeros(2), "layer10.psi": torch.zeros(3)}, "layer1"))
    ['psi']
    """
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")}


def weight_of(layer: nn.Module, state: Mapping[str, Tensor]) -> Float[Tensor, "*r out in"]:
    """The weight in direct space of a dense layer with these tensors, of one network or of many runs.

    >>> layer = SpectralLinear(3, 2)
    >>> bool(torch.equal(weight_of(layer, dict(layer.named_parameters())), layer.weight))
    True
    """
    if isinstance(layer, SpectralLinear):
        return (state["lam_in"].unsqueeze(-2) - state["lam_out"].unsqueeze(-1)) * state["psi"]
    return state["weight"]
