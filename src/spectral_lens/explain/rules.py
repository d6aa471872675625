"""The rules of layer-wise relevance propagation, and what a rule of your own has to say.

A rule hands the relevance R_k of a layer's outputs to its inputs in proportion to their contributions c_jk:

    R_j = sum_t sum_k  c_jk^t / d_k^t  R_k        [bach2015; montavon2019]

It says, for each of its terms t (one, for most rules), the sum of the contributions over the inputs, and d.  The
contributions themselves are read off that sum by differentiation: c_jk = a_j d(sum)_k / d a_j.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from spectral_lens.explain._layer import Layer, stabilised

__all__ = [
    "Layer", "Rule", "alpha_beta", "box", "epsilon", "flat", "gamma", "generalised_gamma", "w_square", "z_plus", "zero",
]  # fmt: skip

Terms = Sequence[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Rule(ABC):
    """How relevance passes a layer with weights: a subclass says its `terms`, and may have fields of its own.

    bias: whether the bias is one more input (`Layer.b`), which keeps its relevance, or left out.
    stabiliser: is added to each denominator, with the denominator's sign (plus at zero), as in zennit, where it is 1e-6
    by default; here it is 0, and a term whose denominator is zero passes nothing.
    Raises ValueError for a negative stabiliser.

    A rule by which relevance follows the size of the contributions, |a_j w_jk|:

    >>> class Absolute(Rule):
    ...     def terms(self, layer):
    ...         total = layer.affine(layer.a.abs(), layer.w.abs(), None)
    ...         return [(total, total)]
    >>> from spectral_lens.explain.lrp import lrp
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[3.0, -1.0]]))  # the output at (1, 2) is 1
    >>> lrp(model.eval(), torch.tensor([[1.0, 2.0]]), rules=Absolute())
    tensor([[[0.6000, 0.4000]]])
    """

    bias: bool = field(default=True, kw_only=True)
    stabiliser: float = field(default=0.0, kw_only=True)

    first_only: ClassVar[bool] = False  # for layers that see the model's input itself
    proportional: ClassVar[bool] = False  # whether a denominator of another size or sign than the sum is a fault

    def __post_init__(self) -> None:
        self._check("stabiliser", self.stabiliser)

    def _check(self, what: str, size: Any) -> None:
        if not (isinstance(size, Real) and 0 <= float(size) < math.inf):
            raise ValueError(f"{self.name}: {what}={size!r} must not be negative, but a finite number.")

    @property
    def name(self) -> str:
        return type(self).__name__

    @property
    def nonnegative(self) -> bool:
        """Whether the rule is meant for inputs that are not negative."""
        return False

    @property
    def column_gamma(self) -> float | None:
        """The gamma of `lrp_bounds.column_norm`, None for rules that no closed form is proven for."""
        return None

    @abstractmethod
    def terms(self, layer: Layer) -> Terms:
        """Pairs (sum of the contributions, denominator), each in the shape of the layer's output.

        The sums are homogeneous of degree one in the layer's inputs, biases aside.
        """


@dataclass(frozen=True)
class _Amount(Rule):
    """A rule with one number, which is not negative."""

    amount: Any  # a number

    proportional: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("amount", self.amount)


# Used as functions, `gamma(0.25)`, and named like functions:
@dataclass(frozen=True)
class zero(Rule):
    """Contributions a_j w_jk: LRP-0.  [bach2015]

    In a piecewise linear network the gradient times the input, also where contributions cancel to a sum of zero.

    >>> zero() == zero(bias=True), zero() == zero(bias=False)
    (True, False)
    """

    proportional: ClassVar[bool] = True

    @property
    def column_gamma(self) -> float | None:
        return None if self.stabiliser else 0.0

    def terms(self, layer: Layer) -> Terms:
        return [(layer.z, layer.z)]


@dataclass(frozen=True)
class epsilon(_Amount):
    """Contributions a_j w_jk, whose sum is moved away from zero by `amount` in the denominator.

    [bach2015]  Raises ValueError for a negative amount.

    >>> layer = Layer(torch.nn.functional.linear, torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]))
    >>> epsilon(0.5).terms(layer)
    [(tensor([[1.]]), tensor([[1.5000]]))]
    """

    def terms(self, layer: Layer) -> Terms:
        return [(layer.z, stabilised(layer.z, self.amount))]


@dataclass(frozen=True)
class gamma(_Amount):
    """Contributions a_j (w_jk + gamma w_jk^+), for inputs and outputs that are not negative: `generalised_gamma` takes
    others.  [maess, eq. 3; montavon2019]

    Raises ValueError for a negative gamma.

    >>> layer = Layer(torch.nn.functional.linear, torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]))
    >>> gamma(0.25).terms(layer)  # (3 + 0.75) - 2
    [(tensor([[1.7500]]), tensor([[1.7500]]))]
    """

    @property
    def nonnegative(self) -> bool:
        return self.amount > 0

    @property
    def column_gamma(self) -> float | None:
        return None if self.stabiliser else self.amount

    def terms(self, layer: Layer) -> Terms:
        b = None if layer.b is None else _raised(layer.b, self.amount)
        zt = layer.affine(layer.a, _raised(layer.w, self.amount), b)
        return [(zt, zt)]


@dataclass(frozen=True)
class generalised_gamma(_Amount):
    """The gamma rule for inputs and outputs of any sign: contributions with the output's sign are favoured.

    a^+ (w + gamma w^+) + a^- (w + gamma w^-) where the output is positive; w^+ and w^- exchanged where it is negative.
    The same as `gamma` for inputs that are not negative and positive outputs.  zennit calls it Gamma.
    Raises ValueError for a negative gamma.

    >>> layer = Layer(torch.nn.functional.linear, torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, -1.0]]))
    >>> generalised_gamma(0.25).terms(layer)  # the output is -1: 1 - (2 + 0.5)
    [(tensor([[-1.5000]]), tensor([[-1.5000]]))]
    """

    def terms(self, layer: Layer) -> Terms:
        up, down = _raised(layer.w, self.amount), _lowered(layer.w, self.amount)
        b_up = None if layer.b is None else _raised(layer.b, self.amount)
        b_down = None if layer.b is None else _lowered(layer.b, self.amount)
        zt = torch.where(layer.output > 0, layer.by_sign(up, down, b_up), layer.by_sign(down, up, b_down))
        return [(zt, zt)]


@dataclass(frozen=True)
class alpha_beta(Rule):
    """alpha times the positive contributions over their sum, minus beta times the negative ones over theirs.

    [bach2015]  Outputs that lack one kind lose its part.
    Raises ValueError unless alpha - beta = 1 and beta is not negative.

    >>> layer = Layer(torch.nn.functional.linear, torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]))
    >>> alpha_beta(2.0, 1.0).terms(layer)
    [(tensor([[6.]]), tensor([[3.]])), (tensor([[2.]]), tensor([[-2.]]))]
    """

    alpha: float
    beta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.beta >= 0 and abs(self.alpha - self.beta - 1) < 1e-9):
            raise ValueError(f"alpha={self.alpha}, beta={self.beta}: alpha - beta must be 1, and beta not negative.")

    def terms(self, layer: Layer) -> Terms:
        positive = layer.positive
        if not self.beta:
            return [(positive, positive)]
        negative = layer.negative
        return [(self.alpha * positive, positive), (-self.beta * negative, negative)]


def z_plus(*, bias: bool = True, stabiliser: float = 0.0) -> Rule:
    """The positive contributions alone: alpha = 1, beta = 0.  [montavon2017]

    >>> z_plus() == alpha_beta(1.0, 0.0)
    True
    """
    return alpha_beta(1.0, 0.0, bias=bias, stabiliser=stabiliser)


@dataclass(frozen=True)
class w_square(Rule):
    """Contributions w_jk^2, whatever the inputs: for first layers with inputs of any size.  [montavon2017]

    bias: with its square in the denominator, as zennit has it; by default it is left out.

    >>> a, w = torch.zeros(1, 2), torch.tensor([[3.0, -1.0]])
    >>> layer = Layer(torch.nn.functional.linear, a, w, factor=torch.ones(1, 2))
    >>> w_square().terms(layer)
    [(tensor([[10.]]), tensor([[10.]]))]
    """

    bias: bool = field(default=False, kw_only=True)

    first_only: ClassVar[bool] = True

    def terms(self, layer: Layer) -> Terms:
        zt = layer.affine(layer.ones, layer.w.square(), None if layer.b is None else layer.b.square())
        return [(zt, zt)]


@dataclass(frozen=True)
class flat(Rule):
    """The same contribution of every input, whatever it is: for first layers.  [lapuschkin2019]

    >>> a, w = torch.zeros(1, 2), torch.tensor([[3.0, -1.0]])
    >>> layer = Layer(torch.nn.functional.linear, a, w, factor=torch.ones(1, 2))
    >>> flat().terms(layer)
    [(tensor([[2.]]), tensor([[2.]]))]
    """

    bias: bool = field(default=False, init=False)

    first_only: ClassVar[bool] = True

    def terms(self, layer: Layer) -> Terms:
        zt = layer.affine(layer.ones, torch.ones_like(layer.w), None)
        return [(zt, zt)]


@dataclass(frozen=True)
class box(Rule):
    """Contributions x_j w_jk - low w_jk^+ - high w_jk^-: the rule z^B, for first layers with inputs in [low, high].

    [montavon2017; zennit's ZBox]  The bounds are one number each, or one for each channel of images.
    Raises ValueError for bounds that are not one lower and one higher each.

    >>> box(0.0, [1.0])
    box(bias=False, stabiliser=0.0, low=(0.0,), high=(1.0,))
    """

    low: Any
    high: Any
    bias: bool = field(default=False, init=False)

    first_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = (tuple(map(float, [b] if isinstance(b, int | float) else b)) for b in (self.low, self.high))
        if len(low) != len(high) or not all(a < b for a, b in zip(low, high, strict=True)):
            raise ValueError(f"box({self.low}, {self.high}): the inputs lie between a lower and a higher bound.")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def terms(self, layer: Layer) -> Terms:
        ones = layer.ones
        if len(self.low) not in (1, ones.shape[1]):
            raise ValueError(f"box: {len(self.low)} bounds for {ones.shape[1]} channels of the inputs.")
        low, high = (ones * ones.new_tensor(b).view(-1, *[1] * (ones.ndim - 2)) for b in (self.low, self.high))
        outside = layer.affine(low, layer.w.clamp(min=0), None) + layer.affine(high, layer.w.clamp(max=0), None)
        zt = layer.affine(layer.a, layer.w, None) - outside
        return [(zt, zt)]


def _raised(values: Tensor, amount: float) -> Tensor:
    return values + amount * values.clamp(min=0)


def _lowered(values: Tensor, amount: float) -> Tensor:
    return values + amount * values.clamp(max=0)
