"""The derivative of every output of every sample by the parameters, layer by layer and in Kronecker factors.

A layer z_t = W a_t, at one position t of a dense layer or at all positions of a convolution, with the output gradients
delta_t = df / dz_t, has the gradient sum_t delta_t a_t^T.  The output gradients of all layers are pulled back together,
to zeros that are added behind each layer; the gradient by the parameters, as long as these, need not be formed.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.func import vjp, vmap
from torch.nn import functional as F

from spectral_lens._runtime.conv_backward import FastConvBackward, Pair
from spectral_lens.nn._checks import Outputs, Tried, differentiating, readout, same
from spectral_lens.nn.graphs import Graph, module_of, trace, trained_parameters
from spectral_lens.nn.layers import DENSE_LAYERS, Dense, SpectralConv2d, SpectralLinear
from spectral_lens.nn.plain import altered
from spectral_lens.operators._linearize import called, trainable

_ALIVE = 4  # tensors as large as the largest layer's output gradients that pulling back holds for a while


class KroneckerFactors(NamedTuple):
    """Gradients by some parameters: sum_t output_gradients[n, k, :, t] activations[n, t, :]^T for each n and k.

    activations: None where the output gradients are the gradients by the parameters themselves.
    """

    output_gradients: Float[Tensor, "n k o t"]
    activations: Float[Tensor, "n t i"] | None = None

    def split(self, samples: int) -> list["KroneckerFactors"]:
        """The same of so many samples at a time."""
        gradients = self.output_gradients.split(samples)
        activations = [None] * len(gradients) if self.activations is None else self.activations.split(samples)
        return [KroneckerFactors(*each) for each in zip(gradients, activations, strict=True)]


class PerSampleGradients:
    """A model, or its graph, whose gradients are asked for; tried: what `checked` has found at two samples.

    Layers with trainable parameters are called once each, with one tensor; what they do with it is known for nn.Linear,
    Dense, SpectralLinear, nn.Conv2d, SpectralConv2d, and nn.BatchNorm1d and 2d in evaluation mode; for others, and for
    those that hooks or reparametrisations change, it is worked out sample by sample.
    Raises ValueError for models that cannot be followed, that share parameters, or that have none to train.
    """

    def __init__(self, model: nn.Module, tried: Tried, outputs: Outputs = None) -> None:
        self.graph = _followed(model)
        self.outputs = outputs
        with torch.no_grad():
            run = _Probed(self.graph, None)
            out = run.run(tried.x.clone())
        if not same(out[0], tried.out[0]):
            raise ValueError("the model, followed layer by layer, does not give its own outputs.")
        self.rows = len(readout(out, outputs))
        self.shapes = run.shapes
        each = self.rows * out.element_size()
        gradients = [shape.numel() for shape in run.shapes.values()]
        sizes = [
            _factor_size(self.graph.get_submodule(name), run.inputs[name][0], shape)
            for name, shape in run.shapes.items()
        ]
        self.bytes = each * (sum(gradients) + sum(sizes))  # of a sample's gradients, at most
        # what a CPU's caches and a GPU's memory take well, and rows that fill a matrix product: benchmarks/stability.py
        amount, rows = (128_000_000, 1024) if out.device.type == "cpu" else (2_000_000_000, 16384)
        working = self.bytes + _ALIVE * each * max(gradients)
        self.batch_size = max(1, min(amount // working, rows // self.rows))

    def factors(self, x: Float[Tensor, "n *d"]) -> list[KroneckerFactors]:
        """The gradients of these samples, layer after layer."""

        def forward(probes: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            run = _Probed(self.graph, probes)
            return run.run(x.clone()), run.inputs  # a copy for models that work in place

        with torch.no_grad(), differentiating():
            probes = {name: x.new_zeros(len(x), *shape) for name, shape in self.shapes.items()}
            with FastConvBackward():
                out, pull, inputs = vjp(forward, probes, has_aux=True)  # type: ignore[misc]
            gradients = vmap(lambda row: pull(row.expand_as(out))[0])(readout(out, self.outputs))
            layers = [
                (self.graph.get_submodule(name), inputs[name], gradients[name].movedim(0, 1)) for name in self.shapes
            ]
            return [each for layer in layers for each in _of_layer(*layer)]


# ---- the network, followed


class _Probed(fx.Interpreter):
    """Runs a graph and keeps what the layers with trainable parameters see; with probes, adds them to their outputs."""

    def __init__(self, graph: Graph, probes: dict[str, Tensor] | None) -> None:
        super().__init__(graph)
        self.probes = probes
        self.inputs: dict[str, Tensor] = {}
        self.shapes: dict[str, torch.Size] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = super().call_module(target, args, kwargs)
        if not trained_parameters(self.fetch_attr(target)):
            return out
        if not isinstance(out, Tensor):
            raise ValueError(f"{type(self.fetch_attr(target)).__name__} gives more than one tensor.")
        self.shapes[target] = out.shape[1:]
        self.inputs[target] = args[0].clone()  # what follows may work in place
        return out if self.probes is None else out + self.probes[target]


def _followed(model: nn.Module) -> Graph:
    """The graph of a model whose gradients are known layer by layer; raises ValueError that names what has none."""
    graph = trace(model)
    trainable(graph)
    met: set[int] = set()
    for node in graph.graph.nodes:
        if node.op == "get_attr" and getattr(_attribute(graph, node), "requires_grad", False):
            raise ValueError(f"{node.target} is used outside of its layer: freeze it, or call the layer.")
        if node.op != "call_module":
            continue
        layer = module_of(graph, node)
        own = trained_parameters(layer)
        if met & {id(each) for each in own.values()}:
            raise ValueError(
                f"{node.target} shares parameters with an earlier call: give each call its own, or freeze them."
            )
        if own and (len(node.args) != 1 or node.kwargs):
            raise ValueError(f"{node.target} ({type(layer).__name__}) is called with more than its input.")
        met |= {id(each) for each in own.values()}
    return graph


def _factor_size(layer: nn.Module, a: Tensor, out: torch.Size) -> int:
    """How many numbers a gradient takes besides its output gradients: its parameters, of a dense layer far less."""
    dense = len(out) == 1 and type(layer) in DENSE_LAYERS
    return 3 * (a.numel() + out.numel()) if dense else sum(each.numel() for each in trained_parameters(layer).values())


def _attribute(graph: fx.GraphModule, node: fx.Node) -> Any:
    parent, _, name = str(node.target).rpartition(".")
    return getattr(graph.get_submodule(parent), name)


# ---- what each layer makes of its inputs and output gradients


def _of_layer(layer: Any, a: Tensor, delta: Tensor) -> Iterator[KroneckerFactors]:
    """a: what it saw, (n, *d); delta: the gradients by its outputs, (n, k, *e)."""
    kind, trained = type(layer), trained_parameters(layer)
    if altered(layer):
        yield _any(trained, layer, a, delta)
    elif kind in (nn.Linear, Dense):
        yield from _affine(trained, *_positions(a, delta))
    elif kind is SpectralLinear:
        yield from _spectral(trained, layer.lam_in, layer.lam_out, layer.psi, *_positions(a, delta))
    elif kind is nn.Conv2d:
        for patches, gradients in _groups(vars(layer), a, delta):
            yield from _affine(trained, patches, gradients)
    elif kind is SpectralConv2d:
        groups = layer.geometry["groups"]
        own = [each.chunk(groups) for each in (layer.lam_in, layer.lam_out, layer.psi.flatten(1))]
        for k, (patches, gradients) in enumerate(_groups(layer.geometry, a, delta)):
            yield from _spectral(trained, own[0][k], own[1][k], own[2][k], patches, gradients)
    elif kind in (nn.BatchNorm1d, nn.BatchNorm2d):
        yield from _normalisation(trained, layer, a, delta)
    else:
        yield _any(trained, layer, a, delta)


def _positions(a: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    """A dense layer's activations (n, t, i) and output gradients (n, k, o, t); t counts the axes in between."""
    return a.reshape(len(a), -1, a.shape[-1]), delta.reshape(*delta.shape[:2], -1, delta.shape[-1]).mT


