"""Well-known scores that the spectral ones are compared with."""

import warnings

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from spectral_lens.datasets import DataSet
from spectral_lens.layers import fold


def lasso(data: DataSet, *, strength: float = 0.01) -> Float[Tensor, "*r d"]:
    """|coefficients| of a logistic regression with an L1 penalty, by scikit-learn: (d,), or (r, d) for a set per run.

    strength: scikit-learn's C, the weight of the likelihood's sum against the penalty; smaller is sparser.
    Raises ValueError where there are not two classes.
    """
    if data.classes != 2:
        raise ValueError(f"{data.name} has {data.classes} classes: the LASSO here tells two apart.")
    data = data.flat()

    def coefficients(x: Tensor, y: Tensor) -> Tensor:
        return torch.from_numpy(sparse_logistic(x.cpu().numpy(), y.cpu().numpy(), strength=strength))

    if data.runs is None:
        return coefficients(data.x, data.y)
    return torch.stack([coefficients(x, y) for x, y in zip(data.x, data.y, strict=True)])


def sparse_logistic(x: np.ndarray, y: np.ndarray, *, strength: float, seed: int = 0) -> np.ndarray:
    """Size of the coefficients of logistic regressions with an L1 penalty, (d,): one, or each class against the rest.

    strength: as for `lasso`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier

    one = LogisticRegression(l1_ratio=1, C=strength, solver="liblinear", random_state=seed)
    return np.asarray(
        np.linalg.norm([each.coef_[0] for each in OneVsRestClassifier(one).fit(x, y).estimators_], axis=0)
    )


def deep_shap(
    model: nn.Module, x: Float[Tensor, "n *d"], *, background: Float[Tensor, "m *d"]
) -> Float[Tensor, "n k *d"]:
    """SHAP values of all outputs by shap's DeepExplainer, for a Sequential on the CPU.  [lundberg2017]

    background: samples that stand for an input that is not there.  shap knows torch's own layers alone, so spectral
    ones are folded first, and a leading Flatten goes.
    """
    with warnings.catch_warnings(action="ignore"):  # of its colour maps and progress bars
        import shap

    layers = [layer for layer in fold(model).cpu() if not isinstance(layer, nn.Flatten)]  # type: ignore[attr-defined]
    explainer = shap.DeepExplainer(nn.Sequential(*layers), background.cpu())
    return torch.from_numpy(explainer.shap_values(x.cpu(), check_additivity=False)).movedim(-1, 1)
