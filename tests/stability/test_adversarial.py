"""Adversarial inputs against closed forms: a linear network has its worst case in a corner."""

import copy
import itertools
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from oracles import data_set
from spectral_lens.datasets import images, synthetic
from spectral_lens.datasets.stars import generated
from spectral_lens.nn.mlp import mlp
from spectral_lens.stability import adversarial
from spectral_lens.stability.adversarial import fgsm, linearized_distance, margin, pgd, robustness
from spectral_lens.training import accuracy, fit

pytestmark = pytest.mark.usefixtures("double")


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def inside(n, *d):
    """Inputs that stay inside the box whatever a small radius does."""
    return 0.3 + 0.4 * torch.rand(n, *d, generator=draw())


def test_the_margin_is_the_cross_entropy_in_other_clothes():
    out, y = torch.randn(4, 7, 5), torch.randint(5, (4, 7))
    expected = F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none").view(4, 7)
    torch.testing.assert_close(F.softplus(margin(out, y)), expected)
    mistaken = out.argmax(-1) != y
    assert (margin(out, y)[mistaken] > 0).all()


@pytest.mark.filterwarnings("ignore:Input Tensor")  # captum sets what it needs, and says so
def test_fgsm_is_captums():
    from captum.robust import FGSM

    net, x, y = mlp([11, 30, 20, 5], spectral=0), inside(13, 11), torch.randint(5, (13,))
    theirs = FGSM(net, nn.CrossEntropyLoss(reduction="none"), lower_bound=0.0, upper_bound=1.0)
    torch.testing.assert_close(fgsm(net, x, y, radius=0.4), theirs.perturb(x, epsilon=0.4, target=y))


@pytest.mark.parametrize("classes", [2, 5])
def test_fgsm_moves_along_the_sign_of_the_cross_entropy(classes):
    net, x, y = mlp([11, 7, classes], spectral=0), inside(13, 11), torch.randint(classes, (13,))
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(z), y), z)
    torch.testing.assert_close(fgsm(net, x, y, radius=0.1), x + 0.1 * slope.sign())


def test_both_find_the_worst_corner_of_a_linear_network():
    net, x, y = nn.Linear(11, 2), inside(13, 11), torch.randint(2, (13,))
    across = (net.weight[1] - net.weight[0]).detach()
    corner = x + 0.1 * torch.where((y == 1).unsqueeze(1), -1, 1) * across.sign()
    lost = 0.1 * across.abs().sum()
    for found in (fgsm(net, x, y, radius=0.1), pgd(net, x, y, radius=0.1, generator=draw(), steps=5)):
        torch.testing.assert_close(found, corner)
        torch.testing.assert_close(margin(net(found), y) - margin(net(x), y), lost.expand(13))


def test_the_distance_is_where_the_margin_ends():
    net, x = nn.Linear(11, 2), inside(13, 11)
    y = net(x).argmax(1)
    found = linearized_distance(net, x, y)
    for k in range(13):
        edge = fgsm(net, x[[k]], y[[k]], radius=float(found[k]), box=(-100.0, 100.0))
        assert abs(margin(net(edge), y[[k]])) < 1e-12
    torch.testing.assert_close(linearized_distance(net, x, 1 - y), -found)
    assert (
        linearized_distance(lambda z: 0 * z[:, :2] + net.bias, x, torch.full((13,), int(net.bias.argmax())))
        .isinf()
        .all()
    )
    both = linearized_distance(net, x.expand(2, 13, 11), y.expand(2, 13))
    torch.testing.assert_close(both, found.expand(2, 13))


class Watched(nn.Module):
    """A network that keeps all points at which it was asked."""

    def __init__(self, net):
        super().__init__()
        self.net, self.points = net, []

    def forward(self, x):
        self.points.append(x.detach())
        return self.net(x)


def by_autograd(net, x, y):
    """The margin of each sample and its derivative, written out."""
    x = x.clone().requires_grad_()
    out = net(x)
    own = F.one_hot(y, out.shape[-1]).bool()
    m = out.masked_fill(own, -torch.inf).logsumexp(-1) - out[own].view(y.shape)
    return m.detach(), torch.autograd.grad(m.sum(), x)[0]


