"""The tangent kernel against the gradients of all outputs by all parameters, written out by autograd."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from layered_models import MODELS, REPARAMETRISED, gradients, spectral
from oracles import drawn
from spectral_lens._runtime import memory
from spectral_lens.nn._checks import checked
from spectral_lens.nn.layers import PARAMETERS, SpectralLinear
from spectral_lens.nn.mlp import mlp
from spectral_lens.operators import _kernel_blocks
from spectral_lens.operators import tangent_kernel as module
from spectral_lens.operators._per_sample import KroneckerFactors, PerSampleGradients
from spectral_lens.operators.tangent_kernel import parameter_jacobian, parameter_norms, tangent_kernel, trace_kernel

pytestmark = pytest.mark.usefixtures("double")


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * max(1e-300, expected.abs().max().item()))


def contracted(one, other):
    return torch.einsum("nap,mbp->namb", one, other).flatten(2).flatten(0, 1)


def traced(one, other):
    return torch.einsum("nap,map->nm", one, other)


def exact(*given, **options):
    return tangent_kernel(*given, **options).to_dense()


@pytest.fixture(params=MODELS)
def given_model(request):
    make, shape = MODELS[request.param]
    return drawn(make()), shape


# ---- the kernel


def test_kernel_is_the_contraction_of_all_gradients(given_model):
    model, shape = given_model
    x, other = torch.randn(3, *shape), torch.randn(2, *shape)
    J = gradients(model, x)
    expected = contracted(J, J)
    assert_close(exact(model, x), expected)
    assert_close(trace_kernel(model, x), traced(J, J))
    theirs = gradients(model, other)
    assert_close(exact(model, x, other=other), contracted(J, theirs))
    assert_close(exact(model, other, other=x), contracted(theirs, J))
    assert_close(tangent_kernel(model, x, other=other).mT.to_dense(), contracted(theirs, J))
    assert_close(trace_kernel(model, x, other=other), traced(J, theirs))


def test_products_are_those_of_the_matrix(given_model):
    model, shape = given_model
    x, other = torch.randn(3, *shape), torch.randn(2, *shape)
    J, theirs = gradients(model, x), gradients(model, other)
    k, p = J.shape[1:]
    K, across = contracted(J, J), contracted(J, theirs)
    for chunk in (None, 2):
        symmetric, general = tangent_kernel(model, x, chunk=chunk), tangent_kernel(model, x, other=other, chunk=chunk)
        assert symmetric.symmetric
        assert not general.symmetric
        v, w = torch.randn(3 * k, 2), torch.randn(2 * k, 2)
        assert_close(symmetric @ v, K @ v, 1e-11)
        assert_close(general @ w, across @ w, 1e-11)
        assert_close(general.mT @ v, across.mT @ v, 1e-11)
        by_parameters = parameter_jacobian(model, x, chunk=chunk)
        assert by_parameters.shape == (3 * k, p)
        assert_close(by_parameters.to_dense(), J.flatten(0, 1), 1e-11)
        u = torch.randn(p)
        assert_close(by_parameters @ u, J.flatten(0, 1) @ u, 1e-11)


def test_products_need_no_layers():
    """They go through any model, the dense form through layers alone."""
    model, x = Outside().eval(), torch.randn(3, 4)
    K = tangent_kernel(model, x)
    J = gradients(model, x)
    assert_close(K @ torch.ones(12), contracted(J, J).sum(1))
    with pytest.raises(ValueError, match="used outside"):
        K.to_dense()


@pytest.mark.parametrize("frozen", ["weight", "bias", "lam_in", "lam_out", "psi"])
def test_frozen_parameters_do_not_count(given_model, frozen):
    model, shape = given_model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and not name.endswith(frozen))
    x = torch.randn(2, *shape)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        with pytest.raises(ValueError, match="no parameter is trainable"):
            exact(model, x)
        return
    J = gradients(model, x)
    assert_close(exact(model, x), contracted(J, J))
    assert_close(parameter_norms(model, x).rows, J.norm(dim=2))


def test_both_forms_are_one(given_model, monkeypatch):
    """Over pairs of positions, or of the layers' gradients: whichever is less work."""
    model, shape = given_model
    x = torch.randn(3, *shape)
    J = gradients(model, x)
    expected, norms = contracted(J, J), torch.linalg.matrix_norm(J, 2)
    positions, gradient = (lambda each, *_: each), lambda each, *_: KroneckerFactors(summed(each))
    for form in (positions, gradient):
        monkeypatch.setattr(_kernel_blocks, "shorter", form)
        assert_close(exact(model, x), expected)
        assert_close(trace_kernel(model, x), traced(J, J))
        assert_close(parameter_norms(model, x).spectral, norms)


