"""Graphs as a table of edges and a table of nodes, filled up to one size: what is diffused together."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError


class DenseGraphs(NamedTuple):
    """B graphs of at most N nodes; what belongs to no node is 0.

    Attributes:
        adjacency: (B, E, N, N) attributes of the edge from node i (row) to node j (column).
        nodes: (B, N, C) attributes of the nodes.
    """

    adjacency: Tensor
    nodes: Tensor

    def masked(self, flags: Tensor) -> "DenseGraphs":
        """Return the same with 0 wherever a flag (B, N), bool, says that there is no node."""
        return DenseGraphs(self.adjacency * pairs_of(flags).unsqueeze(1), self.nodes * flags.unsqueeze(2))


def pairs_of(flags: Tensor) -> Tensor:
    """Return which ordered pairs of nodes there are, (B, N, N) bool, of flags (B, N), bool, for the nodes."""
    return flags.unsqueeze(1) & flags.unsqueeze(2)


def check_graphs(graphs: DenseGraphs, flags: Tensor) -> None:
    """Check shapes of graphs, and flags (B, N), bool, that say which nodes there are.

    Raises:
        InputError: shapes or data types do not fit.
    """
    adjacency, nodes = graphs
    if nodes.dim() != 3:
        raise InputError(f"nodes of shape {tuple(nodes.shape)} must be (B, N, C)")
    number, size = nodes.shape[:2]
    if adjacency.dim() != 4 or adjacency.shape[::2] != (number, size) or adjacency.shape[3] != size:
        raise InputError(f"adjacency of shape {tuple(adjacency.shape)} must be ({number}, E, {size}, {size})")
    if flags.shape != (number, size) or flags.dtype != torch.bool:
        raise InputError(
            f"flags of shape {tuple(flags.shape)} and {flags.dtype} must be ({number}, {size}) and bool, one for each"
            " node"
        )
