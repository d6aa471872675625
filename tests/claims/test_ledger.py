"""The ledger: what it takes, what it refuses and where, and what the project's own one holds."""

import math

import pytest

from spectral_lens import claims
from spectral_lens.claims.ledger import AS_PRINTED, Change, Printed
from toy_ledger import ENTRY, claim, ledger

FOUND = {"kind": "comparison", "nothing": 0, "accept": [0, None]}


def test_the_projects_ledger_is_valid_and_complete():
    found = claims.load()
    assert len(found) > 70
    assert {c.split(".")[0] for c in found} == {"giambagli", "chicchi", "maess", "katende"}
    for each in found.values():
        assert each.theorem is (each.kind in ("identity", "bound"))
        assert each.accept is not None or not each.theorem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accept": 1}, "accept is 1: it is null or"),
        ({"accept": [1]}, "accept is .1.: it is null or"),
        ({"accept": [2, 1]}, "accepts nothing"),
        ({"accept": [0, -1]}, "accepts nothing"),
        ({"accept": [1, 0]}, "accepts nothing"),
        ({"accept": [None, None]}, "open at both ends"),
        ({"accept": ["low", 1]}, "null where open"),
        ({"accept": [True, 1]}, "null where open"),
        ({"accept": [math.nan, 1]}, "null where open"),
        ({"accept": [None, math.nan]}, "null where open"),
        ({"accept": [1, math.inf]}, "null where open"),
        ({"accept": [-math.inf, None]}, "null where open"),
        ({"accpet": 1}, "no field accpet: there are accept, because, claim"),
        ({"kind": "some"}, "kind is 'some': it is one of identity, bound, value"),
        ({"estimator": "median"}, "estimator is 'median': it is one of mean, every, peak"),
        ({"claim": " "}, "claim is ' ': words are needed"),
        ({"id": 7}, "id is 7: words are needed, in quotes"),
        ({"because": None}, "because is None: words"),
        ({"runs": 0}, "runs is 0: a whole number of at least one"),
        ({"runs": True}, "runs is True"),
        ({"revision": 1.5}, "revision is 1.5"),
        ({"reading": 3}, "reading is 3: words"),
        ({"printed": {"mean": 0.1}}, "printed lacks text"),
        ({"printed": {"text": "0.1", "sd": 0.1}}, "printed has sd or n without a mean"),
        ({"printed": {"text": "0.1", "mean": "0.1"}}, "mean is '0.1': a finite number"),
        ({"printed": {"text": "0.1", "mean": 0.1, "N": 3}}, "printed has no field N: there are mean, n, sd, text"),
        ({"history": [{"date": "2026-01-02"}]}, "a change of the history lacks change"),
        ({"history": ["moved"]}, "a change of the history is a table with its fields, not 'moved'"),
        ({"history": [{"date": "2026-01-02", "change": "moved", "commit": 1234567}]}, "commit is 1234567: words"),
        ({"kind": "identity", "accept": None}, "a identity has an accept|an identity has an accept"),
        ({"kind": "bound", "estimator": "every"}, "a bound has an accept, which every value meets, and neither"),
        ({"kind": "bound", "nothing": 0.0}, "neither estimator nor nothing"),
        (FOUND | {"nothing": None}, "a comparison says what is measured where there is nothing to find"),
        (FOUND | {"nothing": 0.5}, "holds 0.5, which is what is measured where there is nothing"),
        (FOUND | {"nothing": math.inf}, "nothing is inf: a finite number"),
        (FOUND | {"accept": [-1, 1]}, "holds 0, which is"),
    ],
)
def test_faulty_entries_are_named_with_their_line(tmp_path, changes, message):
    path = ledger(tmp_path, ENTRY | {"id": "first"}, ENTRY | changes)
    with pytest.raises(ValueError, match=message) as said:
        claims.load(path)
    line = len(ENTRY) + (2 if isinstance(ENTRY["accept"], list) else 0) + 1
    assert str(said.value).startswith(f"claims.yml, line {line} ({(ENTRY | changes)['id']}): ")
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("name", ENTRY)
def test_every_field_is_needed(tmp_path, name):
    entry = {key: value for key, value in ENTRY.items() if key != name}
    with pytest.raises(ValueError, match=rf"claims.yml, line 1.*: an entry lacks {name}\."):
        claims.load(ledger(tmp_path, entry))


