"""Inputs laid out as images: which are shown and where they stand."""

import pytest
import torch

from spectral_lens import figures


def test_examples_take_the_classes_in_turn():
    y = torch.tensor([2, 0, 0, 1, 2, 1, 0, 1])
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 2, 3, 5)  # an image's number in both channels
    found = figures.examples(x, y, 7)
    assert found.shape == (7, 3, 5)
    assert (found / 2)[:, 0, 0].tolist() == [1, 3, 0, 2, 5, 4, 6]
    with pytest.raises(ValueError, match=r"\[3, 3, 2\] images of the classes are too few to show 9"):
        figures.examples(x, y, 9)
