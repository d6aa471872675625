"""Training many runs of one experiment side by side.

`fit` trains, `Trained` is what it leaves; `predict`, `accuracy`, `error` and `recalibrated` look at that, the first
three also at a module that was trained elsewhere.  Modules:
`optimizers`, `losses`, `penalties`, `subsets` (which parameters a training may move), `checkpoints`, `results`.
"""

from spectral_lens.training._loop import fit, initial
from spectral_lens.training.penalties import Penalty, Step
from spectral_lens.training.results import Trained, accuracy, error, predict, recalibrated

__all__ = ["Penalty", "Step", "Trained", "accuracy", "error", "fit", "initial", "predict", "recalibrated"]
