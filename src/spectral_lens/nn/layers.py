"""Layers written in their spectral parameters: eigenvalues of the nodes, and the eigenvectors' block between them.

A transfer from N departure to M destination nodes is the (N + M)-square matrix A = Phi Lambda Phi^-1 with
Phi = [[I, 0], [psi, I]], hence Phi^-1 = 2 I - Phi.  Only its lower left block acts:

    w_ji = (lam_in_i - lam_out_j) psi_ji        [giambagli, II.A; chicchi, eq. 11]
"""

from collections.abc import Callable, Collection
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

__all__ = [
    "CONVOLUTIONS", "DENSE_LAYERS", "INITIAL", "PARAMETERS", "TRANSPOSED", "Dense", "Eigen", "Initial", "Spectral",
    "SpectralConv2d", "SpectralLinear", "eigen", "geometry_of",
]  # fmt: skip

PARAMETERS = ("lam_in", "lam_out", "psi", "bias")


class Initial(NamedTuple):
    """How a paper starts its spectral parameters, and which of them it trains."""

    lam_in: Callable[[Tensor], Tensor]
    lam_out: Callable[[Tensor], Tensor]
    psi: Callable[[Tensor], Tensor]
    train: tuple[str, ...]


def _uniform(bound: float) -> Callable[[Tensor], Tensor]:
    return lambda tensor: nn.init.uniform_(tensor, -bound, bound)


INITIAL = {
    # [giambagli, Fig. 2]: eigenvectors U[-0.5, 0.5], eigenvalues U[-0.01, 0.01] ...
    "giambagli": Initial(_uniform(0.01), _uniform(0.01), _uniform(0.5), PARAMETERS),
    # ... and, behind the first transfer, the departure nodes' eigenvalues fixed at 1  [giambagli, II.A]
    "giambagli-inner": Initial(nn.init.ones_, _uniform(0.01), _uniform(0.5), ("lam_out", "psi", "bias")),
    # [chicchi, 1.1 and 5]: departure eigenvalues 1, destination eigenvalues fixed at 0, Glorot uniform eigenvectors
    "chicchi": Initial(nn.init.ones_, nn.init.zeros_, nn.init.xavier_uniform_, ("lam_in", "psi", "bias")),
}


class Eigen(NamedTuple):
    """A = Phi diag(lam) Phi^-1; departure nodes first, then destination nodes.

    For a convolution the matrices carry the kernel's offsets as leading axes; the eigenvalues are the same at each.
    """

    Phi: Float[Tensor, "*offsets nodes nodes"]
    lam: Float[Tensor, " nodes"]
    A: Float[Tensor, "*offsets nodes nodes"]


def eigen(lam_in: Float[Tensor, " in"], lam_out: Float[Tensor, " out"], psi: Float[Tensor, "*offsets out in"]) -> Eigen:
    """Eigenvectors, eigenvalues and matrix of one transfer: A = Phi Lambda (2 I - Phi).  [chicchi, eq. 8 to 10]

    >>> import torch
    >>> Phi, lam, A = eigen(torch.tensor([1.0, 2.0]), torch.tensor([0.5]), torch.tensor([[3.0, 4.0]]))
    >>> A[2, :2]  # (lam_in - lam_out) psi
    tensor([1.5000, 6.0000])
    """
    departures = lam_in.numel()
    lam = torch.cat([lam_in, lam_out])
    identity = torch.eye(lam.numel(), dtype=psi.dtype, device=psi.device)
    Phi = identity.expand(*psi.shape[:-2], -1, -1).clone()
    Phi[..., departures:, :departures] = psi
    return Eigen(Phi, lam, (Phi * lam) @ (2 * identity - Phi))


