"""Checks of what a layer is given: features of the nodes, and the edges between them."""

from torch import Tensor

from convnn.errors import InputError
from convnn.ops.ragged import check_edges

Nodes = Tensor | tuple[Tensor, Tensor]
"""Features (N, C) of the nodes, or those of the sources and those of the targets of edges."""


def check_graph(x: Nodes, edge_index: Tensor, channels: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the features of the sources and of the targets of edges, which are the same unless x is a pair.

    Raises:
        InputError: features are not (N, channels), or edge_index is not (2, E) int64 or names a node that is not there.
    """
    sources, targets = (x, x) if isinstance(x, Tensor) else x
    for nodes in (sources, targets):
        if nodes.dim() != 2 or channels not in (None, nodes.shape[1]):
            raise InputError(f"x of shape {tuple(nodes.shape)} must be (N, {channels or 'C'}), a row for each node")
    check_edges(edge_index, sources.shape[0], targets.shape[0])
    return sources, targets


def check_edge_attr(edge_attr: Tensor | None, edges: int, channels: int | None) -> None:
    """Check the features of the edges; `channels` is the number that a layer is built for, or None.

    Raises:
        InputError: they are missing, or given to a layer that does not read them, or not (E, channels).
    """
    if channels is None:
        if edge_attr is not None:
            raise InputError(
                f"edge_attr of shape {tuple(edge_attr.shape)} is not read; build the layer with edge_dim, their number"
            )
    elif edge_attr is None or edge_attr.shape != (edges, channels):
        given = "None" if edge_attr is None else f"of shape {tuple(edge_attr.shape)}"
        raise InputError(f"edge_attr {given} must be ({edges}, {channels}), a row for each edge, as edge_dim says")


def check_dropout(dropout: float) -> None:
    """Check that a rate of dropout leaves something.

    Raises:
        InputError: it is not in [0, 1).
    """
    if not 0 <= dropout < 1:
        raise InputError(f"dropout={dropout!r} must be at least 0 and less than 1")
