"""A matrix that is known by its products: everything in this room that is a matrix is a `LinearOperator`."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse.linalg
import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["LinearOperator"]

Product = Callable[[Tensor], Tensor]

_IN_NUMPY = {torch.float32: np.dtype("float32"), torch.float64: np.dtype("float64")}


class LinearOperator:
    """A matrix A, or a batch of them, by what it does to vectors; `A @ v` and `A.mT @ u` are its products.

    shape: (*batch, rows, columns).
    matvec: v, (*batch, columns), to A v, (*batch, rows).
    rmatvec: u, (*batch, rows), to A^T u, (*batch, columns); None for a symmetric A, which is its own transpose.
    dense: makes the matrix where that is faster than to multiply with every unit vector.
    dtype, device: of the vectors that go in and come out.  Products carry no gradient.
    Raises ValueError for a shape without rows or columns, and for a symmetric matrix that is not square.

    >>> M = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    >>> A = LinearOperator((2, 3), lambda v: M @ v, lambda u: M.mT @ u)
    >>> A @ torch.ones(3), A.mT @ torch.ones(2)
    (tensor([ 6., 15.]), tensor([5., 7., 9.]))
    >>> (A @ torch.ones(3, 4)).shape, A.to_dense().shape, A.to_scipy().shape
    (torch.Size([2, 4]), torch.Size([2, 3]), (2, 3))
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        matvec: Product,
        rmatvec: Product | None = None,
        *,
        dense: Callable[[], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        if len(shape) < 2 or min(shape) < 1:
            raise ValueError(f"shape={tuple(shape)} must be (*batch, rows, columns), at least one of each.")
        if rmatvec is None and shape[-1] != shape[-2]:
            raise ValueError(f"a {shape[-2]} x {shape[-1]} matrix is not symmetric: give its transposed product.")
        self.shape, self.dtype, self.device = torch.Size(shape), dtype, torch.device(device)
        self._matvec, self._rmatvec, self._dense = matvec, rmatvec, dense

    @property
    def symmetric(self) -> bool:
        """Whether A is known to be its own transpose."""
        return self._rmatvec is None

    @property
    def mT(self) -> "LinearOperator":
        """A^T of each matrix of the batch."""
        rmatvec, dense = self._rmatvec, self._dense
        if rmatvec is None:
            return self
        return LinearOperator(
            (*self.shape[:-2], self.shape[-1], self.shape[-2]),
            rmatvec,
            self._matvec,
            dense=None if dense is None else lambda: dense().mT,
            dtype=self.dtype,
            device=self.device,
        )

    @torch.no_grad()
    def __matmul__(self, other: Float[Tensor, "*batch_columns"]) -> Float[Tensor, "*batch_rows"]:
        """A v for a vector v, (*batch, columns), or a block of them, (*batch, columns, b), one product for each.

        Raises ValueError for vectors of another shape, type or device.
        """
        *batch, _, columns = self.shape
        block = other.ndim == len(self.shape)
        if tuple(other.shape[: len(batch) + 1]) != (*batch, columns) or not (block or other.ndim == len(batch) + 1):
            raise ValueError(
                f"the vectors are {tuple(other.shape)}: for an operator of {tuple(self.shape)} they must be "
                f"{(*batch, columns)}, or a block of b vectors, {(*batch, columns, 'b')}."
            )
        if (other.dtype, other.device.type) != (self.dtype, self.device.type):
            raise ValueError(
                f"the vectors are {other.dtype} on {other.device}: convert them by .to({self.dtype}), {self.device}."
            )
        if not block:
            return self._matvec(other)
        if not other.shape[-1]:
            return other.new_zeros(*self.shape[:-1], 0)
        return torch.stack([self._matvec(v) for v in other.unbind(-1)], -1)

    @torch.no_grad()
    def to_dense(self) -> Float[Tensor, "*batch rows columns"]:
        """The matrix."""
        if self._dense is not None:
            return self._dense()
        if self.shape[-2] < self.shape[-1] and not self.symmetric:
            return self.mT.to_dense().mT
        unit = torch.eye(self.shape[-1], dtype=self.dtype, device=self.device)
        return self @ unit.expand(*self.shape[:-2], -1, -1)

    def to_scipy(self) -> scipy.sparse.linalg.LinearOperator:
        """For SciPy's methods, such as `scipy.sparse.linalg.eigsh(A.to_scipy(), k=5)`; NumPy arrays in and out.

        Raises ValueError for more than one matrix, and for numbers other than single and double precision.
        """
        if math.prod(self.shape[:-2]) != 1:
            raise ValueError(f"SciPy knows one matrix at a time, this is a batch of {tuple(self.shape[:-2])}.")
        if self.dtype not in _IN_NUMPY:
            raise ValueError(f"SciPy's methods need single or double precision, not {self.dtype}.")

        def through(operator: "LinearOperator") -> Callable[[Any], Any]:
            def product(values: Any) -> Any:
                given = torch.tensor(np.ascontiguousarray(values), dtype=self.dtype, device=self.device)
                columns = given.view(*operator.shape[:-2], operator.shape[-1], -1)
                return (operator @ columns).view(operator.shape[-2], -1).reshape(-1, *values.shape[1:]).cpu().numpy()

            return product

        forward, backward = through(self), through(self.mT)
        return scipy.sparse.linalg.LinearOperator(
            tuple(self.shape[-2:]), forward, backward, forward, _IN_NUMPY[self.dtype], backward
        )

    def __repr__(self) -> str:
        kind = "symmetric " if self.symmetric else ""
        return f"<{kind}LinearOperator {tuple(self.shape)}, {self.dtype}, {self.device}>"
