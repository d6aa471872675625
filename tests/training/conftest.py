"""For all tests of trainings: the same random numbers in any order, and each experiment trained once."""

import pytest
import torch

from experiments import DOUBLE, EXPERIMENTS, SEEDS
from spectral_lens.training import fit


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # the same numbers in any order of the tests


@pytest.fixture(scope="module")
def experiment():
    """An experiment's network, options and runs, trained once."""
    done = {}

    def train(name):
        if name not in done:
            make, options = EXPERIMENTS[name]
            torch.manual_seed(0)
            model = make()
            done[name] = model, options, fit(model, seeds=SEEDS, epochs=3, recalibrate=False, **DOUBLE, **options)
        return done[name]

    return train