@pytest.mark.parametrize("steps", [1, 3, 8])
def test_the_search_step_by_step(steps):
    """From a uniform start, by equal steps of 2.5 radii in all, cut to the radius and the box, to the worst point."""
    low, high, radius = -0.5, 2.0, 0.3
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 4))
    x, y = low + (high - low) * torch.rand(17, 3, 4), torch.arange(17) % 4
    x[0], x[1] = low, high
    watched = Watched(net)
    found = pgd(watched, x, y, radius=radius, generator=draw(3), steps=steps, box=(low, high))
    points = [point for point in watched.points if len(point) == 17]  # others are the two that are tried first
    first, *way = points
    assert torch.equal(first, x)
    assert len(way) == steps + 1
    uniform = torch.rand(17, 3, 4, generator=draw(3))
    torch.testing.assert_close(way[0], (x + radius * (2 * uniform - 1)).clamp(low, high))
    for here, there in itertools.pairwise(way):
        moved = here + 2.5 / steps * radius * by_autograd(net, here, y)[1].sign()
        expected = torch.minimum(torch.maximum(moved, x - radius), x + radius).clamp(low, high)
        torch.testing.assert_close(there, expected)
    own = F.one_hot(y, 4).bool()
    outs = [net(point).detach() for point in points]
    leads = torch.stack([out.masked_fill(own, -torch.inf).amax(1) - out[own] for out in outs])
    expected = torch.stack(points)[leads.argmax(0), torch.arange(17)]
    assert torch.equal(found, expected)


def test_of_points_that_are_as_bad_the_input_stays():
    x, y = inside(5, 3), torch.zeros(5, dtype=torch.int64)
    assert torch.equal(pgd(lambda z: 0 * z, x, y, radius=0.2, generator=draw()), x)


def test_a_search_may_end_at_its_start():
    """Downhill everywhere but at the start: the points behind it must not replace it."""

    def network(z):
        return torch.cat([0 * z, torch.where(calls == 2, 1.0, -1.0) + 0 * z], 1)

    calls = torch.tensor(0)

    def counted(z):
        calls.add_(1)
        return network(z)

    x, y = torch.tensor([[0.5]]), torch.tensor([0])
    found = pgd(counted, x, y, radius=0.2, generator=draw(1), steps=4)
    start = x + 0.2 * (2 * torch.rand(1, 1, generator=draw(1)) - 1)
    torch.testing.assert_close(found, start)


def test_one_step_is_cut_to_any_box():
    net, y = nn.Linear(5, 3), torch.tensor([0, 2, 1, 1])
    x = torch.tensor([-2.0, -1.9, 0.0, 2.9, 3.0]).expand(4, 5).contiguous()
    expected = (x + 0.4 * by_autograd(net, x, y)[1].sign()).clamp(-2, 3)
    torch.testing.assert_close(fgsm(net, x, y, radius=0.4, box=(-2.0, 3.0)), expected)


@pytest.mark.parametrize("lead", [(6,), (2, 3)])
def test_the_distance_of_several_classes_and_axes(lead):
    first, last = torch.randn(20, 9), torch.randn(9, 5)

    def net(z):
        return torch.tanh(z.flatten(len(lead)) @ first) @ last

    x, y = torch.randn(*lead, 4, 5), torch.randint(5, lead)
    m, slope = by_autograd(net, x, y)
    torch.testing.assert_close(linearized_distance(net, x, y), -m / slope.abs().sum((-2, -1)))


def test_a_sure_network_has_nowhere_to_hide():
    net, x = nn.Linear(6, 3), inside(4, 6).float()
    net.weight.data *= 1e4
    net, y = net.float(), net.float()(x).argmax(1)
    z = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(net(z), y, reduction="sum"), z)
    assert (slope == 0).all(1).any(), "the cross-entropy shows no slope to some"
    assert (fgsm(net, x, y, radius=0.1) != x).all()


