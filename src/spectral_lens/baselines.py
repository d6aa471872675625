"""Well-known scores that the spectral ones are compared with."""

import torch
from jaxtyping import Float
from torch import Tensor

from spectral_lens.datasets import DataSet


def lasso(data: DataSet, *, strength: float = 0.01) -> Float[Tensor, "*r d"]:
    """|coefficients| of a logistic regression with an L1 penalty, by scikit-learn: (d,), or (r, d) for a set per run.

    strength: scikit-learn's C, the weight of the likelihood's sum against the penalty; smaller is sparser.
    Raises ValueError where there are not two classes.
    """
    from sklearn.linear_model import LogisticRegression

    if data.classes != 2:
        raise ValueError(f"{data.name} has {data.classes} classes: the LASSO here tells two apart.")
    data = data.flat()

    def coefficients(x: Tensor, y: Tensor) -> Tensor:
        model = LogisticRegression(l1_ratio=1, C=strength, solver="liblinear", random_state=0)
        return torch.from_numpy(model.fit(x.cpu().numpy(), y.cpu().numpy()).coef_[0]).abs()

    if data.runs is None:
        return coefficients(data.x, data.y)
    return torch.stack([coefficients(x, y) for x, y in zip(data.x, data.y, strict=True)])
