"""A network as what relevance goes through: its layers, what it refuses, and the outputs that it keeps."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layered_models import Branches, normed
from oracles import drawn
from spectral_lens.nn.graphs import trace
from spectral_lens.nn.layers import SpectralLinear
from spectral_lens.nn.piecewise_linear import MAX_POOLING, Interpreter, piecewise_linear

pytestmark = pytest.mark.usefixtures("double")


def test_batch_normalisation_is_folded_into_the_layer_before():
    found = piecewise_linear(drawn(normed()))
    kinds = [found.operation(node) for node in found.graph.graph.nodes]
    assert nn.BatchNorm1d not in kinds
    assert [str(node.target) for node in found.layers] == ["1", "4.0", "4.3"]


@pytest.mark.parametrize("called_again", [True, False])
def test_a_layer_read_in_two_places_keeps_its_normalisation_apart(called_again):
    """Folded into the layer for both, the normalisation behind one use would reach the other."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.norm, self.last = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x):
            y = self.one(x)
            return self.last(self.norm(y).relu() + (self.one(x) if called_again else y))

    model, x = drawn(Twice()), torch.randn(5, 4)
    network = piecewise_linear(model)
    norms = [node for node in network.graph.graph.nodes if network.operation(node) is nn.BatchNorm1d]
    assert len(norms) == (not called_again)
    torch.testing.assert_close(Interpreter(network).run(x), model(x))


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
    network = piecewise_linear(Shaped(SHAPES[name]))
    assert {str(n.target): network.sees_the_input(n) for n in network.layers} == {"first": True, "second": False}


@pytest.mark.parametrize("between", [F.relu, nn.ReLU(), lambda x: x + 1, lambda x: torch.cat([x, x], 1)])
def test_what_changes_numbers_hides_the_input(between):
    network = piecewise_linear(nn.Sequential(nn.Flatten(), Shaped(between)))
    assert not any(network.sees_the_input(node) for node in network.layers)


def test_the_layers_that_see_the_input():
    found = piecewise_linear(drawn(normed()))
    assert [found.sees_the_input(node) for node in found.layers] == [True, False, False]
    found = piecewise_linear(drawn(Branches()))
    seen = {str(node.target): found.sees_the_input(node) for node in found.layers}
    assert seen == {"body.0": True, "beside": True, "last": False}


NORMED = {
    "Linear": (lambda: nn.Linear(4, 3), nn.BatchNorm1d, (4,), True),
    "Conv1d": (lambda: nn.Conv1d(2, 3, 2, bias=False), nn.BatchNorm1d, (2, 5), True),
    "Conv2d": (lambda: nn.Conv2d(2, 3, 2), nn.BatchNorm2d, (2, 5, 4), True),
    "Conv3d": (lambda: nn.Conv3d(2, 3, 2), nn.BatchNorm3d, (2, 3, 4, 2), True),
    "SpectralLinear": (lambda: SpectralLinear(4, 3), nn.BatchNorm1d, (4,), True),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(2, 3, 2, stride=2), nn.BatchNorm2d, (2, 3, 4), True),
    "groups": (lambda: nn.ConvTranspose1d(2, 4, 2, groups=2), lambda _: nn.BatchNorm1d(4), (2, 5), False),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", NORMED)
@torch.no_grad()
def test_the_normalisation_of_each_kind_of_layer(name, affine):
    make, norm, shape, folded = NORMED[name]
    normalisation = norm(3)
    if not affine:
        normalisation = type(normalisation)(normalisation.num_features, affine=False)
    model, x = drawn(nn.Sequential(make(), normalisation, nn.ReLU())), torch.randn(3, *shape)
    network = piecewise_linear(model)
    assert folded == (type(normalisation) not in map(network.operation, network.graph.graph.nodes))
    torch.testing.assert_close(Interpreter(network).run(x), model(x))


def test_what_is_rectified():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            for name in ("relu", "pooled", "clipped", "average", "branch", "last"):
                setattr(self, name, nn.Conv1d(2, 2, 1))

        def forward(self, x):
            x = F.relu(self.relu(x))
            x = F.max_pool1d(self.pooled(x), 2).flatten(1).relu().unflatten(1, (2, -1))
            x = F.relu6(F.dropout(self.clipped(x), 0.5, self.training))
            x = F.relu(F.avg_pool1d(self.average(x), 2))
            return self.last(F.relu(self.branch(x) + x)).mean(2)

    network = piecewise_linear(Several().eval())
    found = {str(node.target): network.rectified(node) for node in network.layers}
    assert found == {
        "relu": True, "pooled": True, "clipped": True, "average": False, "branch": False, "last": False,
    }  # fmt: skip


@pytest.mark.parametrize("pooling", MAX_POOLING, ids=map(str, range(len(MAX_POOLING))))
def test_the_axes_of_the_windows_of_max_pooling(pooling):
    """Windows of two halve so many axes behind samples and channels, and no other."""
    axes = MAX_POOLING[pooling]
    x = torch.randn(3, 5, *[4] * axes)
    pooled = pooling(2)(x) if isinstance(pooling, type) else pooling(x, 2)
    assert pooled.shape == (3, 5, *[2] * axes)


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(6, 4), function
        self.register_buffer("shift", torch.rand(6))

    def forward(self, x):
        return self.function(self, self.layer(x - self.shift))


