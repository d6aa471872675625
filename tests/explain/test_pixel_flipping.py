"""Pixel flipping against terms that are known, and against a loop over single images."""

import inspect
import itertools

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import nn

from spectral_lens.explain.pixel_flipping import area, blurred, constant, curves, inpainted, ranking

pytestmark = pytest.mark.usefixtures("double")


def cnn():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(80, 5)).eval()


def shuffled(m, n, pixels):
    return torch.rand(m, n, pixels).argsort(-1)


def assert_close(found, expected, tolerance=1e-12):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


# ---- the ranking


def test_the_most_relevant_is_first():
    relevance = torch.tensor([[[1.0, 5.0, 3.0, -2.0]], [[-1.0, -7.0, 0.0, 2.0]]])
    assert ranking(relevance).tolist() == [[[1, 2, 0, 3]], [[3, 2, 0, 1]]]


def test_the_channels_of_a_pixel_add_up():
    relevance = torch.tensor([3.0, -1.0, 0.0, -2.5, 2.0, 0.7])  # two planes of three pixels: 0.5, 1, 0.7
    assert ranking(relevance, channels=2).tolist() == [1, 2, 0]
    assert ranking(relevance).tolist() == [0, 4, 5, 2, 1, 3]


def test_ties_keep_the_order_of_the_pixels():
    relevance = torch.zeros(2, 3, 101)
    relevance[..., 40], relevance[..., 7] = 1, -1
    rest = [k for k in range(101) if k not in (40, 7)]
    assert torch.equal(ranking(relevance), torch.tensor([40, *rest, 7]).expand(2, 3, 101))


@pytest.mark.parametrize("channels", [0, -2, 4])
def test_inputs_that_are_no_planes_are_refused(channels):
    with pytest.raises(ValueError, match=f"10 inputs are not {channels} planes"):
        ranking(torch.zeros(3, 10), channels=channels)


# ---- the curves


def test_a_linear_model_loses_its_terms_one_after_the_other():
    model, x, rankings = nn.Linear(17, 4).eval(), torch.randn(5, 17), shuffled(3, 5, 17)
    target = torch.tensor([2, 0, 3, 1, 2])
    terms = (model.weight[target] * x).detach()
    start = terms.sum(1) + model.bias[target].detach()
    lost = terms.expand(3, 5, 17).gather(2, rankings).cumsum(2)
    expected = start.view(5, 1) - torch.cat([torch.zeros(3, 5, 1), lost], 2)
    assert_close(curves(model, x, rankings, target, fraction=1.0), expected)
    assert_close(curves(model, x, rankings, target, fraction=0.6), expected[..., :11])
    assert_close(curves(model, x, rankings, target, fraction=0.6, steps=3), expected[..., [0, 3, 7, 10]])


@pytest.mark.parametrize(("side", "points"), [(6, 3), (1, 2), (8, 4)])
def test_a_twentieth_of_the_pixels_goes_by_default_but_at_least_one(side, points):
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * 7, 5)).eval()
    x, rankings = torch.randn(2, 3, side, 7), shuffled(4, 2, side * 7)
    found = curves(model, x, rankings, torch.tensor([4, 0]))
    assert found.shape == (4, 2, points)
    assert not found.requires_grad


def by_hand(model, x, rankings, target, imputer, counts):
    """The output without the first so many pixels of an order: one order, one image, one step at a time."""
    found = torch.zeros(*rankings.shape[:2], len(counts))
    for m, n, step in itertools.product(*map(range, found.shape)):
        masked = torch.zeros(rankings.shape[2], dtype=torch.bool)
        masked[rankings[m, n, : counts[step]]] = True
        masked = masked.view(-1, *x.shape[2:]).expand_as(x[n])
        image = imputer(x[n], masked) if counts[step] else x[n]
        found[m, n, step] = model(image[None])[0, target[n]].item()
    return found


def set_to(value):
    return lambda image, masked: image.masked_fill(masked, value)


