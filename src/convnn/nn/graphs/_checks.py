"""What the layers of this room refuse."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.ragged import check_edges, check_factors

Nodes = Tensor | tuple[Tensor, Tensor]
"""Features (N, C) of the nodes, or those of the sources and those of the targets of edges."""


def check_features(x: Tensor, channels: int | None = None) -> None:
    """Refuse what is no matrix of features of the nodes, (N, channels).

    Raises:
        InputError: x has another shape, or is not floating.
    """
    if x.dim() != 2 or channels not in (None, x.shape[1]) or not x.is_floating_point():
        width = "C" if channels is None else channels
        raise InputError(
            f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (N, {width}), a row for each node"
        )


def check_index(name: str, index: Tensor, count: int) -> None:
    """Refuse what is no list of numbers below `count`. In a compiled graph the values are not looked at.

    Raises:
        InputError: the shape or type is wrong, or a number is out of range.
    """
    if index.dim() != 1 or index.dtype != torch.long:
        raise InputError(f"{name} of shape {tuple(index.shape)} and {index.dtype} must be one list of int64")
    if torch.compiler.is_compiling() or not index.numel():
        return
    least, most = int(index.min()), int(index.max())
    if least < 0 or most >= count:
        raise InputError(f"{name} from {least} to {most} must lie between 0 and {count - 1}")


def check_weights(name: str, weights: Tensor | None, count: int, of: str = "edge") -> None:
    """Refuse weights that are not one for each edge, or negative. In a compiled graph the values are not looked at.

    Raises:
        InputError: the shape or type is wrong, or a weight is negative or NaN.
    """
    check_factors(name, weights, count, of)
    if weights is None or torch.compiler.is_compiling() or bool((weights >= 0).all()):
        return
    wrong = weights[~(weights >= 0)][0].item()
    raise InputError(f"{name} has {wrong}; weights must not be negative or NaN, since degrees are divided by")


def check_edge_features(edge_attr: Tensor | None, edges: int, channels: int) -> None:
    """Refuse what are no features (E, channels) of the edges.

    Raises:
        InputError: they are missing, have another shape, or are not floating.
    """
    shape = (edges, channels)
    if edge_attr is None:
        raise InputError(f"edge_attr=None must be floating and {shape}, a row for each edge, since edge_dim={channels}")
    if edge_attr.shape != shape or not edge_attr.is_floating_point():
        raise InputError(
            f"edge_attr of shape {tuple(edge_attr.shape)} and {edge_attr.dtype} must be floating and {shape}, a row for"
            " each edge"
        )


def check_edge_attr(edge_attr: Tensor | None, edges: int, channels: int | None) -> None:
    """Refuse features of the edges that a layer does not read, or does not get; `channels` is what it is built for.

    Raises:
        InputError: they are missing, or given to a layer that does not read them, or not (E, channels).
    """
    if channels is not None:
        check_edge_features(edge_attr, edges, channels)
    elif edge_attr is not None:
        raise InputError(
            f"edge_attr of shape {tuple(edge_attr.shape)} is not read; build the layer with edge_dim, their number"
        )


def check_graph(x: Nodes, edge_index: Tensor, channels: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the features of the sources and of the targets of edges, which are the same unless x is a pair.

    Raises:
        InputError: features are not (N, channels), or edge_index is not (2, E) int64 or names a node that is not there.
    """
    sources, targets = (x, x) if isinstance(x, Tensor) else x
    for nodes in (sources, targets):
        check_features(nodes, channels)
    check_edges(edge_index, sources.shape[0], targets.shape[0])
    return sources, targets
