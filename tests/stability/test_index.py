"""The index of known components."""

import math

import numpy as np
import pytest
import torch

from spectral_lens.stability.index import COMPONENTS, gmsi

pytestmark = pytest.mark.usefixtures("double")


def an_index():
    return gmsi(torch.tensor([1.0, 4.0, 2.0]), torch.tensor([3.0, 5.0]), kernel=6.25, curvature=8.0)


def test_the_index_and_its_alternatives():
    index = an_index()
    assert index.components() == {"s_J": 4, "s_theta": 5, "sqrt(s_K)": 2.5, "s_H": 8}
    mean = index.components("mean")
    assert mean == pytest.approx({"s_J": 7 / 3, "s_theta": 4, "sqrt(s_K)": 2.5, "s_H": 8})
    high = index.components("quantile")
    assert high["s_J"] == pytest.approx(np.quantile([1, 4, 2], 0.95))
    assert high["s_theta"] == pytest.approx(np.quantile([3, 5], 0.95))
    assert index.value == index.aggregate() == 8
    assert index.stability == 1 / 8
    assert index.aggregate("sum") == 19.5
    assert index.aggregate("geometric") == pytest.approx((4 * 5 * 2.5 * 8) ** 0.25)
    assert index.aggregate("max", over="mean") == 8
    assert index.aggregate("sum", over="mean") == pytest.approx(7 / 3 + 14.5)
    assert set(index.components()) == set(COMPONENTS)


@pytest.mark.parametrize("largest", range(4))
def test_each_component_can_be_the_index(largest):
    values = [1.0, 2.0, 3.0, 0.5]
    values[largest] = 10.0
    jacobian, parameters = torch.tensor([values[0], 0.1]), torch.tensor([0.2, values[1]])
    assert gmsi(jacobian, parameters, kernel=values[2] ** 2, curvature=values[3]).value == pytest.approx(10)


def test_an_index_of_one_sample_of_tensors_and_of_nothing():
    index = gmsi(torch.tensor([2.0]), torch.tensor([3.0]), kernel=torch.tensor(4.0), curvature=torch.tensor(1.0))
    assert index.jacobian == (2, 2, 2)
    assert index.kernel == 2
    still = gmsi(torch.zeros(3), torch.zeros(3), kernel=0, curvature=0)
    assert still.value == still.aggregate("geometric") == 0
    assert still.stability == math.inf


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jacobian": torch.zeros(0)}, "jacobian is empty"),
        ({"parameters": torch.zeros(0)}, "parameters is empty"),
        ({"jacobian": torch.tensor([1.0, math.nan])}, "jacobian holds"),
        ({"parameters": torch.tensor([1.0, -1.0])}, "parameters holds"),
        ({"jacobian": torch.tensor([1.0, -0.1])}, "jacobian holds"),
        ({"parameters": torch.tensor([math.inf])}, "parameters holds"),
        ({"kernel": -1.0}, "kernel=-1"),
        ({"curvature": -0.1}, "curvature=-0.1"),
        ({"curvature": math.nan}, "curvature=nan"),
    ],
)
def test_what_is_no_component(change, said):
    given = {"jacobian": torch.ones(2), "parameters": torch.ones(3), "kernel": 1.0, "curvature": 1.0} | change
    with pytest.raises(ValueError, match=said):
        gmsi(**given)


def test_unknown_aggregates():
    with pytest.raises(ValueError, match="how='median'"):
        an_index().aggregate("median")
    with pytest.raises(ValueError, match="over='max'"):
        an_index().components("max")
