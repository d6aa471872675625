"""Whatever a random network is made of: each number equals autograd's or plain algebra's, or is refused."""

import collections

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from random_networks import RandomNetwork
from spectral_lens.explain.gradients import gradient
from spectral_lens.explain.lrp import gamma, lrp, redistributing, zero
from spectral_lens.nn.rewriting import fold, retract, spectralize
from spectral_lens.operators.hessian import hessian
from spectral_lens.operators.jacobian import jacobian
from spectral_lens.operators.tangent_kernel import parameter_jacobian, parameter_norms, tangent_kernel, trace_kernel

pytestmark = [pytest.mark.usefixtures("double"), pytest.mark.filterwarnings("ignore:There is a performance drop")]

NETWORKS = 300
PIECES = 20


def assert_close(found, expected, tolerance=1e-8):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-12, expected.abs().max().item()))


def own_gradients(model, x):
    """J, (n, k, *d), and J_theta, (n, k, p), by plain backward passes of the model itself, a sample at a time."""
    own = [each for each in model.parameters() if each.requires_grad]
    by_inputs, by_parameters = [], []
    for sample in x:
        leaf = sample.unsqueeze(0).clone().requires_grad_()
        for out in model(leaf.clone())[0]:
            grads = torch.autograd.grad(out, [leaf, *own], retain_graph=True, allow_unused=True)
            filled = [torch.zeros_like(p) if g is None else g for g, p in zip(grads[1:], own, strict=True)]
            by_inputs.append(grads[0][0])
            by_parameters.append(torch.cat([each.flatten() for each in filled]))
    return torch.stack(by_inputs).unflatten(0, (len(x), -1)), torch.stack(by_parameters).unflatten(0, (len(x), -1))


def piecewise_linear(model):
    """Whether LRP-0 is the gradient times the input: nothing that bends, and nothing that clips."""
    bends = any(isinstance(layer, nn.Tanh | nn.ReLU6) for layer in model.modules())
    return not bends and torch.nn.functional.softplus not in model.steps


def outputs_of_lrp(model, x):
    return redistributing(model, x, rules=gamma(0.2))(torch.ones_like(x))


def answers(model, x):
    """What each function finds, or None where it refuses, beside what it must find."""
    J, T = own_gradients(model, x)
    K = torch.einsum("nkp,mlp->nkml", T, T)
    flat = K.flatten(2).flatten(0, 1)
    found = {
        "gradient": (gradient, J),
        "jacobian": (lambda m, x: jacobian(m, x) @ torch.ones(len(x), x[0].numel()), J.flatten(2).sum(2)),
        "tangent kernel": (lambda m, x: tangent_kernel(m, x).to_dense(), flat),
        "its products": (lambda m, x: tangent_kernel(m, x) @ torch.ones(len(flat)), flat.sum(1)),
        "trace kernel": (trace_kernel, torch.einsum("nkmk->nm", K)),
        "parameter norms": (lambda m, x: parameter_norms(m, x).rows, T.norm(dim=2)),
        "parameter jacobian": (lambda m, x: parameter_jacobian(m, x).to_dense(), T.flatten(0, 1)),
        "outputs of LRP": (
            lambda m, x: redistributing(m, x, rules=gamma(0.2))(torch.ones_like(x)),
            model(x.clone()).detach(),
        ),
    }
    if piecewise_linear(model):
        found["LRP-0"] = (lambda m, x: lrp(m, x, rules=zero()), J * x.unsqueeze(1))
    return found


def second_derivative(model, x, y):
    own = {name: each.detach() for name, each in model.named_parameters() if each.requires_grad}

    def loss(flat):
        parts = flat.split([each.numel() for each in own.values()])
        given = {name: part.view_as(own[name]) for name, part in zip(own, parts, strict=True)}
        return nn.functional.cross_entropy(functional_call(model, given, (x.clone(),)), y)

    start = torch.cat([each.flatten() for each in own.values()])
    return jacrev(jacrev(loss))(start)


def outcome(function, *given):
    """What it finds; None, where it refuses with a sentence."""
    try:
        return function(*given)
    except ValueError as error:
        said = str(error)
    assert len(said) > 20
    return None


@pytest.mark.filterwarnings("ignore:relevance is enlarged", "ignore:there is no spectral form")
@pytest.mark.parametrize("part", range(PIECES))
def test_each_number_is_right_or_refused(part):
    for seed in range(part, NETWORKS, PIECES):
        model = RandomNetwork(seed).eval()
        x = torch.randn(3, *model.inputs, generator=torch.Generator().manual_seed(seed))
        before, out = x.clone(), model(x.clone()).detach()
        try:
            expected = answers(model, x)
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)  # noqa: PT017  # autograd has no answer either
            continue
        for function, right in expected.values():
            found = outcome(function, model, x)
            if found is not None:
                assert_close(found, right)
        for rewrite in (spectralize, fold, retract):
            other = outcome(rewrite, model)
            if other is not None:
                assert_close(other(x.clone()).detach(), out)
        assert torch.equal(x, before)
        assert torch.equal(model(x.clone()).detach(), out)


@pytest.mark.parametrize("seed", range(0, NETWORKS, 10))
def test_the_hessian_is_right_or_refused(seed):
    model = RandomNetwork(seed).eval()
    x = torch.randn(3, *model.inputs, generator=torch.Generator().manual_seed(seed))
    y = torch.tensor([0, 2, 1])
    if not any(each.requires_grad for each in model.parameters()):
        return
    v = torch.randn(sum(each.numel() for each in model.parameters() if each.requires_grad))
    found = outcome(lambda: hessian(model, (x, y)) @ v)
    if found is not None:
        assert_close(found, second_derivative(model, x, y) @ v)


def test_most_networks_have_an_answer():
    """Of 60, each in a pass of its own, so that no test depends on another one's count."""
    counted = collections.Counter()
    for seed in range(0, NETWORKS, 5):
        model = RandomNetwork(seed).eval()
        x = torch.randn(3, *model.inputs, generator=torch.Generator().manual_seed(seed))
        counted["LRP"] += outcome(lambda m, x: redistributing(m, x, rules=zero()), model, x) is not None
        counted["kernel"] += outcome(lambda m, x: tangent_kernel(m, x).to_dense(), model, x) is not None
        counted["products"] += outcome(tangent_kernel, model, x) is not None
    assert counted["products"] == 60
    assert 20 <= counted["LRP"] < 60, counted
    assert 20 <= counted["kernel"] < 60, counted


def test_the_networks_are_of_every_kind():
    """What the numbers above would not show: that most networks are answered, and every kind is there."""
    kinds, again, branches = set(), 0, 0
    for seed in range(NETWORKS):
        model = RandomNetwork(seed)
        kinds |= {type(layer).__name__ for layer in model.modules()}
        used = [step[0] for step in model.steps if isinstance(step, tuple)]
        again += len(used) > len(set(used))
        branches += any(isinstance(step, tuple) and len(step) > 1 for step in model.steps)
    assert again > 10
    assert branches > 50
    assert kinds >= {
        "Linear", "Dense", "SpectralLinear", "Conv1d", "ConvTranspose1d", "Conv2d", "SpectralConv2d", "BatchNorm1d",
        "BatchNorm2d", "ParametrizedLinear", "ParametrizedConv2d", "MaxPool2d", "AvgPool1d", "ReLU", "ReLU6", "Tanh",
    }  # fmt: skip
