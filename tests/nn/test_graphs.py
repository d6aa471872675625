"""Networks as graphs: what is followed computes the same, what has no rule is named."""

import pytest
import torch
from torch import nn

from spectral_lens.nn.graphs import module_of, sees_the_input, traced, weighted_nodes
from spectral_lens.nn.layers import SpectralLinear

pytestmark = pytest.mark.usefixtures("double")


class Branches(nn.Module):
    """Two layers whose outputs are added, each with a batch normalisation behind it."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(2, 3, 1), SpectralLinear(5, 5), nn.Linear(60, 7)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        return self.last((self.norm(self.one(x)).relu() + self.one(self.two(x))).flatten(1))


def settled(model, *shape):
    """In evaluation mode, after a few samples of that shape have moved its running statistics."""
    model.train()(torch.randn(9, *shape))
    return model.eval()


def test_a_graph_computes_what_the_model_does():
    model, x = settled(nn.Sequential(nn.Conv2d(2, 3, (1, 2)), nn.BatchNorm2d(3), nn.ReLU()), 2, 4, 5), None
    x = torch.randn(3, 2, 4, 5)
    graph = traced(model)
    torch.testing.assert_close(graph(x), model(x), rtol=1e-12, atol=1e-12)
    assert not any(isinstance(module_of(graph, n), nn.BatchNorm2d) for n in graph.graph.nodes if n.op == "call_module")
    assert isinstance(model[1], nn.BatchNorm2d), "the model itself is left alone"


def test_a_layer_used_twice_keeps_its_normalisation_apart():
    with pytest.raises(ValueError, match=r"no rule for norm \(BatchNorm2d\)"):
        traced(settled(Branches(), 2, 4, 5))


def test_a_layer_alone_is_a_graph_too():
    layer, x = SpectralLinear(3, 2, init="giambagli"), torch.randn(5, 3)
    graph = traced(layer)
    assert len(weighted_nodes(graph)) == 1
    torch.testing.assert_close(graph(x), layer(x))


def test_which_layers_see_the_input():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3))
    graph = traced(model)
    assert [sees_the_input(graph, node) for node in weighted_nodes(graph)] == [True, False]


@pytest.mark.parametrize(("layer", "named"), [(nn.Tanh(), r"1 \(Tanh\)"), (nn.LayerNorm(3), r"1 \(LayerNorm\)")])
def test_what_has_no_rule_is_named(layer, named):
    with pytest.raises(ValueError, match=f"no rule for {named}"):
        traced(nn.Sequential(nn.Linear(2, 3), layer))
