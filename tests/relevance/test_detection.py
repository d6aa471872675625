"""Scores where the truth is known: by hand, and against scikit-learn."""

import pytest
import torch
from sklearn.metrics import accuracy_score, precision_score, recall_score

from spectral_lens.relevance.detection import detection, false_share, found_share, r_precision


def scores_and_truth():
    draw = torch.Generator().manual_seed(0)
    scores = torch.rand(4, 11, generator=draw, dtype=torch.float64)
    relevant = torch.rand(4, 11, generator=draw) < torch.tensor([0.2, 0.4, 0.6, 0.8]).unsqueeze(1)
    return scores, relevant


def test_detection_is_the_accuracy_of_a_threshold():
    scores, relevant = scores_and_truth()
    expected = [accuracy_score(truth, each > 0.3) for each, truth in zip(scores, relevant, strict=True)]
    assert detection(scores, relevant, threshold=0.3).tolist() == pytest.approx(expected)
    assert detection(relevant.double(), relevant).tolist() == [1] * 4
    edge = torch.tensor([[0.05, 0.0625, 0.0]], dtype=torch.float64)  # a score at the threshold is not above it
    assert detection(edge, torch.tensor([[False, True, False]])).tolist() == [1]


def test_r_precision_is_the_precision_of_as_many_as_there_are():
    scores, relevant = scores_and_truth()
    assert len(set(relevant.sum(1).tolist())) > 1
    expected = []
    for each, truth in zip(scores, relevant, strict=True):
        lowest = each.sort(descending=True).values[int(truth.sum()) - 1]
        expected.append(precision_score(truth, each >= lowest))
    assert r_precision(scores, relevant).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("measure", [detection, r_precision])
def test_shapes_have_to_agree(measure):
    with pytest.raises(ValueError, match="must have one shape"):
        measure(torch.rand(2, 5), torch.ones(2, 4, dtype=torch.bool))


def test_nothing_relevant_cannot_be_found():
    with pytest.raises(ValueError, match="nothing to find"):
        r_precision(torch.rand(2, 5), torch.zeros(2, 5, dtype=torch.bool))


def test_false_and_found_shares_are_one_less_precision_and_recall():
    scores, relevant = scores_and_truth()
    kept = scores > 0.4
    pairs = list(zip(kept, relevant, strict=True))
    assert false_share(kept, relevant).tolist() == pytest.approx([1 - precision_score(t, k) for k, t in pairs])
    assert found_share(kept, relevant).tolist() == pytest.approx([recall_score(t, k) for k, t in pairs])


def test_where_nothing_is_kept_nothing_is_false():
    nothing, truth = torch.zeros(2, 3, dtype=torch.bool), torch.tensor([[True, False, True]]).expand(2, -1)
    assert false_share(nothing, truth).tolist() == found_share(nothing, truth).tolist() == [0, 0]
    with pytest.raises(ValueError, match="nothing to find"):
        found_share(nothing, nothing)
    for share in (false_share, found_share):
        with pytest.raises(ValueError, match="one shape"):
            share(nothing, truth[:1])
