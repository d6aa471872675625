"""What cannot be trained is refused before any computing."""

from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from experiments import SEEDS, Steep
from oracles import measured, toy
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit
from spectral_lens.training._run import Run


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.last = SpectralLinear(4, 4), nn.Linear(4, 2)
        self.second = self.first

    def forward(self, x):
        return self.last(self.second(self.first(x).tanh()))


ERRORS = [
    ({"seeds": ()}, "at least one seed"),
    ({"seeds": (3, 1, 3)}, "repeat"),
    ({"seeds": (-1, 3)}, "must not be negative"),
    ({"epochs": 0}, "epochs=0"),
    ({"lr": -0.1}, "lr=-0.1"),
    ({"lr": float("nan")}, "lr=nan must be a finite number"),
    ({"lr": torch.ones(1, 3)}, "lr=.*one per run"),
    ({"l1": {"layer1.psi": float("inf")}}, r"l1\['layer1.psi'\]=inf must be a finite number"),
    ({"checkpoint": Path(__file__).parent}, "checkpoint=.*cannot be written"),
    ({"checkpoint": Path(__file__) / "run.npz"}, "checkpoint=.*cannot be written"),
    ({"dtype": torch.float16}, "dtype=torch.float16: train in one of torch.float32"),
    ({"dtype": torch.int64}, "dtype=torch.int64"),
    ({"penalty": lambda step: step.out.sum()}, "penalty cannot be saved in a checkpoint: .<function .* by its address"),
    ({"penalty": partial(Steep.__call__, Steep())}, "penalty cannot be saved"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"optimizer": "rmsprop"}, "rmsprop.*adam, adamax, sgd"),
    ({"loss": "hinge"}, "hinge.*cross_entropy"),
    ({"loss": "mse"}, "mse.*int64"),
    ({"loss": "mae"}, "mae.*int64"),
    ({"loss": "cross_entropy", "data": measured(20, (5,))}, "cross_entropy.*float64"),
    ({"decay": -0.1}, "decay=-0.1"),
    ({"decay": 1.1}, "decay=1.1"),
    ({"device": "gpu"}, "no device"),
    ({"lr": [0.1, 0.2]}, "lr has 2 values for 3 runs"),
    ({"lr": [0.1, 0.2, 0.3, 0.4]}, "lr has 4 values for 3 runs"),
    ({"l1": {"layer1.psi": [0.1, 0.2]}}, r"l1\['layer1.psi'\] has 2 values"),
    ({"l2": {"layer1.psi": [0.1, 0.2]}}, r"l2\['layer1.psi'\] has 2 values"),
    ({"l1": {"psi": 0.1}}, r"l1 names \['psi'\].*layer1.psi"),
    ({"l2": {"layer1.lam_out": 0.1}}, r"l2 names \['layer1.lam_out'\]"),  # frozen
    ({"masks": {"layer9": torch.ones(1, dtype=torch.bool)}}, r"masks names \['layer9'\]"),
    ({"masks": {"layer1.psi": torch.ones(6, 5)}}, "must be torch.bool"),
    ({"masks": {"layer1.psi": torch.ones(5, 6, dtype=torch.bool)}}, r"\(5, 6\).*\(6, 5\).*\(3, 6, 5\)"),
    ({"masks": {"layer1.psi": torch.ones(2, 6, 5, dtype=torch.bool)}}, r"\(2, 6, 5\).*\(6, 5\).*\(3, 6, 5\)"),
    ({"data": toy(20, (5,), 3, runs=2)}, "2 runs.*3 seeds"),
    ({"data": toy(20, (4,), 3)}, "toy"),
    ({"data": toy(20, (5,), 4)}, "toy"),
    ({"validation": toy(20, (5,), 3, runs=2)}, "2 runs"),
    ({"validation": toy(20, (4,), 3)}, "toy"),
    ({"validation": toy(20, (5,), 4)}, "toy"),
    ({"model": mlp([5, 6, 3], dropout=0.1, spectral=0).requires_grad_(False)}, "every parameter.*frozen"),
    ({"model": mlp([5, 6, 3], batch_norm=True), "batch_size": 19}, "batch_size=19 leaves a last batch of one sample"),
    ({"dtype": torch.bfloat16}, "cannot hold torch.bfloat16"),
    ({"model": Twice(), "data": toy(20, (4,))}, "second.*first"),
]


@contextmanager
def watched():
    """The steps that trainings do."""
    steps, step = [], Run.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "step", lambda *args: steps.append(args) or step(*args))
        yield steps


@pytest.mark.parametrize(("change", "message"), ERRORS, ids=[f"{next(iter(c))}-{k}" for k, (c, _) in enumerate(ERRORS)])
def test_wrong_arguments_are_refused(tmp_path, change, message):
    call = {"model": mlp([5, 6, 3]), "data": toy(20, (5,), 3), "seeds": SEEDS, "epochs": 1, "device": "cpu"}
    path = tmp_path / "run.npz"
    with pytest.raises(ValueError, match=message), watched() as steps:
        fit(**(call | {"checkpoint": path} | change))
    assert not path.exists()
    assert not steps


def test_dropout_of_all_runs_at_once_is_refused():
    model = nn.Sequential(nn.Unflatten(1, (1, 4)), nn.Dropout1d(0.5), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="Dropout"):
        fit(model, toy(10, (4,)), seeds=[1, 2], epochs=1, device="cpu")
