"""Matrices of graphs, dense where they fit into memory and else sparse."""

from typing import TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, issparse
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


def checked(adjacency: Matrix) -> Matrix:
    """Return an adjacency in float64.

    Raises:
        InputError: it is not square, symmetric, finite and at least 0.
    """
    if adjacency.ndim != 2 or adjacency.shape[0] != adjacency.shape[1] or not adjacency.shape[0]:
        raise InputError(f"adjacency of shape {tuple(adjacency.shape)} must be (N, N), of at least one node")
    is_sparse = issparse(adjacency)
    adjacency = csr_array(adjacency, dtype=np.float64) if is_sparse else adjacency.double()
    values = torch.from_numpy(adjacency.data) if is_sparse else adjacency
    if values.numel() and not (bool(values.isfinite().all()) and values.min() >= 0):
        raise InputError("adjacency must be finite and at least 0")
    if is_sparse:  # sums in another order round differently
        off = abs(adjacency - adjacency.T)
        is_symmetric = (off - 1e-9 * adjacency.maximum(adjacency.T)).max() <= 0
    else:
        is_symmetric = torch.allclose(adjacency, adjacency.T, rtol=1e-9, atol=0)
    if not is_symmetric:
        raise InputError("adjacency must be symmetric")
    return adjacency
