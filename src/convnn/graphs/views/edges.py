"""Views with some edges."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.views._probability import check_probability
from convnn.ops.ragged import check_edges


def drop_edges(
    edge_index: Tensor,
    p: float | Tensor,
    *,
    undirected: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the edges that are left when each is dropped with a probability, and which these are.

    Args:
        edge_index: (2, E) int64, the source and the target of each edge.
        p: probability to be dropped, 0 to 1, or (E,) that of each edge. One is kept where its draw, which is uniform in
            [0, 1), is less than 1 - p.
        undirected: draw once for each pair of nodes, so that both directions stay or go, and repeated edges too;
            otherwise a view of an undirected graph is directed.
        generator: source of the random numbers, on the device of the edges; None is that of torch.

    Returns:
        The edges (2, E'), and a mask (E,) bool of those, for their weights.

    Raises:
        InputError: a shape or type is wrong, p is out of range, or with `undirected` an edge has no counterpart or
            another probability.

    Example:
        >>> drop_edges(torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([0.0, 1.0, 0.0]))
        (tensor([[0, 2],
                [1, 0]]), tensor([ True, False,  True]))
    """
    draws = _draws(edge_index, undirected, generator)
    check_probability(p, edge_index.shape[1], "edge")
    if undirected and isinstance(p, Tensor):
        _check_both_ways(edge_index, p)
    kept = draws < 1 - p
    return edge_index[:, kept], kept


def complementary_views(
    edge_index: Tensor,
    p: float = 0.5,
    *,
    undirected: bool = False,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Return two views of a graph of which each has the edges that the other lacks.

    Args:
        edge_index: (2, E) int64, the source and the target of each edge.
        p: probability of an edge to be in the first view, above 0 and below 1.
        undirected: draw once for each pair of nodes. Otherwise, as in the published code, the two directions of an
            edge are drawn apart: half of the time they are in different views, and what one view has to predict of the
            other is there to be read.
        generator: source of the random numbers, on the device of the edges; None is that of torch.

    Returns:
        The edges of both views, in their order; one may have none.

    Raises:
        InputError: a shape or type is wrong, p is out of range, or with `undirected` an edge has no counterpart.

    Reference:
        Chen et al., arXiv 2311.11821.
    """
    if not 0 < p < 1:
        raise InputError(f"p={p!r} must be above 0 and below 1")
    is_first = _draws(edge_index, undirected, generator) < p
    return edge_index[:, is_first], edge_index[:, ~is_first]


def _draws(edge_index: Tensor, undirected: bool, generator: torch.Generator | None) -> Tensor:
    """Return a number (E,), uniform in [0, 1), for each edge, or for each pair of nodes."""
    check_edges(edge_index, _count(edge_index))
    edges, place = edge_index.shape[1], None
    if undirected:
        _check_symmetric(edge_index)
        pairs, place = edge_index.sort(0).values.unique(dim=1, return_inverse=True)
        edges = pairs.shape[1]
    draws = torch.rand(edges, generator=generator, device=edge_index.device, dtype=torch.double)
    return draws if place is None else draws[place]


def _count(edge_index: Tensor) -> int:
    """Return the least number of nodes that the edges can have."""
    return int(edge_index.max()) + 1 if edge_index.numel() else 0


def _numbers(edge_index: Tensor) -> Tensor:
    return edge_index[0] * _count(edge_index) + edge_index[1]


def _check_symmetric(edge_index: Tensor) -> None:
    there, back = _numbers(edge_index), _numbers(edge_index.flip(0))
    if not torch.equal(there.sort().values, back.sort().values):
        alone = edge_index[:, ~torch.isin(there, back)]
        example = f"; {tuple(alone[:, 0].tolist())} has none" if alone.numel() else " as often"
        raise InputError(f"undirected=True needs an edge back for each edge of edge_index{example}")


def _check_both_ways(edge_index: Tensor, p: Tensor) -> None:
    """Refuse probabilities that differ between copies or directions of an edge."""
    _, place = edge_index.sort(0).values.unique(dim=1, return_inverse=True)
    first = torch.empty(edge_index.shape[1], dtype=p.dtype, device=p.device).scatter_(0, place, p)
    differs = first[place] != p
    if bool(differs.any()):
        edge = tuple(edge_index[:, differs][:, 0].tolist())
        raise InputError(f"p must be the same for both directions of an edge, and differs for {edge}")
