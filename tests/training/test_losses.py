"""The losses of all runs against torch's, one run at a time."""

import torch
from torch.nn import functional as F

from experiments import TIGHT
from spectral_lens.training import losses


def test_losses_are_means_over_each_runs_batch_size():
    out = torch.randn(3, 5, 4, dtype=torch.float64)
    y = torch.randint(4, (3, 5))
    found = losses.LOSSES["cross_entropy"](out, y)
    torch.testing.assert_close(found, torch.stack([F.cross_entropy(o, t) for o, t in zip(out, y, strict=True)]))
    value = torch.randn(3, 5, dtype=torch.float64)
    for name, oracle in [("mse", F.mse_loss), ("mae", F.l1_loss)]:
        found = losses.LOSSES[name](out[..., :1], value)
        expected = torch.stack([oracle(o[:, 0], t) for o, t in zip(out, value, strict=True)])
        torch.testing.assert_close(found, expected, **TIGHT)
    assert losses.num_correct(out[..., :1], value).isnan().all()
    assert losses.num_correct(out, y).tolist() == [sum(o.argmax(1) == t) for o, t in zip(out, y, strict=True)]
