"""The mutation tester: which tests a module meets, how outcomes are told apart, what is counted. Without Cosmic Ray."""

from collections import Counter

import pytest

import mutants
from mutants import Bench, Mutant

SOURCE = "def double(x):\n    return 2 * x\n"


def test_names_of_modules_and_rooms():
    assert mutants.modules("nn.layers") == ["nn/layers.py"]
    assert mutants.modules("intervals") == ["intervals.py"]
    assert {"claims/ledger.py", "claims/verdicts.py"} <= set(mutants.modules("claims"))
    assert {"nn/gates.py", "nn/layers.py"} <= set(mutants.modules("nn"))
    with pytest.raises(SystemExit, match=r"nn\.layer"):
        mutants.modules("nn.layer")


@pytest.mark.parametrize(
    ("module", "own", "room"),
    [
        ("nn/gates.py", ["tests/nn/test_gates.py"], "tests/nn"),
        ("training/_loop.py", ["tests/training/test_loop.py"], "tests/training"),
        ("claims/ledger.py", ["tests/claims/test_ledger.py"], "tests/claims"),
        ("intervals.py", ["tests/./test_intervals.py"], "tests/./test_intervals.py"),
        ("_runtime/files.py", ["tests/runtime/test_files.py"], "tests/runtime"),
        ("nn/__init__.py", [], "tests/nn"),
    ],
)
def test_tests_of_a_module_come_before_those_of_its_room(module, own, room):
    first, then = mutants.tests_of(module)
    assert first == own
    assert then[-1] == room


def test_an_equivalent_mutant_stands_in_its_module_and_has_a_reason():
    for (module, (was, becomes)), why in mutants.equivalent().items():
        lines = {line.strip() for line in (mutants.ROOT / mutants.PACKAGE / module).read_text().splitlines()}
        assert set(was.splitlines()) <= lines, f"{module} has no more: {was}"
        assert was != becomes
        assert why.strip()


def test_the_change_is_told_without_indentation():
    mutant = Mutant("toy.py", SOURCE, SOURCE.replace("*", "/"))
    assert mutant.change == ("return 2 * x", "return 2 / x")
    assert "-    return 2 * x\n+    return 2 / x" in str(mutant)


def test_outcomes(monkeypatch, tmp_path):
    """Each in a forked process, which is faked: only the text that is in place counts."""
    (tmp_path / mutants.PACKAGE).mkdir(parents=True)
    place = tmp_path / mutants.PACKAGE / "toy.py"
    place.write_text(SOURCE)
    asked = []

    def pytest_says(copy, tests, limit):
        text = place.read_text()
        asked.append((text, tests, limit))
        if text == SOURCE or ("+" in text and tests == ["own"]):
            return "passed"
        return {"/": "failed", "+": "failed", "while": "timeout", "(": "broken"}.get(text.split()[-1], "passed")

    monkeypatch.setattr(mutants, "tried", pytest_says)
    monkeypatch.setattr(mutants, "tests_of", lambda module: (["own"], ["room"]))
    bench = Bench(tmp_path)
    outcomes = {end: bench.outcome(Mutant("toy.py", SOURCE, f"x {end}")) for end in ("/", "+", "while", "(", "0")}
    assert outcomes == {"/": "killed", "+": "killed", "while": "timeout", "(": "broken", "0": "survived"}
    assert place.read_text() == SOURCE
    assert [tests for text, tests, _ in asked if text == "x +"] == [["own"], ["room"]]
    assert [tests for text, tests, _ in asked if text == SOURCE] == [["own"], ["room"]]  # measured once
    assert all(limit >= 10 for *_, limit in asked)


def test_failing_tests_are_no_measure(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(mutants, "tried", lambda *_: "failed")
    (tmp_path / "output.txt").write_text("1 failed")
    with pytest.raises(SystemExit, match="with nothing planted"):
        Bench(tmp_path / "copy").limit(["tests/nn"])
    assert "1 failed" in capsys.readouterr().out


def test_listed_mutants_are_not_tried(monkeypatch, capsys):
    listed, other = (Mutant("toy.py", SOURCE, SOURCE.replace("2", number)) for number in "37")
    monkeypatch.setattr(mutants, "equivalent", lambda: {("toy.py", listed.change): "a reason"})
    counts = mutants.run([lambda: listed, lambda: other], {other: "survived"}.__getitem__)
    assert counts == {"equivalent": 1, "survived": 1}
    assert "+    return 7 * x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("counts", "said", "enough"),
    [
        ({"killed": 18, "timeout": 1, "survived": 1, "equivalent": 9, "broken": 5}, "19 of 20", True),
        ({"killed": 94, "survived": 6}, "94 of 100", False),
        ({"equivalent": 2}, "0 of 0", True),
    ],
)
def test_the_share_leaves_out_what_changes_nothing(counts, said, enough, capsys):
    assert mutants.report(Counter(counts)) is enough
    assert said in capsys.readouterr().out
