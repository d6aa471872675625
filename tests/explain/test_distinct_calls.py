"""The copy with a module for each call computes the same, and shap's values of it add up."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.explain.distinct_calls import distinct_calls
from spectral_lens.explain.shapley import deep_shap
from spectral_lens.nn.convnets import cnn
from spectral_lens.nn.mlp import mlp

pytestmark = pytest.mark.usefixtures("double")


class Model(nn.Module):
    """Layers by name, called as the function says."""

    def __init__(self, call, **layers):
        super().__init__()
        self.call = call
        self.register_buffer("mean", torch.rand(6))
        self.weight = nn.Parameter(torch.randn(6, 6))
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.call(self, x)


def shared():
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(6, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 3))


def nested():
    activation = nn.Sequential(nn.Tanh(), nn.Identity())
    return nn.Sequential(nn.Sequential(nn.Linear(6, 5), activation), nn.Dropout(0.5), nn.Linear(5, 6), activation)


def L(a=6, b=6):
    return nn.Linear(a, b)


def residual(m, x):
    out = F.relu(m.a(x))
    out += x
    return m.b(m.relu(out)).relu_()


def images(m, x):
    x = F.max_pool2d(F.relu(m.c(x), inplace=True), 2)
    return m.a(x.view(x.size(0), -1)).mul(0.5)


FLAT = {
    "a module in two places": shared,
    "a block in two places": nested,
    "functions": lambda: Model(lambda m, x: m.b(F.leaky_relu(torch.tanh(m.a(x)), 0.2).sigmoid()), a=L(), b=L(6, 2)),
    "options": lambda: Model(lambda m, x: F.elu(F.gelu(m.a(x), approximate="tanh"), alpha=0.7), a=L(6, 2)),
    "sums in place": lambda: Model(residual, a=L(), b=L(6, 3), relu=nn.ReLU(inplace=True)),
    "branches": lambda: Model(lambda m, x: torch.cat([m.a(x).relu(), -m.a(x) / 2], 1), a=L()),
    "normalised within": lambda: Model(lambda m, x: m.b(F.relu(m.a((x - m.mean) / m.mean))), a=L(), b=L(6, 2)),
    "factors in front": lambda: Model(lambda m, x: 3 * torch.mul(m.mean, m.a(x)).relu() - 0.5 * x, a=L()),
    "in place on its input": lambda: Model(lambda m, x: m.b(F.relu_(m.a(x.sub_(1).mul_(3)))), a=L(), b=L(6, 2)),
    "batch normalisation": lambda: mlp([6, 5, 4, 2], batch_norm=True, dropout=0.3),
    "Keras' layers": lambda: mlp([6, 5, 4, 2], spectral=0, glorot=True),
    "softplus": lambda: nn.Sequential(L(), nn.Softplus(2), nn.SELU(inplace=True), L(6, 2)),
}
SHAPED = {
    "a leading Flatten": lambda: nn.Sequential(nn.Flatten(), L(2 * 6 * 5, 7), nn.ReLU(inplace=True), L(7, 3)),
    "an inner Flatten": lambda: cnn((2, 6, 5), 3, blocks=(((4, 3, 1),),)),
    "functions of images": lambda: Model(images, c=nn.Conv2d(2, 3, 3), a=L(6, 4)),
    "means": lambda: Model(lambda m, x: F.relu(m.c(x)).mean((2, 3)), c=nn.Conv2d(2, 3, 3)),
    "unflattened": lambda: nn.Sequential(nn.Flatten(), L(60, 12), nn.Unflatten(1, (3, 2, 2)), nn.MaxPool2d(2),
                                         nn.AdaptiveAvgPool2d(1), nn.Flatten()),
}  # fmt: skip


@pytest.mark.parametrize("name", [*FLAT, *SHAPED])
def test_the_copy_computes_the_same_and_its_values_add_up(name):
    torch.manual_seed(1)
    shape = (6,) if name in FLAT else (2, 6, 5)
    model = (FLAT | SHAPED)[name]().eval()
    x, background = torch.rand(3, *shape), torch.rand(4, *shape)
    given, state = x.clone(), {key: value.clone() for key, value in model.state_dict().items()}
    expected, base = model(x.clone()).detach(), model(background.clone()).detach().mean(0)
    plain = distinct_calls(model)
    calls = [node.target for node in plain.graph.nodes if node.op == "call_module"]
    assert len(calls) == len(set(calls))
    assert not any(getattr(layer, "inplace", False) for layer in plain.modules())
    found = deep_shap(model, x, background=background)
    assert found.shape == (3, expected.shape[1], *shape)
    assert torch.equal(x, given)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    torch.testing.assert_close(found.flatten(2).sum(2), expected - base, rtol=0, atol=1e-6)
    torch.testing.assert_close(plain.eval()(x.clone()), expected)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(L(), nn.Softmax(1)), r"no rule for 1 \(Softmax\)"),
        (nn.Sequential(L(), nn.LayerNorm(6), nn.Hardswish()), r"no rule for 1 \(LayerNorm\), 2 \(Hardswish\)"),
        (nn.Softmax(1), r"no rule for 0 \(Softmax\)"),
        (Model(lambda m, x: m.a(x) * m.b(x), a=L(), b=L()), "no rule for mul"),
        (Model(lambda m, x: m.a(x) * m.a(x), a=L()), "no rule for mul"),
        (Model(lambda m, x: F.relu(m.a(x)) * x, a=L()), "no rule for mul"),
        (Model(lambda m, x: 1 / m.a(x), a=L()), "no rule for truediv"),
        (Model(lambda m, x: torch.div(m.a(x), 3, rounding_mode="floor"), a=L()), "no rule for div"),
        (Model(lambda m, x: m.a(x).exp(), a=L()), "no rule for exp"),
        (Model(lambda m, x: F.linear(x, m.weight), a=L()), "no rule for linear"),
        (Model(lambda m, x: x @ m.weight, a=L()), "no rule for matmul"),
        (Model(lambda m, x: m.a(x) if x.sum() > 0 else x, a=L()), "Model cannot be followed layer by layer"),
    ],
)
def test_what_has_no_rule_is_named_with_what_does_work(model, said):
    with pytest.raises(ValueError, match=said + r".*shapley\.sampled and by the functions of gradients"):
        deep_shap(model, torch.rand(2, 6), background=torch.rand(3, 6))


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of shap's check of the sums
def test_values_as_of_shap_itself():
    """For a plain chain nothing is rewritten that would move a digit."""
    import shap

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).float().eval()
    x, background = torch.rand(3, 6, dtype=torch.float32), torch.rand(5, 6, dtype=torch.float32)
    expected = torch.from_numpy(shap.DeepExplainer(model, background).shap_values(x)).movedim(-1, 1)
    assert torch.equal(deep_shap(model, x, background=background), expected)
