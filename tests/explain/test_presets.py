"""The rules layer by layer, and the small network that chapters explain."""

import pytest
import torch

from spectral_lens.datasets import DataSet, images, photographs
from spectral_lens.datasets.vision import torchvision
from spectral_lens.explain import presets, pretrained
from spectral_lens.explain.lrp import epsilon, gamma, zero
from spectral_lens.nn.convnets import cnn


def test_gamma_stands_in_all_layers_but_the_last():
    model = cnn((1, 8, 8), 10, blocks=[[(4, 3, 1), (4, 3, 1)], [(8, 3, 1)]])
    assert presets.gamma_rules(model, 0.2) == [gamma(0.2)] * 3 + [zero()]
    assert presets.gamma_rules(model, 0.2, last=epsilon(0.1))[-1] == epsilon(0.1)
    assert presets.gamma_rules(model, 0.2, bias=False) == [gamma(0.2, bias=False)] * 3 + [zero(bias=False)]


def test_the_small_network_reads_the_digits_that_it_is_given():
    small = presets.subject(None, 5, seed=3, dtype=torch.float64, device="cpu")
    test = images.digits()[1]
    torch.testing.assert_close(small.x, test.x[:5].double())
    assert not small.black.any()
    assert small.black.shape == (1, 1, 8, 8)
    assert not small.net.training
    with torch.no_grad():
        named = small.net(test.x.double()).argmax(1)
    assert (named == test.y).double().mean() > 0.9
    assert small.rules(0.3) == presets.gamma_rules(small.net, 0.3)


def test_the_seed_decides_and_too_many_images_are_refused():
    weights = [presets.subject(None, 2, seed=seed, device="cpu").net[0].weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    for count in (0, images.digits()[1].samples + 1):
        with pytest.raises(ValueError, match=f"count={count}"):
            presets.subject(None, count, seed=0)


def test_all_test_digits_can_be_asked_for(monkeypatch):
    asked = {}

    class Trained:
        def run(self, r):
            return asked["model"]

    monkeypatch.setattr(presets, "fit", lambda model, *_, **options: asked.update(options, model=model) or Trained())
    found = presets.subject(None, images.digits()[1].samples, seed=7, device="cpu")
    assert len(found.x) == images.digits()[1].samples
    assert asked["seeds"] == [7]


def test_a_published_network_gets_photographs_and_black_in_its_own_unit(monkeypatch):
    asked = []

    def load(count, *, seed):
        asked.append((count, seed))
        draw = torch.Generator().manual_seed(seed)
        x = torch.rand(count, 3, 35, 33, generator=draw)
        names = tuple(f"{c} {k}" for c in "rgb" for k in range(35 * 33))
        return DataSet(
            name="noise", x=x, y=torch.zeros(count, dtype=torch.int64), inputs=names, unit="1", edition="none",
            sha256="", provenance="drawn", labels=("a",),
        )  # fmt: skip

    monkeypatch.setattr(photographs, "load", load)
    monkeypatch.setattr(pretrained, "published", lambda name: getattr(torchvision().models, name)(weights=None))
    found = presets.subject("squeezenet1_0", 2, seed=4, dtype=torch.float64, device="cpu")
    assert asked == [(2, 4)]
    mean, sd = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    torch.testing.assert_close(found.x, (found.data.x.double() - mean) / sd)
    torch.testing.assert_close(found.black, (-mean / sd).expand(1, 3, 35, 33).double())
    assert found.net(found.x).shape == (2, 1000)
    assert not found.net.training
    assert found.rules(0.1) == pretrained.composite("squeezenet1_0", found.net, 0.1)