def summed(each):
    if each.activations is None:
        return each.output_gradients
    return torch.einsum("nkot,nti->nkoi", each.output_gradients, each.activations).flatten(2).unsqueeze(3)


def test_norms_are_those_of_the_gradients(given_model):
    model, shape = given_model
    x = torch.randn(4, *shape)
    J = gradients(model, x)
    for chunk in (None, 3):
        found = parameter_norms(model, x, chunk=chunk)
        assert_close(found.rows, J.norm(dim=2))
        assert_close(found.spectral, torch.linalg.matrix_norm(J, 2))
        assert_close(found.frobenius, torch.linalg.matrix_norm(J))


def test_chunks_change_nothing(monkeypatch):
    make, shape = MODELS["spectral convolution"]
    model, x, other = drawn(make()), torch.randn(7, *shape), torch.randn(5, *shape)
    expected, across = exact(model, x), exact(model, x, other=other)
    trace = trace_kernel(model, x)
    for chunk in (1, 3, 6, 100):
        assert_close(exact(model, x, chunk=chunk), expected, 1e-13)
        assert_close(exact(model, x, other=other, chunk=chunk), across, 1e-13)
    held = PerSampleGradients.__init__

    def few(self, *args, **kwargs):
        held(self, *args, **kwargs)
        self.batch_size = 2

    monkeypatch.setattr(PerSampleGradients, "__init__", few)
    assert_close(exact(model, x, chunk=5), expected, 1e-13)
    assert_close(trace_kernel(model, x, chunk=5), trace, 1e-13)
    monkeypatch.setattr(module, "_ROWS", (3, 3))
    assert_close(exact(model, x), expected, 1e-13)


def test_outputs_can_be_chosen_and_read_out():
    model, x = drawn(MODELS["dense"][0]()), torch.randn(4, 5)
    J, rows = gradients(model, x), torch.randn(2, 3)
    assert_close(exact(model, x, outputs=[2, 0]), contracted(J[:, [2, 0]], J[:, [2, 0]]))
    read = torch.einsum("ra,nap->nrp", rows, J)
    assert_close(exact(model, x, outputs=rows), contracted(read, read))
    assert_close(parameter_norms(model, x, outputs=rows).rows, read.norm(dim=2))
    assert exact(model, x[:1], outputs=[1]).shape == (1, 1)


def test_linear_net():
    """f = W x + b: K = (x . x' + 1) I."""
    model, x = drawn(nn.Linear(5, 3)), torch.randn(4, 5)
    expected = torch.kron(x @ x.mT + 1, torch.eye(3))
    assert_close(exact(model, x), expected)
    assert_close(trace_kernel(model, x), 3 * (x @ x.mT + 1))
    assert_close(parameter_norms(model, x).spectral, (x.square().sum(1) + 1).sqrt())


def test_matrix_has_a_samples_outputs_together():
    model, x, other = drawn(MODELS["dense"][0]()), torch.randn(4, 5), torch.randn(2, 5)
    J = gradients(model, x).flatten(0, 1)
    K = exact(model, x)
    assert_close(K, J @ J.mT)
    assert_close(exact(model, x, other=other), J @ gradients(model, other).flatten(0, 1).mT)
    assert_close(K, K.mT, 1e-14)


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**30))
def test_symmetric_positive_and_bounded(inputs, hidden, outputs, samples, seed):
    torch.manual_seed(seed)
    model = drawn(mlp([inputs, hidden, outputs], activation="tanh", spectral=1, train=PARAMETERS)).double()
    x = torch.randn(samples, inputs).double()
    K, norms, trace = exact(model, x), parameter_norms(model, x), trace_kernel(model, x)
    values = torch.linalg.eigvalsh(K)
    assert_close(K, K.mT, 1e-12)
    assert values[0] >= -1e-10 * values[-1]
    assert_close(trace.diagonal(), norms.frobenius.square(), 1e-10)
    slack = 1 + 1e-9
    assert (norms.spectral <= norms.frobenius * slack).all()
    assert (norms.rows.amax(1) <= norms.spectral * slack).all()
    assert values[-1] / samples <= norms.spectral.square().mean() * slack


