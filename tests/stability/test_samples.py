"""What the runs do at each sample, against derivatives that are written out."""

import pytest
import torch
from torch import nn

from spectral_lens.datasets import images
from spectral_lens.explain.perturbation import frechet_distance
from spectral_lens.nn.mlp import mlp
from spectral_lens.stability.samples import explained_under_noise, jacobian_spectra
from spectral_lens.training import fit

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(scope="module")
def case():
    train, test = (part.to(dtype=torch.float64) for part in images.digits())
    options = {"epochs": 5, "batch_size": 20, "lr": 0.01, "dtype": torch.float64}
    trained = fit(mlp([64, 9, 7, 10], spectral=1), train, seeds=[2, 9], **options)
    x = test.x[:11]
    return trained, x, 0.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def jacobian_of(net, x):
    return torch.func.vmap(torch.func.jacrev(lambda one: net(one.unsqueeze(0))[0]))(x).flatten(2).detach()


@pytest.mark.parametrize("chunk", [3, 11, 100])
def test_the_spectra_of_every_run(case, chunk):
    trained, x, _ = case
    found = jacobian_spectra(trained, x, chunk=chunk)
    expected = torch.stack([torch.linalg.svdvals(jacobian_of(trained.run(r).eval(), x)) for r in range(2)])
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-8 * float(expected.max()))  # zeros: roots of 1e-16


def test_explanations_under_noise(case):
    trained, x, noise = case
    found = explained_under_noise(trained, x, noise)
    for r in range(2):
        net = trained.run(r).eval()
        label = net(x).argmax(1)
        maps, moved = (jacobian_of(net, z)[torch.arange(11), label] for z in (x, x + noise))
        assert (net(x + noise).argmax(1) != label).any(), "the class is the one without noise"
        torch.testing.assert_close(found.maps[r].flatten(1), maps)
        torch.testing.assert_close(found.moved[r].flatten(1), moved)
        torch.testing.assert_close(found.angle[r], 1 - nn.functional.cosine_similarity(maps, moved))
        change = (moved - maps).norm(dim=1) / (maps.norm(dim=1) * noise.flatten(1).norm(dim=1))
        torch.testing.assert_close(found.difference[r], change)
        torch.testing.assert_close(found.frechet[r], frechet_distance(maps, moved))
        p = torch.linalg.svdvals(jacobian_of(net, x)).square()
        torch.testing.assert_close(found.entropy[r], torch.distributions.Categorical(probs=p).entropy())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(case):
    trained, x, noise = case
    there, here = explained_under_noise(trained, x.cuda(), noise.cuda()), explained_under_noise(trained, x, noise)
    for found, expected in zip(there, here, strict=True):
        torch.testing.assert_close(found.cpu(), expected)
