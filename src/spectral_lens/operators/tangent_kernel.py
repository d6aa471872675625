"""The tangent kernel, and the norms of the derivative by the parameters, without gradients as long as these.

    K[(x, a), (x', b)] = <grad_theta f_a(x), grad_theta f_b(x')>        [katende: K = J_theta J_theta^T]

Gradients come layer by layer in factors (`gradients`), and so do their inner products: (a . a') (delta . delta') for a
dense layer; for a convolution a sum over pairs of places, or the layer's own gradients where these are less work.
"""

import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime import memory
from spectral_lens.operators._per_sample import Factors, Network
from spectral_lens.operators._pullback import Outputs, checked
from spectral_lens.operators.jacobian import Norms, finite

_SHARE = 0.9  # of the free memory may be taken
_THIN = 3  # times as long takes a product of thin matrices, as those over pairs of places are
_ROWS = 256, 4096  # of a block of the kernel, on a CPU and on a GPU
_LINES = 256  # samples times places at a time

Block = tuple[slice, tuple[Factors, ...]]


def tangent_kernel(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    other: Float[Tensor, "m *e"] | None = None,
    outputs: Outputs = None,
    trace: bool = False,
    chunk: int | None = None,
) -> Float[Tensor, "n m *kk"]:
    """K of the trainable parameters, (n, m, k, k): samples first, then outputs.  `matrix` makes it (n k, m k).

    other: the second inputs, by default the first.  outputs: as in `explain.gradients.gradient`.
    trace: only the sum over the outputs a of K[(x, a), (x', a)], (n, m); over k it is their mean.
    chunk: how many samples' gradients to hold at a time, of the first and of the second inputs; by default all, or as
    many as the free memory takes.  Those of the second inputs are computed again for each chunk of the first.
    Raises ValueError for a model in training mode, that cannot be followed or has nothing to train, and for inputs that
    are empty or not finite, or whose gradients are not; MemoryError where the kernel itself does not fit.
    """
    for inputs in (x,) if other is None else (x, other):
        checked(model, inputs)
    if other is not None and other.shape[1:] != x.shape[1:]:
        raise ValueError(f"other is {tuple(other.shape)}: its samples must be of x's shape, {tuple(x.shape[1:])}.")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 sample at a time.")
    second = x if other is None else other
    network = Network(model, x, outputs)
    k = 1 if trace else network.rows
    fits = _fitting(network, x, len(second), k)
    chunk = chunk or fits
    few = max(1, _ROWS[x.device.type != "cpu"] // k)

    def blocks(inputs: Tensor, start: int) -> Iterator[Block]:
        """The gradients of the chunk that starts there, few samples at a time, so that half of a square is not done."""
        for some in inputs[start : start + chunk].split(network.at_a_time):
            layers = [_shorter(each, len(second), trace).split(few) for each in network.factors(some)]
            for factors in zip(*layers, strict=True):
                stop = start + len(factors[0].signals)
                yield slice(k * start, k * stop), factors
                start = stop

    K = x.new_zeros(k * len(x), k * len(second))
    for i in range(0, len(x), chunk):
        left = list(blocks(x, i))
        for j in range(0 if other is not None else i, len(second), chunk):
            right = left if other is None and i == j else list(blocks(second, j))
            for (rows, mine), (columns, theirs) in itertools.product(left, right):
                if other is None and columns.start < rows.start:
                    continue  # the kernel is symmetric
                for one, two in zip(mine, theirs, strict=True):
                    _add(K[rows, columns], one, two, trace)
                if other is None and columns.start > rows.start:
                    K[columns, rows] = K[rows, columns].mT
    finite(K)
    return K if trace else K.view(len(x), k, len(second), k).transpose(1, 2)


def matrix(kernel: Float[Tensor, "n m k k"]) -> Float[Tensor, "nk mk"]:
    """The kernel with all outputs of a sample in consecutive rows and columns, symmetric without `other`."""
    return kernel.transpose(1, 2).flatten(2).flatten(0, 1)


def parameter_norms(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Norms:
    """||J_theta||_2 and ||J_theta||_F of each sample, and ||grad_theta f_a|| of each output, by what is trainable.

    From the k x k blocks on the diagonal of the tangent kernel.  chunk: samples at a time.  Errors as there.
    """
    checked(model, x)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk} must be at least 1 sample at a time.")
    network = Network(model, x, outputs)
    parts = []
    for some in x.split(chunk or network.at_a_time):
        block = torch.stack([_block(_shorter(each, 1, False)) for each in network.factors(some)]).sum(0)
        square = torch.linalg.eigvalsh(finite(block).double())[:, -1].clamp_(min=0).to(block)
        length = block.diagonal(dim1=1, dim2=2)
        parts.append(Norms(square.sqrt(), length.sum(1).sqrt(), length.sqrt()))
    return Norms(*map(torch.cat, zip(*parts, strict=True)))


# ---- inner products


def _shorter(each: Factors, pairs: int, trace: bool) -> Factors:
    """The gradients themselves, where these make the inner products of a sample with `pairs` others less work."""
    if each.inputs is None or each.inputs.shape[1] == 1:
        return each
    (_, k, o, t), i = each.signals.shape, each.inputs.shape[2]
    inner = k if trace else k * k
    as_gradients = k * o * t * i / pairs + inner * o * i
    over_places = t * t * (i + k * o)
    if (over_places if trace else _THIN * (over_places + inner * o * t)) < as_gradients:
        return each
    return Factors((each.signals.flatten(1, 2) @ each.inputs).view(-1, k, o * i, 1))


def _add(block: Tensor, one: Factors, two: Factors, trace: bool) -> None:
    """Adds the inner products of n samples' gradients with m others' to the block, (n k, m k), or (n, m) of a trace."""
    signals, inputs = two.partner or (two.signals, two.inputs)
    if one.inputs is None or inputs is None or inputs.shape[1] == 1:
        mine, theirs = (each.flatten(1) if trace else each.flatten(2).flatten(0, 1) for each in (one.signals, signals))
        if one.inputs is None or inputs is None:
            block.addmm_(mine, theirs.mT)
            return
        k = 1 if trace else signals.shape[1]
        alike = one.inputs.flatten(1) @ inputs.flatten(1).mT
        block.addcmul_(mine @ theirs.mT, alike.repeat_interleave(k, 0).repeat_interleave(k, 1))
    elif trace:
        _trace_over_places(block, one, signals, inputs)
    else:
        _over_places(block, one, signals, inputs)


def _over_places(block: Tensor, one: Factors, signals: Tensor, inputs: Tensor) -> None:
    """sum_tt' (a_t . a'_t') (delta_t . delta'_t'), one sample with all others at a time."""
    theirs = signals.flatten(2)
    m, k, _ = theirs.shape
    for into, delta, a in zip(block.split(k), one.signals, one.inputs, strict=True):  # type: ignore[arg-type]
        mine = (delta.flatten(0, 1) @ (a @ inputs.mT)).view_as(theirs)
        into.unflatten(1, (m, k)).add_((mine @ theirs.mT).movedim(1, 0))


def _trace_over_places(block: Tensor, one: Factors, signals: Tensor, inputs: Tensor) -> None:
    """The same of the outputs' sum, for which the signals' inner products come first, those of all outputs in one."""
    n, t, _ = inputs.shape
    at_a_time = max(1, _LINES // t)
    theirs, others = signals.flatten(1, 2).mT.flatten(0, 1), inputs.flatten(0, 1)
    mine = zip(one.signals.split(at_a_time), one.inputs.split(at_a_time), strict=True)  # type: ignore[union-attr]
    for into, (delta, a) in zip(block.split(at_a_time), mine, strict=True):
        alike = (delta.flatten(1, 2).mT.flatten(0, 1) @ theirs.mT) * (a.flatten(0, 1) @ others.mT)
        into.add_(alike.view(-1, t, n, t).sum((1, 3)))


def _block(each: Factors) -> Float[Tensor, "n k k"]:
    """The inner products of each sample's gradients with each other."""
    signals, inputs = each.partner or (each.signals, each.inputs)
    mine, theirs = each.signals, signals.flatten(2)
    if each.inputs is not None and inputs is not None:
        mine = mine.flatten(1, 2) @ (each.inputs @ inputs.mT)
    return mine.reshape(theirs.shape) @ theirs.mT


def _fitting(network: Network, x: Tensor, others: int, k: int) -> int:
    """How many samples' gradients can be held twice beside the kernel; raises MemoryError where there is no room."""
    there = int(_SHARE * memory.free(x.device))
    result = len(x) * others * k * k * x.element_size()
    fits = (there - result) // (2 * network.bytes)
    if fits < 1:
        raise MemoryError(
            f"the kernel of {len(x)} and {others} samples with {k} outputs takes {result / 1e9:.3g} GB beside "
            f"{2 * network.bytes / 1e9:.3g} GB for two gradients, {there / 1e9:.3g} GB are free: use fewer samples, "
            "fewer outputs, or trace=True."
        )
    return min(fits, max(len(x), others))
