"""torchvision, imported late, and also where its build does not match the one of torch."""

import functools
import importlib
import warnings
from types import ModuleType

import torch

from spectral_lens._runtime.extras import optional

__all__ = ["torchvision"]


@functools.cache
def torchvision() -> ModuleType:
    """The module torchvision; data sets, models and transforms work even without its compiled operators.

    A CUDA build of torchvision cannot load its library beside a CPU build of torch; its import then fails because it
    describes operators that nobody defined. Declaring those makes the import pass; calling them stays an error.
    Call this before anything else imports torchvision (zennit does). Raises ImportError where it is not installed.

    >>> torchvision().models.squeezenet1_0(weights=None).num_classes
    1000
    """
    with optional("data"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the image decoders that went missing with the library
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
        for name in ("nms", "qnms"):
            _declared().define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.import_module("torchvision")


@functools.cache
def _declared() -> torch.library.Library:
    # Kept alive by the cache: with the library object its declarations would go as well.
    return torch.library.Library("torchvision", "FRAGMENT")
