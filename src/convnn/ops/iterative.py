"""Linear systems solved by steps, of functions of tensors."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Map: TypeAlias = Callable[[Tensor], Tensor]
"""A linear map of vectors (n, c)."""


class Solution(NamedTuple):
    """What a solver found.

    Attributes:
        x: (n, c) the solution.
        n_iter: steps taken.
        residual: the largest length of a column of what is left, as a share of the right side.
        converged: whether that is within the tolerance.
    """

    x: Tensor
    n_iter: int
    residual: float
    converged: bool


def conjugate_gradients(
    apply: Map, b: Tensor, *, precondition: Map = lambda r: r, tol: float = 1e-6, max_iter: int = 1000
) -> Solution:
    """Solve A x = b for each column, by conjugate gradients.

    Args:
        apply: A, symmetric and positive definite.
        b: (n, c) right sides.
        precondition: an approximate inverse of A, symmetric and positive definite.
        tol: of the residual's length, as a share of that of b.
        max_iter: the most steps.

    Reference:
        Hestenes and Stiefel, 1952; with a preconditioner, Saad, "Iterative methods for sparse linear systems", 9.1.
    """
    x, rest = torch.zeros_like(b), b.clone()
    direction = z = precondition(rest)
    energy, scale = (rest * z).sum(0), _lengths(b)
    step = 0
    while step < max_iter and not _share(rest, scale) <= tol:
        image = apply(direction)
        length = _divide(energy, (direction * image).sum(0))
        x, rest = x + length * direction, rest - length * image
        z = precondition(rest)
        before, energy = energy, (rest * z).sum(0)
        direction = z + _divide(energy, before) * direction
        step += 1
    return _solution(x, step, rest, scale, tol)


def richardson(apply: Map, b: Tensor, step: float, *, tol: float = 1e-6, max_iter: int = 1000) -> Solution:
    r"""Solve A x = b by steps of constant length, :math:`x \leftarrow x - s (A x - b)`, from 0.

    They converge if all eigenvalues of s A lie between 0 and 2. A need not be symmetric.

    Args:
        apply: A.
        b: (n, c) right sides.
        step: s.
        tol: of the residual's length, as a share of that of b.
        max_iter: the most steps.
    """
    x, rest, scale = torch.zeros_like(b), b, _lengths(b)
    count = 0
    while count < max_iter and not _share(rest, scale) <= tol:
        x = x + step * rest
        rest = b - apply(x)
        count += 1
    return _solution(x, count, rest, scale, tol)


def _lengths(b: Tensor) -> Tensor:
    return b.norm(dim=0)


def _share(rest: Tensor, scale: Tensor) -> float:
    return _divide(rest.norm(dim=0), scale).max().item()


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where b is 0: a column that is solved stays as it is."""
    return torch.where(b != 0, a / torch.where(b != 0, b, 1), 0)


def _solution(x: Tensor, count: int, rest: Tensor, scale: Tensor, tol: float) -> Solution:
    residual = _share(rest, scale)
    return Solution(x, count, residual, residual <= tol)
