"""Kernel ridge regression, solved densely."""

import torch
from torch import Tensor

from convnn.errors import InputError


def kernel_ridge(K: Tensor, targets: Tensor, ridge: float) -> Tensor:
    r"""Return the coefficients (n, c) of kernel ridge regression, :math:`(K + \lambda I)^{-1} T`, by a dense solve.

    Args:
        K: (..., n, n) kernel matrices, symmetric.
        targets: T (..., n, c).
        ridge: :math:`\lambda`, at least 0.

    Raises:
        InputError: the matrix is singular, which a positive ridge prevents.
    """
    found, info = torch.linalg.solve_ex(K + ridge * torch.eye(K.shape[-1]).to(K), targets)
    if bool(info.any()):
        raise InputError(f"ridge={ridge} leaves a singular kernel matrix; take a larger one")
    return found
