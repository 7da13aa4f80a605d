"""The matrix U along which walks gather their loads, of a graph as edges or as a matrix."""

from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, issparse
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.adjacency import checked, scaled
from convnn.ops.ragged import check_edges, check_factors

Graph: TypeAlias = Tensor | np.ndarray | csr_array
"""Edges (2, E) int64, or a matrix (N, N) of weights, dense or sparse."""


def weight_matrix(graph: Graph, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> csr_array:
    """Return the weights (N, N) of a graph, with sums of repeated edges, float64.

    Args:
        graph: edges (2, E) int64, each both ways, or a symmetric matrix, of torch, NumPy or scipy, dense or sparse.
        edge_weight: (E,) of edges; None for ones.
        num_nodes: N of edges; None for one more than the largest node.

    Raises:
        InputError: a shape or type is wrong, a weight is not finite, or the graph is not symmetric.
    """
    if isinstance(graph, Tensor) and graph.dtype == torch.long and graph.layout == torch.strided:
        return _of_edges(graph, edge_weight, num_nodes)
    if edge_weight is not None or num_nodes is not None:
        raise InputError("edge_weight and num_nodes must be None for a matrix, and graph must be int64 if it has edges")
    if isinstance(graph, Tensor) and graph.layout != torch.strided:
        found = graph.detach().to_sparse_coo().cpu().coalesce()
        graph = csr_array((found.values().numpy(), tuple(found.indices().numpy())), shape=tuple(found.shape))
    elif not issparse(graph):
        graph = csr_array(np.atleast_2d(np.asarray(graph.detach().cpu() if isinstance(graph, Tensor) else graph)))
    if graph.ndim == 2 and graph.shape[0] == 2 != graph.shape[1]:
        raise InputError(f"graph of shape {graph.shape} must be a matrix (N, N); edges must be a tensor of int64")
    return checked(graph, name="graph", signed=True)


def _of_edges(edge_index: Tensor, edge_weight: Tensor | None, num_nodes: int | None) -> csr_array:
    nodes = num_nodes
    if nodes is None:
        nodes = int(edge_index.max()) + 1 if edge_index.numel() else 0
    check_edges(edge_index, nodes)
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    weights = torch.ones(edge_index.shape[1]) if edge_weight is None else edge_weight.detach().cpu()
    if not bool(weights.isfinite().all()):
        raise InputError("edge_weight must be finite")
    if not nodes:
        raise InputError("graph must have at least one node; edge_index is empty, and num_nodes is not given")
    found = csr_array((weights.double().numpy(), tuple(edge_index.cpu().numpy())), shape=(nodes, nodes))
    return checked(found, name="edge_index with edge_weight, where each edge is there both ways,", signed=True)


NORMALIZATIONS = ("laplacian", "adjacency")


def scaled_weights(weights: csr_array, normalization: str | None, sigma2: float) -> csr_array:
    r"""Return U of symmetric weights W (N, N).

    .. math:: U = s\, D^{-1/2} W D^{-1/2}, \qquad
        s = \begin{cases} \sigma^2 / (1 + \sigma^2) & \text{"laplacian"} \\ \sigma^2 & \text{"adjacency"} \end{cases}

    where D has the degrees, the row sums of W. With "laplacian", :math:`I + \sigma^2 L = (1 + \sigma^2)(I - U)` for
    the normalised Laplacian L, in which a node without edges has :math:`L_{ii} = 1` (networkx and scipy set 0 there),
    so that its row of U is 0. Self-loops are left out, and out of the degrees. With None, U is W, self-loops included.

    Raises:
        InputError: a weight is negative although it is to be normalised.
    """
    if normalization is None:
        return weights
    if weights.nnz and weights.data.min() < 0:
        raise InputError(f"edge_weight has {weights.data.min()}, and must be at least 0 unless normalization is None")
    weights = csr_array(weights - diags_array(weights.diagonal()))
    weights.eliminate_zeros()
    degrees = np.asarray(weights.sum(1))
    factors = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    return scale_of(normalization, sigma2) * scaled(weights, factors)


def scale_of(normalization: str, sigma2: float) -> float:
    """Return s, the largest eigenvalue of U where there are edges."""
    return sigma2 / (1 + sigma2) if normalization == "laplacian" else sigma2


def to_tensors(matrix: csr_array) -> Any:
    """Return starts, columns and values of a matrix, columns ascending."""
    matrix.sort_indices()
    arrays = (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64), matrix.data)
    return tuple(torch.from_numpy(array) for array in arrays)
