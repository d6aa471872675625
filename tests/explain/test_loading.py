"""A network of the reader's own: from a file, from torchvision, with weights; and every mistake is one sentence."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from spectral_lens._runtime import resources
from spectral_lens._runtime.errors import InputError
from spectral_lens.datasets.vision import torchvision
from spectral_lens.explain.loading import load_network, load_weights

FILE = """\
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn
from parts_of_mine import hidden

@dataclass
class Sizes:
    first: int = 5

def build():
    return nn.Sequential(nn.Linear(Sizes().first, hidden), nn.Dropout(), nn.Linear(hidden, 3))

class Own(nn.Linear):
    def __init__(self):
        super().__init__(4, 2)

ready = nn.Linear(3, 2)
number, _hidden = 3, 4

def two():
    return build(), 1

def needs(size):
    return size

def fails():
    raise RuntimeError("no room\\nleft")

def leaves():
    raise SystemExit(2)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my.py").write_text("\ufeff" + FILE, encoding="utf-8")
    (tmp_path / "parts_of_mine.py").write_text("hidden = 7\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("_loaded_my", "parts_of_mine"):
        sys.modules.pop(name, None)


def said(error):
    (line,) = str(error.value).splitlines()
    return line


def test_a_function_a_class_or_a_module_in_a_file(folder):
    paths = list(sys.path)
    network = load_network("my.py:build", device="cpu")
    assert [type(layer) for layer in network] == [nn.Linear, nn.Dropout, nn.Linear]
    assert network[0].weight.shape == (7, 5)
    assert not any(part.training for part in network.modules())
    assert load_network(f"{folder}/my.py:Own", device="cpu").weight.shape == (2, 4)
    assert load_network("my.py:ready", device="cpu").weight.shape == (2, 3)
    assert sys.path == paths


def test_the_seed_decides_and_nobody_elses_numbers_are_touched(folder):
    torch.manual_seed(5)
    expected = [nn.Linear(3, 2), nn.Linear(5, 7)][1].weight  # the file's own layer comes first
    before = torch.random.get_rng_state()
    first, again, other = (load_network("my.py:build", seed=seed, device="cpu")[0].weight for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, expected)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_precision_is_the_networks_own_unless_another_is_asked_for(folder):
    assert load_network("my.py:build", device="cpu")[0].weight.dtype == torch.float32
    assert load_network("my.py:build", dtype=torch.float64, device="cpu")[0].weight.dtype == torch.float64


def test_a_file_is_named_from_where_the_command_was_called(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv(resources.CALLED_FROM, str(folder))
    torch.save(nn.Linear(4, 2).state_dict(), folder / "w.pt")
    load_network("my.py:Own", weights="w.pt", device="cpu")


def test_networks_of_torchvision_are_torchvisions():
    torch.manual_seed(11)
    expected = torchvision().models.squeezenet1_1(weights=None).state_dict()
    found = load_network("torchvision:squeezenet1_1", seed=11, device="cpu").state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("", r"names no network: give a function in a file of Python, as my\.py:build"),
        ("my.py", "names no network"),
        ("my.txt:build", "names no network"),
        ("my.py:", "names no network"),
        ("my.py:a.b", "names no network"),
        ("timm:vit", "names no network"),
        ("nowhere.py:build", r"model=nowhere\.py cannot be read \(No such file or directory\)"),
        ("my.py:built", r"my\.py has no built: it has dataclass, Sizes, build and 6 more\.$"),
        ("my.py:number", "number in my.py is of type int: it must be a function"),
        ("my.py:two", r"two\(\) in my\.py returns a tuple: it must return an nn\.Module"),
        ("my.py:needs", r"needs\(\) in my\.py fails: TypeError: needs\(\) missing 1 required"),
        ("my.py:fails", r"fails\(\) in my\.py fails: RuntimeError: no room\.$"),
        ("my.py:leaves", r"leaves\(\) in my\.py fails: SystemExit: 2\.$"),
        ("torchvision:resnet19", r"torchvision has no network 'resnet19' that classifies: there are .*resnet18"),
        ("torchvision:", r"torchvision has no network '' that classifies: there are alexnet, .* and others"),
        ("torchvision:fasterrcnn_resnet50_fpn", "that classifies"),
    ],
)
def test_what_names_no_network_is_one_sentence(folder, model, why):
    with pytest.raises(InputError, match=why) as error:
        load_network(model, device="cpu")
    said(error)
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"def build(:\n", r"my\.py fails: SyntaxError: "),
        (b"import no_such_package\n", r"my\.py fails: ModuleNotFoundError: No module named 'no_such_package'\.$"),
        (b"import sys\nsys.exit('stop')\n", r"my\.py fails: SystemExit: stop\.$"),
        (b"raise ValueError\n", r"my\.py fails: ValueError\.$"),
        (b"\xe4 = 1\n", r"my\.py is not UTF-8"),
        (b"", r"my\.py has no build: it has nothing that could be called\.$"),
    ],
)
def test_a_file_that_does_not_run_is_one_sentence(folder, text, why):
    (folder / "my.py").write_bytes(text)
    with pytest.raises(InputError, match=why) as error:
        load_network("my.py:build", device="cpu")
    said(error)


# ---- weights


@pytest.mark.parametrize("wrap", [lambda state: state, *(lambda s, k=k: {"epoch": 3, k: s} for k in
                                                         ("state_dict", "model_state_dict", "model"))])  # fmt: skip
def test_weights_are_those_of_the_file(tmp_path, wrap):
    network, other = (nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3)) for _ in range(2))
    network[1].running_mean += 2
    torch.save(wrap(network.state_dict()), tmp_path / "w.pt")
    load_weights(other, tmp_path / "w.pt")
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return (open, (str(self.place), "w"))


def test_a_file_of_weights_executes_nothing(tmp_path):
    torch.save({"a": torch.ones(1), "b": Trap(tmp_path / "trace")}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt holds more than tensors.* save torch\.save") as error:
        load_weights(nn.Linear(3, 2), tmp_path / "w.pt")
    said(error)
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda: torch.save(nn.Linear(3, 2), "w.pt"), "holds more than tensors"),
        (lambda: torch.save(torch.ones(3), "w.pt"), "holds no state dict, but a Tensor"),
        (lambda: torch.save([1, 2], "w.pt"), "holds no state dict, but a list"),
        (lambda: torch.save({}, "w.pt"), "holds no state dict, but a dict"),
        (lambda: torch.save({"epoch": 3}, "w.pt"), "holds no state dict, but a dict"),
        (lambda: Path("w.pt").write_bytes(b"hello"), r"w\.pt is no file of torch\.save, or a damaged one"),
        (lambda: Path("w.pt").write_bytes(b""), r"w\.pt is no file of torch\.save, or a damaged one"),
        (lambda: None, r"weights=w\.pt cannot be read \(No such file or directory\)"),
        (
            lambda: torch.save({"weight": torch.ones(2, 4), "gain": torch.ones(1)}, "w.pt"),
            r"does not fit Linear: it lacks bias; it has too gain; it has another shape of weight \(2, 4\), here "
            r"\(2, 3\)\.$",
        ),
        (
            lambda: torch.save({f"p{k}": torch.ones(1) for k in range(5)}, "w.pt"),
            "it lacks weight, bias; it has too p0, p1, p2 and 2 more",
        ),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(tmp_path, monkeypatch, made, why):
    monkeypatch.chdir(tmp_path)
    made()
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    with pytest.raises(InputError, match=why) as error:
        load_weights(network, "w.pt")
    said(error)
    assert torch.equal(network.weight, before)
