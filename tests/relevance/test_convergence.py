"""Whether something was chosen: against scikit-learn's scores, and with trainings of which it is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score

from experiments import TIGHT
from oracles import data_set, toy
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.convergence import above_constant, fallen, gains, held_out
from spectral_lens.relevance.scores import relevance
from spectral_lens.training import fit, initial

SHORT = {"epochs": 2, "batch_size": 7, "lr": 0.01, "device": "cpu"}


@pytest.mark.parametrize("shape", [(9, 2), (23, 3), (50, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_gains_of_classes_are_the_adjusted_balanced_accuracy(shape, seed):
    n, k = shape
    draw = torch.Generator().manual_seed(seed)
    out = torch.randn(n, k, generator=draw, dtype=torch.float64)
    y = torch.cat([torch.arange(k), torch.multinomial(torch.arange(1.0, k + 1), n - k, True, generator=draw)])
    frequency = torch.bincount(y) / n
    decided = (out.softmax(1) / frequency).argmax(1)
    expected = balanced_accuracy_score(y, decided, adjusted=True)
    assert float(gains(out, y).mean()) == pytest.approx(expected, abs=1e-12)


def test_gains_where_a_class_is_absent():
    y = torch.tensor([0, 2, 2, 0, 2])
    out = torch.tensor([[1.0, 9, 0], [0, 9, 1], [0, 9, 1], [1, 9, 0], [0, 9, 1]])
    torch.testing.assert_close(gains(out, y).mean(), torch.tensor(1.0, dtype=torch.float64), **TIGHT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gains_of_a_quantity_are_r2(dtype):
    out, y = torch.randn(17, 1, dtype=dtype), 3 + torch.randn(17, dtype=dtype)
    assert float(gains(out, y).mean()) == pytest.approx(r2_score(y, out.squeeze(1)), rel=1e-5)
    assert float(gains(y.mean().expand(17, 1), y).mean()) == pytest.approx(0, abs=1e-6)
    assert float(gains(y[:, None], y).mean()) == pytest.approx(1)


@pytest.mark.parametrize("y", [torch.ones(3), torch.ones(3, dtype=torch.int64)])
def test_gains_need_something_to_predict(y):
    with pytest.raises(ValueError, match="y never changes"):
        gains(torch.rand(3, 2 - y.is_floating_point()), y)


def test_two_standard_errors():
    for n in (5, 11):
        noise = torch.randn(n, dtype=torch.float64)
        noise = (noise - noise.mean()) / noise.std(correction=0)
        for mean, above in ((1.99, False), (2.01, True), (-2.01, False)):
            assert above_constant(noise + mean / np.sqrt(n)) is above
    assert not above_constant(torch.zeros(4))
    assert above_constant(torch.ones(4))


def test_guesses_are_seldom_taken_for_predictions():
    draw = torch.Generator().manual_seed(0)
    y = (torch.rand(400, generator=draw) < 0.3).long()
    seen = [above_constant(gains(torch.randn(400, 2, generator=draw), y)) for _ in range(500)]
    assert 0.005 < np.mean(seen) < 0.05  # 2.3% of a normal distribution lie beyond two standard deviations


@pytest.mark.parametrize(("samples", "folds"), [(23, 3), (20, 4), (7, 7), (9, 2)])
@pytest.mark.parametrize("measured", [False, True])
def test_no_network_has_seen_what_it_is_asked(samples, folds, measured):
    data = toy(samples, (5,), 3)
    data = data_set(data.x.float(), data.x.float().sum(1) if measured else data.y)
    net, loss = mlp([5, 4, 1 if measured else 3]), "mse" if measured else "cross_entropy"
    out, trained = held_out(net, data, folds=folds, seeds=range(4, 4 + folds), loss=loss, **SHORT)
    own = torch.stack([trained.run(k)(data.x).detach() for k in range(folds)])
    near = (own - out).abs().amax(2) < 1e-6
    fold = near.int().argmax(0)
    assert near.any(0).all()
    sizes = fold.bincount(minlength=folds)
    assert sizes.max() - sizes.min() <= 1
    if not measured:  # even in the classes
        for label in data.y.unique():
            each = fold[data.y == label].bincount(minlength=folds)
            assert each.max() - each.min() <= 1
    least = samples - int(sizes.max())
    for k in range(folds):
        rows = (fold != k).nonzero().flatten()[:least]
        alone = fit(net, data_set(data.x[rows], data.y[rows], **({} if measured else {"labels": data.labels})),
                    seeds=[4 + k], loss=loss, **SHORT)  # fmt: skip
        for name, value in alone.state.items():
            torch.testing.assert_close(value[0], trained.state[name][k], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("folds", [0, 1, 8])
def test_folds_that_cannot_be(folds):
    with pytest.raises(ValueError, match=f"folds={folds} must lie between 2 and the 7"):
        held_out(mlp([5, 4, 3]), toy(7, (5,), 3), folds=folds, seeds=range(folds or 1), **SHORT)


@pytest.mark.parametrize("lr", [0.01, 0.03])
@pytest.mark.parametrize("psi_penalty", [0.0, 0.001])
@pytest.mark.parametrize("inputs", [3, 40])
def test_what_has_fallen_and_what_has_not(lr, psi_penalty, inputs):
    x = torch.randn(120, inputs, generator=torch.Generator().manual_seed(inputs))
    data = data_set(x, (x[:, 0] > 0).long())
    options = {"seeds": (0, 1), "epochs": round(5 / lr / 10), "batch_size": 12, "lr": lr, "device": "cpu"}

    def trained(penalty):
        return fit(mlp([inputs, 9, 2]), data, l1={"layer1.lam_in": penalty, "layer1.psi": psi_penalty}, **options)

    assert fallen(trained(50.0), "layer1", lr=lr).tolist() == [True, True]
    for penalty in (0.0, 0.02, 0.3):
        assert fallen(trained(penalty), "layer1", lr=lr).tolist() == [False, False]


@pytest.mark.parametrize(("left", "down"), [(0.98, True), (1.02, False)])
@pytest.mark.parametrize("which", ["eigenvalue", "relevance"])
def test_down_to_a_share_of_the_start(which, left, down):
    """At `lr` of where it began one of the two decides; the other has fallen further."""
    lr, trained = 0.1, fit(mlp([50, 2, 3]), toy(20, (50,), 3), seeds=[6], **SHORT)
    start = initial(trained.model, trained.seeds)
    lam, psi = start["layer1.lam_in"], start["layer1.psi"]
    share = left * lr if which == "eigenvalue" else 0.5 * lr
    stretch = 0.1 if which == "eigenvalue" else 2 * left
    state = trained.state | {"layer1.lam_in": share * lam, "layer1.psi": stretch * psi}
    assert float(relevance(lam, psi).amax()) < 0.7
    assert fallen(replace(trained, state=state), "layer1", lr=lr).tolist() == [down]


def test_only_a_spectral_layer_falls():
    trained = fit(mlp([5, 4, 3]), toy(20, (5,), 3), seeds=[0], **SHORT)
    for name in ("layer2", "nothing"):
        with pytest.raises(ValueError, match=f"layer='{name}' is no SpectralLinear"):
            fallen(trained, name, lr=0.01)
