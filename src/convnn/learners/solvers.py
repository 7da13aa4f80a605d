"""Solvers of linear systems and eigenproblems, of functions of tensors."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
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


def largest_eigenvalue(apply: Map, like: Tensor, *, tol: float = 1e-6, max_iter: int = 200) -> float:
    """Return the largest eigenvalue of a symmetric map with no larger negative one, by powers.

    Args:
        apply: the map.
        like: (n, c) a tensor of its vectors' length, type and device.
        tol: relative change at which it stops.
        max_iter: the most steps.
    """
    vector = like.new_ones(like.shape[0], 1) / like.shape[0] ** 0.5
    vector = vector + 0.01 * torch.linspace(-1, 1, like.shape[0]).to(like).unsqueeze(1)  # not orthogonal to the first
    value = 0.0
    for _ in range(max_iter):
        image = apply(vector)
        before, value = value, image.norm().item()
        if value == 0 or abs(value - before) <= tol * value:
            break
        vector = image / value
    return value


def leading_eigenpairs(matrix: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the largest eigenvalues (count,) of a symmetric matrix (n, n), and unit vectors (n, count), descending."""
    size = matrix.shape[0]
    values, vectors = eigh(matrix.cpu().numpy(), subset_by_index=(size - count, size - 1))
    return torch.from_numpy(values[::-1].copy()).to(matrix), torch.from_numpy(vectors[:, ::-1].copy()).to(matrix)


def leading_eigenpairs_of_map(apply: Map, like: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return what `leading_eigenpairs` does for a symmetric map of vectors like (n, c), by Lanczos; count below n."""
    size = like.shape[0]

    def multiply(vector: np.ndarray) -> np.ndarray:
        return apply(torch.from_numpy(vector.reshape(size, -1)).to(like)).cpu().double().numpy()

    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    values, vectors = eigsh(operator, count, which="LA", v0=np.linspace(1, 2, size))
    order = np.argsort(values)[::-1].copy()
    return torch.from_numpy(values[order]).to(like), torch.from_numpy(vectors[:, order]).to(like)


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


class Preconditioner(NamedTuple):
    r"""What flattens the leading eigenvalues of a kernel, estimated on a subsample.

    Attributes:
        vectors: E (s, q) unit eigenvectors of k(S, S) / s.
        weights: (q,) :math:`(1 - (\lambda_{q+1} / \lambda_j)^a) / (s \lambda_j)`.
        top: the largest eigenvalue that remains, :math:`\lambda_1 (\lambda_{q+1} / \lambda_1)^a`.
        largest: the largest k(x, x) of the subsample.

    Reference:
        Ma and Belkin, "Kernel machines that adapt to GPUs for effective large batch training", arXiv 1806.06144.
    """

    vectors: Tensor
    weights: Tensor
    top: float
    largest: float

    @classmethod
    def of(cls, values: Tensor, vectors: Tensor, largest: float, power: float = 1.0) -> "Preconditioner":
        """Return that of the leading q + 1 eigenpairs (q + 1,), (s, q + 1) of k(S, S) / s, descending."""
        kept, tail = values[:-1], values[-1]
        weights = (1 - (tail / kept) ** power) / (kept * vectors.shape[0])
        top = values[0] * (tail / values[0]) ** power
        return cls(vectors[:, :-1], weights, top.item(), largest)

    def correct(self, gradient: Tensor) -> Tensor:
        """Return what is to be taken away at the subsample, (s, c), from a gradient there, k(S, X) r."""
        return self.vectors @ (self.weights[:, None] * (self.vectors.T @ gradient))
