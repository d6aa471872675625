"""The look of all figures: one style, one colour for one thing, safe for colour-blind readers.

Every function draws and returns one figure; the caption and the alternative text stand in the chapter.
"""

from spectral_lens._runtime.extras import optional

with optional("figures"):
    from spectral_lens.figures.general import against, bands, curves, histogram, matrices, predicted
    from spectral_lens.figures.inputs import distributions, eigenvalues, examples, grid, maps, masked, pair, top
    from spectral_lens.figures.learning import expansion, free, gains, weights
    from spectral_lens.figures.style import BLUE, COLOURS, CYCLE, GREEN, GREY, MAP, ORANGE, PINK, RED, SKY, STYLE

__all__ = [
    "BLUE",
    "COLOURS",
    "CYCLE",
    "GREEN",
    "GREY",
    "MAP",
    "ORANGE",
    "PINK",
    "RED",
    "SKY",
    "STYLE",
    "against",
    "bands",
    "curves",
    "distributions",
    "eigenvalues",
    "examples",
    "expansion",
    "free",
    "gains",
    "grid",
    "histogram",
    "maps",
    "masked",
    "matrices",
    "pair",
    "predicted",
    "top",
    "weights",
]