@pytest.mark.parametrize("name", ["chicchi", "giambagli", "convolution", "spectral groups"])
def test_single_precision(name):
    make, shape = MODELS[name]
    model, x = drawn(make()), torch.randn(4, *shape)
    expected, norms = exact(model, x), parameter_norms(model, x)
    found = exact(model.float(), x.float())
    assert found.dtype == torch.float32
    assert_close(found.double(), expected, 1e-5)
    assert_close(parameter_norms(model, x.float()).spectral.double(), norms.spectral, 1e-5)


def test_eigenvalues_that_nearly_agree_lose_no_digits():
    """lam_in - lam_out far below both: expanded around zero, the square would be nothing but rounding."""
    model, x = drawn(spectral(SpectralLinear, 5, 3)), torch.randn(4, 5)
    with torch.no_grad():
        model.lam_in.mul_(1e-3).add_(1)
        model.lam_out.mul_(1e-3).add_(1)
    for parameter in (model.lam_in, model.lam_out, model.bias):
        parameter.requires_grad_(False)
    expected = exact(model, x)
    J = gradients(model, x)
    assert_close(expected, contracted(J, J), 1e-11)
    difference = (model.lam_in - model.lam_out[:, None]).detach()
    found = exact(model.float(), x.float()).double()
    rounded = (model.lam_in - model.lam_out[:, None]).detach().double()
    assert_close(found, expected, 10 * float((rounded - difference).abs().max() / difference.abs().max()))


# ---- what the model and the caller keep


def test_nothing_is_changed():
    make, shape = MODELS["batch normalisation"]
    model, x = drawn(make()), torch.randn(3, *shape, requires_grad=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    kernel = exact(model, x)
    assert not kernel.requires_grad
    assert torch.is_grad_enabled()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


# ---- second opinion


def test_the_peer_agrees():
    """K has the eigenvalues of the Gauss-Newton matrix of half the squared length of the outputs."""
    make, shape = MODELS["convolution"]
    model, x = drawn(make()), torch.randn(5, *shape)
    operator = peers_ggn(model, x)
    G = operator @ torch.eye(operator.shape[1])
    K = exact(model, x)
    assert_close(torch.linalg.eigvalsh(K)[-15:], torch.linalg.eigvalsh(G)[-15:], 1e-10)


def test_the_peers_jacobian_agrees():
    make, shape = MODELS["branches"]
    model, x = drawn(make()), torch.randn(4, *shape)
    parameters = [each for each in model.parameters() if each.requires_grad]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which it still uses
        from curvlinops import JacobianLinearOperator

        theirs = JacobianLinearOperator(model, parameters, [(x, torch.zeros(4))], check_deterministic=False)
        v, u = torch.randn(theirs.shape[1]), torch.randn(theirs.shape[0])
        expected, pulled = theirs @ v, theirs.adjoint() @ u
    ours = parameter_jacobian(model, x)
    assert ours.shape == theirs.shape
    assert_close(ours @ v, expected, 1e-11)
    assert_close(ours.mT @ u, pulled, 1e-11)


def peers_ggn(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, which it and torch's jvp still use
        from curvlinops import GGNLinearOperator
        from torch.func import jvp

        jvp(torch.sin, (torch.ones(1),), (torch.ones(1),))
    target = torch.zeros(len(x), 3)
    loss = nn.MSELoss(reduction="sum")
    return 0.5 * GGNLinearOperator(model, loss, list(model.parameters()), [(x, target)], check_deterministic=False)


# ---- errors


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(torch.relu(self.layer(x)))


class Outside(Shared):
    def forward(self, x):
        return F.linear(x, self.layer.weight)


class Branching(Shared):
    def forward(self, x):
        return self.layer(x) if x.sum() > 0 else x


class Bilinear(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Bilinear(4, 4, 3)

    def forward(self, x):
        return self.layer(x, x)


@pytest.mark.parametrize("function", [exact, trace_kernel, parameter_norms], ids=lambda function: function.__name__)
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lambda: nn.Linear(4, 3).train(), "training mode"),
        (lambda: nn.Linear(4, 3).requires_grad_(False), "no parameter is trainable"),
        (Shared, "layer shares parameters"),
        (Outside, "layer.weight is used outside"),
        (Branching, "Branching cannot be followed"),
        (Bilinear, "more than its input"),
        (lambda: nn.LSTM(4, 3), "gives more than one tensor"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)), "running statistics"),
        (lambda: nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), r"must be \(samples, outputs\)"),
    ],
)
def test_models_without_a_kernel_are_named(function, model, said):
    model = model()
    model = model if said == "training mode" else model.eval()
    with pytest.raises(ValueError, match=said):
        function(model, torch.randn(2, 4))


