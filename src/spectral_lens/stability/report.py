"""A report on one network: its parts are tried one after the other, and what it does not admit is noted with why."""

import html
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from spectral_lens._runtime.errors import in_one_line
from spectral_lens.datasets import DataSet
from spectral_lens.nn._checks import checked
from spectral_lens.nn.mlp import reference
from spectral_lens.stability.adversarial import Box
from spectral_lens.training import predict

__all__ = [
    "Kernel", "Report", "answers", "judged", "kernel_numbers", "labelled", "looked_at", "loss_of", "placed",
    "value_range",
]  # fmt: skip

Made = TypeVar("Made")


class Report:
    """Tries parts; `refused` holds, for those that a network does not admit, why.  Shown as a table.

    >>> report = Report()
    >>> report.part("root", lambda v: v**0.5, 9.0)
    3.0
    >>> report.part("number", float, "nine")
    >>> report
    number: could not convert string to float: 'nine'
    """

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}

    def part(self, name: str, compute: Callable[..., Made], *given: Any, **named: Any) -> Made | None:
        """compute(*given, **named); None where it raises an error, which is noted by that name.

        A ValueError is a refusal, its sentence says why; any other, which somebody's own network may bring about at
        inputs that it was not made for, is noted with its type.
        """
        try:
            return compute(*given, **named)
        except Exception as error:
            reason = in_one_line(error)
            self.refused[name] = reason if isinstance(error, ValueError) else f"{type(error).__name__}: {reason}"
            return None

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {reason}" for name, reason in self.refused.items()) or "Nothing was refused."

    def _repr_html_(self) -> str:
        if not self.refused:
            return f"<p>{self!r}</p>"
        rows = "".join(
            f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(reason)}</td></tr>'
            for name, reason in self.refused.items()
        )
        head = '<thead><tr><th scope="col">part</th><th scope="col">why it was refused</th></tr></thead>'
        return f'<table class="table refused">{head}<tbody>{rows}</tbody></table>'


def placed(model: nn.Module, data: DataSet | Tensor) -> DataSet | Tensor:
    """The samples on the model's device and in its precision.

    >>> placed(nn.Linear(5, 3).double(), torch.ones(2, 5)).dtype
    torch.float64
    """
    own = reference(model, data.x if isinstance(data, DataSet) else data)
    return data.to(own.device, own.dtype)


def answers(model: nn.Module, x: Float[Tensor, "n *d"]) -> Float[Tensor, "n m"]:
    """The outputs for all samples, once the model is seen to be one that takes them, one row for each sample.

    Raises ValueError as `checked` does.

    >>> answers(nn.Linear(5, 3).eval(), torch.ones(2, 5)).shape
    torch.Size([2, 3])
    """
    checked(model, x)
    return predict(model, x)


def looked_at(out: Float[Tensor, "n m"], most: int) -> Int[Tensor, " k"]:
    """Which outputs to look at, in their order: all, or of more than `most` the strongest and those that samples get.

    The strongest by their mean over the samples; a sample gets its largest.

    >>> looked_at(torch.tensor([[0.0, 9.0, 8.0, 1.0], [7.0, 6.0, 5.0, 1.0]]), 2).tolist()
    [0, 1, 2]
    """
    if most < 1:
        raise ValueError(f"most={most} must be at least 1.")
    if out.shape[1] <= most:
        return torch.arange(out.shape[1], device=out.device)
    return torch.cat([out.mean(0).topk(most).indices, out.argmax(1)]).unique()


def labelled(data: DataSet | Tensor, out: Float[Tensor, "n m"]) -> DataSet:
    """The data, once its classes are seen to be outputs; raises ValueError that says what is not, as of samples alone.

    >>> labelled(torch.ones(2, 5), torch.ones(2, 3))
    Traceback (most recent call last):
        ...
    ValueError: the samples have no classes y, so nothing tells a right answer from a wrong one.
    """
    if isinstance(data, Tensor):
        raise ValueError("the samples have no classes y, so nothing tells a right answer from a wrong one.")
    if data.quantity:
        raise ValueError(f"y is a quantity, {data.quantity}: right and wrong answers are of classes.")
    if out.shape[1] < max(2, data.classes):
        raise ValueError(
            f"y has {data.classes} classes, the network {out.shape[1]} outputs: class k, from 0, must be output k."
        )
    return data


