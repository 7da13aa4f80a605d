"""Matrices of graphs, dense where they fit into memory and else sparse."""

from typing import TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from convnn.errors import InputError

Matrix: TypeAlias = Tensor | csr_array
"""Dense, or sparse as scipy has it: then nothing is ever dense, and graphs may have millions of nodes."""

DENSE = 20_000
"""Nodes of a graph whose matrix fits into memory."""


def adjacency_matrix(edge_index: Tensor, edge_weight: Tensor, nodes: int) -> Matrix:
    """Return the adjacency (N, N) of edges, float64, with sums of repeated ones; sparse of more than 20,000 nodes."""
    if nodes > DENSE:
        return csr_array((edge_weight.double().numpy(), tuple(edge_index.numpy())), shape=(nodes, nodes))
    adjacency = torch.zeros(nodes, nodes, dtype=torch.float64)
    return adjacency.index_put_(tuple(edge_index), edge_weight.double(), accumulate=True)


def entries(matrix: Matrix) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, columns and values (E,) of the entries that are not 0, in order of rows."""
    if not isinstance(matrix, Tensor):
        found = matrix.tocoo()
        rows, columns = (torch.from_numpy(each.astype(np.int64)) for each in found.coords)
        return rows, columns, torch.from_numpy(found.data)
    rows, columns = matrix.nonzero().T.contiguous()
    return rows, columns, matrix[rows, columns]


def scaled(matrix: csr_array, factors: np.ndarray) -> csr_array:
    """Return diag(factors) matrix diag(factors)."""
    return csr_array(diags_array(factors) @ matrix @ diags_array(factors))


def checked(adjacency: Matrix, *, name: str = "adjacency", signed: bool = False) -> Matrix:
    """Return an adjacency in float64.

    Args:
        adjacency: (N, N), dense or sparse.
        name: what an error calls it.
        signed: whether weights may be negative.

    Raises:
        InputError: it is not square, symmetric, finite and, unless `signed`, at least 0.
    """
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1] or not adjacency.shape[0]:
        raise InputError(f"{name} of shape {tuple(adjacency.shape)} must be (N, N), of at least one node")
    if isinstance(adjacency, Tensor):
        adjacency = values = adjacency.double()
        other = adjacency.T
    else:
        adjacency = csr_array(adjacency, dtype=np.float64, copy=True)
        adjacency.sum_duplicates()
        adjacency.eliminate_zeros()
        values, other = torch.from_numpy(adjacency.data), csr_array(adjacency.T)
    if values.numel() and not (bool(values.isfinite().all()) and (signed or values.min() >= 0)):
        raise InputError(f"{name} must be finite" + ("" if signed else " and at least 0"))
    if not _equals(adjacency, other):
        raise InputError(f"{name} must be symmetric")
    return adjacency


def _equals(one: Matrix, other: Matrix) -> bool:
    """Return whether two matrices are the same but for rounding, as of sums in another order."""
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return torch.allclose(one, other, rtol=1e-9, atol=0)
    has_same_places = np.array_equal(one.indptr, other.indptr) and np.array_equal(one.indices, other.indices)
    return has_same_places and np.allclose(one.data, other.data, rtol=1e-9, atol=0)
