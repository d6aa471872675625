"""A network without the weights of an input answers as if that input were zero."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from spectral_lens.datasets import images
from spectral_lens.explain.lrp import composite, gamma, lrp, zero
from spectral_lens.nn.convnets import cnn
from spectral_lens.nn.mlp import mlp
from spectral_lens.relevance.scores import random_ranking
from spectral_lens.stability.pruning import pruned, pruning_curves
from spectral_lens.training import fit

pytestmark = pytest.mark.usefixtures("double")

RULES = partial(composite, first=gamma(0.1), inner=gamma(0.1), last=zero())


def jacobian_of(net, x):
    return torch.func.vmap(torch.func.jacrev(lambda one: net(one.unsqueeze(0))[0]))(x).detach()


@pytest.mark.parametrize("spectral", [0, 1, 3])
def test_an_input_without_weights_is_zero(spectral):
    net, x, kept = mlp([11, 7, 5, 3], spectral=spectral).double().eval(), torch.randn(13, 11), torch.tensor([4, 0, 9])
    masked = torch.zeros_like(x).index_copy_(1, kept, x[:, kept])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.testing.assert_close(pruned(net, kept)(x), net(masked))
    torch.testing.assert_close(pruned(net, torch.arange(11))(x), net(x))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "the network stays"


def test_what_cannot_be_pruned():
    with pytest.raises(ValueError, match="Conv2d: only a dense one"):
        pruned(cnn((1, 8, 8), 10, blocks=[[(4, 3, 1)]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="NoneType"):
        pruned(nn.Flatten(), torch.tensor([0]))
    for places in ([3, 11], [-1]):
        with pytest.raises(ValueError, match="between 0 and 10"):
            pruned(mlp([11, 3]), torch.tensor(places))


class Net(nn.Module):
    """Two layers, registered against the order of their calls, and a way to call them."""

    def __init__(self, call, **layers):
        super().__init__()
        self.last, self.first, self.call = nn.Linear(7, 3), nn.Linear(11, 7), call
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.call(self, x)


WEIGHTS = {
    "registered later": lambda s, x: s.last(s.first(x).relu()),
    "reshaped": lambda s, x: s.last(s.first(x.view(x.shape[0], -1)).relu()),
    "flattened": lambda s, x: s.last(s.first(torch.flatten(x, 1)).tanh()) ** 2,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_first_layer_is_the_one_that_is_called_first(name):
    net, x, kept = Net(WEIGHTS[name]).eval(), torch.randn(13, 11), torch.tensor([4, 0, 9])
    masked = torch.zeros_like(x).index_copy_(1, kept, x[:, kept])
    torch.testing.assert_close(pruned(net, kept)(x), net(masked))


@pytest.mark.parametrize(
    ("call", "layers", "message"),
    [
        (lambda s, x: s.last(s.first(x) + x[:, :7]), {}, "first must be the only layer"),
        (lambda s, x: s.last(s.first(x)) + s.side(x), {"side": nn.Linear(11, 3)}, "first must be the only layer"),
        (lambda s, x: s.last(s.first(x) + s.first(2 * x)), {}, "first must be the only layer|called once"),
        (lambda s, x: s.last(s.first(x.abs())), {}, "first must be the only layer"),
        (lambda s, x: s.last(s.first(s.norm(x))), {"norm": nn.BatchNorm1d(11)}, "BatchNorm1d: only a dense one"),
        (
            lambda s, x: s.last(s.w(x)),
            {"w": parametrizations.weight_norm(nn.Linear(11, 7))},
            "only a dense one can lose",
        ),
    ],
)
def test_inputs_that_would_not_be_lost(call, layers, message):
    with pytest.raises(ValueError, match=message):
        pruned(Net(call, **layers).eval(), torch.tensor([0, 3]))


def test_curves_are_those_of_masked_inputs():
    train, test = (part.flat().to(dtype=torch.float64) for part in images.digits())
    test, few = test.take(83), test.take(7)
    trained = fit(mlp([64, 9, 10], spectral=1), train, seeds=[3, 8], epochs=2, batch_size=50, dtype=torch.float64)
    order, counts = random_ranking(64, [1, 2]), [5, 40, 64]
    curves = pruning_curves(trained, order, counts=counts, test=test, few=few, rules=RULES)
    for r in range(2):
        net = trained.run(r).eval()
        for c, count in enumerate(counts):
            mask = torch.zeros(64).index_fill_(0, order[r, :count], 1)
            right = (net(mask * test.x).argmax(1) == test.y).double().mean()
            assert float(curves["accuracy"][r, c]) == pytest.approx(float(right))
            s = torch.linalg.svdvals(jacobian_of(net, mask * few.x) * mask)
            assert float(curves["s_1"][r, c]) == pytest.approx(float(s[:, 0].mean()))
            entropy = torch.distributions.Categorical(probs=s.square()).entropy()
            assert float(curves["entropy"][r, c]) == pytest.approx(float(entropy.mean()))
            R = lrp(pruned(net, order[r, :count]), few.x, rules=RULES(net))
            sums = R.sum(2)
            R = torch.where(sums.abs() >= 0.1 * sums.abs().amax(1, keepdim=True), 1 / sums, 0).unsqueeze(2) * R
            ssm = R.norm(dim=(1, 2)) / torch.linalg.matrix_norm(R, 2)
            assert float(curves["ssm"][r, c]) == pytest.approx(float(ssm.mean()))


def test_a_sample_without_relevance_is_left_out():
    data = images.digits()[0].flat().to(dtype=torch.float64).take(50)
    trained = fit(mlp([64, 10], spectral=1), data, seeds=[0], epochs=1, batch_size=50, dtype=torch.float64)
    order = data.x[0].argsort(descending=True).unsqueeze(0)
    few = data.take(2)
    few.x[1, order[0, :3]] = 0
    options = {"counts": [3], "test": data, "rules": lambda net: zero()}
    one, both = (pruning_curves(trained, order, few=each, **options)["ssm"] for each in (data.take(1), few))
    torch.testing.assert_close(both, one)


def test_a_sample_without_a_slope_is_left_out_of_the_means_of_shapes():
    """No hidden node answers to an image without light: there is no spectrum to speak of, but its length is zero."""
    data = images.digits()[0].flat().to(dtype=torch.float64).take(50)
    trained = fit(mlp([64, 9, 10], spectral=0), data, seeds=[0], epochs=1, batch_size=50, dtype=torch.float64)
    trained.state["layer1.bias"].fill_(-1e-3)
    few = data.take(3)
    few.x[2] = 0
    options = {"counts": [64], "test": data, "rules": lambda net: zero()}
    two, all_three = (
        pruning_curves(trained, random_ranking(64, [0]), few=each, **options) for each in (data.take(2), few)
    )
    torch.testing.assert_close(all_three["entropy"], two["entropy"])
    torch.testing.assert_close(all_three["ssm"], two["ssm"])
    torch.testing.assert_close(all_three["s_1"], two["s_1"] * 2 / 3)


def test_curves_that_do_not_fit():
    data = images.digits()[0].flat().take(50)
    trained = fit(mlp([64, 10]), data, seeds=[0, 1], epochs=1)
    options = {"test": data, "few": data.take(3), "rules": RULES}
    with pytest.raises(ValueError, match="3 orders for 2 runs"):
        pruning_curves(trained, random_ranking(64, [0, 1, 2]), counts=[5], **options)
    for counts in ([], [0, 5], [65]):
        with pytest.raises(ValueError, match="between 1 and the 64 inputs"):
            pruning_curves(trained, random_ranking(64, [0, 1]), counts=counts, **options)
