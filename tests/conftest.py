"""For all tests: one thread each, so that two workers on two cores do not get in each other's way.

To test with another number, say it: `OMP_NUM_THREADS=2 .venv/bin/pytest`.
"""

import os

# Read by torch and the BLAS when they load, and inherited by workers: so set before anything imports them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("SPECTRAL_LENS_PROFILE", None)  # a test is a quick run, whatever the caller's shell says

import pytest
import torch

import spot_checks

spot_checks.install()


@pytest.fixture
def double():
    """Identities are checked in double precision, with the same random numbers in any order of the tests."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
