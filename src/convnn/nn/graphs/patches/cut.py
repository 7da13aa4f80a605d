"""Overlapping patches of graphs, their coarse graph, and where nodes and patches are in them."""

from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs._checks import check_index
from convnn.nn.graphs.patches.partition import with_last_part
from convnn.ops.ragged import Lists, check_edges


class Patches(NamedTuple):
    """Patches of B graphs, P of each, as copies of nodes and edges.

    Attributes:
        node: (S,) int64, the node of each copy.
        patch: (S,) int64 in ascending order, its patch; patch p of graph b is b P + p.
        edge: (F,) int64, the edge of each copy of an edge.
        edge_index: (2, F) int64, the copies of nodes that it joins.
        mask: (B, P) bool, whether a patch has a node.
        graph_of: (N,) int64, the graph of each node.
    """

    node: Tensor
    patch: Tensor
    edge: Tensor
    edge_index: Tensor
    mask: Tensor
    graph_of: Tensor


def cut_patches(
    edge_index: Tensor, membership: Tensor, graph_of: Tensor, num_graphs: int, *, parts: int, num_hops: int = 1
) -> Patches:
    """Extend each part by what is near it: patches that overlap, with all edges between their nodes.

    Args:
        edge_index: (2, E) int64, the edges of all graphs.
        membership: (N,) int64, the part of each node in its graph, from 0 to P - 1. Where the last parts of a graph are
            empty, the parts are shifted, so that the first ones are.
        graph_of: (N,) int64 in ascending order, the graph of each node.
        num_graphs: B.
        parts: P.
        num_hops: nodes at most so many edges from the part belong to its patch, in either direction of an edge. With
            at least 1 every edge is in a patch.

    Raises:
        InputError: an argument is out of range, or there is no node.
    """
    check_at_least("parts", parts, 1)
    check_at_least("num_hops", num_hops, 0)
    check_index("membership", membership, parts)
    check_index("graph_of", graph_of, num_graphs)
    count = membership.shape[0]
    if not count or graph_of.shape[0] != count:
        raise InputError(f"membership of {count} and graph_of of {graph_of.shape[0]} must have an entry for each node")
    check_edges(edge_index, count, count)
    of_part = graph_of * parts + with_last_part(membership, graph_of, num_graphs, parts)
    near = _leading_from(torch.cat([edge_index, edge_index.flip(0)], 1), count)
    pairs = (of_part * count + torch.arange(count, device=of_part.device)).sort().values
    for _ in range(num_hops):
        patch, node = pairs // count, pairs % count
        places = near.places(node)
        reached = patch.repeat_interleave(near.lengths[node]) * count + near.indices[places]
        pairs = torch.cat([pairs, reached]).unique()
    edge, joined = _edges_within(edge_index, pairs, count)
    patch = pairs // count
    mask = patch.bincount(minlength=num_graphs * parts).view(num_graphs, parts) > 0
    return Patches(pairs % count, patch, edge, joined, mask, graph_of)


def _leading_from(edge_index: Tensor, nodes: int) -> Lists:
    """Return the targets of the edges that lead from each node."""
    return Lists.of_edges(edge_index.flip(0), nodes)[0]


def _edges_within(edge_index: Tensor, pairs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the edges whose ends are both in a patch, patch by patch, and the copies of nodes that they join.

    Args:
        edge_index: (2, E) all edges.
        pairs: (S,) patch times count plus node, in ascending order.
        count: number of nodes.
    """
    edges = Lists.of_targets(edge_index[0].contiguous(), count)  # of each node, those that lead from it
    patch, node = pairs // count, pairs % count
    edge = edges.indices[edges.places(node)]
    lengths = edges.lengths[node]
    source = torch.arange(pairs.shape[0], device=pairs.device).repeat_interleave(lengths)
    wanted = patch.repeat_interleave(lengths) * count + edge_index[1, edge]
    target = torch.searchsorted(pairs, wanted).clamp(max=pairs.shape[0] - 1)
    inside = pairs[target] == wanted
    edge, joined = edge[inside], torch.stack([source[inside], target[inside]])
    order = (patch[joined[0]] * edge_index.shape[1] + edge).argsort()
    return edge[order], joined[:, order]


def coarse_adjacency(patches: Patches, dtype: torch.dtype, diffusion: int = 0) -> Tensor:
    r"""Return the number of nodes that patches share, C = M M^T, or how a walk of so many steps spreads on that.

    .. math:: A = C \text{ for } d = 0, \qquad A = (D^{-1} C)^d \text{ for } d \ge 1

    with D the sums of the rows of C, at least 1.

    Args:
        patches: P patches of each of B graphs.
        dtype: data type of the result.
        diffusion: d, at least 0.

    Returns:
        (B, P, P).

    Raises:
        InputError: an argument is out of range.
    """
    check_at_least("diffusion", diffusion, 0)
    graphs, parts = patches.mask.shape
    sizes = patches.graph_of.bincount(minlength=graphs)
    place = torch.arange(patches.graph_of.shape[0], device=sizes.device) - (sizes.cumsum(0) - sizes)[patches.graph_of]
    members = torch.zeros(graphs * parts, int(sizes.max()), dtype=dtype, device=sizes.device)
    members[patches.patch, place[patches.node]] = 1
    members = members.unflatten(0, (graphs, parts))
    shared = members @ members.mT
    return torch.linalg.matrix_power(_as_steps(shared), diffusion) if diffusion else shared


def walk_encoding(adjacency: Tensor, steps: int) -> Tensor:
    r"""Return how likely walks of s = 1, ..., k steps return to their start, :math:`\operatorname{diag} (D^{-1} A)^s`.

    Args:
        adjacency: A, (B, N, N).
        steps: k.

    Returns:
        (B, N, k).
    """
    step = power = _as_steps(adjacency)
    found = []
    for _ in range(steps):
        found.append(power.diagonal(dim1=-2, dim2=-1))
        power = power @ step
    return torch.stack(found, -1) if found else adjacency.new_zeros(*adjacency.shape[:-1], 0)


def node_walks(edge_index: Tensor, graph_of: Tensor, num_graphs: int, steps: int, dtype: torch.dtype) -> Tensor:
    """Return `walk_encoding` of the nodes of several graphs, (N, k); each becomes a dense matrix."""
    sizes = graph_of.bincount(minlength=num_graphs)
    first, largest = sizes.cumsum(0) - sizes, int(sizes.max())
    place = torch.arange(graph_of.shape[0], device=graph_of.device) - first[graph_of]
    adjacency = torch.zeros(num_graphs, largest, largest, dtype=dtype, device=graph_of.device)
    source, target = edge_index
    one = torch.ones((), dtype=dtype, device=graph_of.device).expand(source.shape[0])
    adjacency.index_put_((graph_of[source], place[source], place[target]), one, accumulate=True)
    return walk_encoding(adjacency, steps)[graph_of, place]


def _as_steps(adjacency: Tensor) -> Tensor:
    """Return the matrix of a random walk: rows of sum 1, or 0."""
    return adjacency / adjacency.sum(-1, keepdim=True).clamp(min=1)
