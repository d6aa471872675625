"""Short words from long errors, and warnings that name the reader's own line."""

import warnings

import pytest
import torch
from torch import nn

from spectral_lens._runtime.errors import first_line, in_one_line
from spectral_lens.explain.lrp import AssumptionWarning, gamma, lrp
from spectral_lens.explain.matrix_free import of_lrp


@pytest.mark.parametrize(
    ("error", "first", "whole"),
    [
        (ValueError("one.\n  two"), "one", "one. two"),
        (RuntimeError("  spaces  around  "), "spaces  around", "spaces around"),
        (KeyError(), "KeyError", ""),
        (SystemExit(2), "2", "2"),
    ],
)
def test_what_an_error_says(error, first, whole):
    assert first_line(error) == first
    assert in_one_line(error) == whole


@pytest.mark.parametrize("method", [lrp, of_lrp])
def test_a_warning_names_the_line_of_the_caller(method):
    model = nn.Sequential(nn.Linear(2, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, -1.5]]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AssumptionWarning)
        method(model, torch.ones(1, 2), rules=gamma(3.0))
    assert {each.filename for each in caught} == {__file__}
