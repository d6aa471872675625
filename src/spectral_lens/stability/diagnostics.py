"""All the numbers of this book that may tell how stable a network is, on the same samples."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.explain.gradients import of_class
from spectral_lens.explain.lrp import Rules, generalised_gamma, lrp, weighted, zero
from spectral_lens.explain.perturbation import robustness
from spectral_lens.explain.quality import redistribution, ssm
from spectral_lens.nn._checks import checked
from spectral_lens.nn.graphs import trace
from spectral_lens.nn.mlp import reference
from spectral_lens.operators.hessian import hessian, parameter_gram
from spectral_lens.operators.jacobian import jacobian
from spectral_lens.operators.lanczos import extreme_eigenvalues
from spectral_lens.operators.spectra import attribution_condition, sigma, spectral_entropy
from spectral_lens.operators.tangent_kernel import parameter_norms
from spectral_lens.stability.index import gmsi
from spectral_lens.training import predict

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
    data: DataSet | Float[Tensor, "n *d"],
    *,
    noise: Float[Tensor, "n *d"] | None = None,
    rules: Rules | None = None,
    generator: torch.Generator | None = None,
) -> Diagnosis:
    """The diagnosis of a classifier, its kernel and the curvature of its loss taken on the same samples as all else.

    data: samples with their classes, or samples alone, whose classes for the loss are then those that the model
    predicts.  They are taken to the model's device and precision.
    noise: is added to the samples, whose explanations should not change much by it; by default normal, with a tenth of
    the standard deviation of all values.  rules: of LRP, see `lrp.lrp`; by default gamma = 0.25 in its form for values
    of any sign, and rule 0 for the last layer.  generator: of the noise and of the starts of Lanczos' method, on the
    CPU; by default always the same.
    Raises ValueError for noise of another shape, for a quantity and other outputs than two or more of each sample, for
    data of several runs, and as `lrp`, `gmsi`, `redistribution` and `hessian` do.

    >>> _ = torch.manual_seed(0)
    >>> from spectral_lens.datasets import images
    >>> data = images.load("digits")[1].take(9)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(data.dim, 50), nn.ReLU(), nn.Linear(50, 10)).eval()
    >>> found = diagnose(model, data.x)
    >>> found.gmsi == max(found.s_J, found.s_theta, found.root_s_K, found.s_H)
    True
    """
    x, label, y = _classified(model, data)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    if noise is None:
        noise = 0.1 * x.std() * torch.randn(x.shape, dtype=x.dtype, generator=generator).to(x.device)
    if noise.shape != x.shape:
        raise ValueError(f"noise is {tuple(noise.shape)}, the samples are {tuple(x.shape)}: give one for each value.")
    graph = trace(model)
    s = sigma(jacobian(model, x).to_dense())
    if rules is None:
        rules = [*[generalised_gamma(0.25)] * (len(weighted(graph)) - 1), zero()]
    far = robustness(lambda z: of_class(model, z, label), x, noise)
    explained, _ = redistribution(lrp(graph, x, rules=rules), threshold=_KEPT)
    s_K, s_H = (
        extreme_eigenvalues(operator, which="magnitude", generator=generator).magnitude.value
        for operator in (parameter_gram(model, x), hessian(model, (x, y)))
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


def _classified(model: nn.Module, data: DataSet | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The samples, the classes that the model predicts, and those of the loss."""
    given = data.x if isinstance(data, DataSet) else data
    if isinstance(data, DataSet) and (data.quantity or data.runs is not None):
        what = f"y is {data.quantity}" if data.quantity else f"there are {data.runs} runs, take one by run(0)"
        raise ValueError(f"{data.name}: {what}, but a diagnosis is of one classifier.")
    x = given.detach().to(reference(model, given))
    checked(model, x)
    out = predict(model, x)
    if out.shape[1] < 2:
        raise ValueError(f"the model's outputs are {tuple(out.shape)}: a diagnosis is of two classes at least.")
    label = out.argmax(1)
    return x, label, data.y.to(x.device) if isinstance(data, DataSet) else label


def _mean(values: Tensor) -> float:
    return float(values.double().mean())
