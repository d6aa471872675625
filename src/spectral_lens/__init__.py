"""Neural networks seen through their spectra."""

__version__ = "0.1.0"
