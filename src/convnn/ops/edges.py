r"""Graphs in the form of torch_geometric: edges, their weights, and the graph of each node of a batch.

`Neighbors` are lists of K positions for every query, `Lists` are lists of any length. An edge of `edge_index` (2, E)
leads from its source, a neighbour, to its target, the node whose neighbour it is. All functions keep the order of the
neighbours of each node, with repetitions and self-loops.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from convnn.errors import InputError
from convnn.ops import ragged
from convnn.ops.neighbors import Neighbors
from convnn.ops.ragged import Lists, check_edges, check_factors
from convnn.words import counted


class Edges(NamedTuple):
    """The edges of a batch of graphs.

    Attributes:
        edge_index: (2, E) int64, the source and the target of each edge, ordered by target.
        edge_weight: (E,), or None where all weigh the same.
        batch: (nodes,) int64, the graph of each source node.
    """

    edge_index: Tensor
    edge_weight: Tensor | None
    batch: Tensor


def from_neighbors(neighbors: Neighbors, positions: int | None = None, *, ptr: Tensor | None = None) -> Edges:
    """Return the edges from the neighbours to each query; position t of graph b is node b T + t, query i node b N + i.

    Args:
        neighbors: indices (B, N, K); scores become edge weights, and absent neighbours no edges.
        positions: T; None is N: every position is a query.
        ptr: (B + 1,) the first node of each graph and the number of nodes, where graphs have different sizes: position
            t of graph b is node ptr[b] + t, and the queries beyond its size have no neighbours.

    Raises:
        InputError: shapes are wrong, or an index lies outside the positions or the graph.
    """
    lists, scores = lists_of_neighbors(neighbors, positions)
    edge_index, graphs = edge_index_of(lists), neighbors.indices.shape[0]
    size = lists.positions // max(graphs, 1)
    if ptr is None:
        batch = torch.arange(graphs, device=edge_index.device).repeat_interleave(size)
        return Edges(edge_index, scores, batch)
    if positions not in (None, neighbors.indices.shape[1]):
        raise InputError(f"positions={positions} must be None with ptr, by which every position is a query")
    sizes = _sizes(ptr, graphs)
    graph, place = edge_index // max(size, 1), edge_index % max(size, 1)
    if bool((place >= sizes[graph]).any()):
        raise InputError(f"neighbors must lie within their graphs, of {sizes.tolist()} nodes by ptr")
    batch = torch.arange(graphs, device=ptr.device).repeat_interleave(sizes)
    return Edges(ptr[graph] + place, scores, batch)


def from_dense(adjacency: Tensor, is_edge: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the edges of a graph given as a matrix, and their weights; A[s, t] weighs the edge from s to t.

    Args:
        adjacency: A (N, N), or (B, N, N) of graphs side by side, in which node n of graph b is node b N + n.
        is_edge: bool of that shape, which entries are edges; None is those that are not 0.

    Returns:
        edge_index (2, E), ordered by source, and edge_weight (E,).

    Raises:
        InputError: the matrices are not square.

    Example:
        >>> from_dense(torch.tensor([[0.0, 2.0], [0.0, 0.0]]))
        (tensor([[0],
                [1]]), tensor([2.]))
    """
    if adjacency.dim() not in (2, 3) or adjacency.shape[-1] != adjacency.shape[-2]:
        raise InputError(f"adjacency of shape {tuple(adjacency.shape)} must be (N, N) or (B, N, N)")
    places = (adjacency != 0 if is_edge is None else is_edge).nonzero(as_tuple=True)
    first = adjacency.shape[-1] * places[0] if adjacency.dim() == 3 else 0
    return torch.stack(places[-2:]) + first, adjacency[places]


