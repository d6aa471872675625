"""How runs are shared out among jobs."""

import json

import pytest
from toy_chapters import custom, edit, page, write

from spectral_lens.book import runner, sweeps
from spectral_lens.book.chapters import BookError, chapter
from spectral_lens.book.engine import batches
from spectral_lens.book.schedule import Cost


@pytest.fixture
def toy(tmp_path):
    return write(tmp_path, {"part/one": page("One", "print(a)"), "two": page("Two", "1")})


def runs(toy, number, seconds, name="part/one", base="quick", **cost):
    plans = [runner.plan(chapter(name, toy), base, {"a": k}) for k in range(number)]
    return [(plan, Cost(seconds, **cost)) for plan in plans]


@pytest.mark.parametrize(
    ("number", "seconds", "jobs", "sizes"),
    [
        (10, 20.0, 2, [3, 3, 3, 1]),  # of about a minute
        (10, 90.0, 2, [1] * 10),
        (10, 2.0, 5, [2] * 5),  # all five at work
        (7, 2.0, 2, [4, 3]),
        (10, 0.0, 1, [10]),
        (1, 2.0, 8, [1]),
        (3, None, 1, [1] * 3),  # nobody knows
    ],
)
def test_short_runs_go_together_and_no_job_is_idle(toy, number, seconds, jobs, sizes):
    given = runs(toy, number, seconds)
    found = batches.shared_out(given, jobs=jobs, together=60.0)
    assert sorted((len(each.plans) for each in found), reverse=True) == sizes
    assert sorted(plan.target for each in found for plan in each.plans) == sorted(plan.target for plan, _ in given)
    assert len({each.name for each in found}) == len(found)


def test_the_longest_come_first_and_chapters_stay_apart(toy):
    given = [*runs(toy, 2, 5.0), *runs(toy, 1, 500.0, "two"), *runs(toy, 1, None, "two", "paper")]
    found = batches.shared_out(given, jobs=1, together=60.0)
    assert [(len(each.plans), each.plans[0].chapter.name, each.seconds) for each in found] == [
        (1, "two", None),
        (1, "two", 500.0),
        (2, "part/one", 10.0),
    ]


def test_what_a_job_asks_for(toy):
    known = runs(toy, 3, 10.0, memory=3 * 10**9, threads=8, gpu=True)
    (quick,) = batches.shared_out(known, jobs=1, together=60.0)
    assert (quick.seconds, quick.runtime, quick.mem_mb, quick.threads, quick.gpu) == (30.0, 6, 4500, 1, True)
    assert quick.name.startswith("gpu-")
    threads = {"jobs": 1, "together": 60.0, "cores": 6}
    (paper,) = batches.shared_out(runs(toy, 1, 600.0, base="paper", memory=10**6, threads=8), **threads)
    assert (paper.runtime, paper.mem_mb, paper.threads) == (25, 1024, 6)
    (unknown,) = batches.shared_out(runs(toy, 1, None, base="paper"), **threads)
    assert (unknown.runtime, unknown.mem_mb, unknown.threads, unknown.gpu) == (245, 6000, 4, False)
    assert unknown.name.startswith("cpu-")


def test_a_batch_is_read_again_as_it_was(toy):
    given = [*runs(toy, 2, 5.0, base="paper"), (runner.plan(chapter("two", toy), "quick"), Cost(5.0))]
    for each in batches.shared_out(given, jobs=1, together=60.0):
        assert batches.plans(toy, json.loads(json.dumps(each.data))) == list(each.plans)
    with pytest.raises(BookError, match="no parameter 'gone'"):
        batches.plans(toy, {"points": [{"chapter": "two", "base": "quick", "values": {"gone": 1}}]})


def test_the_name_follows_from_what_there_is_to_do(toy):
    """An object store may still hold what an earlier job left: a new try has a new name."""

    def name():
        (found,) = batches.shared_out(runs(toy, 2, 5.0), jobs=1, together=60.0)
        return found.name

    seen = [name(), name()]
    plan = runs(toy, 1, 5.0)[0][0]
    plan.failed.parent.mkdir(parents=True)
    plan.failed.with_suffix(".log").write_text("failed")
    seen += [name(), name()]
    custom(plan)
    seen += [name(), name()]
    edit(plan.chapter, "print(a)", "print(a + 1)")
    seen += [name(), name()]
    assert seen[::2] == seen[1::2]
    assert len(set(seen)) == 4


def test_keys_tell_runs_apart(toy):
    plans = [plan for name in ("part/one", "two") for plan, _ in runs(toy, 3, 1.0, name)]
    plans += [runner.plan(chapter("two", toy), base) for base in ("quick", "paper")]
    keys = [batches.key(plan) for plan in plans]
    assert len(set(keys)) == len(plans)
    assert not any("/" in key for key in keys)
    assert keys[-1] == "data__runs__paper__two"


@pytest.mark.parametrize(
    ("costs", "jobs", "told"),
    [
        ([Cost(90.0)], 1, "about 1 min 30 s of computing"),
        ([Cost(90.0, 10**9)] * 4, 2, "about 6 min 00 s of computing, 3 min 00 s with 2 jobs, 1.0 GB"),
        ([Cost(90.0), Cost()], 1, "about 1 min 30 s of computing, without 1 that have no record to go by"),
        ([Cost()], 3, "how long nobody knows"),
    ],
)
def test_price(costs, jobs, told):
    assert batches.price(costs, jobs=jobs).startswith(told)


def test_a_sweep_is_shared_out(toy):
    made = sweeps.make(toy, "part/one", "quick", [{"a": k} for k in range(5)])
    (found,) = batches.shared_out([(plan, Cost(1.0)) for plan in made.plans], jobs=1, together=60.0)
    assert found.plans == made.plans
