"""What a network reads of a graph: nodes to classify, graphs side by side, or users and what they chose."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class GraphBatch(NamedTuple):
    """A graph with the nodes to classify, or several graphs to classify, which share no edge.

    Attributes:
        x: (N, C) features of all nodes.
        edge_index: (2, E) int64, the source and the target of each edge.
        edge_weight: (E,), or None, where every edge counts equally.
        nodes: (B,) int64, the nodes to classify; None where graphs are.
        graph_of: (N,) int64 in ascending order, the graph of each node, which PyTorch Geometric calls batch; None
            where nodes are classified.
        num_graphs: number of graphs; a graph may have no node.
    """

    x: Tensor
    edge_index: Tensor
    edge_weight: Tensor | None = None
    nodes: Tensor | None = None
    graph_of: Tensor | None = None
    num_graphs: int = 1

    def to(self, device: torch.device | str) -> "GraphBatch":
        """Return the same on a device."""
        moved: dict[str, Any] = {
            name: part.to(device) for name, part in self._asdict().items() if isinstance(part, Tensor)
        }
        return self._replace(**moved)


def side_by_side(graphs: Sequence[GraphBatch], channels: int) -> GraphBatch:
    """Join graphs without edge weights into one batch of graphs to classify.

    Args:
        graphs: the graphs, possibly none.
        channels: number of features of their nodes.
    """
    device = graphs[0].x.device if graphs else None
    sizes = torch.tensor([len(graph.x) for graph in graphs], dtype=torch.long, device=device)
    x = torch.cat([torch.empty(0, channels, device=device), *(graph.x for graph in graphs)])
    edges = [graph.edge_index + start for graph, start in zip(graphs, (sizes.cumsum(0) - sizes).tolist(), strict=True)]
    edge_index = torch.cat([torch.empty(2, 0, dtype=torch.long, device=device), *edges], dim=1)
    graph_of = torch.arange(len(graphs), device=device).repeat_interleave(sizes)
    return GraphBatch(x, edge_index, graph_of=graph_of, num_graphs=len(graphs))


def path_graph(num_nodes: int, channels: int, device: torch.device | str = "cpu") -> GraphBatch:
    """Return the smallest input with so many nodes to classify: features 0, each node joined to the next, both ways."""
    nodes = torch.arange(num_nodes, device=device)
    there = torch.stack([nodes[:-1], nodes[1:]])
    return GraphBatch(
        torch.zeros(num_nodes, channels, device=device), torch.cat([there, there.flip(0)], 1), nodes=nodes
    )


class InteractionBatch(NamedTuple):
    """Users for whom items are ranked, and what all users chose.

    Attributes:
        users: (B,) int64.
        edge_index: (2, E) int64, the user and the item of each interaction that may be learned from.
        items: (B,) int64, an item that each user chose, in training; None where all items are ranked.
    """

    users: Tensor
    edge_index: Tensor
    items: Tensor | None = None


def first_users(count: int, num_users: int, device: torch.device | str = "cpu") -> InteractionBatch:
    """Return the smallest input with so many users, one of whom chose the first item."""
    return InteractionBatch(
        torch.arange(count, device=device) % num_users, torch.zeros(2, 1, dtype=torch.long, device=device)
    )