def to_neighbors(
    edge_index: Tensor,
    nodes: int | tuple[int, int] | None = None,
    *,
    K: int | None = None,
    edge_weight: Tensor | None = None,
    batch: Tensor | None = None,
    ptr: Tensor | None = None,
) -> Neighbors:
    """Return the first K incoming neighbours of every node, in the order of the edges.

    Shorter lists are filled up with absent neighbours: the last one again, or in an empty list the node itself.

    Args:
        edge_index: (2, E) int64, the source and the target of each edge.
        nodes: number of nodes, or of sources and of targets; None where `batch` or `ptr` tell.
        K: length of the lists; None is the largest degree, and at least 1.
        edge_weight: (E,) weights, which become scores.
        batch: (nodes,) int64, ascending, the graph of each node; None is one graph.
        ptr: (B + 1,) the first node of each graph and the number of nodes, instead of `batch`.

    Returns:
        Neighbors (1, N, K); with `batch` or `ptr` (B, T, K), where T is the number of nodes of the largest graph, and
        indices count within each graph. `torch_geometric.utils.to_dense_batch` brings features into this form.

    Raises:
        InputError: a shape or type is wrong, a node lies outside its graph, an edge leads from one graph to another,
            or K is less than 1.
    """
    if batch is not None or ptr is not None:
        ptr = ptr_of(batch) if ptr is None else ptr
        nodes = int(ptr[-1]) if nodes is None else nodes
    if nodes is None:
        raise InputError("nodes=None must be the number of nodes where neither batch nor ptr is given")
    lists, order = lists_of_edges(edge_index, nodes)
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    scores = None if edge_weight is None else edge_weight.index_select(0, order)
    neighbors = neighbors_of_lists(lists, scores, K=K)
    return neighbors if ptr is None else _by_graph(neighbors, ptr, nodes)


def lists_of_edges(edge_index: Tensor, nodes: int | tuple[int, int]) -> tuple[Lists, Tensor]:
    """Return `Lists.of_edges`, found once for each tensor of edges.

    They are found anew when the tensor has been changed in place by torch (changes through `.data` or NumPy remain
    unseen), and forgotten with it. In a graph compiled by `torch.compile` they are found in every call, and the edges
    are not checked.
    """
    if torch.compiler.is_compiling() or edge_index.is_inference():
        return Lists.of_edges(edge_index, nodes)
    key = edge_index._version, nodes
    known, found = _FOUND.get(edge_index, (None, None))
    if known != key:
        found = Lists.of_edges(edge_index, nodes)
        _FOUND[edge_index] = key, found
    return found


_FOUND = WeakIdKeyDictionary()
"""Lists of the tensors of edges that are alive, with the version of the tensor and the number of nodes."""


def edge_index_of(lists: Lists) -> Tensor:
    """Return the edges (2, E) from the neighbours to each query, in the order of the lists."""
    return torch.stack([lists.indices, lists.query_of_each])


def lists_of_neighbors(neighbors: Neighbors, positions: int | None = None) -> tuple[Lists, Tensor | None]:
    """Return the neighbours (B, N, K) among T positions as B N lists among B T, without absent ones, and their scores.

    Args:
        neighbors: indices (B, N, K).
        positions: T; None is N.

    Raises:
        InputError: the shape or type is wrong, or an index lies outside the positions.
    """
    indices, scores, absent = neighbors
    if indices.dim() != 3 or indices.dtype != torch.long:
        raise InputError(
            f"neighbors.indices of shape {tuple(indices.shape)} and {indices.dtype} must be (B, N, K) int64"
        )
    graphs, queries, K = indices.shape
    positions = queries if positions is None else positions
    _check_within(indices, positions)
    nodes = (indices + positions * torch.arange(graphs, device=indices.device)[:, None, None]).flatten()
    starts = torch.arange(0, graphs * queries * K + 1, max(K, 1), device=indices.device)
    if not K:
        starts = starts.expand(graphs * queries + 1)
    scores = None if scores is None else scores.flatten()
    if absent is not None:
        present = ~absent.flatten()
        starts = torch.cat([starts[:1], present.unflatten(0, (-1, K)).sum(1).cumsum(0)])
        nodes, scores = nodes[present], None if scores is None else scores[present]
    return Lists(starts, nodes, graphs * positions), scores