def _groups(geometry: dict[str, Any], a: Tensor, delta: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """A convolution's activations (n, t, i), the patch under the kernel at t, and output gradients (n, k, o, t)."""
    groups, kernel, dilation = geometry["groups"], geometry["kernel_size"], geometry["dilation"]
    padding = geometry["padding"]
    if isinstance(padding, str):
        whole = [d * (size - 1) if padding == "same" else 0 for d, size in zip(dilation, kernel, strict=True)]
        sides = [(each // 2, each - each // 2) for each in whole]
    else:
        sides = [(each, each) for each in padding]
    mode = geometry["padding_mode"]
    a = F.pad(a, (*sides[1], *sides[0]), mode="constant" if mode == "zeros" else mode)
    gradients = delta.flatten(3)
    for channels, own in zip(a.chunk(groups, 1), gradients.chunk(groups, 2), strict=True):
        yield _patches(channels, kernel, dilation, geometry["stride"]).mT, own


def _patches(a: Tensor, kernel: Pair, dilation: Pair, stride: Pair) -> Float[Tensor, "n i t"]:
    """What F.unfold gives, copied row by row, which is several times as fast."""
    for axis, size, apart, step in zip((2, 3), kernel, dilation, stride, strict=True):
        a = a.unfold(axis, apart * (size - 1) + 1, step)[..., ::apart]
    return a.permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3)


def _affine(trained: dict[str, Tensor], a: Tensor, delta: Tensor) -> Iterator[KroneckerFactors]:
    """delta a^T for the weight; delta for the bias, which is the weight of an input that is one."""
    single = a.shape[1] == 1
    if "weight" in trained:
        yield KroneckerFactors(delta, _with_one(a) if single and "bias" in trained else a)
    if "bias" in trained and not (single and "weight" in trained):
        yield KroneckerFactors(delta.sum(3, keepdim=True))


def _with_one(a: Tensor) -> Tensor:
    return torch.cat([a, torch.ones_like(a[..., :1])], -1)


def _spectral(
    trained: dict[str, Tensor], lam_in: Tensor, lam_out: Tensor, psi: Tensor, a: Tensor, delta: Tensor
) -> Iterator[KroneckerFactors]:
    """What the parameters of w_ji = (lam_in_i - lam_out_j) psi_ji make of the gradient g_ji = delta_j a_i by w:

    by psi_ji (lam_in_i - lam_out_j) g_ji, by lam_in_i sum_j psi_ji g_ji, by lam_out_j -sum_i psi_ji g_ji.
    psi: (o, i); i counts the kernel's offsets too, which share an eigenvalue.
    """
    offsets = psi.shape[1] // len(lam_in)
    lam_in = lam_in.repeat_interleave(offsets)
    own: list[Tensor] = [delta.sum(3)] if "bias" in trained else []
    if a.shape[1] == 1:  # w need not be formed
        if "psi" in trained:
            yield _eigenvectors(lam_in, lam_out, a, delta)
        if "lam_in" in trained:
            own.append((a * (delta.squeeze(3) @ psi)).unflatten(2, (-1, offsets)).sum(3))
        if "lam_out" in trained:
            own.append(-delta.squeeze(3) * (a @ psi.mT))
    else:
        g = (delta.flatten(1, 2) @ a).unflatten(1, delta.shape[1:3])
        if "psi" in trained:
            own.append(((lam_in - lam_out[:, None]) * g).flatten(2))
        if "lam_in" in trained:
            own.append((psi * g).sum(2).unflatten(2, (-1, offsets)).sum(3))
        if "lam_out" in trained:
            own.append(-(psi * g).sum(3))
    if own:
        yield KroneckerFactors(torch.cat(own, 2).unsqueeze(3))


def _eigenvectors(lam_in: Tensor, lam_out: Tensor, a: Tensor, delta: Tensor) -> KroneckerFactors:
    """(lam_in_i - lam_out_j) delta_j a_i, two Kronecker factors: delta (lam_in a)^T and -(lam_out delta) a^T.

    Both eigenvalues are taken from the mean of lam_out, which changes no difference: less cancels, and one factor is
    left where all of lam_out agree.
    """
    middle = lam_out.mean()
    near, far = lam_in - middle, (lam_out - middle)[:, None]
    if not far.any():
        return KroneckerFactors(delta, near * a)
    return KroneckerFactors(torch.cat([delta, -far * delta], 3), torch.cat([near * a, a], 1))


def _normalisation(trained: dict[str, Tensor], layer: Any, a: Tensor, delta: Tensor) -> Iterator[KroneckerFactors]:
    """delta times the normalised input for the scale, delta for the shift; each summed over the positions."""
    whole = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    parts = {"weight": delta * whole.unsqueeze(1), "bias": delta}
    own = [parts[name].reshape(*delta.shape[:3], -1).sum(3) for name in trained]
    yield KroneckerFactors(torch.cat(own, 2).unsqueeze(3))


def _any(trained: dict[str, Tensor], layer: nn.Module, a: Tensor, delta: Tensor) -> KroneckerFactors:
    """The gradients of a layer that nothing is known of but that it treats each sample on its own."""

    def of_one(a: Tensor, delta: Tensor) -> Tensor:
        _, pull = vjp(lambda own: called(layer, own, a.unsqueeze(0)).squeeze(0), trained)  # type: ignore[misc]
        return torch.cat([each.flatten() for each in pull(delta)[0].values()])

    # samples and outputs in one: one transform in another gives wrong gradients of nn.PReLU (torch 2.13)
    found = vmap(of_one)(a.repeat_interleave(delta.shape[1], 0), delta.flatten(0, 1))
    return KroneckerFactors(found.view(*delta.shape[:2], -1, 1))
