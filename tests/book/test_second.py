"""Second runs: which seeds, what is kept, whether verdicts agree."""

import json
import os
from types import SimpleNamespace

import pytest
from toy_chapters import edit, page, record, write
from typer.testing import CliRunner

from spectral_lens.book import origin, records, runner, second
from spectral_lens.book.chapters import BookError, chapter
from spectral_lens.book.cli import app
from spectral_lens.claims import Judgement, Measured, load
from spectral_lens.claims.ledger import AS_PRINTED
from spectral_lens.claims.statistics import estimate

PLAIN = [
    claim
    for claim in load().values()
    if claim.accept and not claim.theorem and claim.estimator == "mean" and claim.reading == AS_PRINTED
][:3]
ONE = PLAIN[0].id
SEEDED = "first_seed = 0  # of all\na = 2"


def inside(claim):
    """Four numbers far inside of what is accepted."""
    low, high = claim.accept
    low = high - 2 if low is None else low
    high = low + 2 if high is None else high
    return [(low + high) / 2 + (high - low) * step / 1000 for step in (-2, -1, 1, 2)]


def outside(claim):
    low, high = claim.accept
    return [(high + 1 if low is None else low - 1) + step / 1000 for step in (-2, -1, 1, 2)]


def between(claim):
    """Scattered widely around an end."""
    low, high = claim.accept
    return [(high if low is None else low) + step for step in (-2.0, -1.0, 1.0, 2.0)]


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """A chapter whose claims stay, flip, and become undecided with other seeds, run twice for real."""
    root = tmp_path_factory.mktemp("book")
    stays, flips, fades = PLAIN
    cells = [f"claims.measure({stays.id!r}, {inside(stays)})"]
    for claim, others in ((flips, outside(flips)), (fades, between(fades))):
        cells.append(f"claims.measure({claim.id!r}, {inside(claim)} if first_seed < 1000 else {others})")
    cells[0] = f"import os, spectral_lens.claims as claims\nprint(os.environ['SPECTRAL_LENS_PROFILE'])\n{cells[0]}"
    pages = {"part/one": page("One", *cells, parameters=SEEDED), "other": page("Other", "1", parameters=SEEDED)}
    toy = write(root, pages, paper="chapters: {part/one: {a: 5}}\n")
    one = chapter("part/one", toy)
    first = runner.run(runner.plan(one, "paper"))
    before = first.read_bytes()
    shown = CliRunner().invoke(app, ["certify", "--root", str(root)])
    data = json.loads((root / "data/runs/second/part/one.json").read_text())
    same = CliRunner().invoke(app, ["certify", "part/one", "--same-seeds", "--root", str(root)])
    assert first.read_bytes() == before
    return SimpleNamespace(toy=toy, chapter=one, shown=shown, data=data, same=same)


