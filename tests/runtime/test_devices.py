"""A name becomes a device or a clear error; a captured step equals the step."""

import pytest
import torch

from spectral_lens._runtime.devices import cuda_graph, resolve

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def test_names():
    assert resolve("cpu") == torch.device("cpu")
    assert resolve(torch.device("cpu")) == torch.device("cpu")
    assert resolve() == resolve("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("found", [True, False])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert resolve("auto").type == ("cuda" if found else "cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:one", "tpu3"])
def test_an_unknown_name(name):
    with pytest.raises(ValueError, match="is no device: use 'auto'"):
        resolve(name)


@pytest.mark.parametrize(("name", "seen"), [("cuda", 0), ("cuda:0", 0), ("cuda:1", 1), ("cuda:7", 2)])
def test_a_device_that_is_not_there(monkeypatch, name, seen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    with pytest.raises(RuntimeError, match=f"{name}.*not on this machine .{seen} GPUs seen"):
        resolve(name)
    with pytest.raises(RuntimeError, match="not on this machine"):
        resolve(torch.device(name))


@pytest.mark.parametrize(("name", "seen"), [("cuda", 1), ("cuda:1", 2)])
def test_a_device_that_is_there(monkeypatch, name, seen):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    assert resolve(name) == torch.device(name)


@cuda
def test_a_captured_step_is_the_step():
    def trace(wrap):
        x = torch.zeros(3, device="cuda", dtype=torch.float64)
        count = torch.zeros((), device="cuda", dtype=torch.int64)

        def step(rows):
            x.mul_(0.5).add_(rows)
            count.add_(1)

        advance, seen = wrap(step), []
        for k in range(8):
            advance(torch.full((3,), float(k), device="cuda", dtype=torch.float64))
            seen.append((x.tolist(), int(count)))
        return seen

    assert trace(cuda_graph) == trace(lambda step: step)
    assert trace(cuda_graph)[-1][1] == 8
