"""A network of spectral layers in the space of all its nodes: one square matrix for each transfer."""

from itertools import pairwise

import torch
from torch import nn

from spectral_lens.nn.layers import Eigen, SpectralLinear

__all__ = ["transfers"]


def transfers(model: nn.Module) -> list[Eigen]:
    """Eigenvectors, eigenvalues and matrix of each transfer, first to last, over all N = N_1 + ... + N_l nodes.

        A_k = Phi_k Lambda_k Phi_k^-1,   Phi_k = I + P_k,   Phi_k^-1 = 2 I - Phi_k        [giambagli, II.A]

    P_k holds psi in the rows of layer k + 1 and the columns of layer k.  The eigenvalues are `lam_in` at layer k,
    `lam_out` at layer k + 1 and one elsewhere.  Phi and A are (N, N), lam is (N,), with gradients where the layers have
    them.  The product A_(l-1) ... A_1 takes an input, followed by zeros, to what the linear network puts out, in the
    last N_l entries.

    Raises ValueError where the dense layers are not all spectral, without biases, and each as wide as the next expects.

    >>> from spectral_lens.nn.mlp import mlp
    >>> steps = transfers(mlp([4, 3, 2], spectral=2, init="giambagli", bias=False))
    >>> [tuple(step.A.shape) for step in steps]
    [(9, 9), (9, 9)]
    """
    dense = [layer for layer in model.modules() if isinstance(layer, nn.Linear | SpectralLinear)]
    layers = [layer for layer in dense if isinstance(layer, SpectralLinear)]
    if not layers or len(layers) < len(dense):
        raise ValueError("every dense layer must be spectral, and there must be one: see spectralize().")
    if any(layer.bias is not None for layer in layers):
        raise ValueError("a transfer is a matrix and holds no bias: build the network with bias=False.")
    if any(before.psi.shape[0] != after.psi.shape[1] for before, after in pairwise(layers)):
        raise ValueError("each layer must have as many outputs as the next has inputs.")
    sizes = [layers[0].psi.shape[1], *(layer.psi.shape[0] for layer in layers)]
    identity = torch.eye(sum(sizes), dtype=layers[0].psi.dtype, device=layers[0].psi.device)
    return [_transfer(layer, identity, sum(sizes[:k])) for k, layer in enumerate(layers)]


def _transfer(layer: SpectralLinear, identity: torch.Tensor, first: int) -> Eigen:
    """The transfer of a layer whose departure nodes begin at node `first`."""
    outputs, inputs = layer.psi.shape
    middle, end = first + inputs, first + inputs + outputs
    Phi, lam = identity.clone(), identity.diagonal().clone()
    Phi[middle:end, first:middle] = layer.psi
    lam[first:middle], lam[middle:end] = layer.lam_in, layer.lam_out
    return Eigen(Phi, lam, (Phi * lam) @ (2 * identity - Phi))
