"""One dense layer of many runs against plain algebra."""

import pytest
import torch

from spectral_lens.training._fused import ACTIVATIONS, dense
from toy_networks import assert_close, inputs


def test_the_product_of_all_runs_has_the_right_gradient():
    x, weight, bias = (inputs(*shape, seed=9).requires_grad_() for shape in [(2, 3, 4), (2, 5, 4), (2, 5)])
    assert torch.autograd.gradcheck(dense, (x, weight, bias))
    assert torch.autograd.gradcheck(lambda x, w: dense(x, w, None), (x, weight))


@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("bias", [True, False])
def test_buffers_change_no_number(activation, bias):
    x, weight, b, g = (inputs(*shape, seed=9).requires_grad_() for shape in [(2, 3, 4), (2, 5, 4), (2, 5), (2, 3, 5)])
    parts = (x, weight, b) if bias else (x, weight)
    plain = x @ weight.mT + b.unsqueeze(1) if bias else x @ weight.mT
    plain = plain if activation is None else activation()(plain)
    expected = torch.autograd.grad(plain, parts, g)
    buffers, memory = {}, set()
    for _ in range(2):  # the second call writes where the first one wrote
        out = dense(
            x, weight, b if bias else None, activation=ACTIVATIONS.get(activation), buffers=buffers, key="layer"
        )
        assert_close(out, plain)
        for found, wanted in zip(torch.autograd.grad(out, parts, g), expected, strict=True):
            assert_close(found, wanted)
        memory.add(out.data_ptr())
    assert len(memory) == 1
