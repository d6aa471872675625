"""The parts of a report: what is refused does not end it, and its numbers are those of plain algebra."""

import math

import pytest
import torch
from torch import nn

from spectral_lens.datasets import DataSet
from spectral_lens.operators.hessian import hessian
from spectral_lens.operators.jacobian import jacobian
from spectral_lens.operators.tangent_kernel import parameter_norms, tangent_kernel
from spectral_lens.stability import report
from spectral_lens.stability.adversarial import fgsm

pytestmark = pytest.mark.usefixtures("double")


def refuse(error):
    raise error


def test_a_refusal_is_noted_and_the_rest_goes_on():
    parts = report.Report()
    assert parts.part("sum", math.fsum, [1.0, 2.0]) == 3.0
    assert parts.part("square", lambda v, *, by: v * by, 3, by=2) == 6
    assert parts.refused == {}
    assert repr(parts) == "Nothing was refused."
    assert parts._repr_html_() == "<p>Nothing was refused.</p>"
    assert parts.part("a", refuse, ValueError("no rule\n  for <Tanh>.")) is None
    assert parts.part("b", refuse, RuntimeError("not implemented")) is None
    assert parts.part("c", refuse, MemoryError("no room")) is None
    expected = {"a": "no rule for <Tanh>.", "b": "RuntimeError: not implemented", "c": "MemoryError: no room"}
    assert parts.refused == expected
    assert repr(parts).splitlines() == [f"{name}: {why}" for name, why in expected.items()]
    page = parts._repr_html_()
    assert page.count("<tr>") == 1 + len(expected)
    assert "no rule for &lt;Tanh&gt;." in page


class Attention(nn.Module):
    """The mean of the words that attention makes of three words."""

    def forward(self, x):
        words = self.read(x).unflatten(1, (1, 3, 2))
        return nn.functional.scaled_dot_product_attention(words, words, words).flatten(1, 2).mean(1)

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(5, 6)


def test_attention_has_its_derivatives():
    model, x, y = Attention().eval(), torch.randn(3, 5), torch.tensor([0, 1, 1])
    parts = report.Report()
    J = parts.part("Jacobian", lambda: jacobian(model, x).to_dense())
    H = parts.part("curvature", lambda: hessian(model, (x, y)).to_dense())
    assert parts.refused == {}
    expected = torch.stack([torch.autograd.functional.jacobian(lambda v: model(v[None])[0], each) for each in x])
    torch.testing.assert_close(J, expected)

    def loss(flat):
        weight, bias = flat[:30].view(6, 5), flat[30:]
        words = nn.functional.linear(x, weight, bias).unflatten(1, (3, 2))
        shares = (words @ words.mT / 2**0.5).softmax(2)
        return nn.functional.cross_entropy((shares @ words).mean(1), y)

    flat = torch.cat([each.detach().flatten() for each in model.parameters()])
    torch.testing.assert_close(H, torch.autograd.functional.hessian(loss, flat))


def test_what_is_no_error_of_a_network_is_not_caught():
    with pytest.raises(KeyboardInterrupt):
        report.Report().part("a", refuse, KeyboardInterrupt())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_are_placed_where_the_model_computes(dtype):
    data, model = DataSet.of(torch.rand(4, 3).float(), [0, 1, 1, 0]), nn.Linear(3, 2).to(dtype)
    assert report.placed(model, data).x.dtype == dtype
    assert report.placed(model, data.x).dtype == dtype
    assert report.placed(nn.Identity(), data.x) is data.x


def test_answers_are_the_models_after_a_trial():
    model, x = nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)).eval(), torch.randn(11, 3)
    torch.testing.assert_close(report.answers(model, x), model(x.clone()))
    with pytest.raises(ValueError, match="the model does not take x"):
        report.answers(model, torch.randn(11, 4))
    with pytest.raises(ValueError, match="training mode"):
        report.answers(model.train(), x)


def test_of_many_outputs_the_strongest_and_those_that_samples_get():
    out = torch.randn(5, 40) + torch.linspace(0, 1, 40)
    out[3, 2] = 9.0
    found = report.looked_at(out, 7).tolist()
    strongest = sorted(range(40), key=lambda k: -out[:, k].mean())[:7]
    assert found == sorted({*strongest, *out.argmax(1).tolist()})
    assert report.looked_at(out, 40).tolist() == list(range(40))
    with pytest.raises(ValueError, match="most=0"):
        report.looked_at(out, 0)


