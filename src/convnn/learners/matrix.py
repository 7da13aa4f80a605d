"""Kernels given as matrices, such as those of the nodes of a graph."""

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, eye_array, issparse
from torch import Tensor

from convnn.errors import InputError
from convnn.learners.kernels import Kernel


class Matrix(Kernel):
    """A kernel given as a matrix, such as that of the nodes of a graph; points are its rows by number, (n, 1).

    Learners choose, split and shuffle such points as any others, and nothing of a sparse matrix is made dense but the
    blocks that are asked for.

    Args:
        values: (N, N), symmetric; a tensor, an array, or a sparse matrix of scipy.

    Raises:
        InputError: the matrix is not square; in `block`, a number is not that of a row.
    """

    def __init__(self, values: Any) -> None:
        self.values = values
        self.__post_init__()

    def __post_init__(self) -> None:
        shape = tuple(self.values.shape)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InputError(f"values of shape {shape} must be (N, N)")

    @classmethod
    def of_graph(cls, adjacency: Any, *, lazy: bool = False) -> "Matrix":
        r"""Return the kernel :math:`N D^{-1/2} W D^{-1/2}` of a graph, so that over N it is its normalised adjacency.

        It has negative eigenvalues; that of the lazy graph, :math:`N (I + D^{-1/2} W D^{-1/2}) / 2`, has none. The row
        of a node without neighbours is 0.

        Args:
            adjacency: W (N, N), symmetric weights of at least 0, a sparse matrix of scipy or an array.
            lazy: whether to stay at a node half of the time.
        """
        weights = csr_array(adjacency, dtype=np.float64)
        degrees = np.asarray(weights.sum(1)).ravel()
        roots = diags_array(np.where(degrees > 0, degrees, np.inf) ** -0.5)
        walk = roots @ weights @ roots
        return cls(csr_array(len(degrees) * ((eye_array(len(degrees)) + walk) / 2 if lazy else walk)))

    def block(self, X: Tensor, Y: Tensor) -> Tensor:
        """Return the entries (n, m) of the rows (n, 1) and columns (m, 1)."""
        rows, columns = self.numbers(X), self.numbers(Y)
        if self.is_sparse:
            found = csr_array(self.values)[rows.cpu().numpy()][:, columns.cpu().numpy()].toarray()
            return torch.from_numpy(found).to(X)
        return torch.as_tensor(self.values, device=X.device)[rows][:, columns].to(X.dtype)

    @property
    def is_sparse(self) -> bool:
        """Whether the matrix is one of scipy."""
        return bool(issparse(self.values))

    def product(self, X: Tensor, Y: Tensor, v: Tensor) -> Tensor:
        """Return the sparse rows (n, 1) and columns (m, 1) times vectors (m,) or (m, c)."""
        chosen = csr_array(self.values)
        for axis, points in enumerate((X, Y)):
            numbers = self.numbers(points).cpu().numpy()
            if not np.array_equal(numbers, np.arange(chosen.shape[axis])):
                chosen = chosen[:, numbers] if axis else chosen[numbers]
        found = chosen @ v.detach().cpu().numpy()
        return torch.from_numpy(found).to(v)

    def diagonal(self, X: Tensor) -> Tensor:
        """Return the entries (n,) on the diagonal."""
        return torch.tensor(np.asarray(self.values.diagonal())).to(X)[self.numbers(X)]

    def numbers(self, X: Tensor) -> Tensor:
        """Return points (n, 1) as row numbers (n,)."""
        numbers = X.flatten().long()
        if X.shape[1:] != (1,) or not bool((numbers == X.flatten()).all() and (numbers >= 0).all()):
            raise InputError(f"points of shape {tuple(X.shape)} must be (n, 1) row numbers of the kernel matrix")
        if numbers.numel() and numbers.max() >= self.values.shape[0]:
            raise InputError(f"row {int(numbers.max())} is not one of the {self.values.shape[0]} of the kernel matrix")
        return numbers
