"""Convolutional networks: their shapes, published weights, and the rules that belong to them."""

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
from spectral_lens.explain.lrp import box, gamma, lrp, weighted, zero
from spectral_lens.explain.pretrained import composite, normalised, published
from spectral_lens.nn.convnets import cnn, features

REAL = Path(os.environ.get("SPECTRAL_LENS_DATA", ""))


@pytest.fixture
def real_data() -> None:
    if not os.environ.get("SPECTRAL_LENS_DATA") or not (REAL / "squeezenet1_0.npz").is_file():
        pytest.skip("SPECTRAL_LENS_DATA names no folder with squeezenet1_0.npz")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


# ---- the small network


def test_the_network_of_the_paper():
    model = cnn((1, 28, 28), 10)
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.kernel_size[0], c.padding[0]) for c in convolutions] == [
        (1, 8, 3, 1), (8, 8, 3, 1), (8, 8, 5, 0), (8, 16, 5, 0), (16, 16, 3, 1), (16, 16, 3, 1)
    ]  # fmt: skip
    block = ["Conv2d", "ReLU"] * 3 + ["MaxPool2d"]
    assert [type(layer).__name__ for layer in model] == [*block, *block, "Flatten", "Linear"]
    x = torch.rand(3, 1, 28, 28)
    assert model(x).shape == (3, 10)
    assert features(model)(x).shape == (3, 256)


def test_other_images_and_blocks():
    blocks = (((5, 3, 0), (7, 2, 1)), ((4, 3, 1),))
    model = cnn((3, 13, 18), 6, blocks=blocks, bias=False)
    assert model(torch.rand(2, 3, 13, 18)).shape == (2, 6)
    assert features(model)(torch.rand(2, 3, 13, 18)).shape == (2, 4 * 3 * 4)
    assert not any(name.endswith("bias") for name, _ in model.named_parameters())


@pytest.mark.parametrize("shape", [(1, 15, 28), (1, 28, 15), (3, 2, 2)])
def test_images_that_are_too_small_are_refused(shape):
    with pytest.raises(ValueError, match=r"images of .* are too small for 2 blocks"):
        cnn(shape, 10)


def test_the_smallest_images():
    assert cnn((2, 16, 16), 5)(torch.rand(3, 2, 16, 16)).shape == (3, 5)


@pytest.mark.parametrize("training", [True, False])
def test_features_are_what_the_last_layer_sees(training):
    model, x = cnn((1, 16, 17), 5).train(training), torch.rand(3, 1, 16, 17)
    assert features(model).training is training
    assert torch.equal(model[-1](features(model)(x)), model(x))
    assert features(model)[0] is model[0]


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


# ---- bounds for each channel

LOW, HIGH = (-2.1, -0.3, 0.2), (1.4, 0.9, 3.0)


def first_layer():
    return nn.Sequential(nn.Conv2d(3, 4, (2, 3), stride=(1, 2), padding=1), nn.Flatten()).eval()


def coloured(n=2):
    low, high = torch.tensor(LOW).view(3, 1, 1), torch.tensor(HIGH).view(3, 1, 1)
    return low + (high - low) * torch.rand(n, 3, 4, 5)


def boxed(model, x, low, high):
    """Contributions x w - low w^+ - high w^- with a matrix of weights and a bound for each input."""
    z, b = model(x).detach(), model(torch.zeros_like(x[:1])).detach()
    w = (model(torch.eye(60).view(60, 3, 4, 5)).detach() - b).mT
    low, high = (torch.tensor(bound).repeat_interleave(20) for bound in (low, high))
    parts = w * x.flatten(1)[:, None] - low * w.clamp(min=0) - high * w.clamp(max=0)
    return (parts * (z / parts.sum(2)).unsqueeze(2)).view(len(x), -1, 3, 4, 5)


def test_a_box_with_bounds_for_each_channel_is_its_formula(double):
    model, x = first_layer(), coloured()
    found = lrp(model, x, rules=box(LOW, HIGH))
    assert_close(found, boxed(model, x, LOW, HIGH))
    exchanged = boxed(model, x, LOW[::-1], HIGH[::-1])
    assert (found - exchanged).abs().max() > 1e-3 * found.abs().max()


def test_one_number_is_the_same_number_for_each_channel(double):
    model, x = first_layer(), torch.rand(2, 3, 4, 5)
    one = lrp(model, x, rules=box(-0.2, 1.3))
    assert torch.equal(one, lrp(model, x, rules=box([-0.2] * 3, [1.3] * 3)))
    assert_close(one, boxed(model, x, (-0.2,) * 3, (1.3,) * 3))


@pytest.mark.parametrize(("low", "high"), [((0.0, 1.0), (1.0, 1.0)), ((0.0, 0.0), (1.0,)), (0.0, (1.0, 1.0))])
def test_bounds_that_do_not_fit_are_refused(low, high):
    with pytest.raises(ValueError, match="a lower and a higher bound"):
        box(low, high)
