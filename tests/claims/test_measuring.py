"""`measure`: what it takes, what it refuses, and what a notebook and a record get."""

import math
from collections import UserList

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from spectral_lens import claims
from spectral_lens.claims.measured import Measured

PAPER = "chicchi.independent.distance"
ANY = "chicchi.method.inverse"


@pytest.fixture
def profile(monkeypatch):
    return lambda name: monkeypatch.setenv("SPECTRAL_LENS_PROFILE", name)


def test_without_a_profile_it_is_quick(monkeypatch):
    monkeypatch.delenv("SPECTRAL_LENS_PROFILE", raising=False)
    assert claims.measure(PAPER, 1.0).profile == "quick"


@pytest.mark.parametrize(
    "values",
    [
        [0.96, 0.97, 1.0],
        (0.96, 0.97, 1.0),
        UserList([0.96, 0.97, 1.0]),
        np.array([0.96, 0.97, 1.0]),
        torch.tensor([0.96, 0.97, 1.0], dtype=torch.float64, requires_grad=True),
        [torch.tensor(0.96, dtype=torch.float64), np.float64(0.97), 1],
    ],
)
def test_numbers_of_any_kind(profile, values):
    profile("paper")
    measured = claims.measure(PAPER, values)
    assert measured.values == pytest.approx((0.96, 0.97, 1.0))
    assert (measured.profile, measured.revision) == ("paper", claims.load()[PAPER].revision)
    assert all(type(value) is float for value in measured.values)


@pytest.mark.parametrize("value", [0.5, 1, torch.tensor(0.5), np.float32(0.5)])
def test_one_number(value):
    assert claims.measure(PAPER, value).values == (float(value),)


def test_groups_and_readings():
    measured = claims.measure(PAPER, {"a": torch.ones(2), 20: [0.5]}, reading="ours")
    assert dict(measured.groups) == {"a": (1.0, 1.0), "20": (0.5,)}
    assert measured.reading == "ours"


@pytest.mark.parametrize("value", [math.nan, [1.0, math.inf], torch.tensor([math.nan]), [0.1, np.nan], {"a": math.nan}])
def test_not_finite_names_the_claim(value):
    with pytest.raises(ValueError, match=r"chicchi\.independent\.distance.*not finite"):
        claims.measure(PAPER, value)


@pytest.mark.parametrize(
    "value", [[], torch.zeros(0), "0.5", None, True, [[0.1, 0.2]], ["a"], torch.zeros(2, 2), {}, {"a": []}]
)
def test_no_numbers(value):
    with pytest.raises(ValueError, match="one number"):
        claims.measure(PAPER, value)


def test_three_claims_are_suggested_at_most():
    with pytest.raises(ValueError, match="did you mean") as said:
        claims.measure("chicchi.independent", 1.0)
    assert str(said.value).count(" or ") == 2


def test_unknown_claim_suggests():
    with pytest.raises(ValueError, match=r"did you mean .*chicchi\.independent\.distance"):
        claims.measure("chicchi.independant.distance", 1.0)


def test_rounding_errors_are_not_printed(profile):
    """They differ from machine to machine, and the pages are compared word by word."""
    profile("quick")
    first, second = (claims.measure(ANY, value)._repr_mimebundle_()[0] for value in (2.2e-16, 4.4e-16))
    assert first == second
    assert first["text/plain"] == "chicchi.method.inverse: below 1e-06"


def test_what_a_notebook_gets(profile):
    profile("paper")
    measured = claims.measure("maess.stability.bound", [0.5, 0.7])
    texts, notes = DisplayFormatter().format(measured)
    assert set(texts) == {"text/plain", "text/html"}
    assert texts["text/plain"] == "maess.stability.bound: 0.6 +- 0.1 (2 runs)", "nothing of the ledger's"
    assert "||R z|| &lt;= sigma_1 ||z||" in texts["text/html"]
    assert 'class="claim claim-bound-holds"' in texts["text/html"]
    kept = notes["spectral_lens"]["claim"]
    assert kept == {"id": "maess.stability.bound", "values": [0.5, 0.7], "profile": "paper", "revision": 1}
    assert Measured.read(kept).data == measured.data
