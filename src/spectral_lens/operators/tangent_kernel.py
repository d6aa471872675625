"""The tangent kernel, and the norms of the derivative by the parameters, without gradients as long as these.

    K[(x, a), (x', b)] = <grad_theta f_a(x), grad_theta f_b(x')>        [katende: K = J_theta J_theta^T]

Gradients come layer by layer in Kronecker factors (`_per_sample`), and so do their inner products: (a . a')
(delta . delta') for a dense layer; for a convolution a sum over pairs of positions, or the layer's own gradients where
these are less work.
"""

import functools
import itertools
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime import memory
from spectral_lens._runtime.memory import check_chunk
from spectral_lens.nn._checks import Outputs, check_inputs, checked, readout
from spectral_lens.operators import _kernel_blocks
from spectral_lens.operators._kernel_blocks import Block
from spectral_lens.operators._linearize import Batches, Parameters, Product, called, flat, linearize, named, trainable
from spectral_lens.operators._per_sample import PerSampleGradients
from spectral_lens.operators.jacobian import Norms, finite
from spectral_lens.operators.linear import LinearOperator

__all__ = ["parameter_jacobian", "parameter_norms", "tangent_kernel", "trace_kernel"]

# of a block of the kernel, on a CPU and on a GPU, which needs larger products.  On a CPU 64 take up to 60% longer, 1024
# no less, and the smaller the blocks the more of a symmetric kernel is not computed.
_ROWS = 256, 4096


def tangent_kernel(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    other: Float[Tensor, "m *e"] | None = None,
    outputs: Outputs = None,
    chunk: int | None = None,
) -> LinearOperator:
    """K of the trainable parameters, (n k, m k), all outputs of a sample in consecutive rows and columns.

    `to_dense()` makes it block by block from Kronecker factors; `.view(n, k, m, k)` parts samples and outputs.  A
    product with a vector is J_theta (J_theta'^T v), two passes through the network, and needs no room for K.
    other: the second inputs, by default the first, with which K is symmetric.
    outputs: as in `explain.gradients.gradient`.
    chunk: how many samples' gradients to hold at a time, of the first and of the second inputs; by default all, or as
    many as the free memory takes.  `to_dense()` computes those of the second again for each chunk of the first.
    Raises ValueError for a model in training mode or with nothing to train, and for inputs that are empty or not
    finite; `to_dense()` for models that cannot be followed layer by layer and for gradients that are not finite, and
    MemoryError where the kernel itself does not fit.

    >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    >>> K = tangent_kernel(nn.Linear(2, 1).eval(), x)
    >>> K.to_dense()  # x . x' + 1
    tensor([[ 6., 12.],
            [12., 26.]])
    >>> K @ torch.ones(2)
    tensor([18., 38.])
    """
    _check(x, other, chunk)
    first = parameter_jacobian(model, x, outputs=outputs, chunk=chunk)
    second = first if other is None else parameter_jacobian(model, other, outputs=outputs, chunk=chunk)
    return LinearOperator(
        (first.shape[0], second.shape[0]),
        lambda v: first @ (second.mT @ v),
        None if other is None else lambda u: second @ (first.mT @ u),
        dense=lambda: _exact(model, x, other, outputs, chunk, trace=False),
        dtype=first.dtype,
        device=first.device,
    )


@torch.no_grad()
def trace_kernel(
    model: nn.Module,
    x: Float[Tensor, "n *d"],
    *,
    other: Float[Tensor, "m *e"] | None = None,
    outputs: Outputs = None,
    chunk: int | None = None,
) -> Float[Tensor, "n m"]:
    """sum_a K[(x, a), (x', a)], the trace of each pair's block; divided by k it is the mean of the outputs' kernels.

    A tensor, k^2 times as small as the whole kernel.  Arguments and errors as for `tangent_kernel`.

    >>> trace_kernel(nn.Linear(2, 3).eval(), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))  # 3 (x . x' + 1)
    tensor([[18., 36.],
            [36., 78.]])
    """
    _check(x, other, chunk)
    if other is not None:
        checked(model, other)
    return _exact(model, x, other, outputs, chunk, trace=True)


