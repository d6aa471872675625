"""What a model, its inputs and chosen outputs must be: refused before computing, or right."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from spectral_lens.explain.gradients import gradient, integrated_gradients, smoothgrad
from spectral_lens.explain.lrp import lrp, zero
from spectral_lens.nn._checks import checked, readout, same, targeted
from spectral_lens.operators.hessian import ggn, hessian, parameter_gram
from spectral_lens.operators.jacobian import jacobian, jacobian_norms, product_form
from spectral_lens.operators.tangent_kernel import parameter_jacobian, parameter_norms, tangent_kernel, trace_kernel

# everything that is derived from a model and its inputs
DERIVED = {
    "gradient": gradient,
    "integrated_gradients": integrated_gradients,
    "smoothgrad": lambda m, x: smoothgrad(m, x, sigma=0.1),
    "lrp": lambda m, x: lrp(m, x, rules=zero()),
    "jacobian": lambda m, x: jacobian(m, x).to_dense(),
    "jacobian_norms": jacobian_norms,
    "tangent_kernel": lambda m, x: tangent_kernel(m, x).to_dense(),
    "trace_kernel": trace_kernel,
    "parameter_jacobian": parameter_jacobian,
    "parameter_norms": parameter_norms,
    "hessian": lambda m, x: hessian(m, (x, torch.zeros(len(x), dtype=torch.int64))),
    "ggn": lambda m, x: ggn(m, (x, torch.zeros(len(x), dtype=torch.int64))),
    "parameter_gram": parameter_gram,
}


class Of(nn.Module):
    """A linear layer, and a function of its outputs and of the inputs."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(4, 3), function

    def forward(self, x):
        return self.function(self.layer(x), x)


# what they must refuse: the function, and what is said
REFUSED = {
    "the batch's mean": (lambda out, x: out - out.mean(0), "change with the other samples"),
    "the batch's statistics": (lambda out, x: F.batch_norm(out, None, None, training=True), "change with the other"),
    "chance": (lambda out, x: F.dropout(out, 0.5), "from call to call"),
    "a tuple": (lambda out, x: (out, x), "more than one tensor, a tuple: wrap it"),
    "a dictionary": (lambda out, x: {"out": out}, "more than one tensor, a dict"),
    "one number a sample": (lambda out, x: out.sum(1), r"outputs are \(2,\): they must be"),
    "images": (lambda out, x: out.unsqueeze(1), r"outputs are \(2, 1, 3\): they must be"),
    "a mean over samples": (lambda out, x: out.mean(0, keepdim=True), r"gives outputs \(1, 3\) for 2 samples"),
    "labels": (lambda out, x: out.argmax(1, keepdim=True), "must be floating, as scores are"),
    "NaN": (lambda out, x: out / 0 * 0, "outputs are not finite"),
    "another shape": (lambda out, x: out @ x, "the model does not take x, torch.float64 [(]n, 4[)] on cpu: "),
}


@pytest.mark.parametrize("method", DERIVED)
@pytest.mark.parametrize("fault", REFUSED)
def test_what_has_no_derivative_of_its_own_is_refused(double, method, fault):
    function, said = REFUSED[fault]
    with pytest.raises(ValueError, match=said):
        DERIVED[method](Of(function).eval(), torch.rand(5, 4))


@pytest.mark.parametrize("method", DERIVED)
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_what_is_on_its_own_is_taken(double, method, samples):
    """Samples that are alike too, and a model that is not defined everywhere."""
    model = Of(lambda out, x: out + 0).eval()
    DERIVED[method](model, torch.rand(1, 4).expand(samples, 4))
    DERIVED[method](model, torch.zeros(samples, 4))


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        return self.layer(x.mul_(2)).squeeze()


def test_models_may_squeeze_and_work_in_place(double):
    model, x = InPlace().eval(), torch.rand(3, 4)
    before, twice = x.clone(), 2 * x
    for name, method in DERIVED.items():
        if name in ("hessian", "ggn", "parameter_gram"):  # how much memory a sample takes is tried with one alone
            with pytest.raises(ValueError, match=r"outputs \(3,\) for 1 samples"):
                method(model, x)
            continue
        found, expected = method(model, x), method(model.layer, twice)
        assert torch.equal(x, before), name
        if name in ("gradient", "integrated_gradients"):
            torch.testing.assert_close(found, expected * (2 if name == "gradient" else 1))
        elif name in ("tangent_kernel", "trace_kernel"):
            torch.testing.assert_close(found, expected)


def test_what_torch_cannot_differentiate_is_said(double):
    model = Of(lambda out, x: out + x.mul_(2)[:, :1]).eval()  # the layer's inputs are written over
    with pytest.raises(ValueError, match=r"torch finds no derivative of the model: .*modified by an inplace"):
        parameter_jacobian(model, torch.rand(3, 4)).mT @ torch.ones(9)


@pytest.mark.parametrize("method", DERIVED)
def test_nothing_of_the_readers_is_touched(double, method):
    """Neither inputs nor flags nor .grad; and results hang on no graph."""
    model, x = Of(lambda out, x: out).eval(), torch.rand(3, 4, requires_grad=True)
    x.grad, model.layer.weight.grad = torch.ones(3, 4), torch.ones(3, 4)
    before, flags = x.detach().clone(), [each.requires_grad for each in model.parameters()]
    found = DERIVED[method](model, x)
    assert torch.equal(x.detach(), before)
    assert x.requires_grad
    assert [each.requires_grad for each in model.parameters()] == flags
    assert torch.equal(x.grad, torch.ones(3, 4))
    assert torch.equal(model.layer.weight.grad, torch.ones(3, 4))
    for tensor in [found] if isinstance(found, torch.Tensor) else found if isinstance(found, tuple) else []:
        assert not tensor.requires_grad


