"""Checks of what layers on graphs are given, one sentence each."""

import torch
from torch import Tensor

from convnn.errors import InputError


def check_features(x: Tensor, channels: int) -> None:
    """Refuse features that are not (N, channels).

    Raises:
        InputError: they are not.
    """
    if x.dim() != 2 or x.shape[1] != channels:
        raise InputError(f"x of shape {tuple(x.shape)} must be (N, {channels}), a row for each node")


def check_edges(edge_index: Tensor, nodes: int, edge_weight: Tensor | None = None) -> None:
    """Refuse edges that are not (2, E) numbers of nodes, and weights that are not one for each edge.

    Raises:
        InputError: shape or type are wrong, or a node lies outside the graph.
    """
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype != torch.long:
        raise InputError(f"edge_index of shape {tuple(edge_index.shape)} and {edge_index.dtype} must be (2, E) int64")
    if edge_weight is not None and edge_weight.shape != edge_index.shape[1:]:
        raise InputError(
            f"edge_weight of shape {tuple(edge_weight.shape)} must be ({edge_index.shape[1]},), one for each edge"
        )
    if torch.compiler.is_compiling() or not edge_index.numel():
        return
    if not 0 <= int(edge_index.min()) <= int(edge_index.max()) < nodes:
        raise InputError(
            f"edge_index has nodes from {int(edge_index.min())} to {int(edge_index.max())}; they must lie between 0 and"
            f" {nodes - 1}"
        )