def smoothed(sigma):
    def impute(image, masked):
        radius = min(round(3 * sigma), min(masked.shape[1:]) - 1)
        planes = [gaussian_filter(plane.numpy(), sigma, mode="mirror", radius=radius) for plane in image]
        return torch.where(masked, torch.from_numpy(np.stack(planes)), image)

    return impute


def painted(radius):
    def impute(image, masked):
        planes = [
            cv2.inpaint(plane.numpy().astype(np.float32), mask.numpy().astype(np.uint8), radius, cv2.INPAINT_TELEA)
            for plane, mask in zip(image, masked, strict=True)
        ]
        return torch.from_numpy(np.stack(planes)).double()

    return impute


IMPUTERS = {
    "zero": (None, set_to(0.0)),
    "another value": (constant(-0.3), set_to(-0.3)),
    "blurred": (blurred(1.2), smoothed(1.2)),
    "blurred beyond the image": (blurred(), smoothed(3.0)),
    "inpainted": (inpainted(), painted(3.0)),
    "inpainted from further away": (inpainted(5.0), painted(5.0)),
}


@pytest.mark.parametrize("name", IMPUTERS)
@pytest.mark.parametrize("planes", [1, 3], ids=["pixels", "inputs"])
def test_all_at_once_is_one_after_the_other(name, planes):
    imputer, by_hand_too = IMPUTERS[name]
    model, x, target = cnn(), torch.rand(3, 3, 6, 7), torch.tensor([1, 4, 0])
    rankings = shuffled(2, 3, 42 * planes)
    counts = [round(42 * planes * 2 / 3 * step / 5) for step in range(6)]
    found = curves(model, x, rankings, target, imputer=imputer, fraction=2 / 3, steps=5, chunk=7)
    assert_close(found, by_hand(model, x, rankings, target, by_hand_too, counts))


@pytest.mark.parametrize("name", ["zero", "blurred", "inpainted"])
def test_the_chunk_does_not_change_the_numbers(name):
    model, x, target = cnn(), torch.rand(3, 3, 6, 7), torch.tensor([1, 4, 0])
    rankings = shuffled(2, 3, 42)
    whole, *others = (curves(model, x, rankings, target, imputer=IMPUTERS[name][0], chunk=c) for c in (500, 1, 2, 5))
    for other in others:
        assert_close(other, whole)


GOOD = {"fraction": 0.2, "target": torch.tensor([0, 4, 2]), "rankings": torch.arange(20).expand(2, 3, 20)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rankings": torch.arange(21).expand(2, 3, 21)}, r"rankings is \(2, 3, 21\) for inputs \(3, 3, 4, 5\)"),
        ({"rankings": torch.arange(20)}, r"rankings is \(20,\)"),
        ({"rankings": torch.arange(40).view(2, 20)}, r"rankings is \(1, 2, 20\) for inputs"),
        ({"rankings": torch.arange(20).expand(1, 2, 3, 20)}, r"rankings is \(1, 2, 3, 20\)"),
        ({"target": torch.tensor(0)}, "one output for each of 3 samples"),
        ({"target": torch.tensor([[0], [1], [2]])}, "one output for each of 3 samples"),
        ({"fraction": float("nan")}, "fraction=nan"),
        ({"rankings": torch.zeros(2, 3, 20, dtype=torch.int64)}, "all pixels 0 to 19 once"),
        ({"rankings": torch.arange(1, 21).expand(2, 3, 20)}, "all pixels 0 to 19 once"),
        ({"target": torch.tensor([0, -1, 2])}, "one output for each of 3 samples, from 0"),
        ({"target": torch.tensor([0, 5, 2])}, "target 5 does not exist: the model has 5 outputs"),
        ({"fraction": 0.0}, "fraction=0.0"),
        ({"fraction": 1.5}, "fraction=1.5"),
        ({"steps": 0}, "steps=0: a fraction of 0.2 of 20 pixels is 4"),
        ({"steps": 5}, "steps=5"),
        ({"chunk": 0}, "chunk=0"),
    ],
)
def test_what_does_not_fit_is_named(change, said):
    model = nn.Sequential(nn.Flatten(), nn.Linear(60, 5)).eval()
    with pytest.raises(ValueError, match=said):
        curves(model, torch.randn(3, 3, 4, 5), **(GOOD | change))


