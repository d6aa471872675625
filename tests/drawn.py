"""What stands in a figure, for the tests of figures."""

from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure


def panels(figure, count):
    """The figure's axes, after a look that no two of its texts overlap."""
    assert isinstance(figure, Figure)
    assert figure.get_figwidth() == 8
    assert len(figure.axes) == count
    figure.draw_without_rendering()
    texts = [*figure.texts]
    for axis in figure.axes:
        for ticks, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            low, high = sorted(limits)
            texts += [tick.label1 for tick in ticks.get_major_ticks() if low <= tick.get_loc() <= high]
        texts += [axis._left_title, axis.xaxis.label, axis.yaxis.label, *axis.texts]
    for legend in figure.legends:
        texts += legend.get_texts()
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts if t.get_text() and t.get_visible()]
    for k, (word, box) in enumerate(boxes):
        assert box.x0 >= -1, word
        assert box.x1 <= figure.bbox.x1 + 1, word
        for other, beside in boxes[:k]:
            assert not box.overlaps(beside), (word, other)
    return figure.axes


def legend_of(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def bars(axis):
    (container,) = axis.containers
    return container


def halves(container):
    """Half-lengths of error bars."""
    (lines,) = container.lines[2]
    return [float(end[1] - start[1]) / 2 for start, end in lines.get_segments()]


def shaded(axis):
    """Left and right end of each shaded stretch."""
    drawn = {id(bar) for container in axis.containers for bar in container}
    return [(p.get_x(), p.get_x() + p.get_width()) for p in axis.patches if id(p) not in drawn]


def by_label(axis):
    return {line.get_label(): line for line in axis.lines}


def filled(band):
    """Lower and upper edge of what lies between two curves, from left to right."""
    x, y = band.get_paths()[0].vertices.T
    return [[float(end(y[x == at])) for at in np.unique(x)] for end in (np.min, np.max)]


def steps(outline, edges):
    """How high a histogram's outline stands in each bin."""
    found = np.zeros(len(edges) - 1)
    for (x, y), (to, level) in pairwise(outline.get_xy()):
        if y == level and abs(to - x) > 1e-9:
            k = np.searchsorted(edges, (x + to) / 2) - 1
            found[k] = max(found[k], y)
    return found.tolist()