@settings(deadline=None, derandomize=True, max_examples=15)
@given(st.floats(0.0, 0.5), st.integers(1, 7), st.integers(0, 99))
def test_the_search_stays_inside_and_never_helps_the_network(radius, steps, seed):
    torch.manual_seed(seed)  # a failure that is tried again meets the same network
    net = mlp([9, 8, 4], spectral=0).double()
    x, y = torch.rand(11, 3, 3, generator=draw(seed)).double(), torch.arange(11) % 4
    found = pgd(net, x, y, radius=radius, generator=draw(seed), steps=steps)
    assert ((found - x).abs() <= radius + 1e-15).all()
    assert ((found >= 0) & (found <= 1)).all()
    mistaken, before = (net(each).argmax(1) != y for each in (found, x))
    assert (mistaken | ~before).all()


def test_a_mistake_outweighs_a_larger_margin():
    """Uphill four classes come close without passing the own one; the single one that has passed it stays behind."""

    def network(z):
        return torch.cat([0 * z, 0.3 - z, *[7 * z - 2.9] * 4], 1)

    x, y = torch.tensor([[0.2]]), torch.tensor([0])
    assert margin(network(x + 0.2), y) > margin(network(x), y)
    for seed in range(5):
        assert network(pgd(network, x, y, radius=0.2, generator=draw(seed), steps=4)).argmax(1) == 1


def test_a_search_finds_more_than_a_step():
    train, test = (part.to(dtype=torch.float64) for part in images.load("digits"))
    trained = fit(
        mlp([train.dim, 30, 10], spectral=0), train, seeds=[3, 4], epochs=5, batch_size=50, dtype=torch.float64
    )
    clean = accuracy(trained, test)
    step = robustness(trained, test, partial(fgsm, radius=0.1), chunk=97)
    search = robustness(trained, test, partial(pgd, radius=0.1, generator=draw()))
    assert (clean > step).all()
    assert (step >= search).all()
    assert search.mean() < step.mean()
    assert (search > 0).all()
    assert torch.equal(robustness(trained, test, partial(fgsm, radius=0.0)), clean)
    alone = trained.run(1).eval()
    out = alone(fgsm(alone, test.x, test.y, radius=0.1))
    torch.testing.assert_close(step[1], (out.argmax(1) == test.y).double().mean())


def test_each_run_meets_data_of_its_own():
    data = synthetic.independent(40, seeds=[0, 1], dtype=torch.float64)
    trained = fit(mlp([data.dim, 8, 2]), data, seeds=[0, 1], epochs=2, batch_size=20, dtype=torch.float64)
    attack = partial(fgsm, radius=0.01, box=(float(data.x.min()), float(data.x.max())))
    alone = trained.run(1).eval()
    own = data.run(1)
    expected = (alone(attack(alone, own.x, own.y)).argmax(1) == own.y).double().mean()
    torch.testing.assert_close(robustness(trained, data, attack)[1], expected)


def test_unclear_orders():
    net, x, y = nn.Linear(5, 2), inside(3, 5), torch.tensor([0, 1, 1])
    for radius in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="radius"):
            fgsm(net, x, y, radius=radius)
    for outside in (x + 1, x * float("nan")):
        with pytest.raises(ValueError, match="outside of the box"):
            pgd(net, outside, y, radius=0.1, generator=draw())
    with pytest.raises(ValueError, match="the smallest value"):
        fgsm(net, x, y, radius=0.1, box=(1.0, 0.0))
    with pytest.raises(ValueError, match="steps=0"):
        pgd(net, x, y, radius=0.1, generator=draw(), steps=0)
    with pytest.raises(ValueError, match="two classes"):
        fgsm(nn.Linear(5, 1), x, torch.zeros(3, dtype=torch.int64), radius=0.1)
    stars = generated(20, pixels=31, seed=0).to(dtype=torch.float64)
    trained = fit(mlp([stars.dim, 1]), stars, seeds=[0], epochs=1, batch_size=10, loss="mse", dtype=torch.float64)
    with pytest.raises(ValueError, match="no classes"):
        robustness(trained, stars, partial(fgsm, radius=0.1))


# ---- boxes by channel, modules, and what must not be touched