def neighbors_of_lists(lists: Lists, scores: Tensor | None = None, *, K: int | None = None) -> Neighbors:
    """Return the first K neighbours (1, N, K) of each list, filled up as in `to_neighbors`.

    Args:
        lists: N lists with E neighbours in all.
        scores: (E,) scores of the neighbours.
        K: length of the lists; None is the longest of them, and at least 1.

    Raises:
        InputError: K is less than 1, the scores do not fit, or there is no position to fill lists with.
    """
    if K is None:
        K = max(1, int(lists.lengths.max())) if lists.queries else 1
    if K < 1:
        raise InputError(f"K={K} must be an integer of at least 1")
    if lists.queries and not lists.positions:
        raise InputError(f"{counted(lists.queries, 'list')} of no positions cannot be filled up to K={K} neighbours")
    count, device = lists.indices.shape[0], lists.indices.device
    slots, lengths = torch.arange(K, device=device), lists.lengths.unsqueeze(1)
    absent = slots >= lengths
    places = lists.starts[:-1, None] + torch.minimum(slots, (lengths - 1).clamp_min(0))  # the last one again
    own = torch.arange(lists.queries, device=device).clamp_max(lists.positions - 1).unsqueeze(1)
    padded = torch.cat([lists.indices, lists.indices.new_zeros(1)])
    indices = torch.where(lengths > 0, padded[places], own)
    if scores is not None:
        if scores.shape != (count,):
            raise InputError(f"scores of shape {tuple(scores.shape)} must be ({count},), one for each neighbour")
        scores = torch.cat([scores, scores.new_zeros(1)])[places.masked_fill(absent, count)].unsqueeze(0)
    is_full = not torch.compiler.is_compiling() and not bool(absent.any())
    return Neighbors(indices.unsqueeze(0), scores, None if is_full else absent.unsqueeze(0))


