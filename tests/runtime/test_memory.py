"""Whether the relevance fits, with a memory of a known size."""

import psutil
import pytest
import torch
from torch import nn

from spectral_lens._runtime import memory
from spectral_lens.explain.gradients import gradient
from spectral_lens.explain.lrp import gamma, lrp
from spectral_lens.operators import _pullback
from spectral_lens.operators._pullback import pullback


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that are free."""
    return lambda amount: monkeypatch.setattr(memory, "free", lambda device: amount)


def fitting(wanted, *, pieces=7, each=100, result=300, samples=5):
    return memory.fitting(
        wanted, pieces=pieces, each=each, result=result, samples=samples, device=torch.device("cpu")
    )  # fmt: skip


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


# ---- what fits


@pytest.mark.parametrize(("amount", "pieces"), [(1000, 6), (999, 5), (445, 1), (1112, 7), (9999, 7)])
def test_by_default_as_many_are_taken_as_fit_into_nine_tenths(free, amount, pieces):
    free(amount)
    assert fitting(None) == pieces


def test_too_large_a_chunk_is_refused_and_the_one_named_fits(free):
    free(1000)
    with pytest.raises(MemoryError, match=r"chunk=7 takes 0\.0007 MB beside 0\.0003 MB: use chunk=6\."):
        fitting(7)
    assert [fitting(chunk) for chunk in (6, 5, 1)] == [6, 5, 1]


def test_a_chunk_beyond_the_pieces_is_no_more_than_all_of_them(free):
    free(1000)
    assert min(fitting(50, pieces=6), 6) == 6
    with pytest.raises(MemoryError, match="use chunk=6"):
        fitting(50)


def test_where_not_even_one_fits_as_many_samples_are_named_as_do(free):
    free(1000)
    with pytest.raises(MemoryError, match=r"relevance of 5 samples takes 0\.00085 MB, 0\.001 MB are free: explain 4 "):
        fitting(1, result=850)
    assert fitting(None, result=850 * 4 // 5, each=100 * 4 // 5, samples=4) == 2


def test_where_not_even_one_sample_fits_there_is_another_way(free):
    free(1000)
    with pytest.raises(MemoryError, match=r"free: fewer outputs, or use spectrum\.products") as raised:
        fitting(None, result=850, samples=1)
    assert "at a time" not in str(raised.value)


def test_large_amounts_are_in_gigabytes(free):
    free(20 * 10**9)
    with pytest.raises(MemoryError, match=r"takes 30 GB, 20 GB are free"):
        fitting(None, result=30 * 10**9)


def test_what_is_free_is_there():
    assert 0 < memory.free(torch.device("cpu")) <= psutil.virtual_memory().total


# ---- the pull-back


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 5)
    ).eval()


def test_the_largest_tensor_of_a_computation():
    with _pullback._Largest() as largest:
        a = torch.ones(3, 5) @ torch.ones(5, 7)
        torch.sort(torch.cat([a, a, a]).double(), dim=1)
        torch.ones(11, 1)
    assert largest.bytes == 9 * 7 * 8
    torch.ones(10_000)
    assert largest.bytes == 9 * 7 * 8


def test_what_the_pull_back_asks_for(double, monkeypatch):
    asked = {}
    monkeypatch.setattr(_pullback, "fitting", lambda wanted, **given: asked.update(given, wanted=wanted) or 2)
    gradient(cnn(), torch.randn(11, 2, 6, 7), outputs=[4, 0, 1], chunk=3)
    activations = 11 * 3 * 4 * 5 * 8  # of the convolution
    assert asked.pop("each") >= 2 * activations
    assert asked == {"wanted": 3, "pieces": 3, "result": 11 * 3 * 84 * 8, "samples": 11, "device": torch.device("cpu")}


def counted(monkeypatch):
    """The outputs of each pull-back from now on."""
    sizes, together = [], _pullback._together
    monkeypatch.setattr(_pullback, "_together", lambda one, rows: sizes.append(len(rows)) or together(one, rows))
    return sizes


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
        patch.setattr(_pullback, "fitting", lambda wanted, **asked: given.update(asked) or 1)
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
    with pytest.raises(MemoryError, match=r"the relevance of 8 samples .* explain (3|4) samples at a time"):
        pullback(model, x)
    assert not sizes
    assert gradient(model, x[:3]).shape == (3, 5, 2, 6, 7)
