"""Claims: the ledger, the verdicts, what a page and a record get."""

import math
from collections import UserList
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter

from spectral_lens import claims

PAPER = "chicchi.independent.distance"  # accepts [0.965, null]
ANY = "chicchi.method.inverse"  # accepts [null, 1e-12] at any scale


@pytest.fixture
def profile(monkeypatch):
    return lambda name: monkeypatch.setenv("SPECTRAL_LENS_PROFILE", name)


def ledger(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "claims.yml"
    tmp_path.mkdir(exist_ok=True)
    path.write_text(text)
    return path


ENTRY = '- {id: a.b, where: "1", claim: c, measure: m, printed: 0, accept: [null, 1]}\n'


def test_ledger_is_valid_and_complete():
    found = claims.load()
    assert len(found) > 70
    assert {c.split(".")[0] for c in found} == {"giambagli", "chicchi", "maess", "katende"}
    for c in found.values():
        if c.scale == "any":
            assert c.accept is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY * 2, "two entries a.b"),
        (ENTRY.replace("[null, 1]", "1"), "accept 1"),
        (ENTRY.replace("[null, 1]", "[1]"), "accept"),
        (ENTRY.replace("[null, 1]", "[2, 1]"), "accepts nothing"),
        (ENTRY.replace("[null, 1]", "[low, 1]"), "accept"),
        (ENTRY.replace("[null, 1]", "[true, 1]"), "accept"),
        (ENTRY.replace("[null, 1]", "[.nan, 1]"), "accept .*null where open"),
        (ENTRY.replace("[null, 1]", "[null, .nan]"), "accept .*null where open"),
        (ENTRY.replace("[null, 1]", "[.nan, .nan]"), "accept .*null where open"),
        (ENTRY.replace("[null, 1]", "[1, .inf]"), "accept .*null where open"),
        (ENTRY.replace("[null, 1]", "[-.inf, null]"), "accept .*null where open"),
        (ENTRY.replace("[null, 1]", "[0, -1]"), "accepts nothing"),
        (ENTRY.replace("[null, 1]", "[1, 0]"), "accepts nothing"),
        (ENTRY.replace("}", ", scale: some}"), "scale 'some'"),
        (ENTRY.replace("}", ", accpet: 1}"), "accpet"),
        (ENTRY.replace("measure: m, ", ""), "missing or unknown fields: measure"),
    ],
)
def test_faulty_ledger(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        claims.load(ledger(tmp_path, text))


@pytest.mark.parametrize(
    ("written", "accept"),
    [
        ("null", None),
        ("[0, null]", (0.0, None)),
        ("[null, 0]", (None, 0.0)),
        ("[0, 0.5]", (0.0, 0.5)),
        ("[-0.5, 0.0]", (-0.5, 0.0)),
        ("[1, 1]", (1.0, 1.0)),
        ("[0, 0]", (0.0, 0.0)),
    ],
)
def test_zero_is_a_bound_and_null_is_none(tmp_path, written, accept):
    found = claims.load(ledger(tmp_path, ENTRY.replace("[null, 1]", written)))["a.b"].accept
    assert found == accept
    assert all(bound is None or type(bound) is float for bound in found or ())


@pytest.mark.parametrize("claim", [c for c in claims.load().values() if c.accept], ids=lambda claim: claim.id)
def test_every_criterion_of_the_ledger_can_fail(claim):
    """Beyond each bound by the smallest step, and by a larger one; on it the claim holds."""
    low, high = claim.accept
    assert (low, high) != (None, None)
    for bound, outwards in ((low, -math.inf), (high, math.inf)):
        if bound is not None:
            beyond = math.nextafter(bound, outwards), bound + math.copysign(max(abs(bound), 1), outwards)
            verdicts = [claims.Measured.of(claim.id, [value], "paper").verdict(claim) for value in (bound, *beyond)]
            assert verdicts == ["reproduced", "not reproduced", "not reproduced"]


def test_what_is_in_the_ledger_cannot_be_changed():
    """It is kept for all who ask."""
    claim = claims.load()[PAPER]
    with pytest.raises(AttributeError):
        claim.accept = None
    with pytest.raises(TypeError):
        claims.load()[PAPER] = claim
    with pytest.raises(AttributeError):
        claims.Measured.of(PAPER, [1.0], "paper").value = 0.0


def test_ledger_is_read_again_after_a_change(tmp_path):
    path = ledger(tmp_path, ENTRY)
    assert list(claims.load(path)) == ["a.b"]
    path.write_text(ENTRY + ENTRY.replace("a.b", "a.c"))
    assert list(claims.load(path)) == ["a.b", "a.c"]


@pytest.mark.parametrize(
    ("low", "high", "value", "holds"),
    [
        (1, 2, 1, True),
        (1, 2, 2, True),
        (1, 2, 0.99, False),
        (1, 2, 2.01, False),
        (None, 2, -9, True),
        (1, None, 9, True),
        (0, None, 0, True),
        (0, None, -1e-300, False),
        (None, 0, 0, True),
        (None, 0, 1e-300, False),
        (0, 1, -1e-300, False),
        (-1, 0, 1e-300, False),
        (0, 0, -0.0, True),
        (1, None, math.nan, False),
        (None, 1, math.nan, False),
    ],
)
def test_criterion_has_closed_ends(low, high, value, holds):
    accept = tuple(None if bound is None else float(bound) for bound in (low, high))
    assert claims.Claim("i", "", "", "", "", accept).holds(float(value)) is holds


@pytest.mark.parametrize(
    ("name", "id", "value", "verdict"),
    [
        ("paper", PAPER, 0.98, "reproduced"),
        ("paper", PAPER, 0.9, "not reproduced"),
        ("quick", PAPER, 0.98, "quick only"),
        ("custom", PAPER, 0.98, "quick only"),
        ("quick", ANY, 1e-16, "reproduced"),
        ("custom", ANY, 1e-3, "not reproduced"),
        ("paper", PAPER, [0.9, 1.0], "not reproduced"),  # 0.95 in the mean
        ("quick", ANY, [-1.0, 1.0 + 1e-9], "not reproduced"),
        ("paper", "katende.cifar.instability", 1.0, "no criterion"),
        ("quick", "katende.cifar.instability", 1.0, "no criterion"),
    ],
)
def test_verdict(profile, name, id, value, verdict):
    profile(name)
    measured = claims.measure(id, value)
    assert (measured.verdict(claims.load()[id]), measured.profile) == (verdict, name)


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
def test_mean_of_the_runs_is_judged(profile, values):
    profile("paper")
    measured = claims.measure(PAPER, values)
    assert measured.n == 3
    assert measured.value == pytest.approx(2.93 / 3, rel=1e-15)
    assert measured.sd == pytest.approx(
        math.sqrt(((0.96 - 2.93 / 3) ** 2 + (0.97 - 2.93 / 3) ** 2 + (1 - 2.93 / 3) ** 2) / 2)
    )
    assert measured.verdict(claims.load()[PAPER]) == "reproduced"
    assert measured.values == pytest.approx((0.96, 0.97, 1.0))


@pytest.mark.parametrize("value", [0.5, 1, torch.tensor(0.5), np.float32(0.5)])
def test_one_number(value):
    measured = claims.measure(PAPER, value)
    assert (measured.n, measured.sd, measured.value) == (1, None, float(value))


@pytest.mark.parametrize("value", [math.nan, [1.0, math.inf], torch.tensor([math.nan]), [0.1, np.nan]])
def test_not_finite_names_the_claim(value):
    with pytest.raises(ValueError, match=r"chicchi\.independent\.distance.*not finite"):
        claims.measure(PAPER, value)


@pytest.mark.parametrize("value", [[], torch.zeros(0), "0.5", None, True, [[0.1, 0.2]], ["a"], torch.zeros(2, 2)])
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


def test_line_is_rounded(profile):
    profile("paper")
    assert str(claims.measure(PAPER, [0.98123, 0.98456])) == (
        "chicchi.independent.distance: paper 0.981 +- 0.008, here 0.983 +- 0.002 (2 runs): reproduced"
    )


def test_rounding_errors_are_not_printed(profile):
    """They differ from machine to machine, and the pages are compared word by word."""
    profile("quick")
    first, second = claims.measure(ANY, 2.2e-16), claims.measure(ANY, 4.4e-16)
    assert str(first) == str(second) == "chicchi.method.inverse: paper 0, here below 1e-12: reproduced"
    assert first._repr_mimebundle_()[0] == second._repr_mimebundle_()[0]
    assert first._repr_mimebundle_()[0]["text/plain"] == "chicchi.method.inverse: below 1e-06"
    assert "3.3e-05" in str(claims.measure(ANY, 3.3e-5))
    assert "3.3e-09: not reproduced" in str(claims.measure(ANY, 3.3e-9)), "beside its criterion it is one no more"


@pytest.mark.parametrize(
    ("values", "accept", "here", "against"),
    [
        ([0.0], (None, 0.0), "below 1e-06", "below 0e+00"),
        ([0.0], (0.0, None), "below 1e-06", "0"),  # above zero is no question of rounding
        ([1e-9], (0.0, 1e-6), "below 1e-06", "1e-09"),
        ([-9.9e-7], (None, 1e-6), "below 1e-06", "below 1e-06"),
        ([1e-6], (None, 1e-6), "1e-06", "below 1e-06"),
        ([1e-7], (None, 2e-6), "below 1e-06", "1e-07"),
        ([2e-6], (None, 1e-6), "2e-06", "2e-06"),
        ([-0.5], (None, 0.0), "-0.5", "below 0e+00"),
        ([-0.5], (None, -0.1), "-0.5", "-0.5"),
        ([0.5, 0.5], (0.0, 1.0), "0.5 +- 0 (2 runs)", "0.5 +- 0 (2 runs)"),
        ([0.12344, 0.12366], None, "0.124 +- 0.0002 (2 runs)", "0.124 +- 0.0002 (2 runs)"),
        ([1e-9, 3e-9, 5e-9], (None, 1e-8), "below 1e-06 (3 runs)", "below 1e-08 (3 runs)"),
    ],
)
def test_what_is_printed(values, accept, here, against):
    measured = claims.Measured.of("a.b", values, "paper")
    assert measured.here == here
    assert measured.against(claims.Claim("a.b", "", "", "", "", accept)) == against


@pytest.mark.parametrize("profile", ["paper", "quick", "custom"])
@pytest.mark.parametrize("values", [[0.25], [0.25, -1.5, 0.0]])
def test_what_a_record_keeps_is_what_was_measured(profile, values):
    measured = claims.Measured.of("a.b", values, profile)
    assert claims.Measured.read(measured.data) == measured


def test_a_criterion_below_zero_is_no_rounding_error(profile):
    profile("paper")
    assert "here -0.9 +- 0.01 (2 runs): reproduced" in str(claims.measure("katende.entropy.condition", [-0.91, -0.89]))


def test_what_a_notebook_gets(profile):
    profile("paper")
    measured = claims.measure("maess.stability.bound", [0.5, 0.7])
    texts, notes = DisplayFormatter().format(measured)
    assert set(texts) == {"text/plain", "text/html"}
    assert texts["text/plain"] == "maess.stability.bound: 0.6 +- 0.1 (2 runs)", "nothing of the ledger's"
    assert "||R z|| &lt;= sigma_1 ||z||" in texts["text/html"]
    assert 'class="claim claim-reproduced"' in texts["text/html"]
    claim = notes["spectral_lens"]["claim"]
    assert claim == {"id": "maess.stability.bound", "values": [0.5, 0.7], "profile": "paper"}
    assert claims.Measured.read(claim) == measured


def test_a_changed_ledger_changes_the_card_and_not_the_data(tmp_path):
    measured = claims.Measured.of("a.b", [0.5, 1.0], "paper")
    strict = claims.load(
        ledger(tmp_path, ENTRY.replace("claim: c", "claim: sharper").replace("[null, 1]", "[null, 0.1]"))
    )["a.b"]
    loose = claims.load(ledger(tmp_path / "other", ENTRY))["a.b"]
    assert (measured.verdict(loose), measured.verdict(strict)) == ("reproduced", "not reproduced")
    assert "sharper" in measured.card(strict)
    assert 'class="claim claim-not-reproduced"' in measured.card(strict)


def test_a_record_from_before_values_were_kept_is_read():
    old = {"id": PAPER, "value": 0.98, "sd": 0.01, "n": 10, "printed": "?", "accept": None, "scale": "paper",
           "profile": "paper", "verdict": "no criterion"}  # fmt: skip
    measured = claims.Measured.read(old)
    assert (measured.values, measured.here) == ((), "0.98 +- 0.01 (10 runs)")
    assert measured.verdict(claims.load()[PAPER]) == "reproduced"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- id: [\n", "^claims.yml is no YAML in UTF-8: "),
        ("- id: \u00e9\n".encode("latin-1"), "^claims.yml is no YAML in UTF-8: "),
        (b"", "^claims.yml is a list of claims"),
        (b"id: a\n", "^claims.yml is a list of claims"),
        (b"- id\n", "^claims.yml is a list of claims"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "claims.yml"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        claims.load(path)
    assert "\n" not in str(caught.value)
