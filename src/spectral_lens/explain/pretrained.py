"""Published networks with their weights, the inputs that they expect, and the rules that maess explains them with."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens._runtime.resources import resource
from spectral_lens.datasets import cache, fingerprint
from spectral_lens.datasets.vision import torchvision
from spectral_lens.explain import lrp
from spectral_lens.explain.lrp import Rule

__all__ = ["composite", "normalised", "published"]

# what torchvision's networks expect of each colour
_MEAN, _SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# the first layers behind the last pooling that gamma reaches: three blocks, as in maess
_INNER = {"squeezenet1_0": "features.12", "vgg16": "features.17"}


def published(name: str) -> nn.Module:
    """ "squeezenet1_0" or "vgg16", trained on ImageNet, in evaluation mode.

    From the folder of data sets where data/manifest.yml knows a file and it is there, else from torchvision's download.
    Raises ValueError for another name, cache.DataError for a damaged file and where nothing can be downloaded.

    >>> published("alexnet")
    Traceback (most recent call last):
        ...
    ValueError: there is no network 'alexnet': choose one of squeezenet1_0, vgg16.
    """
    known = yaml.safe_load(resource("data/manifest.yml").read_text(encoding="utf-8"))["networks"]
    if name not in known:
        raise ValueError(f"there is no network {name!r}: choose one of {', '.join(known)}.")
    make = getattr(torchvision().models, name)
    path = cache.folder() / known[name].get("file", name)
    if "file" not in known[name] or not path.exists():
        try:
            return make(weights="IMAGENET1K_V1").eval()
        except (OSError, RuntimeError) as error:
            raise cache.DataError(
                f"{name} is not in {cache.folder()} and could not be downloaded ({error}): try again with a network."
            ) from error
    arrays = _read(path)
    if fingerprint(*arrays.values()) != known[name]["sha256"]:
        raise cache.DataError(f"{path} does not hold the weights that are known: replace or remove it.")
    model = make(weights=None)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    return model.eval()


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an npz in the order of their names; none where the file is damaged."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {key: file[key] for key in sorted(file.files)}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return {}


def normalised(x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Colours in [0, 1] as the published networks expect them.

    >>> normalised(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)).flatten()
    tensor([0., 0., 0.])
    """
    return (x - x.new_tensor(_MEAN).view(3, 1, 1)) / x.new_tensor(_SD).view(3, 1, 1)


def composite(name: str, model: nn.Module, gamma: float) -> list[Rule]:
    """The rules of maess for a published network: z^B for the first layer, LRP-gamma up to the third pooling, then 0.

    maess names them for VGG-16; SqueezeNet's fire modules are parted by its three poolings in the same way.

    >>> with torch.device("meta"):  # the architecture alone
    ...     model = torchvision().models.vgg16(weights=None).eval()
    >>> names = [rule.name for rule in composite("vgg16", model, 0.25)]
    >>> names[:2], names.count("gamma"), names.count("zero")
    (['box', 'gamma'], 6, 9)
    """
    low, high = ([(end - m) / s for m, s in zip(_MEAN, _SD, strict=True)] for end in (0, 1))
    layers = lrp.weighted(model)
    last = next(k for k, layer in enumerate(layers) if layer.startswith(_INNER[name]))
    return [lrp.box(low, high), *[lrp.gamma(gamma)] * (last - 1), *[lrp.zero()] * (len(layers) - last)]
