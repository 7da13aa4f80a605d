"""Dense solves and eigenproblems, of tensors and functions of them; solves by steps are in `convnn.ops.iterative`."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from convnn.ops.iterative import Map


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