def test_two_entries_of_one_name_and_a_field_that_stands_twice(tmp_path):
    with pytest.raises(ValueError, match=r"line 12 \(a\.b\): there is an entry of this id before"):
        claims.load(ledger(tmp_path, ENTRY, dict(ENTRY)))
    path = ledger(tmp_path, ENTRY)
    path.write_text(path.read_text() + "  accept: [null, 9]\n")
    with pytest.raises(ValueError, match="line 1: the field accept stands there twice"):
        claims.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- id: [\n", "^claims.yml is no YAML in UTF-8: "),
        ("- id: \u00e9\n".encode("latin-1"), "^claims.yml is no YAML in UTF-8: "),
        (b"", "^claims.yml is a list of claims"),
        (b"id: a\n", "^claims.yml is a list of claims"),
        (b"- id\n", "^claims.yml, line 1: an entry is a table with its fields, not 'id'"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "claims.yml"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=message) as caught:
        claims.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "accept"),
    [
        (None, None),
        ([0, None], (0.0, None)),
        ([None, 0], (None, 0.0)),
        ([0, 0.5], (0.0, 0.5)),
        ([-0.5, 0.0], (-0.5, 0.0)),
        ([1, 1], (1.0, 1.0)),
        ([0, 0], (0.0, 0.0)),
    ],
)
def test_zero_is_a_bound_and_null_is_none(tmp_path, written, accept):
    found = claim(tmp_path, accept=written).accept
    assert found == accept
    assert all(bound is None or type(bound) is float for bound in found or ())


def test_what_an_entry_may_say_more(tmp_path):
    plain = claim(tmp_path)
    assert (plain.printed, plain.reading, plain.estimator) == (Printed("0.1"), AS_PRINTED, "mean")
    assert (plain.revision, plain.history, plain.runs, plain.nothing) == (1, (), None, None)
    more = claim(
        tmp_path, **FOUND, printed={"text": "0.1 +- 0.2", "mean": 0.1, "sd": 0.2, "n": 10}, runs=12, revision=2,
        estimator="peak", reading="the authors' code",
        history=[{"date": "2026-02-03", "change": "a bar", "commit": "1e2"}],
    )  # fmt: skip
    assert more.printed == ("0.1 +- 0.2", 0.1, 0.2, 10)
    assert (more.runs, more.revision, more.estimator, more.nothing) == (12, 2, "peak", 0.0)
    assert (more.reading, more.history) == ("the authors' code", (Change("2026-02-03", "a bar", "1e2"),))


def test_a_date_without_quotes_is_one(tmp_path):
    path = ledger(tmp_path, ENTRY)
    path.write_text(path.read_text() + "  history:\n  - {date: 2026-02-03, change: moved}\n")
    assert claims.load(path)["a.b"].history == (Change("2026-02-03", "moved"),)


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
def test_criterion_has_closed_ends(tmp_path, low, high, value, holds):
    assert claim(tmp_path, accept=[low, high]).holds(float(value)) is holds


def test_what_is_in_the_ledger_cannot_be_changed():
    """It is kept for all who ask."""
    id, entry = next(iter(claims.load().items()))
    with pytest.raises(AttributeError):
        entry.accept = None
    with pytest.raises(TypeError):
        claims.load()[id] = entry


def test_ledger_is_read_again_after_a_change(tmp_path):
    path = ledger(tmp_path, ENTRY)
    assert list(claims.load(path)) == ["a.b"]
    ledger(tmp_path, ENTRY, ENTRY | {"id": "a.c"})
    assert list(claims.load(path)) == ["a.b", "a.c"]