LINEAR = {
    "sizes": lambda m, y: y.view(y.shape[0], 2, -1).reshape(y.size(0), y.numel() // y.shape[0]) * (y.dim() + 1),
    "constants": lambda m, y: (2 - y) / 3 + m.shift[:4] * y - y.new_ones(4),
    "rows": lambda m, y: torch.stack([y[:, 1], y[:, 0]], 1) + y[:, 2:],
    "parts": lambda m, y: torch.cat(torch.chunk(y, 2, 1)[::-1], 1) + y.split([1, 3], 1)[0],
    "axes": lambda m, y: y.unsqueeze(2).transpose(1, 2).permute(0, 2, 1).squeeze(2).neg(),
    "means": lambda m, y: y.mean(1, keepdim=True) + y.sum(dim=1, keepdim=True),
    "in place": lambda m, y: F.relu(y, inplace=True).add_(1).mul_(2),
    "clipped": lambda m, y: F.hardtanh(y) + F.relu6(y) + F.leaky_relu(y, 0.1),
    "learned slopes": lambda m, y: F.prelu(y, m.shift[:1]),
    "enlarged": lambda m, y: F.interpolate(y.view(-1, 2, 2), scale_factor=2).flatten(1)[:, ::2],
    "padded": lambda m, y: F.pad(y, (1, 1), value=0.5),
    "precisions": lambda m, y: y.float().double(),
}


@pytest.mark.parametrize("name", LINEAR)
@torch.no_grad()
def test_what_is_piecewise_linear_is_taken(name):
    model, x = Of(LINEAR[name]).eval(), torch.randn(3, 6)
    torch.testing.assert_close(Interpreter(piecewise_linear(model)).run(x.clone()), model(x))


class Scaled(nn.Module):
    def __init__(self, *inner):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(3)), nn.Parameter(torch.rand(3))
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return self.inner(self.scale * x + self.shift)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("outside", [False, True], ids=["of a part", "of the model and a part"])
@torch.no_grad()
def test_parameters_outside_of_layers_are_constants(frozen, traced, outside):
    """Whether they are trained or not, and where a graph was made for the derivatives by them."""
    make = Scaled if outside else nn.Sequential
    model = make(nn.Linear(3, 3), nn.ReLU(), Scaled(nn.Linear(3, 2))).requires_grad_(not frozen).eval()
    network, x = piecewise_linear(trace(model) if traced else model), torch.randn(5, 3)
    names = ["inner.0", "inner.2.inner.0"] if outside else ["0", "2.inner.0"]
    if not (traced and outside and not frozen):  # there the model is a layer itself
        assert [str(node.target) for node in network.layers] == names
    torch.testing.assert_close(Interpreter(network).run(x), model(x))


NOT_LINEAR = {
    "sin": (lambda m, y: torch.sin(y), "no rule for sin"),
    "a product": (lambda m, y: y * y, "no rule for mul"),
    "an inverse": (lambda m, y: 1 / y, "no rule for truediv"),
    "a gate": (lambda m, y: y * torch.sigmoid(y), "no rule for sigmoid, mul"),
    "softmax": (lambda m, y: F.softmax(y, 1), "no rule for softmax"),
    "a norm": (lambda m, y: F.layer_norm(y, (4,)), "no rule for layer_norm"),
    "a maximum": (lambda m, y: torch.maximum(y, -y), "no rule for maximum"),
    "a lookup": (lambda m, y: m.shift[y.argmax(1)], "no rule for argmax, __getitem__"),
    "behind another type": (lambda m, y: torch.sin(y.type(y.dtype)), "no rule for type, sin"),
    "behind a precision": (lambda m, y: torch.sin(y.double()), "no rule for sin"),
    "another layer": (lambda m, y: F.linear(y, m.shift[:4].view(1, 4)), "no rule for linear"),
}


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_what_is_not_piecewise_linear_is_named(name):
    function, said = NOT_LINEAR[name]
    with pytest.raises(ValueError, match=rf"{said}: .* Gradient, integrated_gradients, smoothgrad and Shapley"):
        piecewise_linear(Of(function).eval())


def test_layers_without_a_rule_are_named():
    model = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.ReLU(), nn.GELU(), nn.LayerNorm(2)).eval()
    with pytest.raises(ValueError, match=r"no rule for 1 \(Tanh\), 3 \(GELU\), 4 \(LayerNorm\): "):
        piecewise_linear(model)

    many = nn.Sequential(nn.SiLU(), nn.Tanh(), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.SiLU(), nn.Linear(3, 2)).eval()
    with pytest.raises(ValueError, match=r"no rule for 0 \(SiLU\) and 2 more, 1 \(Tanh\) and 1 more, 2 \(GELU\): "):
        piecewise_linear(many)

    class More(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose1d(2, 3, 2, stride=2)

        def forward(self, x):
            return self.up(x, [7])

    with pytest.raises(ValueError, match=r"up \(ConvTranspose1d\) called with more than its input"):
        piecewise_linear(More())
    with pytest.raises(ValueError, match=r"cannot be followed layer by layer.*Shapley"):
        piecewise_linear(Of(lambda m, y: y if y.sum() > 0 else -y))