X = torch.arange(12.0).view(4, 3)
CLASSES = DataSet.of(X, [0, 2, 1, 1])
QUANTITY = DataSet.of(X, [0.5, 1.0, 1.5, 2.5], quantity="age, years")


@pytest.mark.parametrize(
    ("data", "outputs", "why"),
    [
        (X, 3, "no classes y"),
        (QUANTITY, 3, "y is a quantity, age, years"),
        (CLASSES, 2, "y has 3 classes, the network 2 outputs"),
        (DataSet.of(X, [0, 0, 0, 0]), 1, "the network 1 outputs"),
    ],
)
def test_accuracy_needs_classes_that_are_outputs(data, outputs, why):
    with pytest.raises(ValueError, match=why):
        report.labelled(data, torch.rand(4, outputs))


@pytest.mark.parametrize(("labels", "outputs"), [([0, 2, 1, 1], 3), ([0, 2, 1, 1], 5), ([0, 1, 1, 0], 2), ([0] * 4, 2)])
def test_classes_that_are_outputs_are_taken_as_they_are(labels, outputs):
    data = DataSet.of(X, labels)
    assert report.labelled(data, torch.rand(4, outputs)) is data


def test_attacks_are_judged_by_the_classes_or_the_networks_own_answers():
    out = torch.tensor([[0.0, 1.0, 3.0], [5.0, 0.0, 0.0], [0.0, 4.0, 1.0], [0.0, 0.0, 1.0]])
    assert report.judged(CLASSES, out) is CLASSES
    for data, some in ((X, out), (CLASSES, out[:, :2])):
        found = report.judged(data, some)
        assert found.y.tolist() == some.argmax(1).tolist()
        assert (found.classes, torch.equal(found.x, X)) == (some.shape[1], True)
    many = torch.eye(4, 900).flip(1)  # classes so far apart that they could be taken for a quantity
    assert report.judged(X, many).y.tolist() == [899, 898, 897, 896]
    for data, some in ((QUANTITY, out), (X, out[:, :1])):
        with pytest.raises(ValueError, match="an attack is on a classifier"):
            report.judged(data, some)


def test_the_loss_has_the_targets_that_there_are():
    out = torch.tensor([[0.0, 1.0, 3.0], [5.0, 0.0, 0.0], [0.0, 4.0, 1.0], [0.0, 0.0, 1.0]])
    for data, some, loss, y in (
        (CLASSES, out, "cross_entropy", CLASSES.y),
        (X, out, "cross_entropy", out.argmax(1)),
        (QUANTITY, out, "cross_entropy", out.argmax(1)),
        (QUANTITY, out[:, :1], "mse", QUANTITY.y),
        (CLASSES, out[:, :2], "cross_entropy", out[:, :2].argmax(1)),
    ):
        found = report.loss_of(data, some)
        assert found[0] == loss
        assert torch.equal(found[1], y)


@pytest.mark.parametrize("shape", [(6, 5), (6, 3, 4), (6, 3, 4, 2)])
def test_the_range_is_that_of_each_channel_or_column(shape):
    x = torch.randn(shape)
    x[:, 1] = 0.7
    low, high = report.value_range(x)
    for c in range(shape[1]):
        assert low[c].item() == x[:, c].min()
        assert high[c].item() == pytest.approx(float(x[:, c].max()), abs=1e-14)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2)).eval()
    moved = fgsm(model, x, torch.zeros(6, dtype=torch.int64), radius=high - low, box=(low, high))
    assert (moved[:, 1] - x[:, 1]).abs().max() < 1e-14  # what never changes is left alone
    assert (moved != x).any()


def test_what_a_kernel_says():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval(), torch.randn(5, 3)
    K = tangent_kernel(model, x).to_dense()
    found, norms = report.kernel_numbers(K, 5), parameter_norms(model, x)
    values = torch.linalg.eigvalsh(K).flip(0)
    assert found.largest == pytest.approx(float(values[0]) / 5)
    assert found.trace == pytest.approx(float(norms.frobenius.square().mean()))
    torch.testing.assert_close(found.eigenvalues, values.clamp(min=0), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.norms, norms.spectral)
    for wrong in (K[:, 1:], K[:9, :9]):
        with pytest.raises(ValueError, match="the kernel is"):
            report.kernel_numbers(wrong, 5)