MEAN, SD = torch.tensor([0.5, 0.25, 0.75]).view(3, 1, 1), torch.tensor([0.25, 0.5, 0.125]).view(3, 1, 1)


def image_network(inputs=3):
    return nn.Sequential(nn.Conv2d(inputs, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 3 * 4, 5))


ATTACKS = [fgsm, lambda *args, **options: pgd(*args, generator=draw(3), steps=4, **options)]


class Normalised(nn.Module):
    """Images in [0, 1], normalised in the network."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net((x - MEAN.to(x)) / SD.to(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.numpy(), lambda t: t.expand(3, 4, 5), lambda t: t.double()])
def test_normalised_images_in_a_box_by_channel_are_the_images_in_the_unit_box(attack, dtype, form):
    """All by powers of two, so that nothing is rounded but in the network."""
    net, y = image_network().to(dtype), torch.arange(7) % 5
    x = torch.randint(257, (7, 3, 4, 5), generator=draw()).to(dtype) / 256
    plain = attack(Normalised(net), x, y, radius=0.125)
    box = tuple(form(((end - MEAN) / SD).to(dtype)) for end in (0.0, 1.0))
    found = attack(net, ((x - MEAN) / SD).to(dtype), y, radius=form((0.125 / SD).to(dtype)), box=box)
    assert found.dtype == dtype
    torch.testing.assert_close(found * SD.to(dtype) + MEAN.to(dtype), plain, rtol=1e-6, atol=1e-6)
    assert (found >= torch.as_tensor(box[0])).all()
    assert (found <= torch.as_tensor(box[1])).all()


@pytest.mark.parametrize("attack", ATTACKS)
def test_one_end_may_be_a_number(attack):
    net, x, y = image_network(), inside(7, 3, 4, 5), torch.arange(7) % 5
    low = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    found = attack(net, x.clamp(min=low), y, radius=0.3, box=(low, np.float32(0.75)))
    assert (found >= low).all()
    assert found.max() == 0.75
    assert (found == low).any()


def test_ends_that_were_rounded_otherwise():
    mean, sd = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = torch.cat([torch.zeros(1, 3, 4, 5), torch.ones(1, 3, 4, 5)]).float()
    normalised = (x - mean.float()) * (1 / sd.float())
    box = (-mean / sd, (1 - mean) / sd)
    found = fgsm(image_network().float(), normalised, torch.tensor([0, 1]), radius=0.0, box=box)
    torch.testing.assert_close(found, normalised)


@pytest.mark.parametrize("shape", [(3, 4), (2, 1, 1), (1, 3, 1, 1, 1), (7, 3, 4, 5)])
def test_a_box_that_fits_no_image(shape):
    net, x, y = image_network(), inside(7, 3, 4, 5), torch.arange(7) % 5
    with pytest.raises(ValueError, match=r"the box's upper end is .* must fit one input, \(3, 4, 5\)"):
        fgsm(net, x, y, radius=0.1, box=(0.0, torch.ones(shape)))
    with pytest.raises(ValueError, match=r"radius is .* must fit one input"):
        fgsm(net, x, y, radius=torch.ones(shape))


def test_bad_sizes_by_channel():
    net, x, y = image_network(), inside(7, 3, 4, 5), torch.arange(7) % 5
    one = torch.ones(3, 1, 1)
    for bad in (-0.1, torch.nan, torch.inf):
        with pytest.raises(ValueError, match="radius"):
            fgsm(net, x, y, radius=torch.tensor([0.1, bad, 0.1]).view(3, 1, 1))
    with pytest.raises(ValueError, match="the smallest value"):
        fgsm(net, x, y, radius=0.1, box=(0 * one, torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1)))
    with pytest.raises(ValueError, match="outside of the box"):
        fgsm(net, x, y, radius=0.1, box=(0 * one, torch.tensor([1.0, 0.4, 1.0]).view(3, 1, 1)))
    with pytest.raises(ValueError, match=r"x is torch.uint8 \(7, 3, 4, 5\)"):
        adversarial._checked(net, (255 * x).to(torch.uint8), y, 0.1, (0, 255))
    with pytest.raises(ValueError, match=r"for \(6,\) classes"):
        fgsm(net, x, y[1:], radius=0.1)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int8, torch.int32, torch.int64])
def test_classes_of_any_whole_type(kind):
    net, x, y = image_network(), inside(7, 3, 4, 5), torch.arange(7) % 5
    for attack in (*ATTACKS, lambda *args, radius: linearized_distance(*args)):
        assert torch.equal(attack(net, x, y.to(kind), radius=0.1), attack(net, x, y, radius=0.1))


class Writes(nn.Module):
    """Works on its inputs in place."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.sub_(0.5).mul_(2))


