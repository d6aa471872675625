"""The report on the reader's own network: rerun by its parameters, from another folder, also where most is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from spectral_lens._runtime import resources
from spectral_lens.book import records, runner
from spectral_lens.book.chapters import Book, BookError, chapter

ROOT = Path(resources.__file__).parents[3]
SMALL = {"samples": 3, "attacked": 5, "gammas": [0.0, 1.0], "points": 2, "radii": [0.1], "steps": 1}
FILE = """\
import torch
from torch import nn
from torch.nn import functional as F


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second, self.read = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        return self.read(F.relu(x + self.second(x)).mean((2, 3)))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.start, self.encoder = nn.Parameter(torch.zeros(1, 1, 6)), nn.TransformerEncoder(layer, 1)
        self.read = nn.Linear(6, 4)

    def forward(self, x):
        words = torch.cat([self.start.expand(len(x), -1, -1), x.flatten(1).unflatten(1, (-1, 6))], 1)
        return self.read(self.encoder(words)[:, 0])


def recurrent():
    return nn.GRU(5, 4, batch_first=True)
"""


@pytest.fixture
def network(tmp_path, monkeypatch):
    """The chapter in a book of its own, so that the record goes there, and the reader's files."""
    shutil.copytree(ROOT / "book", tmp_path / "root" / "book")
    shutil.copy(ROOT / "_toc.yml", tmp_path / "root")
    (tmp_path / "my.py").write_text(FILE)
    g = np.random.default_rng(0)
    x = g.normal(size=(8, 3, 6, 4)).astype("f4")
    np.savez(tmp_path / "labelled.npz", x=x, y=g.integers(0, 3, 8))
    np.savez(tmp_path / "bare.npz", x=x)
    monkeypatch.chdir(tmp_path)
    return chapter("apply/network", Book(tmp_path / "root"))


def said(path):
    outputs = [output for cell in records.read(path).cells for output in cell.get("outputs", [])]
    texts = [output["text"] if "text" in output else output["data"].get("text/plain", "") for output in outputs]
    return "\n".join(texts), sum("image/png" in output.get("data", {}) for output in outputs)


def test_a_network_with_its_weights_and_labelled_samples(network):
    namespace = {}
    exec(FILE, namespace)
    model = namespace["Residual"]()
    nn.init.constant_(model.read.bias, 7)  # which nobody draws
    torch.save(model.state_dict(), "w.pt")
    given = {**SMALL, "model": "my.py:Residual", "weights": "w.pt", "data": "labelled.npz", "precision": "float64"}
    path = runner.run(runner.plan(network, "quick", given))
    text, figures = said(path)
    assert records.data(records.read(path))[0]["name"] == "labelled"
    assert figures == 4
    assert "Residual with 279 parameters to train, 3 outputs, 72 inputs" in text
    with np.load("labelled.npz") as file, torch.no_grad():
        out = model.eval()(torch.from_numpy(file["x"]))
        share = float((out.argmax(1).numpy() == file["y"]).mean())
    assert f"accuracy {share:.3f} (95% interval" in text
    assert "LRP with the rule generalised gamma\nWhy not gamma: relevance is enlarged" in text
    assert "first, second" in text
    for part in ("entropy: median", "largest eigenvalue / n", "s_J = ", "GMSI = ", "no attack: ", "radius 0.1: "):
        assert part in text
    assert "Nothing was refused." in text
    assert "TransformerEncoder" not in text  # the page's own example is left out


def test_a_network_that_refuses_and_samples_without_classes(network):
    given = {**SMALL, "model": "my.py:Transformer", "data": "bare.npz"}
    text, figures = said(runner.run(runner.plan(network, "quick", given)))
    assert figures == 4
    assert "8 samples without classes" in text
    assert "LRP: Transformer cannot be followed layer by layer" in text
    assert "accuracy: the samples have no classes y" in text
    for part in ("entropy: median", "largest eigenvalue / n", "GMSI = ", "no attack: 1.000", "radius 0.1: "):
        assert part in text
    for part in ("LRP with", "RuntimeError", "accuracy 0"):
        assert part not in text


def test_a_network_that_gives_more_than_outputs_is_a_sentence(network):
    np.savez("series.npz", x=np.ones((4, 7, 5), dtype="f4"))
    plan = runner.plan(network, "quick", {**SMALL, "model": "my.py:recurrent", "data": "series.npz"})
    with pytest.raises(runner.ChapterFailed, match="ValueError: the model gives more than one tensor, a tuple"):
        runner.run(plan)


@pytest.mark.parametrize(
    "named", [{"model": "nowhere.py:build"}, {"weights": "nowhere.pt"}, {"data": "nowhere.npz"}], ids=str
)
def test_a_file_that_is_not_there_is_found_before_the_kernel_starts(network, named):
    given = {"model": "my.py:Residual", "weights": "", "data": "bare.npz"} | named
    ((name, value),) = named.items()
    with pytest.raises(BookError, match=rf"^apply/network: {name}={value} cannot be read .No such file or directory"):
        runner.plan(network, "quick", given)
