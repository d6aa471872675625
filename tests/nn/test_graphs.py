"""A model's graph: followed once, the same function, and what LRP reads of it."""

import copy

import pytest
import torch
from torch import nn

from layered_models import Branches, normed
from oracles import drawn
from spectral_lens.nn import graphs
from spectral_lens.nn.graphs import Graph, is_size, trace, trained_parameters, values
from spectral_lens.nn.piecewise_linear import Interpreter, piecewise_linear

pytestmark = pytest.mark.usefixtures("double")


MODELS = {"branches": (Branches, (2, 5, 4)), "network": (normed, (2, 3)), "a layer": (lambda: nn.Linear(3, 2), (3,))}


@pytest.fixture(params=MODELS)
def given_model(request):
    make, shape = MODELS[request.param]
    return drawn(make()), torch.randn(3, *shape)


# ---- the graph


def test_a_graph_computes_the_same(given_model):
    model, x = given_model
    graph = trace(model)
    assert torch.equal(graph(x), model(x))
    assert_close(read(model, x), model(x))
    assert_close(read(graph, x), model(x))


def read(model, x):
    return Interpreter(piecewise_linear(model)).run(x)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * expected.abs().max().item())


def test_a_graph_is_not_traced_again(given_model, monkeypatch):
    model, x = given_model
    graph = trace(model)

    def refused(*args):
        raise AssertionError("traced twice")

    monkeypatch.setattr(graphs._Tracer, "trace", refused)
    assert trace(graph) is graph
    assert_close(read(graph, x), model(x))


def test_a_graph_has_the_models_own_parameters(given_model):
    model, _ = given_model
    own = {id(each) for each in model.parameters()}
    assert {id(each) for each in trace(model).parameters()} == own


def test_folding_reaches_neither_the_model_nor_its_graph(given_model):
    model, x = given_model
    before, graph = copy.deepcopy(model.state_dict()), trace(model)
    expected, nodes = model(x), [node.name for node in graph.graph.nodes]
    piecewise_linear(graph)
    assert [node.name for node in graph.graph.nodes] == nodes
    assert torch.equal(graph(x), expected)
    assert torch.equal(model(x), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_graph_knows_whether_it_trains():
    for training in (True, False):
        model = normed().train(training)
        graph = trace(model)
        assert {part.training for part in graph.modules()} == {training}
    frozen = normed().train()
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

    for follow in (trace, piecewise_linear):
        with pytest.raises(ValueError, match="Branching cannot be followed layer by layer"):
            follow(Branching())


def test_what_depends_on_the_shape_alone():
    class Model(nn.Module):
        def forward(self, x):
            n, zeros = x.shape[0], x.new_zeros(4)
            return (x + zeros).to(x.dtype).view(n, x.size(1) * x.numel() // x.numel()) * x.dim()

    graph = trace(Model()).graph
    dependent = values(graph)
    moved = Model()(torch.ones(3, 4)) - Model()(torch.zeros(3, 4))  # of the numbers, at one shape
    assert (moved == 2).all()
    assert [node.name for node in graph.nodes if is_size(node)] == [
        "getattr_1", "new_zeros", "getattr_2", "size", "numel", "numel_1", "dim",
    ]  # fmt: skip
    assert [node.name for node in graph.nodes if node in dependent] == ["x", "add", "to", "view", "mul_1", "output"]
