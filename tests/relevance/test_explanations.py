"""Explanations averaged over samples, run by run, against the sums written out."""

import pytest
import torch

import oracles
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.explanations import of_explanations
from spectral_lens.relevance.scores import overall
from spectral_lens.training import fit


@pytest.fixture(scope="module")
def trained():
    return fit(
        mlp([7, 3], spectral=0), oracles.toy(23, (7,), 3), seeds=(4, 5), epochs=1, dtype=torch.float64, device="cpu"
    )


def linear(net, x, background=None):
    """w_ki (x_i - mean of the background), (n, k, d)."""
    base = 0 if background is None else background.mean(0)
    return net.layer1.weight.detach() * (x - base).unsqueeze(1)


def written(weight, x, base):
    """|w_ki (x_ni - base_i)| summed by loops, over the largest."""
    sums = torch.zeros(7, dtype=torch.float64)
    for sample in x:
        for row in weight:
            sums += (row * (sample - base)).abs()
    return sums / sums.max()


def test_all_runs_may_share_the_samples(trained):
    x = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = of_explanations(linear, trained, x)
    for r in range(2):
        torch.testing.assert_close(found[r], written(trained.state["layer1.weight"][r], x, 0))


def test_each_run_may_have_samples_and_background_of_its_own(trained):
    draw = torch.Generator().manual_seed(0)
    x, background = (torch.randn(2, n, 7, dtype=torch.float64, generator=draw) for n in (5, 4))
    found = of_explanations(linear, trained, x, per_run=True, background=background)
    for r in range(2):
        expected = written(trained.state["layer1.weight"][r], x[r], background[r].mean(0))
        torch.testing.assert_close(found[r], expected)


def test_samples_in_another_precision_are_converted(trained):
    x = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(of_explanations(linear, trained, x), of_explanations(linear, trained, x.double()))


@pytest.mark.parametrize("wrong", ["x", "background"])
def test_samples_of_other_runs_are_refused(trained, wrong):
    given = {"x": torch.rand(2, 5, 7), "background": torch.rand(2, 4, 7)}
    given[wrong] = torch.rand(3, 4, 7)
    with pytest.raises(ValueError, match=f"{wrong} .*for each of 2 runs"):
        of_explanations(linear, trained, per_run=True, **given)


def test_a_method_that_works_in_place_and_keeps_its_graph(trained):
    x = torch.rand(6, 7, dtype=torch.float64)
    given = x.clone()

    def explain(net, x):
        return net(x.mul_(2)).unsqueeze(2) * x.unsqueeze(1)

    found = of_explanations(explain, trained, x)
    assert torch.equal(x, given)
    assert not found.requires_grad
    for r in range(2):
        net, twice = trained.run(r), 2 * given
        torch.testing.assert_close(found[r], overall(net(twice).unsqueeze(2) * twice.unsqueeze(1)).detach())
