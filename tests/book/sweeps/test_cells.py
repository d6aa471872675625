"""Units gathered by setting, against the statistics of the same numbers put together by hand."""

import dataclasses

import pytest
import toy_sweeps as toy

from spectral_lens import claims
from spectral_lens.book.sweeps import cells
from spectral_lens.claims import Measured
from spectral_lens.claims.statistics import estimate

CLAIM = claims.load()[toy.DISTANCE]
READING = CLAIM.reading
EVERY, THEOREM = claims.load()["giambagli.wide.gain"], claims.load()["giambagli.inverse"]


def over(*points):
    return toy.gathered(*((values, [toy.distance(*numbers)]) for values, numbers in points))


def test_a_cell_for_each_point_with_the_statistics_of_its_units():
    of = over(({"lr": 0.1}, [0.97, 0.98, 0.985]), ({"lr": 0.2}, [0.5, 0.51]))
    first, second = cells.cells(of, CLAIM, READING)
    assert first.number == estimate([0.97, 0.98, 0.985])
    assert second.number == estimate([0.5, 0.51])
    assert (first.lies, second.lies) == ("undecided", "outside")
    assert first.judged.verdict == "quick only"
    assert first.words.startswith("0.978")
    assert (first.name, dict(first.values)) == ("lr=0.1", {"lr": 0.1})


SEEDS = [({"lr": lr, "first_seed": seed}, [lr + seed / 100, lr]) for lr in (0.1, 0.2) for seed in (0, 2)]


def test_runs_of_several_first_seeds_are_put_together():
    found = cells.cells(over(*SEEDS), CLAIM, READING)
    assert [dict(cell.values) for cell in found] == [{"lr": 0.1}, {"lr": 0.2}]
    assert found[0].number == pytest.approx(estimate([0.1, 0.1, 0.12, 0.1]))
    assert [point.values["first_seed"] for point in found[1].points] == [0, 2]


def test_a_setting_with_one_seed_is_told_as_the_others_are():
    found = cells.cells(over(*SEEDS[:3]), CLAIM, READING)
    assert [dict(cell.values) for cell in found] == [{"lr": 0.1}, {"lr": 0.2}]


@pytest.mark.parametrize(
    ("points", "claim", "apart"),
    [
        (SEEDS, CLAIM, ("first_seed",)),
        (SEEDS, dataclasses.replace(CLAIM, unit="image"), ()),
        (SEEDS, dataclasses.replace(CLAIM, estimator="peak"), ()),
        ([*SEEDS, ({"lr": 0.1, "first_seed": 3}, [0.1, 0.1])], CLAIM, ()),
        ([({"first_seed": seed}, [0.1, 0.2]) for seed in (0, 2)], CLAIM, ()),
    ],
    ids=["asked for", "images", "peaks", "seeds overlap", "nothing else was swept"],
)
def test_others_stay_apart(points, claim, apart):
    found = cells.cells(over(*points), claim, READING, apart)
    assert [dict(cell.values) for cell in found] == [dict(values) for values, _ in points]


def test_groups_are_put_together_by_name_and_the_worst_off_decides():
    measured = [Measured.of(EVERY.id, {"N = 2": [0.1 + k], "N = 4": [0.3, 0.4]}, "custom") for k in (0, 1)]
    of = toy.gathered(*(({"lr": 0.1, "first_seed": 10 * k}, [measured[k]]) for k in (0, 1)))
    (cell,) = cells.cells(of, EVERY, EVERY.reading)
    assert cell.judged.estimates == {"N = 2": estimate([0.1, 1.1]), "N = 4": estimate([0.3, 0.4, 0.3, 0.4])}
    assert cell.words.startswith("N = 2: 0.6 (95% interval")


def test_a_theorem_is_its_worst_value_without_interval():
    of = toy.gathered(({"lr": 0.1}, [Measured.of(THEOREM.id, [1e-16, 3e-15], "custom")]))
    (cell,) = cells.cells(of, THEOREM, THEOREM.reading)
    assert (cell.number.mean, cell.number.n, cell.lies) == (3e-15, 1, "inside")


def test_claims_by_reading_in_their_order_without_those_of_no_ledger():
    other = Measured.of(CLAIM.id, [0.1], "custom", reading="another")
    of = toy.gathered(({"lr": 0.1}, [Measured.of("no.such", [1.0], "custom"), toy.distance(0.9), other]))
    assert cells.measured(of) == [(CLAIM, READING), (CLAIM, "another")]
    (cell,) = cells.cells(of, CLAIM, "another")
    assert cell.number.mean == 0.1


def test_values_once_and_in_order():
    found = cells.cells(over(*(({"lr": lr}, [0.1]) for lr in (0.3, 0.1, 0.2))), CLAIM, READING)
    assert cells.distinct([*found, *found], "lr") == [0.1, 0.2, 0.3]
    of = over(*(({"source": text}, [0.1]) for text in "cab"))
    assert cells.distinct(cells.cells(of, CLAIM, READING), "source") == ["c", "a", "b"]
