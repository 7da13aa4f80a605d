"""How much of each node reaches each other one within a few steps along the edges of a graph."""

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.ops import edges
from convnn.ops.ragged import check_edges


def influence_matrix(
    edge_index: Tensor,
    num_nodes: int,
    order: int = 2,
    *,
    cumulative: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    r"""Return a power of the row-normalised graph with self-loops, or the sum of all powers up to it.

    .. math:: A = D^{-1} (A_0 + I), \qquad I_k = A^k \quad \text{or} \quad \sum_{l=1}^{k} A^l

    where :math:`A_0` is 1 for each pair that an edge joins in either direction. Entry (i, j) is the probability that a
    walk of k steps from node i, which may also stay, ends in node j. Rows add up to 1, or to k.

    Args:
        edge_index: (2, E) int64; directions and repetitions do not count.
        num_nodes: N.
        order: k, at least 1.
        cumulative: whether to add the powers up.
        dtype: type of the result; None is torch's default.

    Returns:
        (N, N), dense, with a positive diagonal; an isolated node has its own place alone.

    Raises:
        InputError: edge_index is no graph of these nodes, or order is below 1.

    Reference:
        Kulatilleke, Portmann and Chandra, "SCGC: Self-Supervised Contrastive Graph Clustering", arXiv 2204.12656.

    Example:
        >>> influence_matrix(torch.tensor([[0], [1]]), 3)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
    """
    check_at_least("order", order, 1)
    check_edges(edge_index, num_nodes)
    own = torch.arange(num_nodes, device=edge_index.device)
    pairs = torch.cat([edge_index, edge_index.flip(0)], 1).unique(dim=1)
    pairs = torch.cat([pairs, own.expand(2, -1)], 1)  # after those of the graph: a self-loop of its own counts besides
    power = torch.eye(num_nodes, dtype=dtype, device=edge_index.device)
    shares = 1 / torch.bincount(pairs[1], minlength=num_nodes)[pairs[1]].to(power.dtype)
    total = torch.zeros_like(power)
    for _ in range(order):
        power = edges.propagate(power, pairs, shares)
        total += power
    return total if cumulative else power
