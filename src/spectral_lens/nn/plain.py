"""Layers that compute what their type and their parameters say, and plain copies of those that compute otherwise.

Hooks, pruning and reparametrisations change what a layer computes, but neither its type nor, some of them, the name of
its weight.  Whatever rewrites a layer, or reads its weight, asks here first.
"""

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from spectral_lens.nn.layers import CONVOLUTIONS, Dense, SpectralConv2d, SpectralLinear, geometry_of

__all__ = ["AFFINE", "altered", "as_plain", "check_plain", "check_untied", "copied", "kind_of"]

# exact types: a subclass may do something else
AFFINE: frozenset[type[nn.Module]] = frozenset({nn.Linear, Dense, SpectralLinear, SpectralConv2d, *CONVOLUTIONS})

_OF_WEIGHTS = (WeightNorm, SpectralNorm, BasePruningMethod)  # hooks that compute a weight before each call
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


_COMPUTED, _HOOKED, _OWN, _REPARAMETRISED = (
    "has a weight that a hook computes", "has hooks", "has a forward of its own", "is reparametrised",
)  # fmt: skip
_WAYS = {
    _COMPUTED: "prune.remove, remove_weight_norm or remove_spectral_norm",
    _HOOKED: "remove its hooks",
    _OWN: "del layer.forward",
    _REPARAMETRISED: "parametrize.remove_parametrizations",
}


def kind_of(layer: nn.Module) -> type[nn.Module]:
    """The type of a layer, of a reparametrised one that which it had before.

    >>> kind_of(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))).__name__
    'Linear'
    """
    return parametrize.type_before_parametrizations(layer) if parametrize.is_parametrized(layer) else type(layer)


def altered(layer: nn.Module) -> str:
    """What makes a layer compute something else than its type and its parameters say; "" where nothing does.

    >>> altered(nn.Linear(3, 2)), altered(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    ('', 'is reparametrised')
    """
    return _REPARAMETRISED if parametrize.is_parametrized(layer) else _hooked(layer)


def check_plain(name: str, layer: nn.Module, *, reparametrised: bool = False) -> None:
    """Raises ValueError that names a layer, `name` in its model, which computes otherwise than its type says.

    reparametrised: whether it may be, with torch's present way, which keeps all in parameters.

    >>> check_plain("0", nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    Traceback (most recent call last):
    ValueError: 0 (Linear) is reparametrised: make it a plain layer first (parametrize.remove_parametrizations).
    """
    if found := _hooked(layer) if reparametrised else altered(layer):
        kind = kind_of(layer).__name__
        raise ValueError(f"{name} ({kind}) {found}: make it a plain layer first ({_WAYS[found]}).")


def _hooked(layer: nn.Module) -> str:
    if any(isinstance(hook, _OF_WEIGHTS) for hook in layer._forward_pre_hooks.values()):
        return _COMPUTED
    if _other_hooks(layer):
        return _HOOKED
    return _OWN if "forward" in vars(layer) else ""


def check_untied(model: nn.Module, kinds: Collection[type[nn.Module]]) -> None:
    """Raises ValueError that names two layers which share a parameter, one of these kinds: rewritten, it would be two.

    >>> model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    >>> model[1].weight = model[0].weight
    >>> check_untied(model, [nn.Linear])
    Traceback (most recent call last):
    ValueError: 0 and 1 share a parameter, which would become two: give each its own, or use one layer in both places.
    """
    seen: dict[int, tuple[str, nn.Module]] = {}
    for name, layer in model.named_modules():
        for parameter in layer.parameters(recurse=False):
            first, owner = seen.setdefault(id(parameter), (name, layer))
            if owner is not layer and not {kind_of(owner), kind_of(layer)}.isdisjoint(kinds):
                raise ValueError(
                    f"{first} and {name} share a parameter, which would become two: give each its own, or use one "
                    "layer in both places."
                )


def copied(model: nn.Module) -> nn.Module:
    """A deep copy; raises ValueError that names the layers where torch makes none, as old weight_norm hinders it.

    >>> copied(nn.Linear(3, 2))
    Linear(in_features=3, out_features=2, bias=True)
    """
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        changed = [f"{name or 'the model'} {found}" for name, part in model.named_modules() if (found := altered(part))]
        raise ValueError(f"the model cannot be copied: {'; '.join(changed) or error}.") from error


@torch.no_grad()
def as_plain(layer: Any) -> nn.Module:
    """The layer of torch's own with the weight that this one works with: folded, pruned or normalised.

    layer: one of `AFFINE`, reparametrised or not; hooks that do not compute its weight are left behind.  What is plain
    already is given back itself.

    >>> as_plain(SpectralLinear(3, 2))
    Linear(in_features=3, out_features=2, bias=True)
    """
    kind = kind_of(layer)
    if kind not in (SpectralLinear, SpectralConv2d) and not altered(layer):
        return layer
    for hook in layer._forward_pre_hooks.values():
        if isinstance(hook, _OF_WEIGHTS):
            hook(layer, ())  # sets the weight anew, as before each call
    weight, bias = layer.weight.detach(), None if layer.bias is None else layer.bias.detach()
    like: dict[str, Any] = {"bias": bias is not None, "device": weight.device, "dtype": weight.dtype}
    if kind in (nn.Linear, Dense, SpectralLinear):
        new: Any = nn.Linear(weight.shape[1], weight.shape[0], **like)
    else:
        geometry = layer.geometry if kind is SpectralConv2d else geometry_of(layer)
        new = (nn.Conv2d if kind is SpectralConv2d else kind)(**geometry, **like)
    new.weight.copy_(weight)
    if bias is not None:
        new.bias.copy_(bias)
    return new.train(layer.training)


def _other_hooks(layer: nn.Module) -> bool:
    return any(not isinstance(hook, _OF_WEIGHTS) for kind in _HOOKS for hook in getattr(layer, kind).values())
