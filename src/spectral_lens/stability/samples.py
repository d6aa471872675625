"""What each run's network does at each sample: the spectrum of its Jacobian, and its explanation under noise."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.explain.gradients import of_class
from spectral_lens.explain.perturbation import cosine_distance, frechet_distance, relative_difference
from spectral_lens.operators.jacobian import jacobian
from spectral_lens.operators.spectra import sigma, spectral_entropy
from spectral_lens.training import Trained

__all__ = ["Explained", "explained_under_noise", "jacobian_spectra"]


def jacobian_spectra(trained: Trained, x: Float[Tensor, "n *d"], *, chunk: int = 20) -> Float[Tensor, "r n s"]:
    """The singular values of every run's Jacobian at every sample, in double precision; `chunk` samples at a time.

    On the device of x.  Raises ValueError for inputs that are empty or not finite.

    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = images.digits()[0].take(50)
    >>> jacobian_spectra(fit(mlp([64, 10]), data, seeds=[0, 1], epochs=1), data.x[:7]).shape
    torch.Size([2, 7, 10])
    """
    networks = [trained.run(r).to(x.device) for r in range(trained.runs)]
    spectra = [torch.cat([sigma(jacobian(net, some).to_dense()) for some in x.split(chunk)]) for net in networks]
    return torch.stack(spectra).double()


class Explained(NamedTuple):
    """Of every run at every sample: the entropy of the Jacobian's spectrum, and how the explanation answers to noise.

    angle, difference, frechet: `cosine_distance`, `relative_difference` and `frechet_distance` of
    `explain.perturbation`; maps, moved: without and with the noise.
    """

    entropy: Float[Tensor, "r n"]
    angle: Float[Tensor, "r n"]
    difference: Float[Tensor, "r n"]
    frechet: Float[Tensor, " r"]
    maps: Float[Tensor, "r n *d"]
    moved: Float[Tensor, "r n *d"]


def explained_under_noise(
    trained: Trained, x: Float[Tensor, "n *d"], noise: Float[Tensor, "n *d"], *, chunk: int = 20
) -> Explained:
    """The gradient of the class that each run predicts, with and without noise, beside the entropy at the sample.

    The class is the one predicted without noise.  In double precision.  chunk: as for `jacobian_spectra`.
    Raises ValueError as `jacobian_spectra` and the measures of `explain.perturbation` do.

    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.nn.mlp import mlp
    >>> from spectral_lens.training import fit
    >>> data = images.digits()[0].take(50)
    >>> found = explained_under_noise(fit(mlp([64, 10]), data, seeds=[0, 1], epochs=1), data.x[:7], 0.1 * data.x[:7])
    >>> found.entropy.shape, found.maps.shape, bool((found.angle < 1e-9).all())  # a linear network's stay as they are
    (torch.Size([2, 7]), torch.Size([2, 7, 1, 8, 8]), True)
    """
    rows = []
    for r in range(trained.runs):
        net = trained.run(r).to(x.device)
        with torch.no_grad():
            label = net(x.clone()).argmax(1)
        maps, moved = of_class(net, x, label).double(), of_class(net, x + noise, label).double()
        far = cosine_distance(maps, moved), relative_difference(maps, moved, noise), frechet_distance(maps, moved)
        rows.append((*far, maps, moved))
    entropy = spectral_entropy(jacobian_spectra(trained, x, chunk=chunk))
    return Explained(entropy, *map(torch.stack, zip(*rows, strict=True)))
