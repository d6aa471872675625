"""A model's graph: followed once, the same function, and what LRP reads of it."""

import copy

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from oracles import drawn
from spectral_lens.nn import graphs
from spectral_lens.nn.graphs import (
    Graph,
    module_of,
    sees_the_input,
    trace,
    traced,
    trained_parameters,
    weighted_nodes,
)
from spectral_lens.nn.layers import PARAMETERS, Dense, SpectralConv2d, SpectralLinear

pytestmark = pytest.mark.usefixtures("double")


class Branches(nn.Module):
    """Two ways that meet again, by functions and methods as well as layers."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
        self.beside = SpectralConv2d(2, 3, 1, train=PARAMETERS)
        self.last = nn.Linear(3 * 5 * 4, 7)

    def forward(self, x):
        y = self.body(x) + F.relu(self.beside(x))
        return self.last(y.flatten(1))


def network():
    return nn.Sequential(
        nn.Flatten(), SpectralLinear(6, 5, train=PARAMETERS), nn.BatchNorm1d(5), nn.ReLU(),
        nn.Sequential(Dense(5, 4), nn.Identity(), nn.ReLU(), nn.Linear(4, 3)),
    )  # fmt: skip


MODELS = {"branches": (Branches, (2, 5, 4)), "network": (network, (2, 3)), "a layer": (lambda: nn.Linear(3, 2), (3,))}


@pytest.fixture(params=MODELS)
def given_model(request):
    make, shape = MODELS[request.param]
    return drawn(make()), torch.randn(3, *shape)


# ---- the graph


def test_a_graph_computes_the_same(given_model):
    model, x = given_model
    graph = trace(model)
    assert torch.equal(graph(x), model(x))
    assert_close(traced(model)(x), model(x))
    assert_close(traced(graph)(x), model(x))


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_a_graph_is_not_traced_again(given_model, monkeypatch):
    model, x = given_model
    graph = trace(model)

    def refused(*args):
        raise AssertionError("traced twice")

    monkeypatch.setattr(graphs._Tracer, "trace", refused)
    assert trace(graph) is graph
    assert_close(traced(graph)(x), model(x))


def test_a_graph_has_the_models_own_parameters(given_model):
    model, _ = given_model
    own = {id(each) for each in model.parameters()}
    assert {id(each) for each in trace(model).parameters()} == own


def test_folding_reaches_neither_the_model_nor_its_graph(given_model):
    model, x = given_model
    before, graph = copy.deepcopy(model.state_dict()), trace(model)
    expected, nodes = model(x), [node.name for node in graph.graph.nodes]
    traced(graph)
    assert [node.name for node in graph.graph.nodes] == nodes
    assert torch.equal(graph(x), expected)
    assert torch.equal(model(x), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_graph_knows_whether_it_trains():
    for training in (True, False):
        model = network().train(training)
        graph = trace(model)
        assert {part.training for part in graph.modules()} == {training}
    frozen = network().train()
    frozen[2].eval()
    assert {part.training for part in trace(frozen).modules()} == {True, False}
    assert not frozen[2].training


def test_layers_with_parameters_to_train_are_not_looked_into():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.inner = nn.Parameter(torch.ones(3)), nn.Linear(4, 3)

        def forward(self, x):
            return self.scale * self.inner(x)

    model = nn.Sequential(Scaled(), nn.ReLU())
    calls = [str(node.target) for node in trace(model).graph.nodes if node.op == "call_module"]
    assert calls == ["0", "1"]
    assert list(trained_parameters(model[0])) == ["scale", "inner.weight", "inner.bias"]
    assert list(trained_parameters(model[0], recurse=False)) == ["scale"]
    model[0].scale.requires_grad_(False)
    calls = [str(node.target) for node in trace(model).graph.nodes if node.op == "call_module"]
    assert calls == ["0.inner", "1"]
    assert isinstance(trace(Scaled()), Graph)  # itself a layer: the only one of its graph


def test_models_that_cannot_be_followed_are_named():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    for follow in (trace, traced):
        with pytest.raises(ValueError, match="Branching cannot be followed layer by layer"):
            follow(Branching())


# ---- what LRP reads


def test_batch_normalisation_is_folded_into_the_layer_before():
    model = drawn(network())
    graph = traced(model)
    kinds = [type(module_of(graph, node)) for node in graph.graph.nodes if node.op == "call_module"]
    assert nn.BatchNorm1d not in kinds
    assert [str(node.target) for node in weighted_nodes(graph)] == ["1", "4.0", "4.3"]


@pytest.mark.parametrize("called_again", [True, False])
def test_a_layer_read_in_two_places_keeps_its_normalisation_apart(called_again):
    """Folded into the layer, the normalisation behind one use would reach the other."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x):
            y = self.one(x)
            return self.last(self.norm(y).relu() + (self.one(x) if called_again else y))

    with pytest.raises(ValueError, match=r"no rule for norm \(BatchNorm1d\)"):
        traced(drawn(Twice()))


class Shaped(nn.Module):
    """A layer behind a change of shape, and one behind that."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.first, self.second = shape, nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.second(self.first(self.shape(x)))


SHAPES = {
    "nothing": lambda x: x,
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(-1, 6),
    "reshape": lambda x: x.reshape(x.size(0), 6),
    "torch.flatten": lambda x: torch.flatten(x, 1),
    "two": lambda x: x.flatten(1).view(-1, 6),
    "layers": nn.Sequential(nn.Unflatten(1, (1, 6)), nn.Identity(), nn.Flatten()),
    "unflatten": nn.Unflatten(1, (1, 6)),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_change_of_shape_leaves_the_input_in_sight(name):
    graph = traced(Shaped(SHAPES[name]))
    assert {str(n.target): sees_the_input(graph, n) for n in weighted_nodes(graph)} == {"first": True, "second": False}


@pytest.mark.parametrize("between", [F.relu, nn.ReLU(), lambda x: x + 1, lambda x: torch.cat([x, x], 1)])
def test_what_changes_numbers_hides_the_input(between):
    graph = traced(nn.Sequential(nn.Flatten(), Shaped(between)))
    assert not any(sees_the_input(graph, node) for node in weighted_nodes(graph))


def test_the_layers_that_see_the_input():
    graph = traced(drawn(network()))
    assert [sees_the_input(graph, node) for node in weighted_nodes(graph)] == [True, False, False]
    graph = traced(drawn(Branches()))
    seen = {str(node.target): sees_the_input(graph, node) for node in weighted_nodes(graph)}
    assert seen == {"body.0": True, "beside": True, "last": False}


def test_what_has_no_rule_is_named():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return torch.sin(self.layer(x))

    with pytest.raises(ValueError, match="no rule for sin"):
        traced(Odd())
    with pytest.raises(ValueError, match=r"no rule for 1 \(Tanh\), 3 \(BatchNorm1d\)"):
        traced(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.ReLU(), nn.BatchNorm1d(2)).eval())
    assert isinstance(traced(nn.Sequential(nn.Linear(3, 2), nn.ReLU())), fx.GraphModule)