class Spectral(nn.Module):
    """What dense and convolutional layers share: the four parameters, how they start and which are trained."""

    lam_in: nn.Parameter
    lam_out: nn.Parameter
    psi: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        inputs: int,
        outputs: int,
        psi_shape: tuple[int, ...],
        *,
        bias: bool,
        init: str,
        train: Collection[str] | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        if inputs < 1 or outputs < 1:
            raise ValueError(f"a layer needs at least one input and one output, got {inputs} and {outputs}.")
        if init not in INITIAL:
            raise ValueError(f"init={init!r} is unknown: use one of {', '.join(map(repr, INITIAL))}.")
        self.init = init
        train = INITIAL[init].train if train is None else train
        if unknown := set(train) - set(PARAMETERS):
            raise ValueError(f"train={sorted(unknown)} are no parameters of a spectral layer: {', '.join(PARAMETERS)}.")

        def parameter(name: str, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype), requires_grad=name in train)

        self.lam_in = parameter("lam_in", inputs)
        self.lam_out = parameter("lam_out", outputs)
        self.psi = parameter("psi", *psi_shape)
        self.register_parameter("bias", parameter("bias", outputs) if bias else None)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the initial values of the paper named by `init`, as torch's layers do; the bias starts at 0."""
        start = INITIAL[self.init]
        start.lam_in(self.lam_in)
        start.lam_out(self.lam_out)
        start.psi(self.psi)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @torch.no_grad()
    def _take(self, weight: Tensor, bias: Tensor | None, trainable: tuple[bool, bool]) -> None:
        """Stand for a plain layer of that weight: lam_in = 1, lam_out = 0 and psi = weight give it exactly."""
        self.lam_in.fill_(1)
        self.lam_out.zero_()
        self.psi.copy_(weight)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)
            self.bias.requires_grad_(trainable[1])
        for parameter in (self.lam_in, self.psi):
            parameter.requires_grad_(trainable[0])
        self.lam_out.requires_grad_(trainable[0] and self.lam_out.requires_grad)


