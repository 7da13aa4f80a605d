"""Regression with a tangent kernel: what a network would become if it moved along its gradients."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_not_negative
from convnn.tangent.measures import as_matrix


def tangent_regression(
    kernel: Tensor,
    cross: Tensor,
    targets: Tensor,
    now: Tensor,
    now_there: Tensor,
    ridge: float = 0.0,
) -> Tensor:
    r"""Return what the linearised network predicts for new samples after it has learned its targets.

    .. math:: f_\infty(z) = f(z) + K(z, X) \, (K(X, X) + r I)^{-1} \, (Y - f(X))

    With a kernel (N, N) one system of N equations serves all outputs; with the full one there are N O equations.

    Args:
        kernel: K(X, X), (N, N) of kind "sum_of_logits", "trace" or "projected", or (N, N, O, O) of kind "full".
        cross: K(z, X), (M, N) or (M, N, O, O): `tangent_kernel(model, z, x, kind)`.
        targets: Y (N, O), such as one-hot rows.
        now: f(X) (N, O), the outputs of the network.
        now_there: f(z) (M, O).
        ridge: r, at least 0.

    Returns:
        (M, O)

    Raises:
        InputError: shapes do not agree, or the ridge is negative.
        LinAlgError: the kernel is singular, as with repeated samples or more samples than parameters; give a ridge.

    Reference:
        Jacot et al., arXiv 1806.07572; with the kernel of the sum of logits, Mohamadi et al., arXiv 2206.12543.
    """
    check_not_negative("ridge", ridge)
    _check(kernel, cross, targets, now, now_there)
    matrix = as_matrix(kernel)
    rest = targets.to(now) - now
    right = rest if kernel.dim() == 2 else rest.reshape(-1, 1)
    across = cross if cross.dim() == 2 else cross.transpose(1, 2).flatten(2).flatten(0, 1)
    matrix = matrix + ridge * torch.eye(matrix.shape[0], device=matrix.device, dtype=matrix.dtype)
    try:
        solve = _by_cholesky if ridge > 0 else torch.linalg.solve
        weights = solve(matrix, right)
    except RuntimeError as error:  # a LinAlgError
        raise type(error)(f"{error}; ridge={ridge} is too small for a kernel that is singular") from None
    return now_there + (across @ weights).reshape(now_there.shape)


def _by_cholesky(matrix: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right, torch.linalg.cholesky(matrix))


def _check(kernel: Tensor, cross: Tensor, targets: Tensor, now: Tensor, now_there: Tensor) -> None:
    count, outputs = kernel.shape[0], kernel.shape[2:]
    if now.dim() != 2 or now.shape[0] != count:
        raise InputError(f"now of shape {tuple(now.shape)} must be ({count}, O), as many rows as the kernel")
    if targets.shape != now.shape:
        raise InputError(f"targets of shape {tuple(targets.shape)} must be {tuple(now.shape)}, as the outputs")
    if now_there.dim() != 2 or now_there.shape[1] != now.shape[1]:
        raise InputError(f"now_there of shape {tuple(now_there.shape)} must be (M, {now.shape[1]})")
    if outputs not in ((), (now.shape[1],) * 2):
        raise InputError(f"kernel of shape {tuple(kernel.shape)} must be (N, N) or (N, N, {now.shape[1]}, ...)")
    if cross.shape != (now_there.shape[0], count, *outputs):
        expected = (now_there.shape[0], count, *outputs)
        raise InputError(f"cross of shape {tuple(cross.shape)} must be {expected}, new samples by those of the kernel")
