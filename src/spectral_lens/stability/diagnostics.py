"""All the numbers of this book that may tell how stable a network is, on the same samples."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.explain.gradients import of_class
from spectral_lens.explain.lrp import Rules, lrp
from spectral_lens.explain.perturbation import robustness
from spectral_lens.explain.quality import redistribution, ssm
from spectral_lens.nn.graphs import trace
from spectral_lens.operators.hessian import hessian, parameter_gram
from spectral_lens.operators.jacobian import jacobian
from spectral_lens.operators.lanczos import extreme_eigenvalues
from spectral_lens.operators.spectra import attribution_condition, sigma, spectral_entropy
from spectral_lens.operators.tangent_kernel import parameter_norms
from spectral_lens.stability.index import gmsi

__all__ = ["Diagnosis", "diagnose"]

_KEPT = 0.1  # outputs with less than this share of the largest have relevance that is noise


class Diagnosis(NamedTuple):
    """Of one network on one set of samples.

    entropy, condition, norm: means over the samples of H(J), kappa and ||J||_F; s_J, s_theta, root_s_K, s_H and their
    maximum gmsi: the index (`index.gmsi`), with suprema; ssm: the mean of ||R||_F / ||R||_2 of an LRP explanation;
    angle, difference: medians of the cosine distance and of the relative difference between the gradients of the
    predicted class with and without noise; frechet: Frechet's distance of the two sets of gradients.
    """

    entropy: float
    condition: float
    norm: float
    s_J: float
    s_theta: float
    root_s_K: float
    s_H: float
    gmsi: float
    ssm: float
    angle: float
    difference: float
    frechet: float


def diagnose(
    model: nn.Module,
    data: DataSet,
    *,
    noise: Float[Tensor, "n *d"],
    rules: Rules,
    generator: torch.Generator,
) -> Diagnosis:
    """The diagnosis of a classifier, its kernel and the curvature of its loss taken on the same samples as all else.

    noise: is added to the samples, whose explanations should not change much by it.  rules: of LRP, see `lrp.lrp`.
    generator: of the starts of Lanczos' method, on the CPU.
    Raises ValueError for noise of another shape, and as `gmsi`, `redistribution` and `hessian` do.

    >>> _ = torch.manual_seed(0)
    >>> from spectral_lens.datasets import images
    >>> from spectral_lens.explain.lrp import gamma
    >>> data = images.load("digits")[1].take(9)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(data.dim, 50), nn.ReLU(), nn.Linear(50, 10)).eval()
    >>> noise = torch.full_like(data.x, 0.1)
    >>> found = diagnose(model, data, noise=noise, rules=gamma(0.25), generator=torch.Generator())
    >>> found.gmsi == max(found.s_J, found.s_theta, found.root_s_K, found.s_H)
    True
    """
    x = data.x
    if noise.shape != x.shape:
        raise ValueError(f"noise is {tuple(noise.shape)}, the samples are {tuple(x.shape)}: give one for each value.")
    graph = trace(model)
    s = sigma(jacobian(model, x).to_dense())
    with torch.no_grad():
        label = model(x).argmax(1)
    far = robustness(lambda z: of_class(model, z, label), x, noise)
    explained, _ = redistribution(lrp(graph, x, rules=rules), threshold=_KEPT)
    s_K, s_H = (
        extreme_eigenvalues(operator, which="magnitude", generator=generator).magnitude.value
        for operator in (parameter_gram(model, x), hessian(model, (x, data.y)))
    )
    index = gmsi(s[:, 0], parameter_norms(graph, x).spectral, kernel=max(0.0, s_K), curvature=abs(s_H))
    s_J, s_theta, root_s_K, s_H = index.components().values()
    return Diagnosis(
        entropy=_mean(spectral_entropy(s)),
        condition=_mean(attribution_condition(s)),
        norm=_mean(s.norm(dim=1)),
        s_J=s_J,
        s_theta=s_theta,
        root_s_K=root_s_K,
        s_H=s_H,
        gmsi=index.value,
        ssm=_mean(ssm(explained)),
        angle=float(far.cosine.median()),
        difference=float(far.relative.median()),
        frechet=float(far.frechet),
    )


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
