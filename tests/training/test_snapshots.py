"""One training looked at several times, against trainings of their own."""

import pytest
import torch

from oracles import toy
from spectral_lens.nn.mlp import mlp
from spectral_lens.training import fit
from spectral_lens.training.snapshots import snapshots

OPTIONS = {"seeds": (4, 1), "batch_size": 7, "lr": 0.02, "dtype": torch.float64, "device": "cpu"}


def test_each_is_the_training_of_that_many_epochs():
    net, data = mlp([5, 4, 3], dropout=0.2), toy(23, (5,), 3)
    found = snapshots(net, data, epochs=[1, 3, 4], l2={"layer1.psi": 0.01}, **OPTIONS)
    for until, each in zip((1, 3, 4), found, strict=True):
        alone = fit(net, data, epochs=until, l2={"layer1.psi": 0.01}, **OPTIONS)
        assert each.steps == alone.steps == 4 * until
        for name, value in alone.state.items():
            assert torch.equal(each.state[name], value)
    assert not torch.equal(found[0].state["layer1.psi"], found[1].state["layer1.psi"])


@pytest.mark.parametrize(
    ("epochs", "options", "message"),
    [
        ([], {}, "positive and rise"),
        ([0, 2], {}, "positive and rise"),
        ([2, 2], {}, "positive and rise"),
        ([3, 1], {}, "positive and rise"),
        ([1, 2], {"decay": 0.5}, "decay: not with snapshots"),
        ([1, 2], {"checkpoint": "net.npz", "decay": 0.5}, "checkpoint, decay: not"),
    ],
)
def test_what_one_training_cannot_show(epochs, options, message):
    with pytest.raises(ValueError, match=message):
        snapshots(mlp([5, 4, 3]), toy(23, (5,), 3), epochs=epochs, **OPTIONS, **options)
