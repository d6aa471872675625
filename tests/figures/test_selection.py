"""The contest of methods shows what it is given."""

import numpy as np
import pytest
import torch

from drawn import halves
from spectral_lens.figures import selection as figures


def test_a_contest_has_a_panel_for_each_set_and_a_mark_for_each_method():
    counts = {"digits": [3, 6], "stars": [2, 4, 8]}
    results = {
        name: {method: torch.rand(5, len(each)) + 0.1 for method in ("spectral", "random", "other")}
        for name, each in counts.items()
    }
    drawn = figures.contest(counts, results, ylabels={"digits": "accuracy", "stars": "error"})
    for axis, (name, methods) in zip(drawn.axes, results.items(), strict=True):
        assert axis.get_title("left") == name
        assert [text.get_text() for text in axis.get_xticklabels()] == [str(count) for count in counts[name]]
        assert axis.get_yscale() == ("log" if name == "stars" else "linear")
        for container, values in zip(axis.containers, methods.values(), strict=True):
            line = container.lines[0]
            assert line.get_ydata() == pytest.approx(values.mean(0).tolist())
            assert halves(container) == pytest.approx(values.std(0).tolist(), rel=1e-5)
        places = np.stack([container.lines[0].get_xdata() for container in axis.containers])
        assert places == pytest.approx(np.arange(len(counts[name])) + 0.7 / 3 * np.array([[-1], [0], [1]]))
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["spectral", "random", "other"]