def test_a_second_run_is_judged_as_a_paper_run_from_seeds_of_its_own(certified):
    data, one = certified.data, certified.chapter
    assert (data["chapter"], data["first_seed"], data["parameters"]) == (
        "part/one", second.FURTHER, {"first_seed": second.FURTHER, "a": 5},
    )  # fmt: skip
    assert [(each["id"], each["profile"]) for each in data["claims"]] == [(claim.id, "paper") for claim in PLAIN]
    assert data["claims"][0]["values"] == inside(PLAIN[0])
    assert data["machine"] == origin.processor()
    assert data["machine"] in data["device"]
    assert os.uname().nodename not in json.dumps({**data, "machine": "", "device": ""})
    assert set(data) == {
        "chapter", "date", "machine", "device", "first_seed", "commit", "dirty", "versions", "parameters", "duration",
        "claims",
    }  # fmt: skip
    notebook = records.read(one.book.root / "build/second/part/one.ipynb")
    assert records.provenance(notebook)["profile"] == "paper"
    assert "paper\n" in [o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream"]
    assert not list((one.book.root / "build").rglob("custom"))


def test_what_is_said_and_how_it_ends(certified):
    lines = [line.strip() for line in certified.shown.stdout.splitlines()]
    stays, flips, fades = ([line for line in lines if line.startswith(claim.id)] for claim in PLAIN)
    assert [len(each) for each in (stays, flips, fades)] == [1, 1, 1]
    assert stays[0].startswith(f"{PLAIN[0].id}: agree. First: reproduced, ")
    assert "Second: reproduced, " in stays[0]
    assert flips[0].startswith(f"{PLAIN[1].id}: flipped. First: reproduced, ")
    assert "Second: not reproduced, " in flips[0]
    assert fades[0].startswith(f"{PLAIN[2].id}: no flip. First: reproduced, ")
    assert "Second: undecided, " in fades[0]
    assert stays[0].count("95% interval") == 2
    assert lines[-1] == "kept as data/runs/second/part/one.json"
    assert certified.shown.exit_code == 1
    assert certified.shown.stderr == f"Claims that flipped: {PLAIN[1].id}.\n"


def test_the_same_seeds_give_the_same(certified):
    assert certified.same.exit_code == 0
    assert certified.same.stdout.count(": agree. ") == 3
    found = second.load(certified.toy)
    assert list(found) == [claim.id for claim in PLAIN]
    for claim in PLAIN:
        (each,) = found[claim.id]
        assert each.measured == Measured.of(claim.id, inside(claim), "paper")
        assert (each.chapter, each.first_seed, each.machine) == ("part/one", 0, origin.processor())


@pytest.mark.parametrize(
    ("first", "again", "agreement"),
    [
        ("reproduced", "reproduced", "agree"),
        ("not reproduced", "not reproduced", "agree"),
        ("reproduced", "not reproduced", "flipped"),
        ("not reproduced", "reproduced in another reading", "flipped"),
        ("identity holds", "not reproduced", "flipped"),
        ("not reproduced", "bound holds", "flipped"),
        ("reproduced", "undecided", "no flip"),
        ("undecided", "not reproduced", "no flip"),
        ("reproduced", "reproduced in another reading", "no flip"),
        ("not reproduced", None, "no flip"),
        (None, "reproduced", "no flip"),
    ],
)
def test_agreement(first, again, agreement):
    def made(verdict):
        measured = Measured.of(ONE, [1.0, 2.0], "paper")
        return verdict and (measured, Judgement(verdict, {"": estimate([1.0, 2.0])}, ""))

    repeat = second.Repeat(load()[ONE], made(first), made(again))
    assert repeat.agreement == agreement
    assert str(repeat).startswith(f"{ONE}: {agreement}. First: {first or 'not measured'}")


def measuring(root, **pages):
    """A book whose chapters have paper records in which they measured four units of a claim."""
    toy = write(root, pages)
    for name in pages:
        of = chapter(name, toy)
        made = records.read(record(of, "paper"))
        [*_, last] = [cell for cell in made.cells if cell.cell_type == "code"]
        if "measure" in last.source:
            note = {records.META: {"claim": Measured.of(ONE, [1.0, 2.0, 3.0, 4.0], "paper").data}}
            last.outputs[0] = records.nbformat.v4.new_output("display_data", {"text/plain": "x"}, metadata=note)
            records.write(made, records.path(of, "paper"))
    return toy


CLAIM = f"claims.measure({ONE!r}, a)"


def test_seeds(tmp_path):
    one = chapter("one", measuring(tmp_path, one=page("One", CLAIM, parameters="first_seed = 10")))
    assert second.plan(one).parameters == {"first_seed": 10 + second.FURTHER}
    assert second.plan(one, same_seeds=True).parameters == {"first_seed": 10}
    for seed in (0, 6, 14):
        assert second.plan(one, first_seed=seed).parameters == {"first_seed": seed}
    for seed in (7, 10, 13):
        with pytest.raises(BookError, match=f"the seeds from {seed} on are in part .* record, 10 to 13"):
            second.plan(one, first_seed=seed)
    with pytest.raises(BookError, match="from 0 up, not -5"):
        second.plan(one, first_seed=-5)
    plan = second.plan(one)
    assert (plan.profile, runner.environment(plan)["SPECTRAL_LENS_PROFILE"]) == ("paper", "paper")
    assert plan.target == tmp_path / "build/second/one.ipynb"
    assert plan.failed == tmp_path / "build/failed/second/one.ipynb"
    assert second.path(one) == tmp_path / "data/runs/second/one.json"


def test_what_cannot_be_certified(tmp_path):
    pages = {
        "good": page("Good", CLAIM, parameters=SEEDED),
        "silent": page("Silent", "1", parameters=SEEDED),
        "seedless": page("Seedless", CLAIM),
        "new": page("New", CLAIM, parameters=SEEDED),
        "old": page("Old", CLAIM, parameters=SEEDED),
    }
    toy = measuring(tmp_path, **pages)
    records.path(chapter("new", toy), "paper").unlink()
    edit(chapter("old", toy), "measure(", "measure( ")
    edit(chapter("old", toy), "a = 2", "a = 3")
    for name, said in (
        ("nothing", "There is no chapter 'nothing'"),
        ("silent", "silent measures no claim"),
        ("seedless", "seedless has no parameter first_seed"),
        ("new", r"new has no paper record to compare with \(missing"),
        ("old", r"old has no paper record to compare with \(stale"),
    ):
        with pytest.raises(BookError, match=said):
            second.chosen(toy, ["good", name])
    found, left = second.chosen(toy, [])
    assert [each.name for each in found] == ["good"]
    assert list(left) == ["seedless", "new", "old"]
    assert [each.name for each in second.chosen(toy, ["good", "book/good.md"])[0]] == ["good"]
    records.path(chapter("good", toy), "paper").unlink()
    with pytest.raises(BookError, match="No chapter has a paper record"):
        second.chosen(toy, [])


def test_a_damaged_file_is_named(tmp_path):
    toy = write(tmp_path, {"one": page("One", "1")})
    assert second.load(toy) == {}
    file = second.path(chapter("one", toy))
    file.parent.mkdir(parents=True)
    for text in ("", "[]", "{}", '{"chapter": 1}'):
        file.write_text(text)
        with pytest.raises(BookError, match=r"one\.json is no second run"):
            second.load(toy)


def test_data_that_cannot_be_kept_are_a_failure(tmp_path, monkeypatch):
    """The others go on."""
    toy = measuring(tmp_path, **{name: page(name, CLAIM, parameters=SEEDED) for name in ("one", "two")})

    said = []

    def execute(plans, number, told):
        shows = {"started": None, "tick": None, "ended": lambda plan, error: None}
        report = told(SimpleNamespace(say=lambda text, err=False: said.append(text), **shows))
        for plan in plans:
            plan.target.parent.mkdir(parents=True, exist_ok=True)
            made = records.read(records.path(plan.chapter, "paper"))
            made.metadata[records.META] |= dict.fromkeys(("date", "device", "commit", "dirty", "versions", "duration"))
            records.write(made, plan.target)
            if plan.chapter.name == "one":
                second.path(plan.chapter).mkdir(parents=True)
            report.ended(plan, error=None)

    monkeypatch.setattr("spectral_lens.book.cli_results.execute", execute)
    shown = CliRunner().invoke(app, ["certify", "--root", str(tmp_path)])
    assert shown.exit_code == 1
    assert said[0].startswith("one: its second run could not be kept (")
    assert said[-1] == "    kept as data/runs/second/two.json"
    assert second.path(chapter("two", toy)).is_file()
