"""Methods compared at all settings: each number against the one-setting functions, written as loops."""

import pytest
import torch
from torch import nn

from spectral_lens.explain import comparison
from spectral_lens.explain.pixel_flipping import area, constant, curves, ranking
from spectral_lens.explain.quality import entropy, redistribution, ssm, stability
from spectral_lens.operators.spectra import sensitivity

pytestmark = pytest.mark.usefixtures("double")


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(30, 7), nn.ReLU(), nn.Linear(7, 5)).eval()


def test_spectral_measures_at_each_setting():
    relevance = [torch.randn(3, 5, 2, 7) for _ in range(4)]
    found = comparison.spectral(iter(relevance), threshold=0.1)
    assert list(found) == ["stability", "sensitivity", "SSM"]
    for k, E in enumerate(relevance):
        for n in range(3):
            R = redistribution(E[n : n + 1], threshold=0.1).R
            for name, measure in {"stability": stability, "sensitivity": sensitivity, "SSM": ssm}.items():
                assert float(found[name][n, k]) == pytest.approx(float(measure(R)), rel=1e-9)


def test_the_explanation_of_one_output_of_each_sample():
    relevance, target = [torch.randn(3, 5, 2, 7) for _ in range(4)], torch.tensor([4, 0, 2])
    found = comparison.target_maps(relevance, target)
    assert found.shape == (4, 3, 14)
    for k, E in enumerate(relevance):
        for n, label in enumerate(target.tolist()):
            assert torch.equal(found[k, n], E[n, label].flatten())


def test_flipping_and_entropy_of_each_map_by_itself():
    model, x, target = network(), torch.rand(3, 2, 3, 5), torch.tensor([4, 0, 2])
    maps = {"a": torch.randn(2, 3, 30), "b": torch.randn(1, 3, 30)}
    found = comparison.of_maps(model, x, target, maps, fraction=0.6, steps=4)
    assert {name: sorted(each) for name, each in found.items()} == {key: ["entropy", "pixel flipping"] for key in "ab"}
    for name, each in maps.items():
        for k in range(len(each)):
            colours = each[k].view(3, 2, 15)
            pixels = colours[:, 0] + colours[:, 1]
            curve = curves(model, x, ranking(pixels).unsqueeze(0), target, fraction=0.6, steps=4)
            torch.testing.assert_close(found[name]["pixel flipping"][:, k], area(curve)[0])
            torch.testing.assert_close(found[name]["entropy"][:, k], entropy(pixels))


@pytest.mark.parametrize("shape", [(12,), (2, 6)], ids=["flat", "two channels of a signal"])
def test_inputs_that_are_no_images_and_what_takes_their_place(shape):
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh()).eval(), torch.rand(3, *shape)
    maps, imputer, target, rows = torch.randn(2, 3, 12), constant(0.7), torch.tensor([4, 0, 2]), []
    model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    found = comparison.of_maps(model, x, target, {"a": maps}, imputer=imputer, fraction=0.5, chunk=2)["a"]
    assert max(rows) == 2
    pixels = maps if len(shape) == 1 else maps[..., :6] + maps[..., 6:]
    expected = area(curves(model, x, ranking(pixels), target, imputer=imputer, fraction=0.5))
    torch.testing.assert_close(found["pixel flipping"], expected.T)
    torch.testing.assert_close(found["entropy"], entropy(pixels).T)


def test_a_random_order_comes_from_the_generator():
    model, x, target = network(), torch.rand(3, 1, 5, 6), torch.tensor([4, 0, 2])
    maps = {"a": torch.randn(2, 3, 30)}

    def at(seed):
        found = comparison.of_maps(
            model, x, target, maps, fraction=0.6, generator=torch.Generator().manual_seed(seed)
        )  # fmt: skip
        assert list(found) == ["a", "random order"]
        return found["random order"]["pixel flipping"]

    drawn = torch.rand(1, 3, 30, generator=torch.Generator().manual_seed(4)).argsort(2)
    torch.testing.assert_close(at(4), area(curves(model, x, drawn, target, fraction=0.6)).T)
    assert not torch.equal(at(4), at(5))


def test_measures_of_several_networks_stand_below_each_other():
    parts = [{"a": {"m": torch.randn(n, 3)}, "b": {"m": torch.randn(n, 2), "o": torch.randn(n, 1)}} for n in (4, 5)]
    found = comparison.joined(parts)
    assert list(found) == ["a", "b"]
    for name, measure in (("a", "m"), ("b", "m"), ("b", "o")):
        whole = found[name][measure]
        assert torch.equal(whole[:4], parts[0][name][measure])
        assert torch.equal(whole[4:], parts[1][name][measure])


def test_panels_by_measure():
    found = {name: {m: torch.randn(3, 2) for m in comparison.BETTER} for name in "abc"}
    panels = comparison.by_measure(found, ["c", "a"])
    assert list(panels) == ["stability", "sensitivity", "SSM", "pixel flipping", "entropy"]
    assert all(list(lines) == ["c", "a"] for lines in panels.values())
    assert panels["entropy"]["c"] is found["c"]["entropy"]


@pytest.mark.parametrize("shape", [(2, 3, 2, 3, 5), (2, 3, 15), (2, 4, 30), (3, 30)])
def test_maps_of_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"the maps of 'b' are .*: \(points, n, inputs\) are needed"):
        comparison.of_maps(
            network(), torch.rand(3, 2, 3, 5), torch.tensor([4, 0, 2]),
            {"a": torch.rand(2, 3, 30), "b": torch.rand(shape)},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "target"), [((3, 5, 7), [0, 1]), ((3, 5, 7), [0, 1, -1]), ((3, 5, 7), [0, 1, 5]), ((3, 5), [0, 1, 2])]
)
def test_targets_that_do_not_fit_are_refused(shape, target):
    with pytest.raises(ValueError, match="must name one of the outputs of each sample"):
        comparison.target_maps([torch.rand(shape)], torch.tensor(target))


def test_flipping_of_an_output_that_starts_at_zero():
    model = nn.Linear(4, 2, bias=False).eval()
    with pytest.raises(ValueError, match="1 of 2 curves start at zero"):
        comparison.of_maps(model, torch.eye(2, 4) * torch.tensor([[1.0], [0.0]]), torch.tensor([1, 0]),
                           {"a": torch.rand(1, 2, 4)}, fraction=1.0)  # fmt: skip
