"""What the layers of this room refuse."""

import torch
from torch import Tensor

from convnn.errors import InputError


def check_features(x: Tensor, channels: int) -> None:
    """Refuse what is no matrix of features of the nodes, (N, channels).

    Raises:
        InputError: x has another shape, or is not floating.
    """
    if x.dim() != 2 or x.shape[1] != channels or not x.is_floating_point():
        raise InputError(
            f"x of shape {tuple(x.shape)} and {x.dtype} must be floating and (N, {channels}), a row for each node"
        )


def check_edges(edge_index: Tensor, nodes: int, name: str = "edge_index") -> None:
    """Refuse what is no list of edges (2, E) between nodes. In a compiled graph the values are not looked at.

    Raises:
        InputError: the shape or type is wrong, or a node lies outside the graph.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.long:
        raise InputError(f"{name} of shape {tuple(edge_index.shape)} and {edge_index.dtype} must be (2, E) int64")
    if torch.compiler.is_compiling() or not edge_index.numel():
        return
    least, most = int(edge_index.min()), int(edge_index.max())
    if least < 0 or most >= nodes:
        raise InputError(f"{name} has nodes from {least} to {most}; they must lie between 0 and {nodes - 1}")


def check_weights(name: str, weights: Tensor | None, count: int, of: str = "edge") -> None:
    """Refuse weights that are not one for each edge, or negative. In a compiled graph the values are not looked at.

    Raises:
        InputError: the shape or type is wrong, or a weight is negative or NaN.
    """
    if weights is None:
        return
    if weights.shape != (count,) or not weights.is_floating_point():
        raise InputError(
            f"{name} of shape {tuple(weights.shape)} and {weights.dtype} must be floating and ({count},), one for each"
            f" {of}"
        )
    if torch.compiler.is_compiling() or bool((weights >= 0).all()):
        return
    wrong = weights[~(weights >= 0)][0].item()
    raise InputError(f"{name} has {wrong}; weights must not be negative or NaN, since degrees are divided by")