def parameter_jacobian(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> LinearOperator:
    """J_theta of all samples by the trainable parameters, (n k, p), known by its products.

    Rows as in `tangent_kernel`, columns in the order of the parameters, each flattened.  chunk: how many samples'
    passes to keep for all products, by default as many as the free memory takes.  Errors as for `tangent_kernel`.

    >>> parameter_jacobian(nn.Linear(2, 1).eval(), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).to_dense()
    tensor([[1., 2., 1.],
            [3., 4., 1.]])
    """
    check_chunk(chunk)
    rows = readout(checked(model, x).out, outputs)
    own = trainable(model)

    def of_batch(some: Tensor, _: Tensor) -> tuple[Product, Product]:
        def function(parameters: Parameters) -> Tensor:
            out = called(model, parameters, some)
            return out if outputs is None else out @ rows.mT

        return linearize(function, own)[1:]

    batches = functools.cache(lambda: Batches(model, (x, x), of_batch, chunk))

    def matvec(v: Tensor) -> Tensor:
        return torch.cat([push(named(v, own)).flatten() for _, (push, _) in batches()])

    def rmatvec(u: Tensor) -> Tensor:
        left, total = u.view(len(x), -1), torch.zeros_like(start)
        for count, (_, pull) in batches():
            total += flat(pull(left[:count]))
            left = left[count:]
        return total

    start = flat(own)
    shape = len(x) * len(rows), len(start)
    return LinearOperator(shape, matvec, rmatvec, dtype=start.dtype, device=start.device)


def parameter_norms(
    model: nn.Module, x: Float[Tensor, "n *d"], *, outputs: Outputs = None, chunk: int | None = None
) -> Norms:
    """||J_theta||_2 and ||J_theta||_F of each sample, and ||grad_theta f_a|| of each output, by what is trainable.

    From the k x k blocks on the diagonal of the tangent kernel.  chunk: samples at a time.  Errors as for that.

    >>> found = parameter_norms(nn.Linear(3, 2).eval(), torch.ones(4, 3))
    >>> found.spectral, found.rows.shape  # sqrt(x . x + 1)
    (tensor([2., 2., 2., 2.]), torch.Size([4, 2]))
    """
    check_chunk(chunk)
    gradients = PerSampleGradients(model, checked(model, x), outputs)
    parts = []
    for some in x.split(chunk or gradients.batch_size):
        layers = [_kernel_blocks.shorter(each, 1, False) for each in gradients.factors(some)]
        block = torch.stack([_kernel_blocks.own(each) for each in layers]).sum(0)
        square = torch.linalg.eigvalsh(finite(block).double())[:, -1].clamp_(min=0).to(block)
        length = block.diagonal(dim1=1, dim2=2)
        parts.append(Norms(square.sqrt(), length.sum(1).sqrt(), length.sqrt()))
    return Norms(*map(torch.cat, zip(*parts, strict=True)))


def _check(x: Tensor, other: Tensor | None, chunk: int | None) -> None:
    for inputs in (x,) if other is None else (x, other):
        check_inputs(inputs)
    if other is not None and other.shape[1:] != x.shape[1:]:
        raise ValueError(f"other is {tuple(other.shape)}: its samples must be of x's shape, {tuple(x.shape[1:])}.")
    check_chunk(chunk)


def _exact(
    model: nn.Module, x: Tensor, other: Tensor | None, outputs: Outputs, chunk: int | None, *, trace: bool
) -> Tensor:
    """The kernel, (n k, m k), or its trace over the outputs, (n, m), block by block."""
    second = x if other is None else other
    gradients = PerSampleGradients(model, checked(model, x), outputs)
    k = 1 if trace else gradients.rows
    fits = _fitting(gradients, x, len(second), k)
    chunk = chunk or fits
    few = max(1, _ROWS[x.device.type != "cpu"] // k)

    def blocks(inputs: Tensor, start: int) -> Iterator[Block]:
        """The gradients of the chunk that starts there, few samples at a time, so that half of a square is not done."""
        for some in inputs[start : start + chunk].split(gradients.batch_size):
            layers = [_kernel_blocks.shorter(f, len(second), trace).split(few) for f in gradients.factors(some)]
            for factors in zip(*layers, strict=True):
                stop = start + len(factors[0].output_gradients)
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
                    _kernel_blocks.add(K[rows, columns], one, two, trace)
                if other is None and columns.start > rows.start:
                    K[columns, rows] = K[rows, columns].mT
    return finite(K)


def _fitting(gradients: PerSampleGradients, x: Tensor, others: int, k: int) -> int:
    """How many samples' gradients can be held twice beside the kernel; raises MemoryError where there is no room."""
    there = memory.budget(x.device)
    result = len(x) * others * k * k * x.element_size()
    fits = (there - result) // (2 * gradients.bytes)
    if fits < 1:
        raise MemoryError(
            f"the kernel of {len(x)} and {others} samples with {k} outputs takes {result / 1e9:.3g} GB beside "
            f"{2 * gradients.bytes / 1e9:.3g} GB for two gradients, {there / 1e9:.3g} GB are free: use fewer samples, "
            "fewer outputs, products with vectors, or trace_kernel."
        )
    return min(fits, max(len(x), others))
