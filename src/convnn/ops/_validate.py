"""Checks that the operators share: shapes and types are part of their contract, on every backend."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.neighbors import Neighbors
from convnn.words import counted


def check_rows(argument: str, rows: Tensor) -> None:
    """Check that a list of positions is floating and has the shape (B, T, C)."""
    if rows.dim() != 3 or not rows.is_floating_point():
        raise InputError(f"{argument} of shape {tuple(rows.shape)} and {rows.dtype} must be floating and (B, T, C)")


def check_one_device(**tensors: Tensor) -> None:
    """Check that all tensors are where the first is."""
    (first, one), *others = tensors.items()
    for name, other in others:
        if other.device != one.device:
            raise InputError(f"{name} on {other.device} must be on {one.device}, where {first} is")


def check_same_width(queries: Tensor, keys: Tensor) -> None:
    """Check that queries and keys can be compared: the same batch and the same channels."""
    check_rows("queries", queries)
    check_rows("keys", keys)
    if queries.shape[0] != keys.shape[0] or queries.shape[2] != keys.shape[2]:
        raise InputError(
            f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} must agree in batch and channels"
        )


def check_indices(argument: str, indices: Tensor | None, length: int | None = None) -> None:
    """Check that indices are int64 and of the shape (length,), or of any length where that is None."""
    if indices is not None and (
        indices.dim() != 1 or indices.dtype != torch.long or (length is not None and indices.shape[0] != length)
    ):
        expected = "(M,)" if length is None else f"({length},)"
        raise InputError(f"{argument} of shape {tuple(indices.shape)} and {indices.dtype} must be {expected} int64")


def check_neighbors(rows: Tensor, neighbors: Neighbors, queries: int | None = None) -> None:
    """Check that neighbours are (B, N, K) int64 for B lists of rows, with scores of that shape or none.

    N is checked where `queries` is not None.
    """
    indices = neighbors.indices
    shape = tuple(indices.shape)
    if indices.dim() != 3 or indices.dtype != torch.long or indices.shape[0] != rows.shape[0]:
        raise InputError(
            f"neighbors.indices of shape {shape} and {indices.dtype} must be ({rows.shape[0]}, N, K)"
            f" int64 for rows of shape {tuple(rows.shape)}"
        )
    if queries is not None and indices.shape[1] != queries:
        raise InputError(
            f"neighbors.indices of shape {shape} must have a row for each of {counted(queries, 'query', 'queries')}"
        )
    for name, tensor in (("scores", neighbors.scores), ("absent", neighbors.absent)):
        if tensor is not None and tensor.shape != indices.shape:
            raise InputError(
                f"neighbors.{name} of shape {tuple(tensor.shape)} must have the shape {shape} of the indices"
            )


def check_kernel(values: Tensor, K: int, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """Check that the kernel (C_out, C / groups, K) and its bias (C_out,) fit the values and the neighbours."""
    channels = values.shape[-1]
    if groups < 1 or channels % groups or weight.shape[0] % groups:
        outputs = counted(weight.shape[0], "output channel")
        raise InputError(f"groups={groups} must divide the {channels} input and {outputs}")
    if weight.shape[1:] != (channels // groups, K):
        raise InputError(
            f"weight of shape {tuple(weight.shape)} must be (C_out, {channels // groups}, {K})"
            f" for {counted(channels, 'channel')}, {counted(K, 'neighbour')} and groups={groups}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(
            f"bias of shape {tuple(bias.shape)} must be ({weight.shape[0]},) for {counted(weight.shape[0], 'output')}"
        )
