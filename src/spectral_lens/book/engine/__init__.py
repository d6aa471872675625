"""Many runs on one machine or on many, through Snakemake: shared out, run, watched and taken over."""

from spectral_lens.book.engine.controller import ENGINES, Engine, Run, alone, child, find, folder, run

__all__ = ["ENGINES", "Engine", "Run", "alone", "child", "find", "folder", "run"]
