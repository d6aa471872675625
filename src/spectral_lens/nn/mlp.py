"""The papers' dense networks."""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

from torch import Tensor, nn

from spectral_lens.nn.layers import Dense, SpectralLinear

__all__ = ["ACTIVATIONS", "mlp", "reference", "tensors"]

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "linear": nn.Identity,
}


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

    >>> mlp([6, 5, 2], activation="tanh")
    Sequential(
      (flatten): Flatten(start_dim=1, end_dim=-1)
      (layer1): SpectralLinear(6, 5, bias=True, init='chicchi')
      (tanh1): Tanh()
      (layer2): Linear(in_features=5, out_features=2, bias=True)
    )
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


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, those that no state dict holds too.

    >>> {name: tuple(tensor.shape) for name, tensor in tensors(mlp([3, 2])).items()}
    {'layer1.lam_in': (3,), 'layer1.lam_out': (2,), 'layer1.psi': (2, 3), 'layer1.bias': (2,)}
    """
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def reference(model: nn.Module, otherwise: Tensor) -> Tensor:
    """A floating tensor of the model, whose precision and device its inputs are to have; else the other one.

    >>> import torch
    >>> reference(nn.Linear(3, 2).double(), torch.ones(2, 3)).dtype
    torch.float64
    """
    return next((tensor for tensor in tensors(model).values() if tensor.is_floating_point()), otherwise)
