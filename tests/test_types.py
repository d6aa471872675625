"""A user's script under `mypy --strict`: the package's types arrive.

`make lint` reads this file with the package. A line with `type: ignore` is an error that mypy must find (an ignore that
is not needed is one, too), so nothing here can have become Any unseen.
"""

from typing import assert_type

import pytest
import torch
from torch import Tensor, nn

import spectral_lens
from spectral_lens import DataSet, SpectralLinear, accuracy, fit, mlp, of_inputs, ranking, redistribution, ssm
from spectral_lens.training import Trained


def test_names_of_the_front_door_have_their_types() -> None:
    layer = SpectralLinear(4, 3)
    assert_type(layer.weight, Tensor)
    assert_type(spectral_lens.spectralize(nn.Linear(4, 3)), nn.Module)
    assert_type(of_inputs(layer), Tensor)
    assert_type(ranking(of_inputs(layer)), Tensor)
    quality: str = ssm(torch.rand(2, 3, 4))  # type: ignore[assignment]
    assert_type(redistribution(torch.rand(2, 3, 4)).R, Tensor)
    assert torch.is_tensor(quality)


def test_options_have_their_types() -> None:
    x, y = torch.rand(8, 4), torch.arange(8) % 2
    data = DataSet("toy", x, y, ("a", "b", "c", "d"), "m", "generated", "0" * 64, "made here")
    trained = fit(mlp([4, 3, 2]), data, seeds=(1, 2), epochs=1, progress=False)
    assert_type(trained, Trained)
    assert_type(accuracy(trained, data), Tensor)


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError):
        spectral_lens.lpr  # type: ignore[attr-defined]  # noqa: B018
