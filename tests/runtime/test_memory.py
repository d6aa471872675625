"""Whether a computation fits, with a memory of a known size."""

import psutil
import pytest
import torch

from spectral_lens._runtime import memory


@pytest.fixture
def free(monkeypatch):
    """Sets the bytes that are free."""
    return lambda amount: monkeypatch.setattr(memory, "available", lambda device: amount)


def chunk_size(wanted, *, pieces=7, each=100, result=300, samples=5):
    return memory.chunk_size(
        wanted, pieces=pieces, each=each, result=result, samples=samples, device=torch.device("cpu")
    )  # fmt: skip


# ---- what fits


@pytest.mark.parametrize(("amount", "pieces"), [(1000, 6), (999, 5), (445, 1), (1112, 7), (9999, 7)])
def test_by_default_as_many_are_taken_as_fit_into_nine_tenths(free, amount, pieces):
    free(amount)
    assert chunk_size(None) == pieces


def test_too_large_a_chunk_is_refused_and_the_one_named_fits(free):
    free(1000)
    with pytest.raises(MemoryError, match=r"chunk=7 takes 0\.0007 MB beside 0\.0003 MB: use chunk=6\."):
        chunk_size(7)
    assert [chunk_size(chunk) for chunk in (6, 5, 1)] == [6, 5, 1]


def test_a_chunk_beyond_the_pieces_is_no_more_than_all_of_them(free):
    free(1000)
    assert min(chunk_size(50, pieces=6), 6) == 6
    with pytest.raises(MemoryError, match="use chunk=6"):
        chunk_size(50)


def test_where_not_even_one_fits_as_many_samples_are_named_as_do(free):
    free(1000)
    with pytest.raises(MemoryError, match=r"derivative of 5 samples takes 0\.00085 MB, 0\.001 MB are free: take 4 "):
        chunk_size(1, result=850)
    assert chunk_size(None, result=850 * 4 // 5, each=100 * 4 // 5, samples=4) == 2


def test_where_not_even_one_sample_fits_there_is_another_way(free):
    free(1000)
    with pytest.raises(MemoryError, match=r"free: fewer outputs, or the products of a LinearOp") as raised:
        chunk_size(None, result=850, samples=1)
    assert "at a time" not in str(raised.value)


def test_large_amounts_are_in_gigabytes(free):
    free(20 * 10**9)
    with pytest.raises(MemoryError, match=r"takes 30 GB, 20 GB are free"):
        chunk_size(None, result=30 * 10**9)


def test_what_is_free_is_there():
    assert 0 < memory.available(torch.device("cpu")) <= psutil.virtual_memory().total
    assert memory.budget(torch.device("cpu")) < psutil.virtual_memory().total


def test_a_chunk_is_at_least_one():
    for chunk in (None, 1, 7):
        memory.check_chunk(chunk)
    for chunk in (0, -3):
        with pytest.raises(ValueError, match=rf"chunk={chunk} must be at least 1 output at a time"):
            memory.check_chunk(chunk, of="output")


# ---- what is made


def test_allocations_are_counted_while_they_are_watched():
    with memory.Allocations() as made:
        a = torch.ones(3, 5) @ torch.ones(5, 7)
        torch.sort(torch.cat([a, a, a]).double(), dim=1)  # values, and places as long as these
        torch.ones(11, 1)
    assert made.largest == 9 * 7 * 8
    assert made.total == 4 * (15 + 35 + 21 + 63 + 11) + 3 * 8 * 63
    torch.ones(10_000)
    assert made.largest == 9 * 7 * 8


def test_bytes_of_one_more_sample():
    weight = torch.ones(5, 3)
    assert memory.bytes_per_sample(lambda n: torch.ones(n, 5) @ weight) == 4 * (5 + 3)
    assert memory.bytes_per_sample(lambda n: None) == 1  # what can be divided by
