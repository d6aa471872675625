"""One chapter at many values of its parameters: the points, what they measured, and how a page shows it."""

from spectral_lens.book.sweeps.sweep import Sweep, every, folder, load, make, named, point, save, shown, varied

__all__ = ["Sweep", "every", "folder", "load", "make", "named", "point", "save", "shown", "varied"]
