"""The diagnosis of a network against its parts, one by one and written out."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from oracles import data_set, measured, toy
from spectral_lens.datasets import DataSet, images
from spectral_lens.explain.gradients import gradient
from spectral_lens.explain.lrp import composite, gamma, generalised_gamma, lrp, zero
from spectral_lens.explain.perturbation import frechet_distance
from spectral_lens.explain.quality import redistribution
from spectral_lens.nn import graphs
from spectral_lens.nn.mlp import mlp
from spectral_lens.operators.hessian import hessian
from spectral_lens.operators.tangent_kernel import tangent_kernel
from spectral_lens.stability.diagnostics import diagnose
from spectral_lens.training import fit
from spectral_lens.training.losses import LOSSES
from spectral_lens.training.results import predict

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture(scope="module")
def case():
    train, test = (part.to(dtype=torch.float64) for part in images.load("digits"))
    trained = fit(
        mlp([train.dim, 9, 7, 10], spectral=1), train, seeds=[5], epochs=3, batch_size=50, dtype=torch.float64
    )
    assert predict(trained, test.x[:3]).shape == (1, 3, 10)
    net, data = trained.run(0).eval(), test.take(17)
    noise = 0.1 * torch.randn(data.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rules = composite(net, first=gamma(0.1), inner=gamma(0.1), last=zero())
    found = diagnose(net, data, noise=noise, rules=rules, generator=torch.Generator().manual_seed(0))
    return net, data, noise, rules, found


def test_its_spectra(case):
    net, data, _, rules, found = case
    J = gradient(net, data.x).flatten(2)
    s = torch.linalg.svdvals(J)
    p = s.square() / s.square().sum(1, keepdim=True)
    assert found.entropy == pytest.approx(float(-(p * p.clamp(min=1e-300).log()).sum(1).mean()))
    assert found.condition == pytest.approx(float((10**0.5 * s[:, 0] / J.norm(dim=(1, 2))).mean()))
    assert found.norm == pytest.approx(float(J.norm(dim=(1, 2)).mean()))
    assert found.s_J == pytest.approx(float(s.max()))
    R, _ = redistribution(lrp(net, data.x, rules=rules), threshold=0.1)
    ratio = R.norm(dim=(1, 2)) / torch.linalg.matrix_norm(R, 2)
    assert found.ssm == pytest.approx(float(ratio.mean()))


def test_its_index(case):
    net, data, _, _, found = case
    K = tangent_kernel(net, data.x).to_dense()
    assert found.root_s_K == pytest.approx(float(torch.linalg.eigvalsh(K)[-1] / 17) ** 0.5, rel=1e-3)
    own = K.view(17, 10, 17, 10).diagonal(dim1=0, dim2=2).movedim(2, 0)
    assert found.s_theta == pytest.approx(float(torch.linalg.eigvalsh(own)[:, -1].max().sqrt()))
    names = [name for name, each in net.named_parameters() if each.requires_grad]
    start = torch.cat([net.get_parameter(name).detach().flatten() for name in names])

    def loss(flat):
        sizes = [net.get_parameter(name).numel() for name in names]
        own = {n: v.view_as(net.get_parameter(n)) for n, v in zip(names, flat.split(sizes), strict=True)}
        out = torch.func.functional_call(net, own, (data.x,))
        return LOSSES["cross_entropy"](out.unsqueeze(0), data.y.unsqueeze(0)).squeeze(0)

    H = torch.func.jacrev(torch.func.jacrev(loss))(start)
    assert found.s_H == pytest.approx(float(torch.linalg.eigvalsh(H).abs().max()), rel=1e-3)
    assert found.gmsi == max(found.s_J, found.s_theta, found.root_s_K, found.s_H)


def test_its_instability(case):
    net, data, noise, _, found = case
    rows, label = torch.arange(17), net(data.x).argmax(1)
    one, other = (gradient(net, x)[rows, label].flatten(1) for x in (data.x, data.x + noise))
    away = 1 - nn.functional.cosine_similarity(one, other)
    assert found.angle == pytest.approx(float(away.median()))
    far = (other - one).norm(dim=1) / one.norm(dim=1) / noise.flatten(1).norm(dim=1)
    assert found.difference == pytest.approx(float(far.median()))
    assert found.frechet == pytest.approx(float(frechet_distance(one, other)))


def test_a_curvature_that_is_negative_counts_by_its_size():
    """Three small layers that agree with the label: the loss falls with each weight, the faster the larger the others.

    For f = (w, -w) w_1 w_2 x that is minus a matrix of ones without its diagonal, whose eigenvalues are 2 and -1.
    """
    layers = nn.Linear(3, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False), nn.ReLU(), nn.Linear(1, 2, bias=False)
    net, x = nn.Sequential(*layers).eval(), torch.rand(5, 3) + 0.5
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(0.1)
        net[4].weight[1] = -0.1
    data = data_set(x, torch.zeros(5, dtype=torch.int64))
    found = diagnose(net, data, noise=0.1 * x, rules=zero(), generator=torch.Generator().manual_seed(0))
    H = hessian(net, (data.x, data.y)).to_dense()
    values = torch.linalg.eigvalsh(H)
    assert -values[0] > 1.2 * values[-1]
    assert found.s_H == pytest.approx(-float(values[0]), rel=1e-3)


def test_the_network_is_traced_once(case, monkeypatch):
    net, data, noise, rules, found = case
    traced, follow = [], graphs._Tracer.trace
    monkeypatch.setattr(graphs._Tracer, "trace", lambda self, root: traced.append(root) or follow(self, root))
    again = diagnose(net, data, noise=noise, rules=rules, generator=torch.Generator().manual_seed(0))
    assert traced == [net]
    assert again == found


def test_noise_of_another_shape(case):
    net, data, noise, rules, _ = case
    with pytest.raises(ValueError, match="noise is"):
        diagnose(net, data, noise=noise[1:], rules=rules, generator=torch.Generator())


# ---- with what is not said


def drawn(x, generator):
    """A tenth of the standard deviation of all values."""
    values = x.flatten()
    sd = ((values - values.mean()).square().sum() / (len(values) - 1)).sqrt()
    return 0.1 * sd * torch.randn(x.shape, generator=generator, dtype=x.dtype)


def test_the_defaults(case):
    net, data, _, _, _ = case
    draw = torch.Generator().manual_seed(0)
    noise = drawn(data.x, draw)
    rules = [generalised_gamma(0.25), generalised_gamma(0.25), zero()]
    expected = diagnose(net, data, noise=noise, rules=rules, generator=draw)
    assert diagnose(net, data) == pytest.approx(expected, rel=1e-9)
    assert diagnose(net, data) == diagnose(net, data)
    other = diagnose(net, data, generator=torch.Generator().manual_seed(1))
    assert (other.angle, other.frechet) != (expected.angle, expected.frechet)
    assert other.s_J == expected.s_J


def test_samples_alone_have_the_classes_that_are_predicted(case):
    net, data, noise, rules, _ = case
    options = {"noise": noise, "rules": rules}
    predicted = dataclasses.replace(data, y=net(data.x).argmax(1))
    assert diagnose(net, data.x, **options) == diagnose(net, predicted, **options)
    hanging = (1.0 * data.x).requires_grad_()
    before = hanging.detach().clone()
    assert diagnose(net, hanging, **options) == diagnose(net, predicted, **options)
    assert torch.equal(hanging.detach(), before)
    assert hanging.grad is None
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("own", [torch.float16, torch.float32, torch.float64])
def test_samples_in_another_precision(precision, own):
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).to(precision).eval()
    x = (torch.randint(9, (7, 5)) / 8).to(own)
    found, expected = diagnose(net, x), diagnose(net, DataSet.of(x.to(precision), net(x.to(precision)).argmax(1)))
    assert found == expected


def test_a_single_layer_is_explained_by_rule_zero():
    net, x = nn.Linear(5, 3).eval(), torch.rand(4, 5) + 0.5
    found = diagnose(net, x)
    R, _ = redistribution(net.weight.detach() * x[:, None], threshold=0.1)
    assert found.ssm == pytest.approx(float((R.norm(dim=(1, 2)) / torch.linalg.matrix_norm(R, 2)).mean()))


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (nn.Linear(5, 3), lambda: torch.rand(4, 5), "training mode"),
        (nn.Linear(5, 1).eval(), lambda: torch.rand(4, 5), r"outputs are \(4, 1\)"),
        (nn.Sequential(nn.Linear(5, 3), nn.Flatten(0)).eval(), lambda: torch.rand(4, 5), r"outputs are \(\d+,\)"),
        (nn.RNN(5, 3).eval(), lambda: torch.rand(4, 5), "more than one tensor, a tuple"),
        (nn.Linear(5, 3).eval(), lambda: torch.rand(0, 5), "at least one"),
        (nn.Linear(5, 3).eval(), lambda: torch.full((2, 5), torch.nan), "NaN"),
        (nn.Linear(5, 3).eval(), lambda: measured(4, (5,)), "toy: y is a quantity, m, but a diagnosis"),
        (nn.Linear(5, 3).eval(), lambda: toy(4, (5,), 3, runs=2), r"there are 2 runs, take one by run\(0\)"),
    ],
)
def test_what_has_no_diagnosis(model, data, message):
    with pytest.raises(ValueError, match=message):
        diagnose(model.double(), data())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same(case):
    net, data, noise, rules, found = case
    there = copy.deepcopy(net).cuda()
    again = diagnose(
        there, data.to("cuda"), noise=noise.cuda(), rules=rules, generator=torch.Generator().manual_seed(0)
    )
    assert tuple(again) == pytest.approx(tuple(found), rel=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1e-1])
def test_a_small_kernel_counts_by_its_size(scale):
    """f = scale * (x_1, x_2) W^T: the kernel of n samples is X X^T for each output, whatever the scale of W."""
    net, x = nn.Sequential(nn.Linear(2, 3, bias=False)).eval(), scale * (torch.rand(5, 2) + 0.5)
    data = data_set(x, torch.tensor([0, 1, 2, 0, 1]))
    found = diagnose(net, data, noise=0.1 * x, rules=zero(), generator=torch.Generator().manual_seed(0))
    expected = float(torch.linalg.eigvalsh(x @ x.T)[-1] / 5) ** 0.5
    assert expected < 1
    assert found.root_s_K == pytest.approx(expected, rel=1e-6)
