"""Ways to choose inputs side by side: against trainings of each run alone, and by hand."""

import pytest
import torch

import oracles
from experiments import untrained
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance import contest
from spectral_lens.relevance.contest import Choice, behind_best, best_choice, best_network, refitted, timed
from spectral_lens.training import fit

OPTIONS = {"epochs": 4, "batch_size": 10, "lr": 0.02, "dtype": torch.float64, "device": "cpu"}


@pytest.mark.parametrize("measured", [False, True])
def test_refitted_is_a_plain_network_on_the_highest_inputs_alone(measured):
    make, loss = (oracles.measured, "mse") if measured else (oracles.toy, "cross_entropy")
    learn, test = make(31, (6,), seed=0), make(17, (6,), seed=1)
    scores = torch.tensor([[0.1, 0.9, 0.0, 0.5, 0.2, 0.3], [0.7, 0.0, 0.1, 0.2, 0.3, 0.6]])
    found = refitted(scores, learn, test, count=2, hidden=[4], seeds=(3, 8), loss=loss, **OPTIONS)
    outputs = 1 if measured else 2
    for r, (seed, columns) in enumerate(((3, [1, 3]), (8, [0, 5]))):
        alone = oracles.data_set(learn.x[:, columns], learn.y)
        net = fit(mlp([2, 4, outputs], spectral=0), alone, seeds=(seed,), loss=loss, **OPTIONS).run(0)
        out = net(test.x[:, columns])
        hit = (out[:, 0] - test.y).abs() if measured else (out.argmax(1) == test.y).double()
        torch.testing.assert_close(found[r], hit.mean(), check_dtype=False)


@pytest.mark.parametrize("count", [0, 7])
def test_a_count_that_is_not_there(count):
    with pytest.raises(ValueError, match="between 1 and the 6 inputs"):
        refitted(torch.rand(2, 6), oracles.toy(31, (6,)), oracles.toy(17, (6,)), count=count, hidden=[4], **OPTIONS)


def one_decides(measured):
    x = torch.randn(300, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return oracles.data_set(x, x[:, 3] if measured else (x[:, 3] > 0).long())


@pytest.mark.parametrize("measured", [False, True])
def test_the_best_choice_has_the_input_that_decides(measured):
    data = one_decides(measured)
    choices = [Choice(torch.eye(5)[k].expand(2, -1), float(k)) for k in (0, 3, 4)]
    options = OPTIONS | {"epochs": 20, "seeds": (1, 2), "loss": "mse" if measured else "cross_entropy"}
    found = best_choice(choices, *data.split(0.5), count=1, hidden=[5], **options)
    assert found is choices[1]


@pytest.mark.parametrize("measured", [False, True])
def test_the_best_network_has_learned_most(measured):
    data = one_decides(measured)
    options = {"seeds": (1, 2), "loss": "mse" if measured else "cross_entropy"}
    trained = [
        fit(mlp([5, 6, 1 if measured else 2]), data, **options, **OPTIONS | {"epochs": epochs}) for epochs in (1, 30, 2)
    ]
    assert best_network(trained, data) is trained[1]
    assert best_network(trained[::-1], data) is trained[1]
    assert best_network([trained[0]] * 2, data) is trained[0]


@pytest.mark.parametrize("measured", [False, True])
def test_the_mean_over_the_runs_decides(monkeypatch, measured):
    candidates = [untrained(mlp([5, 2])) for _ in range(3)]
    found = {id(each): value for each, value in zip(candidates, ([5.0, 1.0], [3.0, 4.0], [2.0, 2.5]), strict=True)}
    for quality in ("accuracy", "error"):
        monkeypatch.setattr(contest, quality, lambda trained, data: torch.tensor(found[id(trained)]))
    assert best_network(candidates, one_decides(measured)) is candidates[2 if measured else 1]  # 3, 3.5 and 2.25
    with pytest.raises(KeyError):
        best_network([untrained(mlp([5, 2]))], one_decides(measured))


def test_nothing_to_choose_from():
    with pytest.raises(ValueError, match="one candidate at least"):
        best_network([], one_decides(False))


def test_behind_best_in_per_cent():
    results = {"a": torch.tensor([3.0, 5.0]), "b": torch.tensor([5.0, 5.0]), "c": torch.tensor([2.0, 2.0])}
    assert behind_best(results) == pytest.approx({"a": 20, "b": 0, "c": 60})
    assert behind_best(results, lower=True) == pytest.approx({"a": 100, "b": 150, "c": 0})


def test_time_is_shared_by_the_runs(monkeypatch):
    clock = iter([10.0, 16.0])
    monkeypatch.setattr("spectral_lens.relevance.contest.time.perf_counter", lambda: next(clock))
    choice = timed(lambda data: data.x[:2], oracles.toy(17, (6,)), runs=3)
    assert choice.seconds == 2
    assert choice.scores.shape == (2, 6)
    with pytest.raises(ValueError, match="at least 1"):
        timed(lambda data: data.x, oracles.toy(17, (6,)), runs=0)


def test_per_cents_of_a_best_that_is_negative_and_of_none():
    losses = {"a": torch.tensor([-2.0, -2.0]), "b": torch.tensor([-1.0, -2.0])}
    assert behind_best(losses) == {"a": pytest.approx(100 / 3), "b": 0}
    assert behind_best(losses, lower=True) == {"a": 0, "b": 25}
    for results in ({"a": torch.zeros(2), "b": -torch.ones(2)}, {"a": torch.tensor([1.0, float("nan")])}):
        with pytest.raises(ValueError, match="must be finite, and the best must not be zero"):
            behind_best(results)