class SpectralLinear(Spectral):
    """Dense layer written in its spectral parameters.

        w_ji = (lam_in_i - lam_out_j) psi_ji        [giambagli, II.A; chicchi, eq. 11]

    Parameters: `lam_in` (in), `lam_out` (out), `psi` (out x in), `bias` (out).  `init` names the paper whose initial
    values are drawn ("chicchi": lam_in = 1, lam_out = 0 fixed, psi Glorot uniform; "giambagli": psi ~ U[-0.5, 0.5],
    eigenvalues ~ U[-0.01, 0.01]; "giambagli-inner", of its later layers: the same with lam_in = 1 fixed); `train` names
    the trainable parameters, by default those of that paper.
    Raises ValueError for unknown names and for empty sizes.

    >>> import torch
    >>> layer = SpectralLinear(4, 3)
    >>> layer(torch.zeros(5, 4)).shape
    torch.Size([5, 3])
    >>> sorted(name for name, parameter in layer.named_parameters() if parameter.requires_grad)
    ['bias', 'lam_in', 'psi']
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        init: str = "chicchi",
        train: Collection[str] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        shape = (out_features, in_features)
        super().__init__(
            in_features, out_features, shape, bias=bias, init=init, train=train, device=device, dtype=dtype
        )

    @property
    def weight(self) -> Float[Tensor, "out in"]:
        """The weights in direct space."""
        return (self.lam_in - self.lam_out[:, None]) * self.psi

    def forward(self, x: Float[Tensor, "*n in"]) -> Float[Tensor, "*n out"]:
        return F.linear(x, self.weight, self.bias)

    def eigen_decomposition(self) -> Eigen:
        """(Phi, lam, A) with A = Phi diag(lam) Phi^-1, whose lower left block is the weight; departure nodes first."""
        return eigen(self.lam_in, self.lam_out, self.psi)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, init={self.init!r}"


class SpectralConv2d(Spectral):
    """Convolution written in its spectral parameters: one eigenvalue for each input and each output channel.

        w_ji(u, v) = (lam_in_i - lam_out_j) psi_ji(u, v)        [after chicchi, eq. 11, at every offset of the kernel]

    Takes nn.Conv2d's arguments.  `psi` is out x (in / groups) x height x width.  Everything else as SpectralLinear.

    >>> import torch
    >>> layer = SpectralConv2d(3, 8, 5, padding=2)
    >>> layer(torch.zeros(2, 3, 28, 28)).shape, layer.lam_in.shape
    (torch.Size([2, 8, 28, 28]), torch.Size([3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: Literal["zeros", "reflect", "replicate", "circular"] = "zeros",
        init: str = "chicchi",
        train: Collection[str] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        # torch's own layer, without memory, checks the geometry and convolves with the weight that it is handed;
        # inside a tuple it is no submodule, so nobody meets its empty parameters
        plain = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, "meta"
        )
        self._plain = (plain,)
        shape = tuple(plain.weight.shape)
        super().__init__(
            in_channels, out_channels, shape, bias=bias, init=init, train=train, device=device, dtype=dtype
        )

    @property
    def geometry(self) -> dict[str, Any]:
        """The arguments of the nn.Conv2d of the same shape: channels, kernel, stride, padding, dilation, groups."""
        return geometry_of(self._plain[0])

    @property
    def weight(self) -> Float[Tensor, "out in_per_group height width"]:
        """The kernel in direct space."""
        groups = self._plain[0].groups
        departure = self.lam_in.view(groups, 1, -1).expand(-1, self.lam_out.numel() // groups, -1)
        difference = departure.flatten(0, 1) - self.lam_out[:, None]
        return difference[..., None, None] * self.psi

    def forward(self, x: Float[Tensor, "*n in height width"]) -> Float[Tensor, "*n out height_out width_out"]:
        weights = {"weight": self.weight} if self.bias is None else {"weight": self.weight, "bias": self.bias}
        return functional_call(self._plain[0], weights, (x,))

    def eigen_decomposition(self) -> Eigen:
        """(Phi, lam, A) at each offset of the kernel, height x width x nodes x nodes; the channels are the nodes."""
        groups, inputs, outputs = self._plain[0].groups, self.lam_in.numel(), self.lam_out.numel()
        height, width = self.psi.shape[2:]
        psi = self.psi.new_zeros(groups, outputs // groups, groups, inputs // groups, height, width)
        of = torch.arange(groups, device=psi.device)
        psi[of, :, of] = self.psi.unflatten(0, (groups, -1))  # a group sees its own channels only
        return eigen(self.lam_in, self.lam_out, psi.flatten(2, 3).flatten(0, 1).permute(2, 3, 0, 1))

    def extra_repr(self) -> str:
        return f"{self._plain[0].extra_repr()}, init={self.init!r}"


class Dense(nn.Linear):
    """nn.Linear that starts like Keras' layer of this name: Glorot uniform weights, bias 0.

    >>> Dense(4, 3)
    Dense(in_features=4, out_features=3, bias=True)
    """

    @torch.no_grad()
    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


# exact types: a subclass may do something else
DENSE_LAYERS: frozenset[type[nn.Module]] = frozenset({nn.Linear, Dense, SpectralLinear})
TRANSPOSED: frozenset[type[nn.Module]] = frozenset({nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d})
CONVOLUTIONS: frozenset[type[nn.Module]] = frozenset({nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED})


def geometry_of(layer: Any) -> dict[str, Any]:
    """The arguments that make a convolution of the same shape: channels, kernel, stride, padding, dilation, groups.

    >>> geometry_of(nn.Conv2d(3, 8, 5))["kernel_size"], geometry_of(nn.ConvTranspose1d(3, 8, 5))["output_padding"]
    ((5, 5), (0,))
    """
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    transposed = ["output_padding"] if isinstance(layer, tuple(TRANSPOSED)) else []
    return {name: getattr(layer, name) for name in names + transposed}
