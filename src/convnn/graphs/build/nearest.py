"""Graphs of points: the nearest neighbours, those within a radius, and grids; edges are those of torch_geometric."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.ops import select
from convnn.ops.edges import ptr_of

FLOWS = ("source_to_target", "target_to_source")
KEEPS = ("all", "mutual", "either")


def knn_graph(
    x: Tensor,
    k: int,
    batch: Tensor | None = None,
    loop: bool = False,
    flow: str = "source_to_target",
    *,
    metric: str = "euclidean",
    keep: str = "all",
    method: str = "exact",
    recall: float | None = None,
    probes: int | None = None,
    lists: int | None = None,
    backend: str = "auto",
) -> Tensor:
    """Return the edges from the k nearest nodes to every node, nearest first, or from all others if there are fewer.

    The first arguments are those of `torch_geometric.nn.knn_graph`. Of equally near nodes those of lowest index are
    taken, and a node is nearest to itself, also among equals.

    Args:
        x: (N, C) features of the nodes.
        k: number of neighbours of every node, itself included with `loop`; at least 1.
        batch: (N,) int64, ascending, the graph of each node; only nodes of the same graph are joined.
        loop: whether every node is the first of its own neighbours.
        flow: "source_to_target", an edge leads from the neighbour to the node, or "target_to_source".
        metric: "euclidean", "cosine" or "matmul", the inner product.
        keep: "all" edges; "mutual", those between nodes that have each other; or "either", an edge in both directions
            for each, ordered by target and source.
        method, recall, probes, lists, backend: as in `convnn.ops.select.nearest`; "clustered" finds most of the
            neighbours in a fraction of the time.

    Returns:
        (2, E) int64, ordered by the node whose neighbours they are.

    Raises:
        InputError: a shape, type or value is wrong.
        UnsupportedError: the named backend cannot compute this.

    Example:
        >>> knn_graph(torch.tensor([[0.0], [1.0], [3.0]]), 1)
        tensor([[1, 0, 1],
                [0, 1, 2]])
    """
    check_at_least("k", k, 1)
    check_choice("keep", keep, KEEPS)
    check_choice("flow", flow, FLOWS)
    search = {"method": method, "recall": recall, "probes": probes, "lists": lists, "backend": backend}
    found, is_there = _nearest(x, k, batch, loop=loop, metric=metric, **search)
    edges = _kept(_edges(found, is_there), x.shape[0], keep)
    return edges if flow == FLOWS[0] else edges.flip(0)


def radius_graph(
    x: Tensor,
    r: float,
    batch: Tensor | None = None,
    loop: bool = False,
    max_num_neighbors: int = 32,
    flow: str = "source_to_target",
    *,
    backend: str = "auto",
) -> Tensor:
    """Return the edges from the nodes at a Euclidean distance of at most r to every node, nearest first.

    The arguments are those of `torch_geometric.nn.radius_graph`. Of more than `max_num_neighbors` the nearest are
    taken, where torch_geometric takes any.

    Args:
        x: (N, C) features of the nodes.
        r: largest distance, at least 0.
        batch, loop, flow, backend: as in `knn_graph`.
        max_num_neighbors: largest number of neighbours of a node, itself included with `loop`; at least 1.

    Returns:
        (2, E) int64, ordered by the node whose neighbours they are.

    Raises:
        InputError: a shape, type or value is wrong.
        UnsupportedError: the named backend cannot compute this.

    Example:
        >>> radius_graph(torch.tensor([[0.0], [1.0], [3.0]]), 1.5)
        tensor([[1, 0],
                [0, 1]])
    """
    check_at_least("max_num_neighbors", max_num_neighbors, 1)
    check_choice("flow", flow, FLOWS)
    if not r >= 0:
        raise InputError(f"r={r} must be a distance of at least 0")
    found, is_there = _nearest(x, max_num_neighbors, batch, loop=loop, metric="euclidean", backend=backend)
    edges = _edges(found, is_there)
    exact = x.double()
    is_near = (exact[edges[0]] - exact[edges[1]]).square().sum(1) <= r * r
    edges = edges[:, is_near]
    return edges if flow == FLOWS[0] else edges.flip(0)


def grid_graph(
    size: Sequence[int],
    *,
    diagonal: bool = False,
    wrap: bool = False,
    loop: bool = False,
    device: torch.device | None = None,
) -> Tensor:
    """Return the edges between adjacent positions of a grid of any number of axes, in raster order.

    Args:
        size: number of positions along each axis.
        diagonal: whether positions that touch at a corner are adjacent.
        wrap: whether the first and the last position along an axis are adjacent, as on a torus.
        loop: whether every position is adjacent to itself.
        device: device of the edges.

    Returns:
        (2, E) int64, ordered by target and source, each pair in both directions and once.

    Raises:
        InputError: there is no axis, or one has no position.

    Example:
        >>> grid_graph((1, 3))
        tensor([[1, 0, 2, 1],
                [0, 1, 1, 2]])
    """
    if not len(size) or any(side < 1 for side in size):
        raise InputError(f"size={tuple(size)} must be at least one number, each of at least 1")
    steps = [step for step in product((-1, 0, 1), repeat=len(size)) if diagonal or sum(map(abs, step)) <= 1]
    sides = torch.tensor(tuple(size), device=device)
    weights = torch.tensor([*sides.tolist()[1:], 1], device=device).flip(0).cumprod(0).flip(0)  # of each axis
    nodes = torch.arange(int(sides.prod()), device=device)
    places = nodes[:, None] // weights % sides
    reached = places[:, None] + torch.tensor(steps, device=device)
    is_inside = ((reached >= 0) & (reached < sides)).all(2)
    if wrap:
        reached, is_inside = reached % sides, torch.ones_like(is_inside)
    sources = (reached * weights).sum(2)
    pairs = (nodes[:, None] * len(nodes) + sources)[is_inside].unique()  # a short axis may be wrapped onto itself
    edges = torch.stack([pairs % len(nodes), pairs // len(nodes)])
    return edges if loop else edges[:, edges[0] != edges[1]]


def _nearest(
    x: Tensor, k: int, batch: Tensor | None, *, loop: bool, metric: str, **search: Any
) -> tuple[Tensor, Tensor]:
    """Return the k nearest nodes (N, k) of each node in its graph, and which of them are there (N, k).

    Graphs of the same size are searched together.
    """
    if x.dim() != 2 or not x.is_floating_point():
        raise InputError(f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (N, C), a row for each node")
    ptr = torch.tensor([0, x.shape[0]], device=x.device) if batch is None else ptr_of(batch)
    if int(ptr[-1]) != x.shape[0]:
        raise InputError(f"batch of shape ({int(ptr[-1])},) must have an entry for each of the {x.shape[0]} rows of x")
    starts, sizes, K = ptr[:-1], ptr.diff(), k + (not loop)
    K = min(K, int(sizes.max())) if sizes.numel() else 0
    found = torch.zeros(x.shape[0], K, dtype=torch.long, device=x.device)
    for size in sizes.unique().tolist():
        first = starts[sizes == size].unsqueeze(1)
        within = torch.arange(size, device=x.device)
        nodes, count = first + within, min(K, size)
        if size:
            rows = x[nodes]
            chosen = select.nearest(rows, rows, count, metric=metric, positions=within, **search)
            found[nodes, :count] = chosen.indices + first.unsqueeze(2)
    of_each = sizes.repeat_interleave(sizes).unsqueeze(1)
    is_there = torch.arange(K, device=x.device) < of_each
    drop = int(not loop)  # itself is the first
    return found[:, drop:], is_there[:, drop:]


def _edges(found: Tensor, is_there: Tensor) -> Tensor:
    """Return the edges from the neighbours (N, k) that are there to each node."""
    nodes = torch.arange(found.shape[0], device=found.device).unsqueeze(1).expand(found.shape)
    return torch.stack([found[is_there], nodes[is_there]])


def _kept(edges: Tensor, nodes: int, keep: str) -> Tensor:
    """Keep all edges, those that there are in both directions, or add the other direction of each."""
    if keep == "all":
        return edges
    there, back = edges[1] * nodes + edges[0], edges[0] * nodes + edges[1]
    if keep == "mutual":
        return edges[:, torch.isin(there, back)]
    pairs = torch.cat([there, back]).unique()
    return torch.stack([pairs % max(nodes, 1), pairs // max(nodes, 1)])
