"""The Global Matrix Stability Index: one number from the spectra of four operators.

The texts of katende do not define it in full: the definition here is this book's own.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

__all__ = ["COMPONENTS", "Index", "Summary", "gmsi"]

COMPONENTS = ("s_J", "s_theta", "sqrt(s_K)", "s_H")
_HIGH = 0.95  # the quantile beside the supremum


class Summary(NamedTuple):
    """A component over the samples: its supremum, its mean, its 95% quantile."""

    sup: float
    mean: float
    quantile: float


@dataclass(frozen=True)
class Index:
    """The Global Matrix Stability Index: the larger, the less stable.  `gmsi` makes it.

    jacobian: of ||J_f(x)||_2 over the samples; parameters: of ||grad_theta f(x)||_2; kernel: sqrt(lambda_max(K) / n);
    curvature: lambda_max(|H|).

    >>> index = Index(Summary(4.0, 2.0, 3.0), Summary(5.0, 4.0, 5.0), kernel=2.5, curvature=8.0)
    >>> index.value, index.stability, index.aggregate("sum", over="mean")
    (8.0, 0.125, 16.5)
    """

    jacobian: Summary
    parameters: Summary
    kernel: float
    curvature: float

    def components(self, over: str = "sup") -> dict[str, float]:
        """The four by name (`COMPONENTS`), the first two as "sup", "mean" or "quantile" over the samples.

        Raises ValueError for another name.
        """
        if over not in Summary._fields:
            raise ValueError(f"over={over!r} is unknown: use one of {', '.join(Summary._fields)}.")
        samples = getattr(self.jacobian, over), getattr(self.parameters, over)
        return dict(zip(COMPONENTS, (*samples, self.kernel, self.curvature), strict=True))

    def aggregate(self, how: str = "max", *, over: str = "sup") -> float:
        """One number of the four: "max", "sum" or "geometric" (mean).  Raises ValueError for another name."""
        values = list(self.components(over).values())
        if how == "max":
            return max(values)
        if how == "sum":
            return sum(values)
        if how == "geometric":
            return math.prod(value ** (1 / len(values)) for value in values)
        raise ValueError(f"how={how!r} is unknown: use 'max', 'sum' or 'geometric'.")

    @property
    def value(self) -> float:
        """GMSI = max(s_J, s_theta, sqrt(s_K), s_H), with the suprema: what each component controls is at most that."""
        return self.aggregate()

    @property
    def stability(self) -> float:
        """1 / GMSI; infinite for a network that does not react to anything."""
        return 1 / self.value if self.value else math.inf


def gmsi(
    jacobian: Float[Tensor, " n"],
    parameters: Float[Tensor, " m"],
    *,
    kernel: int | float | Tensor,
    curvature: int | float | Tensor,
) -> Index:
    """The index of a network from the norms of its operators.

    jacobian: ||J_f(x)||_2 of each sample.  parameters: ||grad_theta f(x)||_2 of each sample, of the same ones or of
    fewer.  kernel: s_K = lambda_max(K) / n of the tangent kernel of n samples, the square of what enters.
    curvature: s_H = lambda_max(|H|) of the loss.
    On the same samples sqrt(s_K) is never above s_theta (see `kernel_size`), so the maximum has three candidates.
    Raises ValueError for no samples, and for values that are negative, infinite or NaN.

    >>> import torch
    >>> gmsi(torch.tensor([1.0, 4.0]), torch.tensor([3.0, 5.0]), kernel=6.25, curvature=8.0).components()
    {'s_J': 4.0, 's_theta': 5.0, 'sqrt(s_K)': 2.5, 's_H': 8.0}
    """
    for name, norms in (("jacobian", jacobian), ("parameters", parameters)):
        if not len(norms):
            raise ValueError(f"{name} is empty: the index needs at least one sample.")
        if not (norms.isfinite() & (norms >= 0)).all():
            raise ValueError(f"{name} holds values that are no norms: NaN, infinite or negative.")
    numbers = {"kernel": float(kernel), "curvature": float(curvature)}
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}={value} must be a number that is not negative.")
    return Index(_spread(jacobian), _spread(parameters), math.sqrt(numbers["kernel"]), numbers["curvature"])


def _spread(norms: Tensor) -> Summary:
    norms = norms.detach().double()
    return Summary(float(norms.max()), float(norms.mean()), float(norms.quantile(_HIGH)))
