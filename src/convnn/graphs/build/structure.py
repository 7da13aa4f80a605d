"""Structure space: nodes are near each other whose neighbourhoods overlap (Ada-NETS, arXiv 2202.03800).

The lists of the K nearest stay; what is nearest among them is decided by the neighbours that two nodes share. Sets of
neighbours are sparse matrices of 0 and 1 with a row for each node, so that the products of their rows count what two
sets have in common.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_fraction
from convnn.ops import select

_ROWS_AT_ONCE = 4096
"""Nodes whose sets are compared with all others at once, which bounds the memory."""


class Ranked(NamedTuple):
    """The neighbours of each node, nearest first; each node is the first of its own.

    Attributes:
        indices: (N, K) int64.
        distances: (N, K), ascending.
    """

    indices: Tensor
    distances: Tensor


def nearest_lists(x: Tensor, K: int, *, method: str = "exact", recall: float | None = None) -> Ranked:
    r"""Return the K nodes nearest to each node, itself first, by :math:`D_{ij} = 1 - \cos(x_i, x_j)`.

    Args:
        x: (N, F) features of the nodes, floating and without zero rows.
        K: length of the lists, the node included; from 1 to N.
        method, recall: as in `convnn.ops.select.nearest`; "clustered" finds most of the neighbours of many nodes.

    Raises:
        InputError: a shape or type is wrong, a row is zero or not finite, or K is out of range.
    """
    if x.dim() != 2 or not x.is_floating_point():
        raise InputError(f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (N, F), a row for each node")
    check_at_least("K", K, 1)
    if K > x.shape[0]:
        raise InputError(f"K={K} must be at most {x.shape[0]}, the number of nodes")
    lengths = x.double().norm(dim=1)
    if not bool((lengths > 0).all() & lengths.isfinite().all()):
        row = int((~((lengths > 0) & lengths.isfinite())).nonzero()[0])
        raise InputError(f"x[{row}] has length {lengths[row].item()}; every row must be finite and not zero")
    rows, nodes = (x.double() / lengths[:, None])[None], torch.arange(x.shape[0], device=x.device)
    indices = select.nearest(rows, rows, K, metric="cosine", positions=nodes, method=method, recall=recall).indices[0]
    cosines = torch.stack([(rows[0] * rows[0, indices[:, k]]).sum(1) for k in range(K)], 1)
    distances = (1 - cosines).clamp_min(0)
    distances[:, 0] = 0  # itself, whatever rounding says
    return _sorted(indices, distances)


def reciprocal_neighbors(indices: Tensor, k: int) -> csr_array:
    r"""Return the sets :math:`R(i, k) = \{ j \in N(i, k) : i \in N(j, k) \}`, where N(i, k) are the first k of a list.

    Args:
        indices: (N, K) int64 lists of nodes, each beginning with the node itself.
        k: from 0 to K.

    Returns:
        (N, N) of 0 and 1, row i the set of node i.
    """
    nodes, flat = indices.shape[0], indices[:, :k].reshape(-1).cpu().numpy()
    listed = csr_array((np.ones(len(flat), np.int64), flat, np.arange(nodes + 1) * k), shape=(nodes, nodes))
    return listed.multiply(listed.T).tocsr()


def shared_neighbors(indices: Tensor) -> csr_array:
    r"""Return the extended reciprocal sets R* of the nodes.

    .. math::
        R^*(i) = R(i, K) \cup \bigcup \bigl\{ R(j, h) : j \in R(i, K),\;
        |R(j, h) \cap R(i, K)| \ge \tfrac{2}{3} |R(j, h)| \bigr\}, \quad h = \lfloor K / 2 \rfloor

    Args:
        indices: (N, K) int64 lists of nodes, each beginning with the node itself.

    Returns:
        (N, N) of 0 and 1, row i the set of node i, which always has i.
    """
    mutual, half = reciprocal_neighbors(indices, indices.shape[1]), reciprocal_neighbors(indices, indices.shape[1] // 2)
    common = (mutual @ half.T).multiply(mutual).tocoo()
    joins = 3 * common.data >= 2 * half.sum(1)[common.col]
    joined = csr_array((joins.astype(np.int64), common.coords), shape=mutual.shape)
    return (mutual + joined @ half).astype(bool).astype(np.int64)


def structure_space(indices: Tensor, distances: Tensor, lamb: float = 0.3) -> Ranked:
    r"""Rank the same candidates of each node anew, by the neighbours that they share with it.

    .. math::
        d_{ij} = (1 - \lambda) \Bigl( 1 - \frac{|R^*(i) \cap R^*(j)|}{|R^*(i) \cup R^*(j)|} \Bigr) + \lambda D_{ij}

    with the sets of `shared_neighbors`; ties keep their order. Only the listed candidates are compared, so node i may
    list j and not the reverse. With negative cosines d can exceed 1. Nothing is learned, and no gradient passes.

    Args:
        indices: (N, K) int64, the nearest of each node, itself first.
        distances: (N, K), D.
        lamb: share of the distance of features, in [0, 1]; 1 changes nothing.

    Returns:
        Candidates and d, ascending.

    Raises:
        InputError: a shape, type or value is wrong, a list has a node outside 0 to N - 1 or does not begin with the
            node itself, or lamb is out of range.

    Reference:
        Wang et al., "Ada-NETS: Face Clustering via Adaptive Neighbour Discovery in the Structure Space",
        arXiv 2202.03800; the sets are the code's, in which h is half of K and the share two thirds.
    """
    check_fraction("lamb", lamb)
    check_lists(indices)
    if distances.shape != indices.shape or not distances.is_floating_point():
        shape, found = tuple(indices.shape), tuple(distances.shape)
        raise InputError(f"distances of shape {found} and {distances.dtype} must be floating and {shape}")
    sets = shared_neighbors(indices)
    sizes = sets.sum(1)
    listed, unlike = indices.cpu().numpy(), np.empty(indices.shape)
    for start in range(0, len(listed), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        columns = listed[rows]
        places = np.arange(len(columns)).repeat(columns.shape[1])
        common = (sets[rows] @ sets.T)[places, columns.ravel()].reshape(columns.shape)
        unlike[rows] = 1 - common / (sizes[rows, None] + sizes[columns] - common)
    return _sorted(indices, (1 - lamb) * torch.from_numpy(unlike).to(distances) + lamb * distances)


def check_lists(indices: Tensor) -> None:
    """Refuse what are no lists of nodes, each beginning with the node itself.

    Raises:
        InputError: the shape or type is wrong, a node lies outside the graph, or a list begins with another node.
    """
    if indices.dim() != 2 or not indices.numel() or indices.dtype != torch.long:
        raise InputError(
            f"indices of shape {tuple(indices.shape)} and {indices.dtype} must be (N, K) int64, K at least 1"
        )
    nodes = indices.shape[0]
    if int(indices.min()) < 0 or int(indices.max()) >= nodes:
        raise InputError(
            f"indices from {int(indices.min())} to {int(indices.max())} must lie between 0 and {nodes - 1}"
        )
    own = torch.arange(nodes, device=indices.device)
    if bool((indices[:, 0] != own).any()):
        row = int((indices[:, 0] != own).nonzero()[0])
        raise InputError(
            f"indices[{row}] begins with {int(indices[row, 0])}; a list must begin with the node itself, {row}"
        )


def _sorted(indices: Tensor, distances: Tensor) -> Ranked:
    order = distances.argsort(dim=1, stable=True)
    return Ranked(indices.gather(1, order), distances.gather(1, order))
