"""The cheapest split of weights between eigenvalue and eigenvector, against a grid, a descent and the parameters."""

import pytest
import torch

from spectral_lens.relevance.split import cheapest_split, searched_split, split_penalty

TIGHT = {"rtol": 1e-12, "atol": 0.0}
A, B = 0.3, 0.007


@pytest.fixture
def columns():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


@pytest.mark.parametrize("norm", [1, 2])
def test_it_is_the_penalty_of_the_parameters(columns, norm):
    size = torch.tensor([[0.2, 1.0, 3.0, 0.5, 0.7, 2.0], [1.5, 0.1, 0.4, 2.5, 1.1, 0.9]], dtype=torch.float64)
    found = split_penalty(columns, size, a=A, b=B, norm=norm)
    assert found.shape == (2, 6)
    for row, sizes in enumerate(size):
        for i, s in enumerate(sizes.tolist()):
            psi = [w / s for w in columns[:, i].tolist()]  # lam = s or -s, the penalty is the same
            expected = A * abs(-s) ** norm + B * sum(abs(each) ** norm for each in psi)
            assert float(found[row, i]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("norm", [1, 2])
def test_nothing_is_cheaper_than_the_cheapest(columns, norm):
    size, penalty = cheapest_split(columns, a=A, b=B, norm=norm)
    torch.testing.assert_close(split_penalty(columns, size, a=A, b=B, norm=norm), penalty, **TIGHT)
    grid = torch.logspace(-3, 3, 2001, dtype=torch.float64)
    every = split_penalty(columns, grid.unsqueeze(1).expand(-1, 6), a=A, b=B, norm=norm)
    assert (every >= penalty * (1 - 1e-12)).all()
    assert (every.amin(0) <= penalty * (1 + 1e-4)).all()


def test_by_hand():
    w = torch.tensor([[3.0], [-4.0]], dtype=torch.float64)
    assert cheapest_split(w, a=0.04, b=0.01).penalty.tolist() == pytest.approx([2 * 0.02 * 5])
    assert cheapest_split(w, a=0.04, b=0.01).size.tolist() == pytest.approx([(0.25 * 25) ** 0.25])
    assert cheapest_split(w, a=0.04, b=0.01, norm=1).penalty.tolist() == pytest.approx([2 * 0.02 * 7**0.5])
    assert cheapest_split(w, a=0.04, b=0.01, norm=1).size.tolist() == pytest.approx([(0.25 * 7) ** 0.5])


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize(("a", "b"), [(A, B), (1e-6, 1e-2), (0.01, 0.0001)])
def test_a_descent_finds_it(columns, norm, a, b):
    found, expected = (split(columns, a=a, b=b, norm=norm) for split in (searched_split, cheapest_split))
    torch.testing.assert_close(found.penalty, expected.penalty, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.size, expected.size, rtol=3e-5, atol=0)  # flat there
    assert not found.size.requires_grad


@pytest.mark.parametrize(("options", "message"), [({"norm": 3}, "norm=3: use 1"), ({"a": 0.0}, "must be positive"),
                                                  ({"b": -1.0}, "must be positive")])  # fmt: skip
def test_what_has_no_cheapest_split(columns, options, message):
    for split in (cheapest_split, searched_split):
        with pytest.raises(ValueError, match=message):
            split(columns, **{"a": A, "b": B, **options})
