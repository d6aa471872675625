"""Published networks: their weights, the inputs that they expect, and the rules that belong to them."""

import io
import os
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from spectral_lens.datasets import fingerprint
from spectral_lens.datasets.cache import DataError
from spectral_lens.datasets.vision import torchvision
from spectral_lens.explain import pretrained
from spectral_lens.explain.lrp import gamma, lrp, weighted, zero
from spectral_lens.explain.pretrained import composite, normalised, published

REAL = Path(os.environ.get("SPECTRAL_LENS_DATA", ""))


@pytest.fixture
def real_data() -> None:
    if not os.environ.get("SPECTRAL_LENS_DATA") or not (REAL / "squeezenet1_0.npz").is_file():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with squeezenet1_0.npz")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


# ---- published weights


def test_an_unknown_network_is_named():
    with pytest.raises(ValueError, match=r"no network 'nope': choose one of squeezenet1_0, vgg16\."):
        published("nope")


def saved(save, *arrays, **named):
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


WHOLE = saved(np.savez, weight=np.arange(3000.0))
DAMAGED = {
    "no archive": b"no archive at all",
    "empty": b"",
    "cut short": WHOLE[: len(WHOLE) // 2],
    "a byte changed": WHOLE[:900] + bytes([WHOLE[900] ^ 255]) + WHOLE[901:],
    "other weights": WHOLE,
    "an array alone": saved(np.save, np.arange(5.0)),
    "objects": saved(np.savez, weight=np.array([{}], dtype=object)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_weights_are_refused(monkeypatch, tmp_path, kind):
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path))
    (tmp_path / "squeezenet1_0.npz").write_bytes(DAMAGED[kind])
    with pytest.raises(DataError, match=r"squeezenet1_0\.npz does not hold the weights that are known"):
        published("squeezenet1_0")


def test_weights_in_the_folder_are_read(monkeypatch, tmp_path):
    state = torchvision().models.squeezenet1_0(weights=None).state_dict()
    arrays = {name: value.numpy() for name, value in state.items()}
    known = {"squeezenet1_0": {"file": "squeeze.npz", "sha256": fingerprint(*(arrays[k] for k in sorted(arrays)))}}
    (tmp_path / "manifest.yml").write_text(yaml.safe_dump({"networks": known}))
    np.savez(tmp_path / "squeeze.npz", **arrays)
    monkeypatch.setattr(pretrained, "resource", lambda name: tmp_path / "manifest.yml")
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path))
    model = published("squeezenet1_0")
    assert not any(part.training for part in model.modules())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["squeezenet1_0", "vgg16"])
def test_missing_weights_are_downloaded(monkeypatch, tmp_path, name):
    asked = []
    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision().models, name, lambda weights: asked.append(weights) or nn.Linear(3, 2))
    assert not published(name).training
    assert asked == ["IMAGENET1K_V1"]


@pytest.mark.parametrize("fault", [OSError("disk full"), URLError("no network"), RuntimeError("invalid hash value")])
@pytest.mark.parametrize("name", ["squeezenet1_0", "vgg16"])
def test_without_a_network_it_is_said(monkeypatch, tmp_path, name, fault):
    def factory(weights):
        raise fault

    monkeypatch.setenv("SPECTRAL_LENS_DATA", str(tmp_path))
    monkeypatch.setattr(torchvision().models, name, factory)
    with pytest.raises(DataError, match=rf"{name} is not in .* could not be downloaded \(.*{fault.args[0]}"):
        published(name)


@pytest.mark.data
def test_real_weights_know_the_photographs(real_data):
    from spectral_lens.datasets import photographs

    if not (REAL / "imagenet_sample").is_dir():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with imagenet_sample")
    model, data = published("squeezenet1_0"), photographs.load(11)
    assert not model.training
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_248_424
    with torch.no_grad():
        assert (model(normalised(data.x)).argmax(1) == data.y).double().mean() > 0.8


# ---- their rules


def architecture(name, device="meta"):
    with torch.device(device):
        return getattr(torchvision().models, name)(weights=None).eval()


@pytest.mark.parametrize(("name", "count", "last"), [("squeezenet1_0", 26, 12), ("vgg16", 16, 17)])
def test_box_first_gamma_in_between_and_zero_behind_the_third_pooling(name, count, last):
    model = architecture(name)
    rules = dict(zip(weighted(model), composite(name, model, 0.25), strict=True))
    assert len(rules) == count
    for layer, rule in rules.items():
        part, number = layer.split(".")[:2]
        if layer == "features.0":
            assert rule.name == "box"
        elif part == "features" and int(number) < last:
            assert rule == gamma(0.25)
        else:
            assert rule == zero()


def test_the_box_is_what_colours_become():
    first = composite("squeezenet1_0", architecture("squeezenet1_0"), 0.1)[0]
    ends = (normalised(torch.full((1, 3, 1, 1), end, dtype=torch.float64)).flatten().tolist() for end in (0.0, 1.0))
    assert (first.low, first.high) == tuple(map(pytest.approx, ends))


def test_colours_are_normalised_as_torchvision_does():
    x = torch.rand(2, 3, 5, 7)
    peer = torchvision().models.SqueezeNet1_0_Weights.IMAGENET1K_V1.transforms()
    for k, (mean, sd) in enumerate(zip(peer.mean, peer.std, strict=True)):
        torch.testing.assert_close(normalised(x)[:, k], (x[:, k] - mean) / sd)


def test_relevance_of_a_published_architecture_is_conserved(double):
    model = architecture("squeezenet1_0", "cpu")  # its biases start at zero
    x = normalised(torch.rand(2, 3, 47, 53))
    found = lrp(model, x, rules=composite("squeezenet1_0", model, 0.25), outputs=[7, 501, 33])
    assert found.shape == (2, 3, 3, 47, 53)
    assert_close(found.flatten(2).sum(2), model(x)[:, [7, 501, 33]].detach(), 1e-9)