@pytest.mark.parametrize("attack", [*ATTACKS, lambda *args, radius: linearized_distance(*args)])
def test_nothing_of_the_readers_is_touched(attack):
    net = Writes(nn.Sequential(nn.ReLU(inplace=True), image_network(), nn.BatchNorm1d(5))).eval()
    source = inside(7, 3, 4, 5).requires_grad_()
    x, y = 1.0 * source, torch.arange(7) % 5  # hangs on a graph
    before = {key: value.clone() for key, value in net.state_dict().items()}
    kept, flags = x.detach().clone(), [parameter.requires_grad for parameter in net.parameters()]
    with torch.no_grad():
        found = attack(net, x, y, radius=0.1)
    assert torch.equal(attack(net, x, y, radius=0.1), found)
    assert not found.requires_grad
    assert torch.equal(x.detach(), kept)
    assert x.requires_grad
    assert source.grad is None
    assert all(parameter.grad is None for parameter in net.parameters())
    assert [parameter.requires_grad for parameter in net.parameters()] == flags
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout(0.5), nn.BatchNorm1d(5, track_running_stats=False)])
def test_networks_whose_samples_are_not_on_their_own(layer):
    net, x, y = nn.Sequential(nn.Flatten(), nn.Linear(60, 5), layer), inside(7, 3, 4, 5), torch.arange(7) % 5
    for attack in ATTACKS:
        with pytest.raises(ValueError, match=r"2 \(.*training mode|2 \(.*no running statistics"):
            attack(net, x, y, radius=0.1)
    data = data_set(x, y)
    with pytest.raises(ValueError, match=r"2 \("):
        robustness(net, data, partial(fgsm, radius=0.1))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_module_is_attacked_like_a_run(attack):
    _, test = (part.to(dtype=torch.float64).flat().take(60) for part in images.load("digits"))
    trained = fit(mlp([64, 10], spectral=0), test, seeds=[3, 4], epochs=2, dtype=torch.float64)
    together = robustness(trained, test, partial(fgsm, radius=0.1), chunk=17)
    for r in range(2):
        alone = robustness(trained.run(r), test, partial(fgsm, radius=0.1), chunk=17)
        assert alone.shape == ()
        assert alone == together[r]
    net, x = Writes(trained.run(0)), test.x.clone()
    moved = attack(net, test.x, test.y, radius=0.1)
    expected = (net(moved.clone()).argmax(1) == test.y).double().mean()
    assert robustness(net, test, partial(attack, radius=0.1), chunk=60) == pytest.approx(expected.item())
    assert torch.equal(test.x, x)
    single = robustness(trained.run(0).float(), test, partial(fgsm, radius=0.1))
    assert single.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_the_same():
    net, x, y = mlp([9, 8, 4], spectral=0), inside(11, 9), torch.arange(11) % 4
    there = copy.deepcopy(net).cuda()
    for attack in (partial(fgsm, radius=0.1), lambda *args: pgd(*args, radius=0.1, generator=draw())):
        torch.testing.assert_close(attack(there, x.cuda(), y.cuda()).cpu(), attack(net, x, y))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_module_that_mixes_samples_by_a_function_is_refused(attack):
    class Mixing(nn.Module):
        def forward(self, x):
            return x.flatten(1) - x.flatten(1).mean(0)

    with pytest.raises(ValueError, match="change with the other samples"):
        attack(Mixing().eval(), inside(7, 3, 4, 5), torch.arange(7) % 5, radius=0.1)