def test_the_model_must_be_in_evaluation_mode():
    with pytest.raises(ValueError, match="training mode"):
        curves(cnn().train(), torch.rand(3, 3, 6, 7), shuffled(2, 3, 42), GOOD["target"])


def in_place():
    """A network that normalises its input where it lies, and the same that makes a copy."""

    class Normalised(nn.Module):
        def __init__(self, copies):
            super().__init__()
            self.copies, self.relu, self.out = copies, nn.ReLU(inplace=not copies), nn.Linear(7, 3)

        def forward(self, x):
            x = (x - 0.5) / 0.25 if self.copies else x.sub_(0.5).div_(0.25)
            return self.out(self.relu(x))

    first, second = Normalised(copies=False).eval(), Normalised(copies=True).eval()
    second.load_state_dict(first.state_dict())
    return first, second


@pytest.mark.parametrize("imputer", [None, constant(0.3), lambda images, masked: images])
@pytest.mark.parametrize("chunk", [500, 2])
def test_the_images_stay_as_they_are(imputer, chunk):
    changes, copies = in_place()
    x, rankings, target = torch.rand(4, 7), shuffled(2, 4, 7), torch.tensor([0, 2, 1, 1])
    given = [each.clone() for each in (x, rankings, target)]
    options = {"imputer": imputer, "fraction": 1.0, "chunk": chunk}
    found = curves(changes, x, rankings, target, **options)
    assert all(torch.equal(now, before) for now, before in zip((x, rankings, target), given, strict=True))
    assert_close(found, curves(copies, x, rankings, target, **options))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_whole_numbers_of_any_size(dtype):
    model, x, rankings, target = nn.Linear(7, 3).eval(), torch.rand(2, 7), shuffled(2, 2, 7), torch.tensor([2, 0])
    expected = curves(model, x, rankings, target, fraction=1.0)
    assert torch.equal(curves(model, x, rankings.to(dtype), target.to(dtype), fraction=1.0), expected)


def test_one_order_alone():
    model, x, rankings, target = cnn(), torch.rand(3, 3, 6, 7), shuffled(2, 3, 42), torch.tensor([1, 4, 0])
    both = curves(model, x, rankings, target, steps=2)
    assert torch.equal(curves(model, x, rankings[1], target, steps=2), both[1])


def test_a_model_that_gives_something_else():
    class Two(nn.Module):
        def forward(self, x):
            return x, x

    for model, said in (
        (Two(), "more than one tensor, a tuple"),
        (nn.Unflatten(1, (7, 1)), r"outputs are \(2, 7, 1\)"),
    ):
        with pytest.raises(ValueError, match=said):
            curves(model.eval(), torch.rand(2, 7), shuffled(2, 2, 7), torch.tensor([0, 1]))


@pytest.mark.parametrize(("name", "imputer"), [("blurred", blurred()), ("inpainted", inpainted())])
def test_imputers_of_images_need_images(name, imputer):
    with pytest.raises(ValueError, match=rf"{name} needs images, \(n, channels, height, width\), not \(4, 7\)"):
        curves(nn.Linear(7, 3).eval(), torch.rand(2, 7), shuffled(2, 2, 7), torch.tensor([0, 1]), imputer=imputer)


@pytest.mark.parametrize("shape", [(), (4, 2, 1, 3), (4, 2, 1, 3, 3)])
def test_maps_that_are_not_flattened_have_no_ranking(shape):
    with pytest.raises((ValueError, TypeError), match=r"flatten|Type-check"):
        ranking(torch.rand(shape))


def test_a_number_has_no_ranking():
    """Also where nothing checks the shapes that are annotated."""
    with pytest.raises(ValueError, match="flatten"):
        inspect.unwrap(ranking)(torch.tensor(0.5))


def test_nan_has_no_rank():
    with pytest.raises(ValueError, match="NaN"):
        ranking(torch.tensor([1.0, float("nan")]))


# ---- the area


