"""One look for all figures."""

from spectral_lens import figures


def test_one_colour_for_one_thing():
    assert figures.COLOURS["eigenvalues"] == figures.BLUE
    assert figures.COLOURS["random subset"] == figures.GREY
    assert figures.COLOURS["all weights"] == figures.RED
    assert figures.COLOURS["eigenvalues and eigenvectors"] == figures.GREEN