def test_memory_that_is_not_there_is_said_as_it_is():
    def full(out, x):
        raise MemoryError("none")

    with pytest.raises(MemoryError):
        checked(Of(full).eval(), torch.rand(2, 4))


def test_models_in_training_mode_are_refused():
    x = torch.randn(3, 4)
    checked(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval(), x)
    with pytest.raises(ValueError, match="training mode"):
        checked(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5)).eval().append(nn.Dropout(0.5)), x)
    with pytest.raises(ValueError, match="1 has no running statistics"):
        checked(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval(), x)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_inputs_that_are_not_finite_are_refused(bad):
    x = torch.randn(3, 4)
    x[1, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        checked(nn.Linear(4, 3).eval(), x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
def test_inputs_must_be_floating(dtype):
    with pytest.raises(ValueError, match=rf"{dtype} \(2, 3\): floating inputs"):
        checked(nn.Linear(3, 2).eval(), torch.zeros(2, 3, dtype=dtype))


def test_the_same_up_to_half_of_the_digits():
    one = torch.tensor([1.0, 100.0], dtype=torch.float64)
    assert same(one, one + 1e-6)
    assert not same(one, one + 1e-5)
    assert same(one.float(), one.float() + 1e-2)
    assert not same(one.float(), one.float() + 0.1)
    assert same(0 * one, 0 * one)
    assert not same(one, one * float("nan"))


# ---- the outputs


OUT = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CHOSEN = {
    "a list": [2, 0],
    "a tuple": (2, 0),
    "a range": range(2, 0, -2),
    "numpy": np.array([2, 0]),
    "numpy's own": [np.int64(2), np.int32(0)],
    "bytes": torch.tensor([2, 0], dtype=torch.uint8),
    "short": torch.tensor([2, 0], dtype=torch.int16),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_outputs_by_their_indices(name):
    expected = torch.eye(4, dtype=torch.float64)[[int(each) for each in CHOSEN[name]]]
    assert torch.equal(readout(OUT, CHOSEN[name]), expected)


MASKS = [True, False, False, True], np.array([1, 0, 0, 1]) > 0, torch.tensor([1, 0, 0, 1]) > 0


@pytest.mark.parametrize("mask", MASKS)
def test_outputs_by_a_mask(mask):
    assert torch.equal(readout(OUT, mask), torch.eye(4, dtype=torch.float64)[[0, 3]])


def test_outputs_by_a_read_out():
    rows = torch.randn(3, 4)
    assert torch.equal(readout(OUT, rows), rows.double())
    assert torch.equal(readout(OUT, rows.numpy()), rows.double())
    assert torch.equal(readout(OUT.half(), rows), rows.half())
    assert torch.equal(readout(OUT, None), torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("given", "outputs", "said"),
    [
        (OUT, [], "at least one output"),
        (OUT, torch.tensor(3), "at least one output, as"),
        (OUT, [4], r"outputs \[4\] do not exist"),
        (OUT, [-1], r"outputs \[-1\] do not exist"),
        (OUT, [2, 0, 2], r"names an output twice.*target="),
        (OUT, torch.tensor([True, False]), r"mask of outputs is \(2,\)"),
        (OUT, torch.zeros(4, dtype=torch.bool), "at least one output"),
        (OUT, torch.randn(3, 5), r"must be \(k, 4\)"),
        (OUT, torch.randn(4), r"must be \(k, 4\)"),
        (OUT, torch.full((2, 4), float("nan")), "finite"),
        (OUT, ["a"], "neither indices, a mask nor a read-out"),
        (OUT[0], None, r"must be \(samples, outputs\)"),
        ((OUT, OUT), None, "more than one tensor"),
    ],
)
def test_outputs_that_are_not_there_are_refused(given, outputs, said):
    with pytest.raises(ValueError, match=said):
        readout(given, outputs)


def test_a_target_is_a_row_of_each_sample():
    labels = [3, 0, 0, 1, 2, 3, 3]
    for target in (torch.tensor(labels), np.array(labels, np.uint8), labels):
        assert torch.equal(targeted(OUT, target), torch.eye(4, dtype=torch.float64)[labels])
    for target, said in (
        (labels[:6], r"target is \(6,\) for 7 samples"),
        ([*labels[:6], 4], r"outputs \[4\] do not exist"),
        (OUT[:, 0], "whole numbers"),
        (OUT[:, 0] > 0, "whole numbers"),
        (torch.tensor(3), r"target is \(\) for 7 samples"),
    ):
        with pytest.raises(ValueError, match=said):
            targeted(OUT, target)


# ---- layers that are not what they seem


def hooked(layer):
    layer.register_forward_hook(lambda module, args, out: 2 * out)
    return layer


@pytest.mark.parametrize("change", [nn.utils.parametrizations.weight_norm, hooked], ids=["reparametrised", "hooked"])
def test_factors_of_changed_layers_are_refused(double, change):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sequential(change(nn.Linear(3, 2)))).eval()
    with pytest.raises(ValueError, match=r"2\.0 \(Linear\) (is reparametrised|has hooks)"):
        product_form(model, torch.rand(2, 4))


def test_factors_of_a_changed_whole_are_refused(double):
    model = hooked(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))).eval()
    with pytest.raises(ValueError, match="has hooks"):
        product_form(model, torch.rand(2, 4))
