"""All outputs pulled back together, as many at a time as the memory takes."""

import pytest
import torch
from torch import nn

from spectral_lens._runtime import memory
from spectral_lens.explain.gradients import gradient
from spectral_lens.explain.lrp import gamma, lrp
from spectral_lens.operators import _pullback
from spectral_lens.operators._pullback import batch_size, pullback


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that are free."""
    return lambda amount: monkeypatch.setattr(memory, "available", lambda device: amount)


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 5)
    ).eval()


def test_it_is_autograds(double):
    model, x = cnn(), torch.randn(3, 2, 6, 7)
    expected = torch.func.vmap(torch.func.jacrev(lambda sample: model(sample.unsqueeze(0)).squeeze(0)))(x)
    assert_close(pullback(model, x), expected)
    rows = torch.randn(2, 5)
    assert_close(pullback(model, x, outputs=rows), torch.einsum("km,nm...->nk...", rows, expected))


def test_what_the_pull_back_asks_for(double, monkeypatch):
    asked = {}
    monkeypatch.setattr(_pullback, "chunk_size", lambda wanted, **given: asked.update(given, wanted=wanted) or 2)
    gradient(cnn(), torch.randn(11, 2, 6, 7), outputs=[4, 0, 1], chunk=3)
    activations = 11 * 3 * 4 * 5 * 8  # of the convolution
    assert asked.pop("each") >= 2 * activations
    assert asked == {"wanted": 3, "pieces": 3, "result": 11 * 3 * 84 * 8, "samples": 11, "device": torch.device("cpu")}


def counted(monkeypatch):
    """The outputs of each pull-back from now on."""
    sizes, together = [], _pullback._together
    monkeypatch.setattr(_pullback, "_together", lambda one, rows: sizes.append(len(rows)) or together(one, rows))
    return sizes


@pytest.mark.filterwarnings("ignore:relevance is enlarged")
@pytest.mark.parametrize("method", [gradient, lambda *a, **k: lrp(*a, rules=gamma(0.3), **k)], ids=["gradient", "lrp"])
def test_the_chunk_does_not_change_the_numbers(double, monkeypatch, method):
    sizes, model, x = counted(monkeypatch), cnn()[:5].eval(), torch.rand(3, 2, 6, 7)
    whole = method(model, x, chunk=None)
    assert whole.shape == (3, 7, 2, 6, 7)
    assert_close(method(model, x, chunk=1), whole)
    assert_close(method(model, x, chunk=3), whole)
    assert_close(method(model, x, chunk=50), whole)
    assert sizes == [7, *[1] * 7, 3, 3, 1, 7]


def limits(model, x):
    """Bytes of the relevance, and of one output's pull-back."""
    given = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pullback, "chunk_size", lambda wanted, **asked: given.update(asked) or 1)
        gradient(model, x)
    return given["result"], given["each"]


def test_the_free_memory_sets_the_chunk(double, monkeypatch, free):
    model, x = cnn(), torch.randn(3, 2, 6, 7)
    whole = gradient(model, x)
    result, each = limits(model, x)
    free(int((result + 2.5 * each) / 0.9))
    sizes = counted(monkeypatch)
    assert_close(gradient(model, x), whole)
    assert sizes == [2, 2, 1]
    with pytest.raises(MemoryError, match=r"chunk=4 takes .*: use chunk=2\."):
        gradient(model, x, chunk=4)
    assert sizes == [2, 2, 1]
    assert_close(gradient(model, x, chunk=2), whole)


def test_nothing_is_pulled_back_where_it_does_not_fit(double, monkeypatch, free):
    model, x = cnn(), torch.randn(8, 2, 6, 7)
    result, each = limits(model, x)
    free(int((result + each) / 0.9 / 2))
    sizes = counted(monkeypatch)
    with pytest.raises(MemoryError, match=r"the derivative of 8 samples .* take (3|4) samples at a time"):
        pullback(model, x)
    assert not sizes
    assert gradient(model, x[:3]).shape == (3, 5, 2, 6, 7)


def test_a_batch_fits_a_cache():
    assert batch_size(torch.zeros(9, 250_000)) == 1
    assert batch_size(torch.zeros(9, 1000)) == 250
    assert batch_size(torch.zeros(9, 1)) == 4096


# ---- a target


def test_a_target_is_one_output_of_each_sample(double):
    model, x = cnn(), torch.randn(4, 2, 6, 7)
    whole, target = gradient(model, x), torch.tensor([4, 0, 2, 0])
    assert_close(gradient(model, x, target=target), whole[torch.arange(4), target].unsqueeze(1))
    assert_close(gradient(model, x, target=[4, 0, 2, 0]), gradient(model, x, target=target))
    with pytest.raises(ValueError, match="give one of the two"):
        gradient(model, x, target=target, outputs=[0])


def test_a_function_may_work_in_place(double):
    at = torch.randn(3, 4)
    before = at.clone()
    found = pullback(lambda x: x.mul_(2).square(), at)
    assert torch.equal(at, before)
    assert_close(found, torch.diag_embed(8 * at))