@pytest.mark.parametrize("function", [exact, trace_kernel, parameter_norms], ids=lambda function: function.__name__)
def test_inputs_without_a_kernel_are_named(function):
    model = drawn(nn.Linear(4, 3))
    for x, options, said in (
        (torch.full((2, 4), float("nan")), {}, "NaN"),
        (torch.zeros(0, 4), {}, "at least one"),
        (torch.zeros(2, 4), {"chunk": 0}, "chunk=0"),
        (torch.zeros(2, 4), {"outputs": [3]}, "do not exist"),
    ):
        with pytest.raises(ValueError, match=said):
            function(model, x, **options)


@pytest.mark.parametrize("function", [exact, trace_kernel, parameter_norms], ids=lambda function: function.__name__)
def test_a_network_that_diverged_is_named(function):
    model = drawn(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="outputs are not finite"):
        function(model, torch.randn(2, 4))


def test_second_inputs_must_fit():
    model = drawn(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"other is \(2, 5\)"):
        exact(model, torch.zeros(2, 4), other=torch.zeros(2, 5))
    with pytest.raises(ValueError, match="NaN"):
        exact(model, torch.zeros(2, 4), other=torch.full((2, 4), float("nan")))


def test_memory_decides_the_chunk_or_says_no(monkeypatch):
    make, shape = MODELS["convolution"]
    model, x = drawn(make()), torch.randn(6, *shape)
    expected, network = exact(model, x), PerSampleGradients(model, checked(model, x))
    result = 18 * 18 * 8
    computed = []
    factors = PerSampleGradients.factors
    monkeypatch.setattr(
        PerSampleGradients, "factors", lambda self, some: computed.append(len(some)) or factors(self, some)
    )
    monkeypatch.setattr(memory, "available", lambda device: int((result + 2 * 2.5 * network.bytes) / 0.9))
    assert_close(exact(model, x), expected)
    assert max(computed) == 2
    assert sum(computed) == 6 + 4 + 2  # the later ones again for each earlier chunk
    monkeypatch.setattr(memory, "available", lambda device: result)
    with pytest.raises(MemoryError, match="or trace_kernel"):
        exact(model, x)


# ---- layers that are not what their type says


def hooked(layer):
    layer.register_forward_hook(lambda module, args, out: out.square())
    layer.register_forward_pre_hook(lambda module, args: (2 * args[0],))
    return layer


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("change", [*REPARAMETRISED, "hooked"])
@pytest.mark.parametrize(
    ("make", "shape"),
    [(lambda: nn.Linear(5, 6), (5,)), (lambda: nn.Conv2d(1, 2, 2), (1, 3, 4)), (lambda: nn.Conv1d(2, 3, 2), (2, 3))],
    ids=["Linear", "Conv2d", "Conv1d"],
)
def test_changed_layers_have_the_gradients_of_autograd(change, make, shape):
    layer = (REPARAMETRISED | {"hooked": hooked})[change](make())
    model = nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.LazyLinear(3)).eval()
    x = torch.randn(4, *shape)
    model(x)
    before = {name: getattr(layer, name) for name in ("weight",) if name in vars(layer)}
    rows = []
    for sample in x:
        out = model(sample.unsqueeze(0))[0]
        own = list(model.parameters())
        rows += [torch.cat([g.flatten() for g in torch.autograd.grad(o, own, retain_graph=True)]) for o in out]
    J = torch.stack(rows)
    assert_close(exact(model, x), J @ J.mT)
    assert_close(parameter_jacobian(model, x).to_dense(), J)
    for name in before:  # hooks compute it, and nothing of ours is left in it
        assert torch.equal(getattr(layer, name), before[name])
        assert type(getattr(layer, name)) is torch.Tensor
        assert not torch._C._functorch.is_gradtrackingtensor(getattr(layer, name))


def test_a_hook_of_the_whole_model_is_seen():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    expected = exact(model.eval(), torch.ones(2, 4))
    model.register_forward_hook(lambda module, args, out: 2 * out)
    with pytest.raises(ValueError, match="does not give its own outputs"):
        exact(model, torch.ones(2, 4))
    assert expected.isfinite().all()
