"""Convolutions whose matrix is triangular, so that they can be undone."""

from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.ops import _triangular
from convnn.ops._dispatch import check_backend


def convolve(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    r"""Convolve every position with those above it and to its left.

    .. math:: z_{ij} = \sum_{a, b} W_{ab} \, x_{i - a,\, j - b}, \qquad 0 \le a < k_h, \; 0 \le b < k_w

    with zeros outside of the map. :math:`W_{00}`, the last tap of the stored kernel, sees the position itself. If it
    is lower triangular, so is the matrix of the whole map in the order of rows, columns and channels.

    Args:
        x: (B, C, H, W).
        weight: (C, C / groups, k_h, k_w).
        groups: number of blocks of channels that do not mix.

    Returns:
        (B, C, H, W).
    """
    height, width = weight.shape[2:]
    return F.conv2d(F.pad(x, (width - 1, 0, height - 1, 0)), weight, groups=groups)


def solve(z: Tensor, weight: Tensor, groups: int = 1, *, backend: str = "auto") -> Tensor:
    r"""Undo `convolve`: return x with `convolve(x, weight, groups) == z`.

    .. math:: x_{ij} = W_{00}^{-1} \Big( z_{ij} - \sum_{(a, b) \ne (0, 0)} W_{ab} \, x_{i - a,\, j - b} \Big)

    Positions of an anti-diagonal i + j do not depend on each other: there are H + W - 1 steps.

    Args:
        z: (B, C, H, W).
        weight: (C, C / groups, k_h, k_w); of the last tap the lower triangle is read, whose diagonal must not be 0.
        groups: number of blocks of channels that do not mix.
        backend: implementation of the steps; "auto" is the fastest one that can compute them.

    Returns:
        (B, C, H, W), of the type of z.

    Raises:
        InputError: the shapes do not fit.

    Reference:
        Kallappa, Nagar and Varma, "FInC Flow", arXiv 2301.09266, theorem 1.
    """
    check_backend(backend)
    if z.dim() != 4 or weight.dim() != 4:
        raise InputError(f"z of {tuple(z.shape)} and weight of {tuple(weight.shape)} must have four axes")
    channels = z.shape[1]
    if weight.shape[0] != channels or groups < 1 or weight.shape[1] * groups != channels:
        raise InputError(f"weight of {tuple(weight.shape)} must be ({channels}, {channels} / groups, k_h, k_w)")
    return _triangular.solve_triangular(z, weight, groups, backend)