def test_the_area_in_closed_form():
    curve = torch.tensor([[4.0, 2.0, 1.0], [-2.0, 0.0, 6.0]])
    assert area(curve, relative=False).tolist() == [2.25, 1.0]
    assert area(curve).tolist() == [0.5625, 2.5]
    assert area(torch.linspace(1, 0, 13)).item() == pytest.approx(0.5)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(0, 2**30), st.sampled_from([torch.float32, torch.float64]), st.integers(2, 9))
def test_the_relative_area_for_outputs_of_any_sign(seed, dtype, points):
    draw = torch.Generator().manual_seed(seed)
    curve = torch.randn(3, 5, points, generator=draw, dtype=dtype)
    found, start = area(curve), curve[..., 0]
    for m, n in itertools.product(range(3), range(5)):
        height = sum((curve[m, n, k] + curve[m, n, k + 1]) / 2 for k in range(points - 1)) / (points - 1)
        expected = 1 + (height - start[m, n]) / start[m, n].abs()
        assert float(found[m, n]) == pytest.approx(float(expected), rel=1e-4, abs=1e-4)
    # a curve that lies lower has the smaller area, and scale does not count
    lower = torch.cat([curve[..., :1], curve[..., 1:] - torch.rand(3, 5, points - 1, generator=draw, dtype=dtype)], -1)
    assert (area(lower) <= found).all()
    torch.testing.assert_close(area(8 * curve), found)
    assert area(start.unsqueeze(-1).expand(3, 5, points)).flatten().tolist() == pytest.approx([1.0] * 15, rel=1e-5)


def test_the_better_order_has_the_smaller_area_where_outputs_are_negative():
    model = nn.Linear(4, 1, bias=False).eval()
    model.weight.data = torch.tensor([[3.0, 2.0, -1.0, -6.0]])
    best = torch.arange(4)
    orders = torch.stack([best, best.flip(0)]).unsqueeze(1)
    good, poor = area(curves(model, torch.ones(1, 4), orders, torch.tensor([0]), fraction=1.0))[:, 0].tolist()
    assert good < poor


@pytest.mark.parametrize("start", [0.0, -0.0, 1e-17, -1e-17])
def test_nothing_is_relative_to_zero(start):
    curve = torch.tensor([[2.0, 1.0, 0.0], [start, 1.0, 0.0]])
    with pytest.raises(ValueError, match=r"1 of 2 curves start at zero, .* take relative=False"):
        area(curve)
    assert area(curve, relative=False).tolist() == [1.0, 0.5]
    assert area(1e-300 * curve[:1]).tolist() == pytest.approx([0.5])  # small is not zero


@pytest.mark.parametrize("curve", [torch.ones(3, 1), torch.ones(2, 0), torch.tensor([1.0, float("nan")])])
def test_curves_without_an_area(curve):
    with pytest.raises(ValueError, match=r"needs two points|NaN or infinite"):
        area(curve)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_area_of_half_precision_is_summed_in_single(dtype):
    curve = torch.linspace(1000, 0, 1001).to(dtype)
    torch.testing.assert_close(area(curve, relative=False), area(curve.float(), relative=False))


def test_equal_terms_fall_on_a_straight_line():
    model = nn.Linear(20, 1, bias=False).eval()
    nn.init.constant_(model.weight, 0.3)
    found = curves(model, torch.ones(2, 20), shuffled(3, 2, 20), torch.tensor([0, 0]), fraction=0.4)
    assert_close(area(found), torch.full((3, 2), 0.8))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(0, 2**30))
def test_no_ranking_is_better_than_that_of_the_terms(seed):
    torch.manual_seed(seed)
    model, x, target = nn.Linear(11, 3).eval(), torch.randn(2, 11), torch.tensor([2, 1])
    best = ranking((model.weight[target] * x).detach())
    found = curves(model, x, torch.cat([best[None], shuffled(9, 2, 11)]), target, fraction=0.7)
    height = area(found, relative=False)
    assert (height[0] <= height + 1e-12).all()
    assert (height[0] < height[1:].amax(0)).all()
