"""What maess explains and how: the rules of LRP-gamma, and networks with the inputs at which they are explained."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime.devices import resolve
from spectral_lens.datasets import DataSet, images, photographs
from spectral_lens.explain import pretrained
from spectral_lens.explain.lrp import Rule, composite, gamma, zero
from spectral_lens.nn.convnets import cnn
from spectral_lens.training import fit

__all__ = ["Subject", "gamma_rules", "subject"]

# small enough to be trained within a second on the digits that come with scikit-learn
_SMALL = (((4, 3, 1), (4, 3, 1)), ((8, 3, 1),))


def gamma_rules(model: nn.Module, amount: float, *, last: Rule | None = None, bias: bool = True) -> list[Rule]:
    """LRP-gamma for all layers with weights but the last, which has rule 0.  [maess, 4.1]

    amount: gamma.  last: another rule for the last layer.  bias: whether a bias keeps its share of the relevance.

    >>> gamma_rules(cnn((1, 8, 8), 10, blocks=_SMALL), 0.1) == [gamma(0.1), gamma(0.1), gamma(0.1), zero()]
    True
    """
    raised = gamma(amount, bias=bias)
    return composite(model, first=raised, inner=raised, last=zero(bias=bias) if last is None else last)


@dataclass(frozen=True)
class Subject:
    """A network and the inputs at which it is explained.

    network: the published network's name, None for the small one; net: the network in evaluation mode; data: the
    images in [0, 1]; x: those that are explained, as the network expects them; black: an image without light, likewise.
    """

    network: str | None
    net: nn.Module
    data: DataSet
    x: Float[Tensor, "n c h w"]
    black: Float[Tensor, "1 c h w"]

    def rules(self, amount: float) -> list[Rule]:
        """The rules of maess with gamma `amount`: `gamma_rules`, or those of `pretrained.composite`."""
        if self.network is None:
            return gamma_rules(self.net, amount)
        return pretrained.composite(self.network, self.net, amount)


def subject(
    network: str | None,
    count: int,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "auto",
) -> Subject:
    """A published network with `count` photographs, or for None a small one, trained here, with test digits.

    seed: of the small network's training, or of the choice of photographs.
    Raises ValueError for an unknown network and for more images than there are, cache.DataError where weights or
    photographs are missing.

    >>> small = subject(None, 3, seed=0, device="cpu")
    >>> tuple(small.net(small.x).shape)
    (3, 10)
    """
    device = resolve(device)
    if network is not None:
        data = photographs.load(count, seed=seed)
        net, black = (
            pretrained.published(network),
            pretrained.normalised(torch.zeros(1, *data.x.shape[1:], dtype=dtype)),
        )
        x = pretrained.normalised(data.x.to(dtype))
    else:
        train, data = images.digits()
        if not 1 <= count <= data.samples:
            raise ValueError(f"count={count} must lie between 1 and {data.samples}, the test digits that there are.")
        model = cnn(train.x.shape[1:], train.classes, blocks=_SMALL, bias=False)
        net = fit(model, train, seeds=[seed], optimizer="sgd", epochs=12, batch_size=20, lr=0.1, device=device).run(0)
        x = data.x[:count].to(dtype)
        black = torch.zeros_like(x[:1])
    return Subject(network, net.to(device, dtype).eval(), data, x.to(device), black.to(device))