def judged(data: DataSet | Tensor, out: Float[Tensor, "n m"]) -> DataSet:
    """What an attack is judged by: the data with its classes; where they are missing or no outputs, with the network's
    own answers.

    Raises ValueError for a quantity and for one output, which no attack can make a mistake of.

    >>> judged(torch.ones(2, 5), torch.tensor([[0.0, 1.0], [3.0, 2.0]])).y
    tensor([1, 0])
    """
    if out.shape[1] < 2 or (isinstance(data, DataSet) and data.quantity):
        raise ValueError("an attack is on a classifier, which has two outputs at least, not on a quantity.")
    try:
        return labelled(data, out)
    except ValueError:
        x = data.x if isinstance(data, DataSet) else data
        found = DataSet.of(x.cpu(), out.argmax(1).cpu(), name="own answers", labels=range(out.shape[1]))
        return found.to(x.device)


def loss_of(data: DataSet | Tensor, out: Float[Tensor, "n m"]) -> tuple[str, Tensor]:
    """The loss whose curvature is asked for, by its name in `training.losses`, and its targets.

    The squared error of a quantity, where the network has one output; else the cross-entropy, with the classes of the
    data where they are outputs, and with those that the network gives where not.

    >>> loss_of(torch.ones(2, 5), torch.tensor([[0.0, 1.0], [3.0, 2.0]]))
    ('cross_entropy', tensor([1, 0]))
    """
    if isinstance(data, DataSet) and data.quantity and out.shape[1] == 1:
        return "mse", data.y
    try:
        return "cross_entropy", labelled(data, out).y
    except ValueError:
        return "cross_entropy", out.argmax(1)


def value_range(x: Float[Tensor, "n c *d"]) -> Box:
    """The lowest and the highest value of each channel, or of each column of a table, as tensors that fit one sample.

    What never changes gets a range of almost nothing, so that an attack leaves it alone.

    >>> low, high = value_range(torch.tensor([[0.0, 5.0], [1.0, 5.0]]))
    >>> low.tolist(), high.sub(5e-5).gt(low).tolist(), round(high[1].item(), 3)
    ([0.0, 5.0], [True, False], 5.0)
    """
    axes = [0, *range(2, x.ndim)]
    low, high = (extreme(axes).view(-1, *[1] * (x.ndim - 2)) for extreme in (x.amin, x.amax))
    least = 8 * torch.finfo(x.dtype).eps * (1 + low.abs())
    return low, torch.maximum(high, low + least)


class Kernel(NamedTuple):
    """Of the tangent kernel of n samples: lambda_max(K) / n and tr K / n, its eigenvalues, largest first, and the norm
    of the derivative by the parameters of each sample, (n,)."""

    largest: float
    trace: float
    eigenvalues: Float[Tensor, " nk"]
    norms: Float[Tensor, " n"]


def kernel_numbers(K: Float[Tensor, "..."], samples: int) -> Kernel:
    """What a tangent kernel of so many samples says.

    Raises ValueError for a matrix that is not square, or no multiple of the samples.

    >>> found = kernel_numbers(torch.diag(torch.tensor([4.0, 1.0, 9.0, 0.0])), 2)
    >>> found.largest, found.trace, found.norms
    (4.5, 7.0, tensor([2., 3.]))
    """
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.shape[0] % samples:
        raise ValueError(f"the kernel is {tuple(K.shape)}: (n k, n k) of n={samples} samples is needed.")
    values = torch.linalg.eigvalsh(K.double()).flip(0).clamp(min=0)
    own = K.view(samples, -1, samples, K.shape[0] // samples).diagonal(dim1=0, dim2=2).movedim(-1, 0)
    norms = torch.linalg.eigvalsh(own.double())[:, -1].clamp(min=0).sqrt()
    return Kernel(
        float(values[0]) / samples, float(K.double().trace()) / samples, values.to(K.dtype), norms.to(K.dtype)
    )
