"""Inner products of gradients that are given by their Kronecker factors: the blocks of a tangent kernel."""

import itertools

from jaxtyping import Float
from torch import Tensor

from spectral_lens.operators._per_sample import KroneckerFactors

_FEW = 2  # positions, whose pairs are taken one by one
_LINES = 256  # samples times positions at a time: a bound on memory, from 64 to 1024 it makes no difference in time

Block = tuple[slice, tuple[KroneckerFactors, ...]]


def shorter(each: KroneckerFactors, pairs: int, trace: bool) -> KroneckerFactors:
    """The gradients themselves, where inner products of a sample with `pairs` others take fewer multiplications so."""
    if each.activations is None or each.activations.shape[1] <= _FEW:
        return each
    (_, k, o, t), i = each.output_gradients.shape, each.activations.shape[2]
    inner = k if trace else k * k
    as_gradients = k * o * t * i / pairs + inner * o * i
    over_positions = t * t * (i + k * o) + (0 if trace else inner * o * t)
    if over_positions < as_gradients:
        return each
    return KroneckerFactors((each.output_gradients.flatten(1, 2) @ each.activations).view(-1, k, o * i, 1))


def add(block: Tensor, one: KroneckerFactors, two: KroneckerFactors, trace: bool) -> None:
    """Adds the inner products of n samples' gradients with m others' to the block, (n k, m k), or (n, m) of a trace."""
    if one.activations is None or two.activations is None:
        block.addmm_(_lines(one.output_gradients, trace), _lines(two.output_gradients, trace).mT)
    elif one.activations.shape[1] <= _FEW:
        _pair_by_pair(block, one, two, trace)
    elif trace:
        _trace_over_positions(block, one, two)
    else:
        _over_positions(block, one, two)


def own(each: KroneckerFactors) -> Float[Tensor, "n k k"]:
    """The inner products of each sample's gradients with each other."""
    mine, theirs = each.output_gradients, each.output_gradients.flatten(2)
    if each.activations is not None:
        mine = mine.flatten(1, 2) @ (each.activations @ each.activations.mT)
    return mine.reshape(theirs.shape) @ theirs.mT


def _lines(gradients: Tensor, trace: bool) -> Tensor:
    """One for each sample and output, or one for each sample of a trace."""
    return gradients.flatten(1) if trace else gradients.flatten(2).flatten(0, 1)


def _pair_by_pair(block: Tensor, one: KroneckerFactors, two: KroneckerFactors, trace: bool) -> None:
    """(a_t . a'_t') (delta_t . delta'_t') for each pair of positions."""
    k = 1 if trace else two.output_gradients.shape[1]
    mine, theirs = (
        list(zip(each.output_gradients.split(1, 3), each.activations.unbind(1), strict=True))  # type: ignore[union-attr]
        for each in (one, two)
    )
    for (delta, a), (other_delta, other_a) in itertools.product(mine, theirs):
        alike = (a @ other_a.mT).repeat_interleave(k, 0).repeat_interleave(k, 1)
        block.addcmul_(_lines(delta, trace) @ _lines(other_delta, trace).mT, alike)


def _over_positions(block: Tensor, one: KroneckerFactors, two: KroneckerFactors) -> None:
    """sum_tt' (a_t . a'_t') (delta_t . delta'_t'), one sample with all others at a time."""
    theirs, others = two.output_gradients.flatten(2), two.activations
    m, k, _ = theirs.shape
    for into, delta, a in zip(block.split(k), one.output_gradients, one.activations, strict=True):  # type: ignore[arg-type]
        mine = (delta.flatten(0, 1) @ (a @ others.mT)).view_as(theirs)  # type: ignore[union-attr]
        into.unflatten(1, (m, k)).add_((mine @ theirs.mT).movedim(1, 0))


def _trace_over_positions(block: Tensor, one: KroneckerFactors, two: KroneckerFactors) -> None:
    """The same of the outputs' sum, for which the gradients' inner products come first, those of all outputs in one."""
    n, t, _ = two.activations.shape  # type: ignore[union-attr]
    size = max(1, _LINES // t)
    theirs, others = two.output_gradients.flatten(1, 2).mT.flatten(0, 1), two.activations.flatten(0, 1)  # type: ignore[union-attr]
    mine = zip(one.output_gradients.split(size), one.activations.split(size), strict=True)  # type: ignore[union-attr]
    for into, (delta, a) in zip(block.split(size), mine, strict=True):
        alike = (delta.flatten(1, 2).mT.flatten(0, 1) @ theirs.mT) * (a.flatten(0, 1) @ others.mT)
        into.add_(alike.view(-1, t, n, t).sum((1, 3)))
