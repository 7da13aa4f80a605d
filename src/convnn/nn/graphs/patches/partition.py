"""Parts of the nodes of graphs that are near each other."""

import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.nn.graphs._checks import check_index
from convnn.ops.ragged import check_edges


def grow_parts(edge_index: Tensor, graph_of: Tensor, num_graphs: int, parts: int) -> Tensor:
    """Divide the nodes of each graph into connected parts that grow from nodes far apart, all at the same speed.

    The first part starts at the first node, each further one at the node that is farthest from all starts before, the
    lowest of several; a node belongs to the nearest start, of several to that of the lowest part. Edges count both
    ways. Nodes that no start leads to, which there are only where a graph has more components than parts, are shared
    out in turn. A graph of fewer nodes than parts has a part for each node. The published code cuts as few edges as it
    can (METIS); where that matters, its parts can be given to `cut_patches` as well as these.

    Args:
        edge_index: (2, E) int64, the edges of all graphs.
        graph_of: (N,) int64 in ascending order, the graph of each node.
        num_graphs: number of graphs.
        parts: largest number of parts of each graph.

    Returns:
        The part of each node in its graph, (N,) int64 from 0.

    Raises:
        InputError: an argument is out of range.
    """
    check_at_least("parts", parts, 1)
    check_index("graph_of", graph_of, num_graphs)
    check_edges(edge_index, graph_of.shape[0], graph_of.shape[0])
    nodes = torch.arange(graph_of.shape[0], device=graph_of.device)
    sources, targets = torch.cat([edge_index, edge_index.flip(0)], 1)
    unreached = (nodes.shape[0] + 1) * parts
    key = torch.full_like(nodes, unreached)  # distance times parts, plus the part: the least is the nearest and lowest
    for part in range(parts):
        distance = key // parts
        farthest = distance.new_zeros(num_graphs).scatter_reduce(0, graph_of, distance, "amax")
        candidates = torch.where((distance == farthest[graph_of]) & (distance > 0), nodes, nodes.shape[0])
        start = candidates.new_full((num_graphs,), nodes.shape[0]).scatter_reduce(0, graph_of, candidates, "amin")
        key[start[start < nodes.shape[0]]] = part
        while True:
            nearer = key.scatter_reduce(0, targets, key[sources] + parts, "amin").clamp(max=unreached)
            if torch.equal(nearer, key):
                break
            key = nearer
    return torch.where(key == unreached, nodes, key) % parts


def with_last_part(membership: Tensor, graph_of: Tensor, num_graphs: int, parts: int) -> Tensor:
    """Shift the parts of each graph so that the last one is not empty: m + (P - 1 - max m), as published."""
    largest = membership.new_zeros(num_graphs).scatter_reduce(0, graph_of, membership, "amax")
    return membership + (parts - 1 - largest)[graph_of]