def propagate(
    x: Tensor,
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    nodes: int | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    r"""Return the sum over the incoming edges of each node, :math:`y_i = \sum_{(j, i) \in E} w_{ji} x_j`.

    No message (E, C) is stored. The edges are sorted once for each tensor (see `lists_of_edges`); for edges that a
    compiled graph uses again and again, build `Lists` outside of it and call `ragged.total`.

    Args:
        x: (N, C) features of the sources; or (..., N, C), of several graphs with the same edges.
        edge_index: (2, E) int64, the source and the target of each edge.
        edge_weight: (E,) weights w; None is 1.
        nodes: number of targets; None is N.
        backend: as in `convnn.ops.select.nearest`.

    Returns:
        (nodes, C), or (..., nodes, C), in the type of x; 0 for nodes without edges. Gradients of any order reach
        features and weights.

    Raises:
        InputError: a shape or type is wrong, or a node lies outside the graph.
        UnsupportedError: the named backend cannot compute this.
    """
    if x.dim() < 2:
        raise InputError(f"x of shape {tuple(x.shape)} must be (N, C), a row for each node")
    sources = x.shape[-2]
    lists, order = lists_of_edges(edge_index, (sources, sources if nodes is None else nodes))
    check_factors("edge_weight", edge_weight, edge_index.shape[1])
    scores = None if edge_weight is None else edge_weight.index_select(0, order)
    if x.dim() == 2:
        return ragged.total(x, lists, scores, backend=backend)
    rows = x.movedim(-2, 0)
    out = ragged.total(rows.flatten(1), lists, scores, backend=backend)
    return out.unflatten(1, rows.shape[1:]).movedim(0, -2)


def edge_rows(
    edge_index: Tensor,
    sources: Tensor,
    nodes: tuple[int, int],
    *,
    name: str = "edge_index",
    ends: tuple[str, str] = ("sources", "targets"),
) -> Tensor:
    """Return which of the targets (B, T) each of the given sources (B,) has an edge to, as bool.

    Args:
        edge_index: (2, E) int64, the source and the target of each edge.
        sources: (B,) int64; one may occur several times.
        nodes: number of sources and of targets, T.
        name: what the edges are called in messages.
        ends: what sources and targets are called there.

    Raises:
        InputError: a shape or type is wrong, or a node lies outside the graph.
    """
    count, targets = nodes
    check_edges(edge_index, count, targets, name=name, ends=ends)
    if sources.numel() and not 0 <= int(sources.min()) <= int(sources.max()) < count:
        raise InputError(f"{ends[0]} from {sources.min()} to {sources.max()} must lie between 0 and {count - 1}")
    different, row_of = sources.unique(return_inverse=True)
    place = sources.new_full((count,), -1)
    place[different] = torch.arange(different.shape[0], device=sources.device)
    rows = place[edge_index[0]]
    mask = torch.zeros(different.shape[0], targets, dtype=torch.bool, device=sources.device)
    mask[rows[rows >= 0], edge_index[1][rows >= 0]] = True
    return mask[row_of]


def _check_within(indices: Tensor, positions: int) -> None:
    if torch.compiler.is_compiling() or not indices.numel():
        return
    least, most = int(indices.min()), int(indices.max())
    if least < 0 or most >= positions:
        raise InputError(
            f"neighbors.indices from {least} to {most} must lie between 0 and {positions - 1} for"
            f" {counted(positions, 'position')}"
        )


def ptr_of(batch: Tensor | None) -> Tensor:
    """Return the first node of each graph, and the number of nodes."""
    if batch is None or batch.dim() != 1 or batch.dtype != torch.long or bool((batch.diff() < 0).any()):
        raise InputError("batch must be one list of int64 that ascends, the graph of each node")
    ends = torch.bincount(batch).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends])


def _sizes(ptr: Tensor, graphs: int) -> Tensor:
    """Return the number of nodes of each graph."""
    if ptr.shape != (graphs + 1,) or ptr.dtype != torch.long or ptr[0] != 0 or bool((ptr.diff() < 0).any()):
        raise InputError(f"ptr={ptr.tolist()} must be {graphs + 1} integers that ascend from 0, for {graphs} graphs")
    return ptr.diff()


def _by_graph(neighbors: Neighbors, ptr: Tensor, nodes: int | tuple[int, int]) -> Neighbors:
    """Arrange the lists (1, nodes, K) of a batch as (B, T, K), with indices that count within each graph."""
    sizes = _sizes(ptr, ptr.shape[0] - 1)
    if nodes != int(ptr[-1]):
        raise InputError(f"nodes={nodes} must be {int(ptr[-1])}, as many as batch or ptr has")
    graph = torch.arange(sizes.shape[0], device=ptr.device).repeat_interleave(sizes)
    within = torch.arange(graph.shape[0], device=ptr.device) - ptr[graph]
    if bool((graph[neighbors.indices[0]] != graph.unsqueeze(1)).any()):
        raise InputError("edge_index must not have an edge from one graph of the batch to another")
    shape = (sizes.shape[0], int(sizes.max()) if sizes.numel() else 0, neighbors.K)

    def arranged(rows: Tensor, filling: int | bool) -> Tensor:
        return rows.new_full(shape, filling).index_put((graph, within), rows)

    absent = neighbors.absent
    if absent is None:
        absent = torch.zeros_like(neighbors.indices, dtype=torch.bool)
    absent = arranged(absent[0], True)
    scores = None if neighbors.scores is None else arranged(neighbors.scores[0], 0)
    indices = arranged(neighbors.indices[0] - ptr[graph].unsqueeze(1), 0)
    return Neighbors(indices, scores, absent if bool(absent.any()) else None)
